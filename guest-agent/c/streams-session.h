/*
 * Streams: each joins a stream of the host with descriptors here. Bytes of the host go to `in`, what
 * `out[0]` and `out[1]` give goes to the host as channels 1 and 2. For a terminal and a socket `in` is
 * a duplicate of `out[0]`.
 *
 * Every direction is paced by credit: the host grants bytes for channels 1 and 2, this side for channel 0
 * (INPUT_WINDOW at the start, then what has been taken). So nothing waits here but input that its reader
 * does not take, and one stream never holds up another.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include "streams-port.h"

#define MAX_STREAMS 1024
#define INPUT_WINDOW 262144
/* Taken input is told to the host in pieces of at least this, or when nothing is left. */
#define CREDIT_STEP 65536
#define TEXT 256
#define END_OF_TRANSMISSION "\004"

struct control;

struct stream {
	struct stream *next;
	uint32_t id;
	bool opened;            /* the host has opened it */
	bool bound;             /* it has, or had, descriptors */
	bool orphan;            /* the host has gone: output is thrown away */
	bool terminal, connecting, ipv6, ready;
	bool out_open[2], end_due[2], reset_due;
	bool input_ended;       /* no more input comes: `in` closes once all is written */
	bool size_known;
	uint16_t columns, rows, port;
	uint64_t credit[2];
	uint32_t taken;         /* input that was written and not yet credited */
	struct end in, out[2];
	char *queue;            /* input that waits, INPUT_WINDOW long; NULL while there is none */
	size_t queue_start, queue_end;
	struct control *control; /* the agent's connection for it */
	long drain_ms, moved_at; /* drain_ms > 0: output that is silent so long is given up */
	char text[TEXT];
};

static struct stream *streams;
static unsigned stream_count;

/* What the agent's side does about a stream; streams.c has them. */
static void control_size(struct control *control, uint16_t columns, uint16_t rows);
static void control_gone(struct control *control);
static void control_forget(struct control *control);

static long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct stream *find_stream(uint32_t id)
{
	for (struct stream *each = streams; each != NULL; each = each->next)
		if (each->id == id && !each->orphan)
			return each;
	return NULL;
}

static struct stream *add_stream(uint32_t id)
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

/* Tells the host why a stream is over; it is removed when that is said. */
static void __attribute__((format(printf, 2, 3))) reset_stream(struct stream *stream, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(stream->text, sizeof(stream->text), format, arguments);
	va_end(arguments);
	stream->reset_due = true;
}

static void drop_input(struct stream *stream)
{
	free(stream->queue);
	stream->queue = NULL;
	stream->queue_start = stream->queue_end = 0;
}

static void close_input(struct stream *stream)
{
	stream->taken += (uint32_t)(stream->queue_end - stream->queue_start);
	drop_input(stream);
	if (stream->in.fd >= 0 && stream->out[0].fd >= 0)
		shutdown(stream->in.fd, SHUT_WR); /* of a socket: the other half goes on. No socket: no harm. */
	end_close(&stream->in);
}

static void close_output(struct stream *stream, int channel)
{
	if (!stream->out_open[channel])
		return;
	stream->out_open[channel] = false;
	stream->end_due[channel] = true;
	end_close(&stream->out[channel]);
}

static void free_stream(struct stream *stream)
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

static bool output_done(const struct stream *stream)
{
	return stream->bound && !stream->out_open[0] && !stream->out_open[1] &&
	       (stream->orphan || (!stream->end_due[0] && !stream->end_due[1]));
}

/* The host has gone. A process goes on, without input, and nobody reads what it says. */
static void orphan_stream(struct stream *stream)
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

static void set_size(struct stream *stream, uint16_t columns, uint16_t rows)
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

/* Gives the stream its descriptors; -1 for none. They are non-blocking, or made so. */
static void bind_stream(struct stream *stream, int in, int out, int err)
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

/* The master of a terminal, or a socket: one descriptor for both directions. */
static bool bind_both(struct stream *stream, int fd, bool terminal)
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

static bool finish_dial(struct stream *stream)
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
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	stream->in.fd = -1;
	if (!bind_both(stream, fd, false))
		reset_stream(stream, "out of descriptors");
	return true;
}

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

static void queue_input(struct stream *stream, const char *bytes, size_t length)
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
		if (stream->orphan || port_room() >= OUT_RESERVE + HEADER + MAX_PAYLOAD)
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

static bool move_stream(struct stream *stream, long *wait)
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

static void open_stream(const struct frame *frame)
{
	struct stream *stream = find_stream(frame->stream);
	if (stream == NULL)
		stream = add_stream(frame->stream);
	if (stream == NULL) {
		static const char text[] = "too many streams in this pod";
		put_frame(frame->stream, RESET, 0, text, sizeof(text) - 1);
		return;
	}
	stream->opened = true;
	if (frame->length == 2 && !stream->bound) {
		memcpy(&stream->port, frame->payload, 2);
		if (!start_dial(stream, false))
			dial_failed(stream, false);
	}
}

static void take_frame(const struct frame *frame)
{
	if (frame->type == OPEN) {
		open_stream(frame);
		return;
	}
	struct stream *stream = find_stream(frame->stream);
	if (stream == NULL || !stream->opened)
		return; /* it was over before the host knew */
	uint32_t bytes = 0;
	uint16_t size[2];
	switch (frame->type) {
	case DATA:
		queue_input(stream, frame->payload, frame->length);
		break;
	case END:
		stream->input_ended = true;
		break;
	case CREDIT:
		if (frame->length == sizeof(bytes) && (frame->channel == 1 || frame->channel == 2)) {
			memcpy(&bytes, frame->payload, sizeof(bytes));
			stream->credit[frame->channel - 1] += bytes;
		}
		break;
	case RESIZE:
		if (frame->length == sizeof(size)) {
			memcpy(size, frame->payload, sizeof(size));
			set_size(stream, size[0], size[1]);
		}
		break;
	case RESET:
		orphan_stream(stream);
		break;
	}
}

static void link_lost(void)
{
	for (struct stream *each = streams, *next; each != NULL; each = next) {
		next = each->next;
		if (!each->orphan)
			orphan_stream(each);
	}
}
