/*
 * husk-files: joins the virtio-serial port husk.files.0, behind which the pod's file server listens,
 * with the kernel's FUSE, and mounts it.
 *
 *   husk-files TARGET [ahead]
 *
 * One thread copies whole messages between the port and /dev/fuse; it ends with the channel, and
 * then every call on the mount answers ENOTCONN. The program returns when the server has answered; with `ahead` at once,
 * since there is none yet: the first message waits until the host opens the port, and all calls wait for its answer.
 * Each change of threads costs an emulated processor as much as several system calls, so there is no thread for each way.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>
#include "files-ahead.h"
#include "files-caches.h"
#include "files-requests.h"
#include "ports.h"

#define PORT_NAME "husk.files.0"
/* The port takes 32 KiB a write and gives 4 KiB a read. */
#define TO_PORT 32768
/* More than the server lets the kernel send (src/volumes/c/files.h). */
#define MESSAGE_BYTES (1 << 20)
/* Requests that nobody waits for: so many bytes of them, and so long. */
#define HELD_BYTES 16384
#define LINGER_MS 2
/* From the server, not for the kernel: it holds more files than it should (src/volumes/c/share.h). */
#define FORGET_NOTICE 1000

static char request[MESSAGE_BYTES], answers[MESSAGE_BYTES];
/* Bytes of requests that can wait; of answers that are not whole yet; requests sent that have no answer yet. */
static size_t held, have, waiting;
static int port, fuse;
static const char *target;

