#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "ends.h"

#define MAX_EVENTS 64

static int epoll = -1;

void die(const char *what)
{
	fprintf(stderr, "husk-streams: %s: %s\n", what, strerror(errno));
	exit(1);
}

void end_open(struct end *end, int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = end };
	*end = (struct end){ .fd = fd };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

void end_release(struct end *end)
{
	/* A duplicate of the descriptor would keep the entry alive, with a pointer to nowhere. */
	epoll_ctl(epoll, EPOLL_CTL_DEL, end->fd, NULL);
	*end = (struct end){ .fd = -1 };
}

void end_close(struct end *end)
{
	int fd = end->fd;
	if (fd < 0)
		return;
	end_release(end);
	close(fd);
}

void ends_start(void)
{
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		die("epoll_create1");
}

void ends_wait(long ms)
{
	struct epoll_event events[MAX_EVENTS];
	int count = epoll_wait(epoll, events, MAX_EVENTS, (int)ms);
	if (count < 0 && errno != EINTR)
		die("epoll_wait");
	for (int i = 0; i < count; i++) {
		struct end *end = events[i].data.ptr;
		end->readable |= (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0;
		end->writable |= (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
	}
}
