/*
 * Of the programs that serve a process of a native pod: the FIFOs that carry its bytes, and the lines beside them.
 */
#ifndef HUSK_NATIVE_PIPES_H
#define HUSK_NATIVE_PIPES_H
#include "native-stream.h"
#include <sys/wait.h>

/* A reader of a full pipe wakes its writer half as often. */
#define FIFO_BYTES (256 * 1024)

/* A size that the gateway has told: "size COLUMNS ROWS". False for anything else. */
static int parse_size(const char *line, int *columns, int *rows)
{
	return sscanf(line, "size %5d %5d", columns, rows) == 2 && *columns >= 0 && *rows >= 0;
}

/* The ends of the FIFOs that this side has. -1: not wanted. */
struct pipes {
	/* What the client sends. */
	int in;
	/* What it gets: the ends to write to, and one to read what it leaves. */
	int out, err, out_left, err_left;
};

static void make_fifo(const char *name)
{
	if (mkfifoat(folder, name, 0660) != 0 || fchownat(folder, name, 0, gateway_gid, 0) != 0)
		fail("fifo %s: %s", name, strerror(errno));
}

static int open_end(const char *name, int flags)
{
	int fd = openat(folder, name, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		fail("fifo %s: %s", name, strerror(errno));
	fcntl(fd, F_SETPIPE_SZ, FIFO_BYTES);
	return fd;
}

static void make_output(const char *name, int *end, int *left)
{
	make_fifo(name);
	*left = open_end(name, O_RDONLY);
	*end = open_end(name, O_WRONLY);
}

/* Makes and opens what was asked for: letters of "ioe". */
static struct pipes make_pipes(const char *wanted)
{
	struct pipes pipes = {-1, -1, -1, -1, -1};
	if (strchr(wanted, 'i')) {
		make_fifo("in");
		pipes.in = open_end("in", O_RDONLY);
	}
	if (strchr(wanted, 'o'))
		make_output("out", &pipes.out, &pipes.out_left);
	if (strchr(wanted, 'e'))
		make_output("err", &pipes.err, &pipes.err_left);
	return pipes;
}

/*
 * Has another process join the cgroups: the kernel waits for a grace period of RCU, 6 to 32 ms where it was measured, in which the client
 * connects and the OCI runtime starts.
 */
static pid_t begin_to_join(void)
{
	pid_t self = getpid(), joiner = fork();
	if (joiner < 0)
		fail("fork: %s", strerror(errno));
	if (joiner == 0)
		_exit(join_cgroups(self));
	return joiner;
}

/* Waits until it is done. */
static void end_joining(pid_t joiner)
{
	int status = 0;
	while (waitpid(joiner, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		fail("join the cgroups of the pod: %s", WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "killed");
}

/*
 * Waits for the gateway, which says "go" when it has opened the FIFOs, and may tell a size before. Meanwhile another process
 * joins the cgroups; its pid is returned, and waited for by `end_joining` before anything of a client is moved.
 */
static pid_t await_gateway(int *columns, int *rows)
{
	char line[64];
	int listener = listen_at("control", 0660, gateway_gid, 1);
	announce();
	pid_t joiner = begin_to_join();
	control = next_connection(listener, CLIENT_MS);
	close(listener);
	if (control < 0)
		quit(0);
	for (;;) {
		if (!read_line(control, line, sizeof line))
			quit(1);
		if (strcmp(line, "go") == 0)
			break;
		parse_size(line, columns, rows);
	}
	for (const char *const *name = (const char *const[]){"control", "in", "out", "err", NULL}; *name; name++)
		unlinkat(folder, *name, 0);
	return joiner;
}

/* Lines that come bit by bit while other things go on. */
struct lines {
	char text[64];
	size_t used;
};

/* Takes what is there and calls back for each line. False: the other side is gone. */
static int take_lines(struct lines *lines, int fd, void (*each)(const char *line))
{
	char bytes[256];
	ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	for (ssize_t i = 0; i < got; i++) {
		if (bytes[i] != '\n') {
			if (lines->used < sizeof lines->text - 1)
				lines->text[lines->used++] = bytes[i];
			continue;
		}
		lines->text[lines->used] = 0;
		lines->used = 0;
		each(lines->text);
	}
	return got > 0;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Whether the gateway has closed the connection. It does so before it closes the FIFOs of a client that broke off. */
static int gateway_gone(void)
{
	struct pollfd look = {.fd = control, .events = POLLIN | POLLRDHUP};
	return control < 0 || (poll(&look, 1, 0) == 1 && (look.revents & (POLLHUP | POLLRDHUP | POLLERR)));
}
#endif
