/*
 * husk-streams: moves the bytes of exec, attach and port-forward between the host and the pod, so that
 * none of them passes the agent.
 *
 * The host opens streams on the port husk.stream.0 (port.h, stream.h). It dials the
 * pod's loopback by itself; for a process the agent joins a stream with the process's descriptors.
 * One connection to the socket of this program stands for one stream or one terminal, in lines:
 *
 *   join NONCE STREAM IN OUT ERR   FIFOs by path, "-" for none; IN must have a reader already
 *   tty NONCE STREAM SOCKET        a terminal that comes to SOCKET, as runC's --console-socket sends it
 *   console SOCKET IN OUT          a container's terminal, joined with two FIFOs; OUT must have a reader
 *   drain MS                       answered when all output is on its way, or nothing came for MS
 *   size COLUMNS ROWS              for a console
 *
 * Answers are "ok", "drained" or "error TEXT". "size COLUMNS ROWS" and "gone" (the client is) come by
 * themselves. NONCE is that of the session with the host, so that a late call cannot join a stream of the
 * next one. The end of a connection closes what it stands for.
 *
 * Usage: husk-streams [--port-fd N] [--socket PATH]
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "../ports.h"
#include "control.h"
#include "port.h"

#define PORT_NAME "husk.stream.0"
#define MAX_FILES 8192
/* Wakes come by edges; this bounds the harm of one that was missed while somebody waits. */
#define LONG_WAIT_MS 1000

/* Moves all that can be moved; returns how long the next look may be put off, -1 for until something happens. */
static long work(void)
{
	bool moved;
	long wait;
	do {
		moved = read_port();
		wait = -1;
		accept_controls();
		move_controls(&moved);
		for (struct stream *each = streams, *next; each != NULL; each = next) {
			next = each->next;
			moved |= move_stream(each, &wait);
		}
		moved |= write_port();
	} while (moved);
	return wait;
}

static int find_own_port(void)
{
	int fd = await_port(PORT_NAME, O_RDWR | O_NONBLOCK);
	if (fd < 0)
		die("find the port " PORT_NAME);
	return fd;
}

int main(int argc, char **argv)
{
	const struct rlimit files = { MAX_FILES, MAX_FILES };
	const char *socket = "/run/husk/streams.sock";
	int fd = -1;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--port-fd") == 0)
			fd = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--socket") == 0)
			socket = argv[i + 1];
	}
	setrlimit(RLIMIT_NOFILE, &files); /* fewer will do, for fewer streams */
	ends_start();
	listen_for_agent(socket);
	port_open(fd < 0 ? find_own_port() : fd);
	for (;;) {
		long wait = work();
		if (streams != NULL && (wait < 0 || wait > LONG_WAIT_MS))
			wait = LONG_WAIT_MS;
		ends_wait(wait);
	}
}
