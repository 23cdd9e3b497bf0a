#include "relay.h"

size_t room(const struct buffer *buffer)
{
	return CAPACITY - (buffer->end - buffer->start);
}

void put(struct buffer *buffer, const void *bytes, size_t length)
{
	if (CAPACITY - buffer->end < length) {
		memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->end - buffer->start);
		buffer->end -= buffer->start;
		buffer->start = 0;
	}
	memcpy(buffer->bytes + buffer->end, bytes, length);
	buffer->end += length;
}

void empty(struct buffer *buffer)
{
	buffer->start = buffer->end = 0;
}

bool write_from(int fd, struct buffer *buffer)
{
	if (fd < 0 || buffer->start == buffer->end)
		return false;
	ssize_t sent = write(fd, buffer->bytes + buffer->start, buffer->end - buffer->start);
	if (sent <= 0)
		return false; /* an end that is gone is noticed by the read of the same descriptor */
	buffer->start += (size_t)sent;
	if (buffer->start == buffer->end)
		empty(buffer);
	return true;
}
