/*
 * Streams: each joins a stream of the host with descriptors here. Bytes of the host go to `in`, what
 * `out[0]` and `out[1]` give goes to the host as channels 1 and 2. For a terminal and a socket `in` is
 * a duplicate of `out[0]`.
 *
 * Every direction is paced by credit: the host grants bytes for channels 1 and 2, this side for channel 0
 * (INPUT_WINDOW at the start, then what has been taken). So nothing waits here but input that its reader
 * does not take, and one stream never holds up another.
 */
#ifndef HUSK_STREAMS_STREAM_H
#define HUSK_STREAMS_STREAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ends.h"

#define INPUT_WINDOW 262144
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

extern struct stream *streams;

long now_ms(void);

/* Their lives (stream.c). NULL: there is none, or there are too many. */
struct stream *find_stream(uint32_t id);
struct stream *add_stream(uint32_t id);
void free_stream(struct stream *stream);
/* Tells the host why a stream is over; it is removed when that is said. */
__attribute__((format(printf, 2, 3))) void reset_stream(struct stream *stream, const char *format, ...);
/* The host has gone. A process goes on, without input, and nobody reads what it says. */
void orphan_stream(struct stream *stream);
/* Gives the stream its descriptors; -1 for none. They are non-blocking, or made so. */
void bind_stream(struct stream *stream, int in, int out, int err);
/* The master of a terminal, or a socket: one descriptor for both directions. */
bool bind_both(struct stream *stream, int fd, bool terminal);
void set_size(struct stream *stream, uint16_t columns, uint16_t rows);
void drop_input(struct stream *stream);
void close_input(struct stream *stream);
void close_output(struct stream *stream, int channel);
bool output_done(const struct stream *stream);

/* The pod's loopback (dial.c). */
void dial(struct stream *stream);
/* Returns whether an attempt has come to its end. */
bool finish_dial(struct stream *stream);

/* Their bytes (flow.c). Returns whether something moved; *wait: how long the next look may be put off. */
bool move_stream(struct stream *stream, long *wait);
void queue_input(struct stream *stream, const char *bytes, size_t length);

/* What the agent's side does about a stream (control.c). */
void control_size(struct control *control, uint16_t columns, uint16_t rows);
void control_gone(struct control *control);
void control_forget(struct control *control);

#endif
