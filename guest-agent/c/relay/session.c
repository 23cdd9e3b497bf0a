#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include "relay.h"

void watch(int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd };
	if (epoll_ctl(relay.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

void end_session(void)
{
	/* A connection that no session has used yet is as good for the next one. */
	if (relay.linked && relay.agent >= 0) {
		close(relay.agent);
		relay.agent = -1;
	}
	relay.linked = false;
	empty(&relay.to_agent);
}

void start_over(void)
{
	end_session();
	empty(&relay.to_port);
	relay.nonce_known = false;
	relay.frame_length = 0;
	relay.in_batch = false;
}

void connect_agent(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	strncpy(address.sun_path, relay.agent_path, sizeof(address.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd); /* the agent is not up yet: tried again after SHORT_WAIT_MS */
		return;
	}
	watch(fd);
	relay.agent = fd;
}

/* Any process of the guest can connect, by the loopback or through the host: only the host itself is heard. */
void accept_port(void)
{
	struct sockaddr_vm from;
	socklen_t length = sizeof(from);
	int fd;
	while (relay.port < 0 &&
	       (fd = accept4(relay.listener, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (from.svm_family == AF_VSOCK && from.svm_cid == relay.peer_cid) {
			watch(fd);
			relay.port = fd;
		} else {
			close(fd);
		}
		length = sizeof(from);
	}
}

bool read_port(void)
{
	char chunk[CAPACITY / 4];
	size_t free_bytes = room(&relay.to_agent);
	if (relay.port < 0 || free_bytes <= FRAME)
		return false;
	free_bytes -= FRAME; /* held bytes may be released in front of the chunk */
	ssize_t got = read(relay.port, chunk, free_bytes < sizeof(chunk) ? free_bytes : sizeof(chunk));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got < 0 && errno != ECONNRESET && relay.listener < 0)
		die("read the port");
	if (got <= 0) { /* the host has closed its end */
		start_over();
		if (relay.listener < 0)
			return false;
		close(relay.port);
		relay.port = -1;
		return true;
	}
	take_bytes(chunk, (size_t)got);
	return true;
}

bool read_agent(void)
{
	char chunk[CAPACITY / 4];
	size_t free_bytes = room(&relay.to_port);
	if (!relay.linked || relay.agent < 0 || free_bytes <= FRAME)
		return false;
	free_bytes -= FRAME;
	ssize_t got = read(relay.agent, chunk, free_bytes < sizeof(chunk) ? free_bytes : sizeof(chunk));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		end_session(); /* what the agent said last is still sent */
		return true;
	}
	put(&relay.to_port, chunk, (size_t)got);
	return true;
}
