/*
 * husk-9p: joins the virtio-serial port husk.9p.0, behind which the pod's file server listens,
 * with the kernel's 9P client, and mounts it.
 *
 *   husk-9p TARGET MSIZE
 *
 * The port cannot be mounted itself: it has no write_iter. Two processes copy between it and two
 * pipes; they end with the channel, and then every file of the mount answers EIO. The program
 * returns when the mount stands.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT_NAME "husk.9p.0"
#define PORTS "/sys/class/virtio-ports"
/* The port takes 32 KiB a write and gives 4 KiB a read. */
#define TO_PORT 32768
#define FROM_PORT 65536
#define PIPE_BYTES (1 << 20)

static __attribute__((noreturn)) void die(const char *what)
{
	fprintf(stderr, "husk-9p: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The port's device node, by the name that QEMU gave it. */
static int open_port(void)
{
	char path[300], name[64];
	struct dirent *entry;
	int found = -1;
	DIR *ports = opendir(PORTS);
	while (ports != NULL && found < 0 && (entry = readdir(ports)) != NULL) {
		snprintf(path, sizeof path, PORTS "/%s/name", entry->d_name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		ssize_t got = read(fd, name, sizeof name - 1);
		close(fd);
		name[got < 0 ? 0 : got] = '\0';
		if (strcmp(name, PORT_NAME "\n") != 0)
			continue;
		snprintf(path, sizeof path, "/dev/%s", entry->d_name);
		found = open(path, O_RDWR | O_CLOEXEC);
	}
	if (ports != NULL)
		closedir(ports);
	return found;
}

static __attribute__((noreturn)) void copy(int from, int to, size_t most)
{
	static char bytes[FROM_PORT];
	for (ssize_t got; (got = read(from, bytes, most)) != 0;) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			break;
		for (ssize_t done = 0; done < got;) {
			ssize_t sent = write(to, bytes + done, (size_t)(got - done));
			if (sent < 0 && errno != EINTR)
				_exit(1);
			done += sent > 0 ? sent : 0;
		}
	}
	_exit(0);
}

/* Ends together with the other direction: half a channel is none. */
static pid_t start_copy(int from, int to, size_t most, const int *ends)
{
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	for (int i = 0; i < 4; i++)
		if (ends[i] != from && ends[i] != to)
			close(ends[i]);
	copy(from, to, most);
}

/* Keeps the two copies, detached from whoever started this. */
static __attribute__((noreturn)) void pump(int port, const int *ends)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	pid_t out = start_copy(ends[2], port, TO_PORT, ends);
	pid_t in = start_copy(port, ends[1], FROM_PORT, ends);
	for (int i = 0; i < 4; i++)
		close(ends[i]);
	wait(NULL);
	kill(out, SIGKILL);
	kill(in, SIGKILL);
	_exit(0);
}

int main(int argc, char **argv)
{
	char options[256];
	int ends[4]; /* kernel reads 0, written at 1; kernel writes 3, read at 2 */
	if (argc != 3 || atoi(argv[2]) < 4096)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	int port = open_port();
	if (port < 0)
		die("open the port " PORT_NAME);
	if (pipe2(ends, O_CLOEXEC) != 0 || pipe2(ends + 2, O_CLOEXEC) != 0)
		die("pipe");
	fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
	fcntl(ends[2], F_SETPIPE_SZ, PIPE_BYTES);
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		setsid();
		pump(port, ends);
	}
	close(port);
	close(ends[1]);
	close(ends[2]);
	/* cache=mmap: nothing is cached but what is mapped. access=client: one attach for each user. */
	snprintf(options, sizeof options,
		 "trans=fd,rfdno=%d,wfdno=%d,version=9p2000.L,msize=%d,cache=mmap,access=client,aname=/,uname=root,locktimeout=1",
		 ends[0], ends[3], atoi(argv[2]));
	if (mount("husk", argv[1], "9p", MS_NOSUID | MS_NODEV, options) != 0) {
		int code = errno;
		kill(-child, SIGKILL);
		errno = code;
		die("mount");
	}
	return 0;
}
