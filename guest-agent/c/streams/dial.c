#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "stream.h"

/* Connects to the port on the loopback, IPv4 first. Returns whether the attempt is under way. */
static bool start_dial(struct stream *stream, bool ipv6)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(stream->port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(stream->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	int failed = ipv6 ? connect(fd, (struct sockaddr *)&v6, sizeof(v6)) : connect(fd, (struct sockaddr *)&v4, sizeof(v4));
	if (failed < 0 && errno != EINPROGRESS) {
		int problem = errno;
		close(fd);
		errno = problem;
		return false;
	}
	end_open(&stream->in, fd);
	stream->connecting = true;
	stream->ipv6 = ipv6;
	return true;
}

static void dial_failed(struct stream *stream, bool was_ipv6)
{
	size_t used = strlen(stream->text);
	snprintf(stream->text + used, sizeof(stream->text) - used, "%sdial tcp%c %s:%u: connect: %s", used > 0 ? "; " : "",
		 was_ipv6 ? '6' : '4', was_ipv6 ? "[::1]" : "127.0.0.1", stream->port, strerror(errno));
	end_close(&stream->in);
	stream->connecting = false;
	if (!was_ipv6 && start_dial(stream, true))
		return;
	if (!was_ipv6)
		dial_failed(stream, true);
	else
		stream->reset_due = true;
}

void dial(struct stream *stream)
{
	if (!start_dial(stream, false))
		dial_failed(stream, false);
}

bool finish_dial(struct stream *stream)
{
	int problem = 0;
	socklen_t size = sizeof(problem);
	if (!stream->in.writable)
		return false;
	int fd = stream->in.fd;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size) < 0)
		problem = errno;
	if (problem != 0) {
		errno = problem;
		dial_failed(stream, stream->ipv6);
		return true;
	}
	stream->connecting = false;
	end_release(&stream->in);
	if (!bind_both(stream, fd, false))
		reset_stream(stream, "out of descriptors");
	return true;
}
