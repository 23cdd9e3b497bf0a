/*
 * husk-native-ports: connects one client of the streaming server with ports of a native pod's loopback.
 *
 *   husk-native-ports FOLDER UID GID CGROUPS NETNS
 *
 * NETNS is the file of the pod's network namespace, or empty for the host's. The first connection to `control` is the
 * client's session: when it ends, so does everything. Each further one says a port in a line, gets `ok` or
 * `error TEXT`, and is then that connection, half-closes included. No client is taken before
 * rights are given up; the folder is huskd's to remove.
 */
#include "native-stream.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>

#define CONNECT_MS 30000
/* Connections that wait to be taken; the streaming server allows 500 for each client. */
#define MOST_WAITING 128
#define PIPE_BYTES (256 * 1024)

/* One way of a connection: bytes pass through a pipe, so that the kernel moves pages and this program sees none. */
struct way {
	int from, to, pipe[2];
	size_t inside;
	int ended, closed;
};

static int dial(int family, int port, char *why, size_t size)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int failure = 0, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
	socklen_t length = sizeof failure;
	int begun = fd < 0 ? -1
			   : family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof v4)
					       : connect(fd, (struct sockaddr *)&v6, sizeof v6);
	if (begun != 0)
		failure = errno;
	if (failure == EINPROGRESS) {
		struct pollfd wait = {.fd = fd, .events = POLLOUT};
		failure = 0;
		if (poll(&wait, 1, CONNECT_MS) != 1)
			failure = ETIMEDOUT;
		else
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
	}
	if (failure == 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		return fd;
	}
	size_t used = strlen(why);
	snprintf(why + used, size - used, "%sdial %s:%d: connect: %s", used > 0 ? "; " : "",
		 family == AF_INET ? "tcp4 127.0.0.1" : "tcp6 [::1]", port, strerror(failure));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Moves what can be moved without waiting. False: broken. */
static int move(struct way *way)
{
	const unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
	if (!way->ended && way->inside < PIPE_BYTES) {
		ssize_t got = splice(way->from, NULL, way->pipe[1], NULL, PIPE_BYTES, flags);
		if (got > 0)
			way->inside += got;
		else if (got == 0)
			way->ended = 1;
		else if (errno != EAGAIN && errno != EINTR)
			return 0;
	}
	if (way->inside > 0) {
		ssize_t put = splice(way->pipe[0], NULL, way->to, NULL, way->inside, flags);
		if (put > 0)
			way->inside -= put;
		else if (put < 0 && errno != EAGAIN && errno != EINTR)
			return 0;
	}
	if (way->ended && way->inside == 0 && !way->closed) {
		way->closed = 1;
		shutdown(way->to, SHUT_WR);
	}
	return 1;
}

/* Copies both ways until both have ended, or one side is there no more. */
static void copy(int client, int server)
{
	struct way up = {.from = client, .to = server}, down = {.from = server, .to = client};
	struct way *const ways[] = {&up, &down};
	for (int i = 0; i < 2; i++) {
		if (pipe2(ways[i]->pipe, O_CLOEXEC | O_NONBLOCK) != 0)
			return;
		fcntl(ways[i]->pipe[0], F_SETPIPE_SZ, PIPE_BYTES);
	}
	while (!up.closed || !down.closed) {
		struct pollfd wait[] = {{.fd = client}, {.fd = server}};
		for (int i = 0; i < 2; i++) {
			/* A pipe that holds something waits for the reader alone: else a full one would be polled for ever. */
			if (!ways[i]->ended && ways[i]->inside == 0)
				wait[i].events |= POLLIN;
			if (ways[i]->inside > 0)
				wait[1 - i].events |= POLLOUT;
		}
		/* The server has closed both ways and all of it is read: its hangup tells nothing new. */
		if (wait[1].events == 0)
			wait[1].fd = -1;
		if (poll(wait, 2, -1) < 0)
			continue;
		/* The gateway has closed the connection, not half of it. */
		if ((wait[0].revents & (POLLHUP | POLLERR)) && !(wait[0].revents & POLLIN))
			return;
		if (!move(&up) || !move(&down))
			return;
	}
}

/* A connection of its own process: what goes wrong with it harms no other. */
static void serve(int client) __attribute__((noreturn));
static void serve(int client)
{
	char line[16], why[400] = "";
	if (!read_line(client, line, sizeof line))
		_exit(1);
	long port = strtol(line, NULL, 10);
	int server = -1;
	if (port > 0 && port <= 65535 && (server = dial(AF_INET, port, why, sizeof why)) < 0)
		server = dial(AF_INET6, port, why, sizeof why);
	if (server < 0) {
		say(client, "error %s", why);
		_exit(1);
	}
	say(client, "ok");
	fcntl(client, F_SETFL, fcntl(client, F_GETFL) | O_NONBLOCK);
	copy(client, server);
	_exit(0);
}

static void enter(const char *netns)
{
	if (*netns == 0)
		return;
	int fd = open(netns, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
		fail("enter the pod's network namespace: %s", strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 64;
	begin(argv);
	enter(argv[5]);
	int listener = listen_at("control", 0660, gateway_gid, MOST_WAITING);
	/* The name stays: more connections come by it. */
	close(folder);
	folder = -1;
	announce();
	/* The pod is being removed, and its client finds nobody. */
	if (join_cgroups(getpid()) != 0)
		return 1;
	become_plain();
	/* A group of its own, so that its connections end with it. */
	if (setpgid(0, 0) != 0 && getpgrp() != getpid())
		return 1;
	signal(SIGCHLD, SIG_IGN);
	int session = next_connection(listener, CLIENT_MS);
	if (session < 0)
		return 0;
	for (;;) {
		struct pollfd wait[] = {{.fd = session, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
		if (poll(wait, 2, -1) < 0)
			continue;
		if (wait[0].revents)
			kill(0, SIGKILL);
		int client = wait[1].revents ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (client < 0)
			continue;
		if (fork() == 0) {
			close(session);
			close(listener);
			serve(client);
		}
		close(client);
	}
}
