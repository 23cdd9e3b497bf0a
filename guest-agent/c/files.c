/*
 * husk-files: joins the virtio-serial port husk.files.0, behind which the pod's file server listens,
 * with the kernel's FUSE, and mounts it.
 *
 *   husk-files TARGET [ahead]
 *
 * Two threads copy whole messages between the port and /dev/fuse; they end with the channel, and
 * then every call on the mount answers ENOTCONN. The program returns when the server has answered; with `ahead` at once,
 * since there is none yet: the first message waits until the host opens the port, and all calls wait for its answer.
 * They are threads because each change of address spaces costs an emulated processor its translations.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "files-requests.h"
#include "ports.h"

#define PORT_NAME "husk.files.0"
/* The port takes 32 KiB a write and gives 4 KiB a read. */
#define TO_PORT 32768
/* More than the server lets the kernel send (src/volumes/c/files.h). */
#define MESSAGE_BYTES (1 << 20)
#define READ_AHEAD_KIB 2048
/* Requests that nobody waits for: so many bytes of them, and so long. */
#define HELD_BYTES 16384
#define LINGER_MS 2
/* From the server, not for the kernel: it holds more files than it should (src/volumes/c/share.h). */
#define FORGET_NOTICE 1000

static char request[MESSAGE_BYTES], answers[MESSAGE_BYTES];
static int port, fuse;
static const char *target;

static __attribute__((noreturn)) void die(const char *what)
{
	fprintf(stderr, "husk-files: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void to_port(const char *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		size_t part = size - done < TO_PORT ? size - done : TO_PORT;
		ssize_t sent = write(port, bytes + done, part);
		if (sent < 0 && errno != EINTR)
			_exit(1);
		done += sent > 0 ? (size_t)sent : 0;
	}
}

static void answer_here(__u64 unique, int code)
{
	const struct fuse_out_header head = { .len = sizeof head, .error = -code, .unique = unique };
	ssize_t ignored = write(fuse, &head, sizeof head);
	(void)ignored;
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
		answer_here(head.unique, ENODATA);
		return ANSWERED;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		if (!just_ends(bytes))
			return SEND;
		answer_here(head.unique, 0);
		/* The server says nothing to number 0. */
		head.unique = 0;
		memcpy(bytes, &head, sizeof head);
		return CAN_WAIT;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		return CAN_WAIT;
	default:
		return SEND;
	}
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t ignored = write(fd, text, strlen(text));
	(void)ignored;
	close(fd);
}

/* What is read one after the other is asked for ahead: several requests are on their way at a time. */
static void read_ahead(void)
{
	char path[80], kib[16];
	struct statx st;
	/* What the kernel knows itself: the thread that asks is the one that would take the answer. */
	if (statx(AT_FDCWD, target, AT_STATX_DONT_SYNC, STATX_TYPE, &st) != 0)
		return;
	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", st.stx_dev_major, st.stx_dev_minor);
	snprintf(kib, sizeof kib, "%d", READ_AHEAD_KIB);
	write_text(path, kib);
}

/* Files that nothing uses leave the kernel's caches, and it tells the server. Not waited for: that would stop answers. */
static void forget_unused(void)
{
	if (fork() != 0)
		return;
	write_text("/proc/sys/vm/drop_caches", "2");
	_exit(0);
}

/* One answer; 0 when the channel is of no use any more. ENOENT: nobody waits for it. */
static int to_kernel(const char *bytes, size_t size)
{
	struct fuse_out_header head;
	memcpy(&head, bytes, sizeof head);
	if (head.unique == 0 && head.error == FORGET_NOTICE) {
		forget_unused();
		return 1;
	}
	for (;;) {
		ssize_t sent = write(fuse, bytes, size);
		if (sent >= 0 || errno == ENOENT)
			return 1;
		if (errno != EINTR && errno != EAGAIN)
			return 0;
	}
}

/* Answers: a stream, in which each begins with its length. Each goes to the kernel in one write. */
static void *from_server(void *unused)
{
	int first = 1;
	(void)unused;
	for (size_t have = 0;;) {
		ssize_t got = read(port, answers + have, sizeof answers - have);
		if (got < 0 && errno == EINTR)
			continue;
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
			if (!to_kernel(answers + at, size))
				_exit(1);
			/* The kernel has taken the server's own figure with the first answer. */
			if (first)
				read_ahead();
			first = 0;
			at += size;
		}
		memmove(answers, answers + at, have - at);
		have -= at;
	}
}

/* A port that the host has not opened yet looks like one that it has closed, but only to a reader. */
static void start_reading(void)
{
	static pthread_t reader;
	if (reader == 0 && pthread_create(&reader, NULL, from_server, NULL) != 0)
		_exit(1);
}

/* Requests: each read gives one. Those that nobody waits for go with the next one, or soon. */
static __attribute__((noreturn)) void from_kernel(void)
{
	struct pollfd more = { .fd = fuse, .events = POLLIN };
	size_t held = 0;
	for (;;) {
		if (held > HELD_BYTES || (held > 0 && poll(&more, 1, LINGER_MS) <= 0)) {
			to_port(request, held);
			held = 0;
		}
		ssize_t got = read(fuse, request + held, sizeof request - held);
		/* ENOENT: the request was taken back meanwhile. */
		if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (got <= 0)
			_exit(0);
		int what = look_at(request + held, (size_t)got);
		held += what == ANSWERED ? 0 : (size_t)got;
		if (what != SEND)
			continue;
		to_port(request, held);
		held = 0;
		start_reading();
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
	from_kernel();
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
