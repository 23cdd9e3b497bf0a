/*
 * husk-exec: starts processes in running containers, as `runc exec --detach` does, without the
 * second that a Go program's start costs under emulation.
 *
 * One process for the life of the guest, started in the template. Standard input carries
 * requests, standard output their answers, in any order (numbers are little endian):
 *
 *   request  u32 length, then texts "key=value", each ended by a NUL; `id` comes first
 *   answer   u32 length, then "id=N", and "pid=N" or "error=TEXT", each ended by a NUL
 *
 * Each request forks: a container whose files hang holds up nobody else.
 *
 *   husk-exec ── fork ──▶ A: opens what is outside, joins the namespaces
 *                         └── clone3 into the exec's cgroup ──▶ B: becomes the process
 *
 * A reads B's pipe, which closes when B runs its program or tells why it cannot, answers and
 * ends; B is then PID 1's child, which reports its exit.
 *
 * The container is hostile. Every path of ours is opened before its namespaces are joined, no
 * descriptor of ours is open when its files are first looked at (CVE-2024-21626), our memory is
 * closed to its ptrace, and our binary lies on a read-only file system (CVE-2019-5736).
 *
 * A request with `keep=PATH` instead asks for the seccomp filter of a container that was created
 * and not started: the very bytes that its OCI runtime made, so that execs get the same.
 */
#include "exec.h"

/* Of the request that this process serves. */
static const char *id;

/* One write: an answer is smaller than what a socket takes at once, so those of others cannot mix in. */
static void answer(const char *key, const char *text, int text_length)
{
	char bytes[2048];
	int n = snprintf(bytes + 4, sizeof bytes - 4, "id=%s%c%s=%.*s%c", id, 0, key, text_length, text, 0);
	uint32_t length = (uint32_t)n;
	memcpy(bytes, &length, sizeof length);
	if (write(ANSWERS, bytes, (size_t)n + 4) < 0)
		_exit(1);
}

static void tell_agent(const char *text, size_t length)
{
	answer("error", text, (int)length);
}

/* A: serves one request and ends. */
static _Noreturn void serve(char *text, uint32_t length)
{
	struct request request = { .namespaces = "", .streams = { -1, -1, -1 } };
	char error[1600], number[16] = "0";
	char *nul = length > 3 ? memchr(text, '\0', length) : NULL;
	int ends[2];
	if (nul == NULL || strncmp(text, "id=", 3) != 0)
		_exit(1);
	id = text + 3;
	tell = tell_agent;
	/* Ignored, B's exit status would be thrown away instead of going to PID 1. */
	signal(SIGCHLD, SIG_DFL);
	parse(nul + 1, text + length, &request);
	if (request.keep != NULL) {
		keep_filter(&request);
	} else {
		if (pipe2(ends, O_CLOEXEC) != 0 || dup3(ends[1], FAILURE, O_CLOEXEC) < 0)
			give_up("husk-exec: pipe: %s", reason(errno));
		close(ends[1]);
		snprintf(number, sizeof number, "%d", (int)enter(&request));
		close(FAILURE);
		size_t filled = 0;
		for (ssize_t got = 1; got > 0 && filled < sizeof error; filled += got > 0 ? (size_t)got : 0)
			got = read(ends[0], error + filled, sizeof error - filled);
		if (filled > 0) {
			tell_agent(error, filled);
			_exit(0);
		}
	}
	answer("pid", number, (int)strlen(number));
	_exit(0);
}

int main(int argc, char **argv)
{
	static char text[MAX_REQUEST];
	uint32_t length;
	if (argc == 2 && strcmp(argv[1], "stage") == 0)
		return stage(text);
	signal(SIGCHLD, SIG_IGN); /* children end by themselves */
	signal(SIGPIPE, SIG_IGN);
	agent = (int)syscall(SYS_pidfd_open, getppid(), 0);
	if (agent < 0 || dup3(STDOUT_FILENO, ANSWERS, O_CLOEXEC) < 0)
		return 1;
	while (take((char *)&length, sizeof length) == 0) {
		if (length > MAX_REQUEST || take(text, length) != 0)
			return 1;
		pid_t child = fork();
		if (child == 0)
			serve(text, length);
		/* An environment may hold secrets: what is started next has no part of it in its memory. */
		explicit_bzero(text, length);
		if (child < 0)
			return 1;
	}
	return 0;
}
