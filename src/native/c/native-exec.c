/*
 * husk-native-exec: one command in a native container, for a client of the streaming server.
 *
 *   husk-native-exec FOLDER UID GID CGROUPS WANTED RUNTIME ARGUMENT...
 *
 * WANTED has letters: i, o, e for the streams, t for a terminal. The arguments are those of the OCI runtime's
 * `exec` up to the container's id; descriptor 3, which it inherits, holds the process's description. `exec
 * --detach` makes the process a child of this program, and the runtime goes: without a terminal the process
 * writes into the FIFOs that the gateway reads, and this program only waits for it (ADR 0093).
 *
 * Says on the connection: `started`, or `error TEXT`; then `exit CODE`. A gateway that goes leaves the process
 * running: what it still writes is read and thrown away.
 */
#include "native-pipes.h"
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>

#define SPEC_FD 3
#define USUAL_UMASK 022
#define END_OF_TRANSMISSION "\x04"
/* After the process ended, what it left running may hold the terminal; silent for so long, it is not waited for. */
#define STRAY_MS 500

static struct pipes pipes;
static int terminal = -1, columns, rows, unwanted_err;
/* What the terminal is about to get, and what it has said. */
static char input[4096], output[65536];
static size_t input_used, output_used;

static int pidfd_open(pid_t pid)
{
	return syscall(SYS_pidfd_open, pid, 0);
}

static int code_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* In the child: the runtime, whose own streams become the process's. */
static void run_runtime(char **command, int with_terminal, int complaints) __attribute__((noreturn));
static void run_runtime(char **command, int with_terminal, int complaints)
{
	const int ends[] = {pipes.in, pipes.out, pipes.err};
	for (int fd = 0; fd <= 2; fd++) {
		int end = with_terminal ? -1 : ends[fd];
		if (fd == 2 && end < 0)
			end = complaints;
		if (end < 0)
			continue;
		/* The other ends are other open files: only the process's becomes one that waits. */
		fcntl(end, F_SETFL, fcntl(end, F_GETFL) & ~O_NONBLOCK);
		dup2(end, fd);
	}
	signal(SIGPIPE, SIG_DFL);
	/* The process takes over what the runtime has. */
	umask(USUAL_UMASK);
	execv(command[0], command);
	_exit(127);
}

/* What the runtime wrote about its failure; the process never ran, so nothing else is in there. */
static void complain(int from, const char *what) __attribute__((noreturn));
static void complain(int from, const char *what)
{
	char text[2048];
	ssize_t got = read(from, text, sizeof text - 1);
	fail("%s: %.*s", what, got > 0 ? (int)got : 0, text);
}

/* Starts the process. Returns its pid, as this program's child. */
static pid_t start(char **command, int with_terminal, pid_t joiner)
{
	char text[32] = "";
	int spare[2] = {-1, -1}, status = 0;
	/* No stderr is wanted, or it is the terminal: the runtime's complaints go elsewhere. */
	if ((with_terminal || pipes.err < 0) && pipe2(spare, O_CLOEXEC | O_NONBLOCK) != 0)
		fail("pipe: %s", strerror(errno));
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	pid_t runtime = fork();
	if (runtime < 0)
		fail("fork: %s", strerror(errno));
	if (runtime == 0)
		run_runtime(command, with_terminal, spare[1]);
	end_joining(joiner);
	while (waitpid(runtime, &status, 0) < 0 && errno == EINTR)
		;
	close(SPEC_FD);
	int file = openat(folder, "pid", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (status != 0 || file < 0 || read(file, text, sizeof text - 1) < 1)
		complain(spare[0] >= 0 ? spare[0] : pipes.err_left, "start the command");
	close(file);
	if (spare[0] >= 0) {
		close(spare[1]);
		/* Without a terminal it has become the process's stderr, which nobody wants to see. */
		pipes.err_left = spare[0];
		unwanted_err = 1;
	}
	return number(text);
}

/* The terminal's other end, which the runtime has sent. */
static int receive_terminal(int listener)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} room = {0};
	char name[256];
	struct iovec data = {.iov_base = name, .iov_len = sizeof name};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = room.bytes, .msg_controllen = sizeof room.bytes};
	int fd = -1, from = next_connection(listener, LINE_MS);
	close(listener);
	if (from < 0 || recvmsg(from, &message, MSG_CMSG_CLOEXEC) < 0)
		fail("the OCI runtime sent no terminal: %s", strerror(errno));
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header == NULL || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof fd))
		fail("the OCI runtime sent no terminal");
	memcpy(&fd, CMSG_DATA(header), sizeof fd);
	close(from);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return fd;
}

static void resize(void)
{
	struct winsize size = {.ws_col = columns, .ws_row = rows};
	if (terminal >= 0 && columns > 0 && rows > 0)
		ioctl(terminal, TIOCSWINSZ, &size);
}

static void on_line(const char *line)
{
	if (parse_size(line, &columns, &rows))
		resize();
}

/* Reads a pipe that nobody else reads any more. */
static void discard(int *fd)
{
	ssize_t got = read(*fd, output, sizeof output);
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		shut(fd);
}

