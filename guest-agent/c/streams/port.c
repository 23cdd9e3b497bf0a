#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "ends.h"
#include "port.h"

#define WORD 10
#define NONCE 32
#define HANDSHAKE (WORD + NONCE + 1)
#define MARK 8
#define IN_CAPACITY 131072
#define OUT_CAPACITY 262144
/* Data leaves this much room for frames that must not wait behind it. */
#define OUT_RESERVE 16384

static struct {
	struct end end;
	bool linked, nonce_known;
	char nonce[NONCE];
	size_t in_length, out_start, out_end;
	char in[IN_CAPACITY], out[OUT_CAPACITY];
} port = { .end.fd = -1 };

void port_open(int fd)
{
	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		die("make the port non-blocking");
	end_open(&port.end, fd);
}

bool port_in_session(const char *nonce)
{
	return port.linked && strlen(nonce) == NONCE && memcmp(nonce, port.nonce, NONCE) == 0;
}

static size_t port_room(void)
{
	return OUT_CAPACITY - (port.out_end - port.out_start);
}

bool port_has_room(void)
{
	return port_room() >= OUT_RESERVE + HEADER + MAX_PAYLOAD;
}

static void port_put(const void *bytes, size_t length)
{
	if (OUT_CAPACITY - port.out_end < length) {
		memmove(port.out, port.out + port.out_start, port.out_end - port.out_start);
		port.out_end -= port.out_start;
		port.out_start = 0;
	}
	memcpy(port.out + port.out_end, bytes, length);
	port.out_end += length;
}

static void put_header(char *to, uint32_t stream, enum frame_type type, uint8_t channel, uint32_t length)
{
	const uint8_t kind[4] = { (uint8_t)type, channel, 0, 0 };
	memcpy(to, &stream, 4);
	memcpy(to + 4, kind, 4);
	memcpy(to + 8, &length, 4);
}

bool put_frame(uint32_t stream, enum frame_type type, uint8_t channel, const void *payload, uint32_t length)
{
	char header[HEADER];
	if (port_room() < HEADER + length)
		return false;
	put_header(header, stream, type, channel, length);
	port_put(header, HEADER);
	if (length > 0)
		port_put(payload, length);
	return true;
}

ssize_t put_data(uint32_t stream, uint8_t channel, int fd, size_t most)
{
	if (most > MAX_PAYLOAD)
		most = MAX_PAYLOAD;
	if (port_room() < OUT_RESERVE + HEADER + most) {
		errno = EAGAIN;
		return -1;
	}
	if (OUT_CAPACITY - port.out_end < HEADER + most) {
		memmove(port.out, port.out + port.out_start, port.out_end - port.out_start);
		port.out_end -= port.out_start;
		port.out_start = 0;
	}
	ssize_t got = read(fd, port.out + port.out_end + HEADER, most);
	if (got > 0) {
		put_header(port.out + port.out_end, stream, DATA, channel, (uint32_t)got);
		port.out_end += HEADER + (size_t)got;
	}
	return got;
}

/* The host is gone, or a new one is there: nothing of the old session may be sent or taken any more. */
static void drop_link(void)
{
	bool was_linked = port.linked;
	port.linked = port.nonce_known = false;
	port.out_start = port.out_end = 0;
	if (was_linked)
		link_lost();
}

/* Takes bytes until a handshake frame ends; returns how many are done with. */
static size_t search_handshake(const char *bytes, size_t length)
{
	const char *start = memchr(bytes, 'H', length);
	if (start == NULL)
		return length;
	size_t skipped = (size_t)(start - bytes), left = length - skipped;
	size_t compared = left < WORD ? left : WORD;
	bool is_sync = memcmp(start, "HUSK-SYNC ", compared) == 0, is_go = memcmp(start, "HUSK-GO:: ", compared) == 0;
	if (!is_sync && !is_go)
		return skipped + 1;
	if (left < HANDSHAKE)
		return skipped;
	const char *nonce = start + WORD;
	for (int i = 0; i < NONCE; i++)
		if (!((nonce[i] >= '0' && nonce[i] <= '9') || (nonce[i] >= 'a' && nonce[i] <= 'f')))
			return skipped + 1;
	if (nonce[NONCE] != '\n')
		return skipped + 1;
	if (is_sync && port_room() >= HANDSHAKE) {
		memcpy(port.nonce, nonce, NONCE);
		port.nonce_known = true;
		port_put("HUSK-ECHO ", WORD);
		port_put(nonce, NONCE + 1);
	} else if (is_go && port.nonce_known && memcmp(nonce, port.nonce, NONCE) == 0) {
		port.linked = true;
		/* The host learns by the first byte that no more ECHO comes. */
		put_frame(0, HELLO, 0, NULL, 0);
	}
	return skipped + HANDSHAKE;
}

/* Takes one frame; returns its bytes, 0 when it is not whole yet, -1 when it is none. */
static ssize_t take_one(const char *bytes, size_t length)
{
	struct frame frame;
	uint8_t kind[4];
	if (length < HEADER)
		return 0;
	memcpy(&frame.stream, bytes, 4);
	memcpy(kind, bytes + 4, 4);
	memcpy(&frame.length, bytes + 8, 4);
	if (kind[0] < OPEN || kind[0] > RESET || kind[2] != 0 || kind[3] != 0 || frame.length > MAX_PAYLOAD)
		return -1;
	if (length < HEADER + frame.length + MARK)
		return 0;
	if (memcmp(bytes + HEADER + frame.length, port.nonce, MARK) != 0)
		return -1;
	frame.type = kind[0];
	frame.channel = kind[1];
	frame.payload = bytes + HEADER;
	take_frame(&frame);
	return (ssize_t)(HEADER + frame.length + MARK);
}

static void parse_port(void)
{
	size_t done = 0;
	while (done < port.in_length) {
		const char *bytes = port.in + done;
		size_t left = port.in_length - done;
		if (!port.linked) {
			size_t used = search_handshake(bytes, left);
			if (used == 0)
				break;
			done += used;
			continue;
		}
		ssize_t used = take_one(bytes, left);
		if (used == 0)
			break;
		if (used < 0)
			drop_link(); /* the same bytes may hold a SYNC */
		else
			done += (size_t)used;
	}
	memmove(port.in, port.in + done, port.in_length - done);
	port.in_length -= done;
}

bool read_port(void)
{
	bool moved = false;
	while (port.end.readable && port.in_length < IN_CAPACITY) {
		ssize_t got = read(port.end.fd, port.in + port.in_length, IN_CAPACITY - port.in_length);
		if (got > 0) {
			port.in_length += (size_t)got;
			moved = true;
			continue;
		}
		if (got < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNRESET)
			die("read the port");
		port.end.readable = got < 0 && errno == EINTR;
		if (got == 0 || (got < 0 && errno == ECONNRESET)) { /* the host has closed its end */
			drop_link();
			port.in_length = 0;
			return false;
		}
	}
	if (moved)
		parse_port();
	return moved;
}

bool write_port(void)
{
	bool moved = false;
	while (port.end.writable && port.out_start < port.out_end) {
		ssize_t sent = write(port.end.fd, port.out + port.out_start, port.out_end - port.out_start);
		if (sent <= 0) {
			port.end.writable = sent < 0 && errno == EINTR;
			break; /* an end that is gone is noticed by the read */
		}
		port.out_start += (size_t)sent;
		moved = true;
	}
	if (port.out_start == port.out_end)
		port.out_start = port.out_end = 0;
	return moved;
}
