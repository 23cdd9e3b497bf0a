#include <fcntl.h>
#include "../transfer.h"
#include "relay.h"

/* An answer has some hundred bytes. */
#define ANSWER 16384

static const char done_word[] = "HUSK-DONE ";

/* Nothing else is served meanwhile: there is no session yet, and the host waits for this. */
static void run_batch(void)
{
	char answer[ANSWER];
	uint32_t length = 0;
	relay.in_batch = false;
	if (!relay.initialized && transfer(relay.sys_in, relay.batch, relay.batch_length, 1) == 0 &&
	    transfer(relay.sys_out, &length, sizeof(length), 0) == 0 &&
	    (length > sizeof(answer) || transfer(relay.sys_out, answer, length, 0) != 0))
		length = 0;
	relay.initialized = true;
	explicit_bzero(relay.batch, relay.batch_length);
	if (room(&relay.to_port) < FRAME + sizeof(length) + length)
		return;
	put_frame(done_word);
	put(&relay.to_port, &length, sizeof(length));
	put(&relay.to_port, answer, length);
}

/* Four bytes of length, little endian, and as many more. */
void take_batch_byte(char byte)
{
	uint32_t length;
	relay.batch[relay.batch_length++] = byte;
	if (relay.batch_length < sizeof(length))
		return;
	memcpy(&length, relay.batch, sizeof(length));
	if (length > BATCH - sizeof(length))
		start_over();
	else if (relay.batch_length == sizeof(length) + length)
		run_batch();
}

/* Started ahead, so that it is there in every clone of the template. */
void start_sys(void)
{
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		die("pipe");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		char *const argv[] = { "husk-sys", NULL }, *const envp[] = { NULL };
		if (dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0)
			execve(relay.sys_path, argv, envp);
		fprintf(stderr, "husk-relay: run %s: %s\n", relay.sys_path, strerror(errno));
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	relay.sys_in = in[1];
	relay.sys_out = out[0];
}
