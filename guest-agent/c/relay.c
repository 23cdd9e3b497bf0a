/*
 * husk-relay: joins the virtio-serial port of the VM with the agent's UNIX socket.
 *
 * Why it exists: a read of the port from Node blocks a thread for good, and the port tells
 * nobody when its other end was replaced. The bytes of one session must never reach the next
 * one, so each session starts with a handshake in frames of 43 bytes:
 *
 *   host  "HUSK-SYNC <nonce>\n"   every 50 ms until answered
 *   guest "HUSK-ECHO <nonce>\n"   one for each SYNC
 *   host  "HUSK-GO:: <nonce>\n"   from here on the bytes belong to the session
 *
 * Before GO, and once in the life of the VM, the host may give a clone its identity:
 *
 *   host  "HUSK-INIT <nonce>\n", a batch of husk-sys with its length in front
 *   guest "HUSK-DONE <nonce>\n", the answer of husk-sys with its length in front
 *
 * The batch runs here, and nothing of the session reaches the agent before it has run: no program
 * of a tenant, and no JavaScript either, sees a clone without entropy of its own. A batch that
 * cannot be run, or a second one, gets an empty answer.
 *
 * A SYNC inside a session means that the host side went away unseen: the session ends there.
 * No byte of a SYNC is passed on: what may be the start of one is held back, and released as
 * soon as it turns out otherwise or nothing follows for 20 ms.
 *
 * What a session carries can hold anything, a SYNC too (the input of an exec). So the first 16
 * digits of a nonce are the key of the VM's link, which only the host knows: with another key
 * than that of the session's GO, a SYNC in mid-stream is what it was sent as, bytes of the
 * session. A session whose key is 16 zeros ends at any SYNC: the template's, before any key.
 *
 * Usage: husk-relay [--port-fd N | --vsock PORT --vsock-peer CID] [--agent PATH] [--sys PATH]
 * Without --port-fd the port is looked up by its name husk.agent.0. With --vsock a connection from that
 * CID takes the port's place, one at a time: docs/adr/0051-the-link-is-virtio-serial.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include <unistd.h>
#include "ports.h"

#define PORT_NAME "husk.agent.0"
#define WORD 10
#define NONCE 32
#define KEY 16
#define FRAME (WORD + NONCE + 1)
#define CAPACITY 65536
#define SHORT_WAIT_MS 20
/*
 * Wakes come by edges; this bounds the harm of one that was missed, below the ten seconds in which the host's ping must
 * be answered. Under emulation each wake costs 2 ms and a machine may have a hundred guests.
 */
#define LONG_WAIT_MS 8000
/* A batch that gives an identity holds a resolv.conf of at most 64 KiB, and its answer some hundred bytes. */
#define BATCH 131072
#define ANSWER 16384

static const char sync_word[] = "HUSK-SYNC ", echo_word[] = "HUSK-ECHO ", go_word[] = "HUSK-GO:: ";
static const char init_word[] = "HUSK-INIT ", done_word[] = "HUSK-DONE ";
static const char no_key[] = "0000000000000000";

struct buffer {
	size_t start, end;
	char bytes[CAPACITY];
};

static struct {
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
} relay = { .port = -1, .agent = -1, .listener = -1, .peer_cid = VMADDR_CID_HOST, .agent_path = "/run/husk/agent.sock", .sys_path = "/usr/lib/husk/husk-sys" };

