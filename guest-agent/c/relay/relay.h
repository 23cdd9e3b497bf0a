/* What the parts of husk-relay have in common. */
#ifndef HUSK_RELAY_H
#define HUSK_RELAY_H
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORD 10
#define NONCE 32
#define KEY 16
#define FRAME (WORD + NONCE + 1)
#define CAPACITY 65536
/* A batch that gives an identity holds a resolv.conf of at most 64 KiB. */
#define BATCH 131072

struct buffer {
	size_t start, end;
	char bytes[CAPACITY];
};

extern struct relay {
	int epoll, port, agent;
	int listener;           /* of vsock; -1 with a virtio-serial port */
	unsigned int peer_cid;  /* the only one that is let in */
	const char *agent_path;
	bool linked;            /* a session runs: GO was seen */
	bool nonce_known;       /* nonce holds that of the latest SYNC */
	char nonce[NONCE];
	char key[KEY];          /* of the session that runs */
	char frame[FRAME];      /* what may become a frame */
	size_t frame_length;
	int sys_in, sys_out;    /* pipes of the running husk-sys */
	const char *sys_path;
	bool in_batch;          /* INIT was seen: what comes is the batch */
	bool initialized;       /* a batch was run, whatever came of it */
	size_t batch_length;
	char batch[BATCH];
	struct buffer to_agent, to_port;
} relay;

__attribute__((noreturn)) void die(const char *what);

/* buffer.c */
size_t room(const struct buffer *buffer);
void put(struct buffer *buffer, const void *bytes, size_t length);
void empty(struct buffer *buffer);
/* Writes what it can; returns whether that was anything. */
bool write_from(int fd, struct buffer *buffer);

/* frames.c: the handshake. */
void take_bytes(const char *bytes, size_t length);
void put_frame(const char *word);
/* What was held back as the start of a frame and is none. */
void release_frame(size_t length);

/* batch.c: the identity. */
void start_sys(void);
void take_batch_byte(char byte);

/* session.c: the port, the agent, and what is between them. Reads return whether they moved anything. */
void watch(int fd);
void end_session(void);
/* The host is gone, or a new one is there: nothing of the old session may be sent any more. */
void start_over(void);
void connect_agent(void);
void accept_port(void);
bool read_port(void);
bool read_agent(void);

#endif
