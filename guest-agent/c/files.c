/*
 * husk-files: joins the virtio-serial port husk.files.0, behind which the pod's file server listens,
 * with the kernel's FUSE, and mounts it.
 *
 *   husk-files TARGET
 *
 * Two threads copy whole messages between the port and /dev/fuse; they end with the channel, and
 * then every call on the mount answers ENOTCONN. The program returns when the server has answered.
 * They are threads because each change of address spaces costs an emulated processor its translations.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "ports.h"

#define PORT_NAME "husk.files.0"
/* The port takes 32 KiB a write and gives 4 KiB a read. */
#define TO_PORT 32768
/* More than the server lets the kernel send (src/volumes/c/files.h). */
#define MESSAGE_BYTES (1 << 20)
#define READ_AHEAD_KIB 2048
/* From the server, not for the kernel: it holds more files than it should (src/volumes/c/share.h). */
#define FORGET_NOTICE 1000

static char request[MESSAGE_BYTES], answers[MESSAGE_BYTES];
static int port, fuse;

static __attribute__((noreturn)) void die(const char *what)
{
	fprintf(stderr, "husk-files: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Requests: each read gives one. */
static void *from_kernel(void *unused)
{
	(void)unused;
	for (;;) {
		ssize_t got = read(fuse, request, sizeof request);
		/* ENOENT: the request was taken back meanwhile. */
		if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (got <= 0)
			_exit(0);
		for (ssize_t done = 0; done < got;) {
			size_t size = (size_t)(got - done) < TO_PORT ? (size_t)(got - done) : TO_PORT;
			ssize_t sent = write(port, request + done, size);
			if (sent < 0 && errno != EINTR)
				_exit(1);
			done += sent > 0 ? sent : 0;
		}
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
			at += size;
		}
		memmove(answers, answers + at, have - at);
		have -= at;
	}
}

/* Copies, detached from whoever started this; either direction ends both. */
static __attribute__((noreturn)) void pump(void)
{
	pthread_t other;
	signal(SIGCHLD, SIG_IGN);
	setsid();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (pthread_create(&other, NULL, from_server, NULL) == 0)
		from_kernel(NULL);
	_exit(1);
}

/* What is read one after the other is asked for ahead: several requests are on their way at a time. */
static void read_ahead(const char *target)
{
	char path[80], kib[16];
	struct stat st;
	if (stat(target, &st) != 0)
		die("look at the file server's root");
	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
	snprintf(kib, sizeof kib, "%d", READ_AHEAD_KIB);
	write_text(path, kib);
}

int main(int argc, char **argv)
{
	char options[160];
	struct statfs fs;
	if (argc != 2)
		return 2;
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
	if (statfs(argv[1], &fs) != 0) {
		int code = errno;
		umount2(argv[1], MNT_DETACH);
		kill(child, SIGKILL);
		errno = code;
		die("ask the file server");
	}
	read_ahead(argv[1]);
	return 0;
}
