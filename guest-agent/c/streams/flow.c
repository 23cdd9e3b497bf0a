#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "port.h"
#include "stream.h"

/* Taken input is told to the host in pieces of at least this, or when nothing is left. */
#define CREDIT_STEP 65536

/* Writes what waits; then, at the end of the input, closes. Returns whether something moved. */
static bool move_input(struct stream *stream)
{
	bool moved = false;
	while (stream->queue != NULL && stream->in.writable && !stream->connecting) {
		ssize_t sent = write(stream->in.fd, stream->queue + stream->queue_start, stream->queue_end - stream->queue_start);
		if (sent < 0) {
			stream->in.writable = errno == EINTR;
			if (errno != EAGAIN && errno != EINTR)
				close_input(stream); /* nobody reads any more: what comes is taken and thrown away */
			continue;
		}
		stream->queue_start += (size_t)sent;
		stream->taken += (uint32_t)sent;
		moved = true;
		if (stream->queue_start == stream->queue_end)
			drop_input(stream);
	}
	if (stream->input_ended && stream->queue == NULL && stream->in.fd >= 0 && !stream->connecting) {
		if (!stream->terminal)
			close_input(stream);
		else if (write(stream->in.fd, END_OF_TRANSMISSION, 1) < 0 && errno == EAGAIN)
			return moved;
		stream->input_ended = false;
		moved = true;
	}
	return moved;
}

void queue_input(struct stream *stream, const char *bytes, size_t length)
{
	size_t waiting = stream->queue_end - stream->queue_start;
	if (stream->bound && stream->in.fd < 0 && !stream->connecting) {
		stream->taken += (uint32_t)length;
		return;
	}
	if (stream->queue == NULL && stream->in.writable && !stream->connecting) {
		ssize_t sent = write(stream->in.fd, bytes, length);
		if (sent > 0) {
			stream->taken += (uint32_t)sent;
			bytes += sent;
			length -= (size_t)sent;
		}
		if (length == 0)
			return;
	}
	if (stream->queue == NULL)
		stream->queue = malloc(INPUT_WINDOW);
	if (stream->queue == NULL || waiting + length > INPUT_WINDOW) {
		reset_stream(stream, "more input than was granted");
		return;
	}
	if (INPUT_WINDOW - stream->queue_end < length) {
		memmove(stream->queue, stream->queue + stream->queue_start, waiting);
		stream->queue_start = 0;
		stream->queue_end = waiting;
	}
	memcpy(stream->queue + stream->queue_end, bytes, length);
	stream->queue_end += length;
}

/* One piece of output. Returns whether something moved. */
static bool move_output(struct stream *stream, int channel)
{
	static char waste[MAX_PAYLOAD];
	struct end *end = &stream->out[channel];
	if (!stream->out_open[channel] || !end->readable)
		return false;
	ssize_t got;
	if (stream->orphan)
		got = read(end->fd, waste, sizeof(waste));
	else if (stream->opened && stream->credit[channel] > 0)
		got = put_data(stream->id, (uint8_t)(channel + 1), end->fd, (size_t)(stream->credit[channel] < MAX_PAYLOAD ? stream->credit[channel] : MAX_PAYLOAD));
	else
		return false;
	if (got < 0 && errno == EAGAIN) {
		if (stream->orphan || port_has_room())
			end->readable = false;
		return false;
	}
	if (got < 0 && errno == EINTR)
		return true;
	if (got <= 0) { /* a terminal says EIO at its end */
		close_output(stream, channel);
		return true;
	}
	if (!stream->orphan)
		stream->credit[channel] -= (uint64_t)got;
	if (stream->drain_ms > 0)
		stream->moved_at = now_ms();
	return true;
}

/* Frames that are due. Returns false when the stream is gone. */
static bool tell_host(struct stream *stream, bool *moved)
{
	if (stream->orphan || !stream->opened)
		return true;
	if (stream->ready && put_frame(stream->id, READY, 0, NULL, 0)) {
		stream->ready = false;
		*moved = true;
	}
	for (int channel = 0; channel < 2; channel++) {
		if (!stream->ready && stream->end_due[channel] && put_frame(stream->id, END, (uint8_t)(channel + 1), NULL, 0)) {
			stream->end_due[channel] = false;
			*moved = true;
		}
	}
	bool step = stream->taken >= CREDIT_STEP || (stream->taken > 0 && stream->queue == NULL);
	if (step && put_frame(stream->id, CREDIT, 0, &stream->taken, sizeof(stream->taken))) {
		stream->taken = 0;
		*moved = true;
	}
	if (stream->reset_due && put_frame(stream->id, RESET, 0, stream->text, (uint32_t)strlen(stream->text))) {
		*moved = true;
		free_stream(stream);
		return false;
	}
	return true;
}

/* Gives up output that has been silent for too long after its process ended; returns how long to wait, or -1. */
static long check_drain(struct stream *stream)
{
	if (stream->drain_ms <= 0 || output_done(stream))
		return -1;
	long now = now_ms();
	for (int channel = 0; channel < 2; channel++)
		if (!stream->orphan && stream->out_open[channel] && stream->out[channel].readable)
			stream->moved_at = now; /* it has more to say: the host does not take it */
	long left = stream->moved_at + stream->drain_ms - now;
	if (left > 0)
		return left;
	close_output(stream, 0);
	close_output(stream, 1);
	return 0;
}

bool move_stream(struct stream *stream, long *wait)
{
	bool moved = stream->connecting && finish_dial(stream);
	moved |= move_input(stream);
	moved |= move_output(stream, 0);
	moved |= move_output(stream, 1);
	long left = check_drain(stream);
	if (left >= 0 && (*wait < 0 || left < *wait))
		*wait = left;
	tell_host(stream, &moved);
	return moved;
}