/* What the client typed. The end of its input is one for the terminal's reader; a client that broke off has no end. */
static void take_input(void)
{
	ssize_t got = read(pipes.in, input, sizeof input);
	if (got < 0)
		return;
	if (got == 0) {
		shut(&pipes.in);
		if (gateway_gone())
			return;
		input[0] = *END_OF_TRANSMISSION;
		got = 1;
	}
	input_used = got;
}

/* Moves what waits in a buffer. True: the other side is there no more. */
static int hand_over(int to, char *buffer, size_t *used)
{
	ssize_t done = write(to, buffer, *used);
	if (done < 0)
		return errno != EAGAIN && errno != EINTR;
	memmove(buffer, buffer + done, *used - done);
	*used -= done;
	return 0;
}

/* Without a terminal: waits for the end, and for the gateway to go. */
static int serve_pipes(pid_t pid, int ended)
{
	struct lines lines = {0};
	int status = 0;
	for (;;) {
		struct pollfd wait[] = {
			{.fd = ended, .events = POLLIN},
			{.fd = control, .events = POLLIN},
			{.fd = control < 0 ? pipes.out_left : -1, .events = POLLIN},
			{.fd = control < 0 || unwanted_err ? pipes.err_left : -1, .events = POLLIN},
		};
		if (poll(wait, 4, -1) < 0)
			continue;
		if (wait[1].revents && !take_lines(&lines, control, on_line))
			shut(&control);
		if (wait[2].revents)
			discard(&pipes.out_left);
		if (wait[3].revents)
			discard(&pipes.err_left);
		if (wait[0].revents && waitpid(pid, &status, WNOHANG) == pid)
			return code_of(status);
	}
}

/* With one: this program moves its bytes, for a terminal has no end that can be handed on. */
static int serve_terminal(pid_t pid, int ended)
{
	struct lines lines = {0};
	int code = -1, status = 0;
	for (;;) {
		struct pollfd wait[] = {
			{.fd = ended, .events = POLLIN},
			{.fd = control, .events = POLLIN},
			{.fd = input_used == 0 ? pipes.in : -1, .events = POLLIN},
			/* Not looked at while there is nothing to do: a hangup would be told over and over. */
			{.fd = output_used == 0 || input_used > 0 ? terminal : -1,
			 .events = (output_used == 0 ? POLLIN : 0) | (input_used > 0 ? POLLOUT : 0)},
			{.fd = output_used > 0 ? pipes.out : -1, .events = POLLOUT},
		};
		/* A client that does not take what there is, is waited for. */
		int ready = poll(wait, 5, code >= 0 && output_used == 0 ? STRAY_MS : -1);
		if (ready == 0)
			return code;
		if (ready < 0)
			continue;
		if (wait[1].revents && !take_lines(&lines, control, on_line)) {
			shut(&control);
			shut(&pipes.in);
			shut(&pipes.out);
			output_used = 0;
		}
		if (wait[2].revents && pipes.in >= 0)
			take_input();
		if (wait[4].revents && pipes.out >= 0 && hand_over(pipes.out, output, &output_used)) {
			shut(&pipes.out);
			output_used = 0;
		}
		if ((wait[3].revents & POLLOUT) && hand_over(terminal, input, &input_used))
			input_used = 0;
		if ((wait[3].revents & (POLLIN | POLLHUP | POLLERR)) && output_used == 0) {
			ssize_t got = read(terminal, output, sizeof output);
			if (got > 0)
				output_used = pipes.out >= 0 ? got : 0;
			else if (got == 0 || (errno != EAGAIN && errno != EINTR))
				/* Nobody has it open any more. */
				shut(&terminal);
		}
		if (wait[0].revents && waitpid(pid, &status, WNOHANG) == pid) {
			code = code_of(status);
			shut(&ended);
		}
		if (code >= 0 && terminal < 0 && output_used == 0)
			return code;
	}
}

int main(int argc, char **argv)
{
	if (argc < 7)
		return 64;
	begin(argv);
	int with_terminal = strchr(argv[5], 't') != NULL;
	pipes = make_pipes(argv[5]);
	int listener = with_terminal ? listen_at("tty", 0600, 0, 1) : -1;
	pid_t joiner = await_gateway(&columns, &rows);
	pid_t pid = start(argv + 6, with_terminal, joiner);
	int ended = pidfd_open(pid);
	if (ended < 0)
		fail("pidfd of process %d: %s", pid, strerror(errno));
	if (with_terminal) {
		terminal = receive_terminal(listener);
		resize();
		shut(&pipes.out_left);
		shut(&pipes.err_left);
	} else {
		/* The process has its own; held here they would never end. */
		shut(&pipes.in);
		shut(&pipes.out);
		shut(&pipes.err);
	}
	become_plain();
	say(control, "started");
	int code = with_terminal ? serve_terminal(pid, ended) : serve_pipes(pid, ended);
	if (control >= 0)
		say(control, "exit %d", code);
	return 0;
}
