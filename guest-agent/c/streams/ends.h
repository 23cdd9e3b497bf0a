/* Descriptors in the one epoll of husk-streams. */
#ifndef HUSK_STREAMS_ENDS_H
#define HUSK_STREAMS_ENDS_H
#include <stdbool.h>

/* Events come by edges, and are kept until a call says EAGAIN. */
struct end {
	int fd;
	bool readable, writable;
};

/* Ends the program: `what` failed, and errno says why. */
__attribute__((noreturn)) void die(const char *what);
void ends_start(void);
/* Puts a descriptor, which is non-blocking, into the epoll. */
void end_open(struct end *end, int fd);
void end_close(struct end *end);
/* Takes it out of the epoll and leaves it open, for another end. */
void end_release(struct end *end);
/* Waits for events, at most so long; -1: until there is one. */
void ends_wait(long ms);

#endif