static void die(const char *what)
{
	fprintf(stderr, "husk-relay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t room(const struct buffer *buffer)
{
	return CAPACITY - (buffer->end - buffer->start);
}

static void put(struct buffer *buffer, const void *bytes, size_t length)
{
	if (CAPACITY - buffer->end < length) {
		memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->end - buffer->start);
		buffer->end -= buffer->start;
		buffer->start = 0;
	}
	memcpy(buffer->bytes + buffer->end, bytes, length);
	buffer->end += length;
}

static void empty(struct buffer *buffer)
{
	buffer->start = buffer->end = 0;
}

static void watch(int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd };
	if (epoll_ctl(relay.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void end_session(void)
{
	/* A connection that no session has used yet is as good for the next one. */
	if (relay.linked && relay.agent >= 0) {
		close(relay.agent);
		relay.agent = -1;
	}
	relay.linked = false;
	empty(&relay.to_agent);
}

/* The host is gone, or a new one is there: nothing of the old session may be sent any more. */
static void start_over(void)
{
	end_session();
	empty(&relay.to_port);
	relay.nonce_known = false;
	relay.frame_length = 0;
	relay.in_batch = false;
}

static void connect_agent(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	strncpy(address.sun_path, relay.agent_path, sizeof(address.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd); /* the agent is not up yet: tried again after SHORT_WAIT_MS */
		return;
	}
	watch(fd);
	relay.agent = fd;
}

static bool has_word(const char *word, size_t length)
{
	return memcmp(relay.frame, word, length < WORD ? length : WORD) == 0;
}

/* Whether the bytes held so far can still become a frame that matters now. */
static bool may_be_frame(void)
{
	size_t length = relay.frame_length;
	char last = relay.frame[length - 1];
	if (length <= WORD)
		return has_word(sync_word, length) ||
		       (!relay.linked && (has_word(go_word, length) || has_word(init_word, length)));
	if (length < FRAME)
		return (last >= '0' && last <= '9') || (last >= 'a' && last <= 'f');
	return last == '\n';
}

static void release_frame(size_t length)
{
	if (relay.linked)
		put(&relay.to_agent, relay.frame, length);
	relay.frame_length = 0;
}

static void put_frame(const char *word)
{
	put(&relay.to_port, word, WORD);
	put(&relay.to_port, relay.nonce, NONCE);
	put(&relay.to_port, "\n", 1);
}

static bool transfer(int fd, void *bytes, size_t length, bool out)
{
	for (size_t done = 0; done < length;) {
		ssize_t moved = out ? write(fd, (char *)bytes + done, length - done) : read(fd, (char *)bytes + done, length - done);
		if (moved < 0 && errno == EINTR)
			continue;
		if (moved <= 0)
			return false;
		done += (size_t)moved;
	}
	return true;
}

/* Nothing else is served meanwhile: there is no session yet, and the host waits for this. */
static void run_batch(void)
{
	char answer[ANSWER];
	uint32_t length = 0;
	relay.in_batch = false;
	if (!relay.initialized && transfer(relay.sys_in, relay.batch, relay.batch_length, true) &&
	    transfer(relay.sys_out, &length, sizeof(length), false) &&
	    (length > sizeof(answer) || !transfer(relay.sys_out, answer, length, false)))
		length = 0;
	relay.initialized = true;
	explicit_bzero(relay.batch, relay.batch_length);
	if (room(&relay.to_port) < FRAME + sizeof(length) + length)
		return;
	put_frame(done_word);
	put(&relay.to_port, &length, sizeof(length));
	put(&relay.to_port, answer, length);
}

/* Four bytes of length, little endian, and as many more. */
static void take_batch_byte(char byte)
{
	uint32_t length;
	relay.batch[relay.batch_length++] = byte;
	if (relay.batch_length < sizeof(length))
		return;
	memcpy(&length, relay.batch, sizeof(length));
	if (length > BATCH - sizeof(length))
		start_over();
	else if (relay.batch_length == sizeof(length) + length)
		run_batch();
}

static void take_frame(void)
{
	const char *nonce = relay.frame + WORD;
	if (relay.linked && memcmp(relay.key, no_key, KEY) != 0 && memcmp(relay.key, nonce, KEY) != 0) {
		release_frame(FRAME);
		return;
	}
	relay.frame_length = 0;
	if (has_word(init_word, WORD)) {
		relay.in_batch = relay.nonce_known && memcmp(nonce, relay.nonce, NONCE) == 0;
		relay.batch_length = 0;
		return;
	}
	if (has_word(go_word, WORD)) {
		if (relay.nonce_known && memcmp(nonce, relay.nonce, NONCE) == 0) {
			memcpy(relay.key, nonce, KEY);
			relay.linked = true;
		}
		relay.nonce_known = false;
		return;
	}
	if (relay.linked)
		start_over();
	memcpy(relay.nonce, nonce, NONCE);
	relay.nonce_known = true;
	if (room(&relay.to_port) >= FRAME)
		put_frame(echo_word);
}

static void take_byte(char byte)
{
	relay.frame[relay.frame_length++] = byte;
	if (may_be_frame()) {
		if (relay.frame_length == FRAME)
			take_frame();
		return;
	}
	/* No frame holds an 'H' after its first byte: only this byte can start another one. */
	release_frame(relay.frame_length - 1);
	relay.frame[relay.frame_length++] = byte;
	if (!may_be_frame())
		release_frame(1);
}

/* Any process of the guest can connect, by the loopback or through the host: only the host itself is heard. */
static void accept_port(void)
{
	struct sockaddr_vm from;
	socklen_t length = sizeof(from);
	int fd;
	while (relay.port < 0 &&
	       (fd = accept4(relay.listener, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (from.svm_family == AF_VSOCK && from.svm_cid == relay.peer_cid) {
			watch(fd);
			relay.port = fd;
		} else {
			close(fd);
		}
		length = sizeof(from);
	}
}

/* Each of the four steps returns whether it moved anything. */
static bool read_port(void)
{
	char chunk[CAPACITY / 4];
	size_t free_bytes = room(&relay.to_agent);
	if (relay.port < 0 || free_bytes <= FRAME)
		return false;
	free_bytes -= FRAME; /* held bytes may be released in front of the chunk */
	ssize_t got = read(relay.port, chunk, free_bytes < sizeof(chunk) ? free_bytes : sizeof(chunk));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got < 0 && errno != ECONNRESET && relay.listener < 0)
		die("read the port");
	if (got <= 0) { /* the host has closed its end */
		start_over();
		if (relay.listener < 0)
			return false;
		close(relay.port);
		relay.port = -1;
		return true;
	}
	for (ssize_t i = 0; i < got; i++) {
		if (relay.in_batch)
			take_batch_byte(chunk[i]);
		else
			take_byte(chunk[i]);
	}
	return true;
}

static bool write_from(int fd, struct buffer *buffer)
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

static bool read_agent(void)
{
	char chunk[CAPACITY / 4];
	size_t free_bytes = room(&relay.to_port);
	if (!relay.linked || relay.agent < 0 || free_bytes <= FRAME)
		return false;
	free_bytes -= FRAME;
	ssize_t got = read(relay.agent, chunk, free_bytes < sizeof(chunk) ? free_bytes : sizeof(chunk));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		end_session(); /* what the agent said last is still sent */
		return true;
	}
	put(&relay.to_port, chunk, (size_t)got);
	return true;
}

static __attribute__((noreturn)) void pump(void)
{
	struct epoll_event events[4];
	for (;;) {
		/* Ahead of the session: in a clone the agent has taken the connection long ago, and said its first words. */
		if (relay.agent < 0)
			connect_agent();
		if (relay.port < 0)
			accept_port();
		bool moved = read_port();
		moved |= write_from(relay.agent, &relay.to_agent);
		moved |= read_agent();
		moved |= write_from(relay.port, &relay.to_port);
		if (moved)
			continue;
		bool soon = relay.agent < 0 || (relay.linked && relay.frame_length > 0);
		int count = epoll_wait(relay.epoll, events, 4, soon ? SHORT_WAIT_MS : LONG_WAIT_MS);
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		if (count == 0 && relay.linked && relay.frame_length > 0 && room(&relay.to_agent) >= FRAME)
			release_frame(relay.frame_length);
	}
}

static int open_port(void)
{
	int fd = await_port(PORT_NAME, O_RDWR | O_NONBLOCK);
	if (fd < 0)
		die("find the port " PORT_NAME);
	return fd;
}

static void listen_vsock(unsigned int port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
	relay.listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (relay.listener < 0 || bind(relay.listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(relay.listener, 1) < 0)
		die("listen on vsock");
	watch(relay.listener);
}

/* Started ahead, so that it is there in every clone of the template. */
static void start_sys(void)
{
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		die("pipe");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		char *const argv[] = { "husk-sys", NULL }, *const envp[] = { NULL };
		if (dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0)
			execve(relay.sys_path, argv, envp);
		fprintf(stderr, "husk-relay: run %s: %s\n", relay.sys_path, strerror(errno));
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	relay.sys_in = in[1];
	relay.sys_out = out[0];
}

int main(int argc, char **argv)
{
	unsigned int vsock = 0;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--port-fd") == 0)
			relay.port = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--vsock") == 0)
			vsock = (unsigned int)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--vsock-peer") == 0)
			relay.peer_cid = (unsigned int)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--agent") == 0)
			relay.agent_path = argv[i + 1];
		else if (strcmp(argv[i], "--sys") == 0)
			relay.sys_path = argv[i + 1];
	}
	start_sys();
	relay.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (relay.epoll < 0)
		die("epoll_create1");
	if (vsock != 0) {
		listen_vsock(vsock);
		pump();
	}
	if (relay.port < 0)
		relay.port = open_port();
	if (fcntl(relay.port, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		die("make the port non-blocking");
	watch(relay.port);
	pump();
}
