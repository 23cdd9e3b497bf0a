#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "stream.h"

#define MAX_STREAMS 1024

struct stream *streams;
static unsigned stream_count;

long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct stream *find_stream(uint32_t id)
{
	for (struct stream *each = streams; each != NULL; each = each->next)
		if (each->id == id && !each->orphan)
			return each;
	return NULL;
}

struct stream *add_stream(uint32_t id)
{
	struct stream *fresh = stream_count < MAX_STREAMS ? calloc(1, sizeof(*fresh)) : NULL;
	if (fresh == NULL)
		return NULL;
	fresh->id = id;
	fresh->in.fd = fresh->out[0].fd = fresh->out[1].fd = -1;
	fresh->next = streams;
	streams = fresh;
	stream_count++;
	return fresh;
}

void reset_stream(struct stream *stream, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(stream->text, sizeof(stream->text), format, arguments);
	va_end(arguments);
	stream->reset_due = true;
}

void drop_input(struct stream *stream)
{
	free(stream->queue);
	stream->queue = NULL;
	stream->queue_start = stream->queue_end = 0;
}

void close_input(struct stream *stream)
{
	stream->taken += (uint32_t)(stream->queue_end - stream->queue_start);
	drop_input(stream);
	if (stream->in.fd >= 0 && stream->out[0].fd >= 0)
		shutdown(stream->in.fd, SHUT_WR); /* of a socket: the other half goes on. No socket: no harm. */
	end_close(&stream->in);
}

void close_output(struct stream *stream, int channel)
{
	if (!stream->out_open[channel])
		return;
	stream->out_open[channel] = false;
	stream->end_due[channel] = true;
	end_close(&stream->out[channel]);
}

void free_stream(struct stream *stream)
{
	struct stream **link = &streams;
	while (*link != stream)
		link = &(*link)->next;
	*link = stream->next;
	stream_count--;
	drop_input(stream);
	end_close(&stream->in);
	end_close(&stream->out[0]);
	end_close(&stream->out[1]);
	if (stream->control != NULL)
		control_forget(stream->control);
	free(stream);
}

bool output_done(const struct stream *stream)
{
	return stream->bound && !stream->out_open[0] && !stream->out_open[1] &&
	       (stream->orphan || (!stream->end_due[0] && !stream->end_due[1]));
}

void orphan_stream(struct stream *stream)
{
	stream->orphan = true;
	stream->reset_due = false;
	if (!stream->terminal)
		close_input(stream);
	if (stream->control == NULL) {
		free_stream(stream);
		return;
	}
	control_gone(stream->control);
}

void set_size(struct stream *stream, uint16_t columns, uint16_t rows)
{
	const struct winsize size = { .ws_col = columns, .ws_row = rows };
	stream->size_known = true;
	stream->columns = columns;
	stream->rows = rows;
	if (stream->terminal && stream->out[0].fd >= 0)
		ioctl(stream->out[0].fd, TIOCSWINSZ, &size);
	else if (stream->control != NULL)
		control_size(stream->control, columns, rows);
}

void bind_stream(struct stream *stream, int in, int out, int err)
{
	stream->bound = true;
	if (in >= 0)
		end_open(&stream->in, in);
	if (out >= 0)
		end_open(&stream->out[0], out);
	if (err >= 0)
		end_open(&stream->out[1], err);
	stream->out_open[0] = out >= 0;
	stream->out_open[1] = err >= 0;
	stream->ready = true;
	if (stream->size_known)
		set_size(stream, stream->columns, stream->rows);
}

bool bind_both(struct stream *stream, int fd, bool terminal)
{
	int second = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (second < 0 || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
		if (second >= 0)
			close(second);
		close(fd);
		return false;
	}
	stream->terminal = terminal;
	bind_stream(stream, second, fd, -1);
	return true;
}