static __attribute__((noreturn)) void die(const char *what)
{
	fprintf(stderr, "husk-files: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ENOENT: nobody waits for it any more. */
static int answer_here(__u64 unique, int code, const void *body, size_t size)
{
	const struct fuse_out_header head = { .len = (__u32)(sizeof head + size), .error = -code, .unique = unique };
	const struct iovec parts[] = { { (void *)&head, sizeof head }, { (void *)body, size } };
	ssize_t ignored = writev(fuse, parts, size > 0 ? 2 : 1);
	(void)ignored;
	return 1;
}

/* With what the server has told ahead. */
static int answer_known(const struct fuse_in_header *head, const char *bytes)
{
	size_t size = 0;
	const void *body = head->opcode == FUSE_GETATTR ? known_attributes(head->nodeid, &size) : known_bytes(bytes, &size);
	return body != NULL && answer_here(head->unique, 0, body, size);
}

enum { ANSWERED, CAN_WAIT, SEND };

/* Each exchange with the host costs as much as a hundred system calls here: what need not be one is none. */
static int look_at(char *bytes, size_t size)
{
	struct fuse_in_header head;
	memcpy(&head, bytes, sizeof head);
	switch (head.opcode) {
	case FUSE_GETXATTR:
		if (!asks_for_capabilities(bytes, size))
			return SEND;
		answer_here(head.unique, ENODATA, NULL, 0);
		return ANSWERED;
	case FUSE_GETATTR:
	case FUSE_READ:
		return answer_known(&head, bytes) ? ANSWERED : SEND;
	case FUSE_LOOKUP:
		return SEND;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		if (!just_ends(bytes))
			break;
		drop_known(head.nodeid);
		answer_here(head.unique, 0, NULL, 0);
		/* The server says nothing to number 0. */
		head.unique = 0;
		memcpy(bytes, &head, sizeof head);
		return CAN_WAIT;
	case FUSE_FORGET:
		drop_known(head.nodeid);
		return CAN_WAIT;
	case FUSE_BATCH_FORGET:
		drop_known(0);
		return CAN_WAIT;
	}
	/* Renames and links concern two nodes. */
	drop_known(names_two(head.opcode) ? 0 : head.nodeid);
	return SEND;
}

/* Of what is told ahead, that alone counts which no other request can have changed meanwhile. */
static void take_notice(int what, const char *bytes, size_t size)
{
	if (what == FORGET_NOTICE)
		forget_unused();
	else if (what == FOLDER_NOTICE && waiting == 1)
		keep_folder(bytes, size);
	else if (what == CONTENT_NOTICE && waiting == 1)
		keep_content(bytes, size);
}

/* One answer; ends when the channel is of no use any more. ENOENT: nobody waits for it. */
static void to_kernel(const char *bytes, size_t size)
{
	static __u64 last;
	struct fuse_out_header head;
	memcpy(&head, bytes, sizeof head);
	if (head.unique == 0 && head.error >= FORGET_NOTICE) {
		take_notice(head.error, bytes + sizeof head, size - sizeof head);
		return;
	}
	/* A server that took another's place says the last answer again, when that died over it. */
	if (head.unique == last)
		return;
	last = head.unique;
	waiting -= waiting > 0;
	for (;;) {
		ssize_t sent = write(fuse, bytes, size);
		if (sent >= 0 || errno == ENOENT)
			return;
		if (errno != EINTR && errno != EAGAIN)
			_exit(1);
	}
}

/* Answers: a stream, in which each begins with its length. Each goes to the kernel in one write. */
static void take_answers(void)
{
	static int first = 1;
	ssize_t got = read(port, answers + have, sizeof answers - have);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0)
		_exit(0);
	have += (size_t)got;
	size_t at = 0;
	while (have - at >= sizeof(struct fuse_out_header)) {
		__u32 size;
		memcpy(&size, answers + at, sizeof size);
		if (size < sizeof(struct fuse_out_header) || size > sizeof answers)
			_exit(1);
		if (size > have - at)
			break;
		to_kernel(answers + at, size);
		/* The kernel has taken the server's own figure with the first answer. */
		if (first)
			read_ahead(target);
		first = 0;
		at += size;
	}
	memmove(answers, answers + at, have - at);
	have -= at;
}

/* While the port takes no more, answers are taken from it: else both sides could wait for each other. */
static void send_held(void)
{
	struct pollfd either = { .fd = port, .events = POLLIN | POLLOUT };
	for (size_t done = 0; done < held;) {
		size_t part = held - done < TO_PORT ? held - done : TO_PORT;
		ssize_t sent = write(port, request + done, part);
		if (sent < 0 && errno != EINTR && errno != EAGAIN)
			_exit(1);
		done += sent > 0 ? (size_t)sent : 0;
		if (sent < 0 && poll(&either, 1, -1) > 0 && either.revents & POLLIN)
			take_answers();
	}
	held = 0;
}

/* One request. Those that nobody waits for go with the next one, or soon. */
static int take_request(void)
{
	ssize_t got = read(fuse, request + held, sizeof request - held);
	/* ENOENT: the request was taken back meanwhile. */
	if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
		return ANSWERED;
	if (got <= 0)
		_exit(0);
	int what = look_at(request + held, (size_t)got);
	waiting += what == SEND && has_answer(request + held);
	held += what == ANSWERED ? 0 : (size_t)got;
	if (what == SEND || held > HELD_BYTES)
		send_held();
	return what;
}

/*
 * A port that the host has not opened yet takes what is written when it does, but looks closed to a reader: until
 * the first request is through, nothing else is done.
 */
static void greet(void)
{
	while (take_request() != SEND)
		continue;
	if (fcntl(port, F_SETFL, O_RDWR | O_NONBLOCK) != 0 || fcntl(fuse, F_SETFL, O_RDWR | O_NONBLOCK) != 0)
		_exit(1);
}

static __attribute__((noreturn)) void copy(void)
{
	struct pollfd either[] = { { .fd = fuse, .events = POLLIN }, { .fd = port, .events = POLLIN } };
	greet();
	for (;;) {
		int ready = poll(either, 2, held > 0 ? LINGER_MS : -1);
		if (ready <= 0) {
			send_held();
			continue;
		}
		if (either[1].revents != 0)
			take_answers();
		if (either[0].revents != 0)
			take_request();
	}
}

/* Copies, detached from whoever started this; either direction ends both. */
static __attribute__((noreturn)) void pump(void)
{
	signal(SIGCHLD, SIG_IGN);
	setsid();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	copy();
}

int main(int argc, char **argv)
{
	char options[160];
	struct statfs fs;
	if (argc != 2 && (argc != 3 || strcmp(argv[2], "ahead") != 0))
		return 2;
	target = argv[1];
	signal(SIGPIPE, SIG_IGN);
	port = find_port(PORT_NAME, O_RDWR);
	if (port < 0)
		die("open the port " PORT_NAME);
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		die("open /dev/fuse");
	/* The kernel checks permissions, with the groups of the asking process; everybody may ask. */
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fuse);
	if (mount("husk", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0)
		die("mount");
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0)
		pump();
	close(port);
	close(fuse);
	if (argc == 3)
		return 0;
	if (statfs(argv[1], &fs) != 0) {
		int code = errno;
		umount2(argv[1], MNT_DETACH);
		kill(child, SIGKILL);
		errno = code;
		die("ask the file server");
	}
	return 0;
}
