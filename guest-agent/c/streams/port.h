/*
 * The host's end of husk-streams: one byte channel, its handshake, and the frames on it.
 *
 * A session of the channel starts as the relay's does (relay/frames.c): SYNC, ECHO, GO, each with a nonce.
 * Then frames follow, numbers little-endian:
 *
 *   stream u32, type u8, channel u8, zero u16, length u32, payload[length]
 *
 * A frame of the host ends with the first 8 characters of the nonce: what a gateway that died left
 * half written can then never be completed by the bytes of the next one.
 */
#ifndef HUSK_STREAMS_PORT_H
#define HUSK_STREAMS_PORT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HEADER 12
/* With its header as much as the driver of the port takes in one write. */
#define MAX_PAYLOAD (32768 - HEADER)

enum frame_type { HELLO, OPEN, DATA, END, CREDIT, RESIZE, RESET, READY };

struct frame {
	uint32_t stream, length;
	uint8_t type, channel;
	const char *payload;
};

void port_open(int fd);
/* Whether the nonce is that of the session that runs. */
bool port_in_session(const char *nonce);
/* Whether one more data frame would find room. */
bool port_has_room(void);
/* A small frame. False: no room now, to be tried again. */
bool put_frame(uint32_t stream, enum frame_type type, uint8_t channel, const void *payload, uint32_t length);
/*
 * Reads from the descriptor straight into a data frame of the stream, at most `most` bytes.
 * Returns what read() does; -1 with EAGAIN also when there is no room.
 */
ssize_t put_data(uint32_t stream, uint8_t channel, int fd, size_t most);
/* Both return whether something moved. */
bool read_port(void);
bool write_port(void);

/* What is done about what comes (session.c). */
void take_frame(const struct frame *frame);
void link_lost(void);

#endif
