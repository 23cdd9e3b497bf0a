/* Whole messages through pipes. */
#ifndef HUSK_TRANSFER_H
#define HUSK_TRANSFER_H
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

/* Writes all the bytes when `out` is set, else reads as many; -1: the other end is gone, or errno says why. */
static inline int transfer(int fd, void *bytes, size_t length, int out)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = out ? write(fd, (char *)bytes + done, length - done) : read(fd, (char *)bytes + done, length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

#endif
