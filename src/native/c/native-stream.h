/*
 * What the programs that serve the streams of native pods share. huskd starts one for each URL that it
 * gives out, as root, with
 *
 *   PROGRAM FOLDER UID GID CGROUPS ...
 *
 * FOLDER is empty, root's own, and may be passed by the gateway, whose group GID is. There the gateway
 * finds a socket (`control`) and, where there are some, FIFOs (`in`, `out`, `err`). Bytes pass through the
 * FIFOs; the connection carries lines. CGROUPS are the files, one a line, by which the program joins the pod's cgroups.
 * Once the privileged part is done the program becomes UID: no byte
 * of a client is looked at as root.
 */
#ifndef HUSK_NATIVE_STREAM_H
#define HUSK_NATIVE_STREAM_H
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A URL is good for a minute; a gateway that has a client connects at once. */
#define CLIENT_MS 75000
/* Between two lines of the gateway that belong together. */
#define LINE_MS 30000

static const char *folder_path, *cgroup_files;
static uid_t plain_uid;
static gid_t gateway_gid;
static int folder = -1, control = -1;

static void quit(int code) __attribute__((noreturn));

/* Takes the names away, as far as they are still there. */
static void remove_names(void)
{
	static const char *const names[] = {"control", "in", "out", "err", "tty", "pid"};
	if (folder < 0)
		return;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlinkat(folder, names[i], 0);
	rmdir(folder_path);
	close(folder);
	folder = -1;
}

static void quit(int code)
{
	remove_names();
	_exit(code);
}

/* One line to the gateway, or to huskd. Who is gone is told nothing. */
static void say(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *format, ...)
{
	char line[1024];
	va_list args;
	va_start(args, format);
	int length = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (length < 0)
		return;
	if ((size_t)length > sizeof line - 2)
		length = sizeof line - 2;
	for (int i = 0; i < length; i++)
		if ((unsigned char)line[i] < ' ')
			line[i] = ' ';
	line[length++] = '\n';
	if (write(fd, line, length) != length)
		return;
}

/* Tells why there will be no stream, and ends. */
static void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *format, ...)
{
	char text[900];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	say(control >= 0 ? control : STDOUT_FILENO, "error %s", text);
	quit(1);
}

static long number(const char *text)
{
	char *end = NULL;
	errno = 0;
	long value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != 0 || value < 0)
		fail("\"%s\": wanted a number", text);
	return value;
}

static int path_in(char *into, size_t size, const char *name)
{
	return snprintf(into, size, "%s/%s", folder_path, name) < (int)size;
}

/* A socket in the folder that listens; `mode` says who may connect. */
static int listen_at(const char *name, mode_t mode, gid_t group, int backlog)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (!path_in(address.sun_path, sizeof address.sun_path, name))
		fail("%s/%s: too long for a socket", folder_path, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
		fail("socket %s: %s", name, strerror(errno));
	if (fchownat(folder, name, 0, group, 0) != 0 || fchmodat(folder, name, mode, 0) != 0 || listen(fd, backlog) != 0)
		fail("socket %s: %s", name, strerror(errno));
	return fd;
}

/* Reads the arguments. */
static void begin(char **argv)
{
	umask(0);
	signal(SIGPIPE, SIG_IGN);
	folder_path = argv[1];
	plain_uid = number(argv[2]);
	gateway_gid = number(argv[3]);
	cgroup_files = argv[4];
	folder = open(folder_path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (folder < 0)
		fail("%s: %s", folder_path, strerror(errno));
}

/* Tells huskd that the URL may be given out; from here nobody holds this program's outputs. */
static void announce(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	say(STDOUT_FILENO, "ok");
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	close(null);
}

/* Moves a process into the pod's cgroups, which end it with the pod. A pod that is being removed has none. Returns the errno, or 0. */
static int join_cgroups(pid_t pid)
{
	for (const char *at = cgroup_files; *at;) {
		char path[PATH_MAX];
		size_t length = strcspn(at, "\n");
		if (length >= sizeof path)
			return ENAMETOOLONG;
		memcpy(path, at, length);
		path[length] = 0;
		int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		int failure = fd < 0 || dprintf(fd, "%d", pid) < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
		if (failure != 0)
			return failure;
		at += length + (at[length] == '\n');
	}
	return 0;
}

/* Waits for a connection; at most so long. -1: none came. */
static int next_connection(int listener, int ms)
{
	struct pollfd wait = {.fd = listener, .events = POLLIN};
	int ready;
	while ((ready = poll(&wait, 1, ms)) < 0 && errno == EINTR)
		;
	return ready == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
}

/* Reads one line without its end. False: none came in time, or one too long. */
static int read_line(int fd, char *line, size_t size)
{
	for (size_t used = 0; used < size; used++) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		int ready;
		while ((ready = poll(&wait, 1, LINE_MS)) < 0 && errno == EINTR)
			;
		if (ready != 1 || read(fd, line + used, 1) != 1)
			return 0;
		if (line[used] == '\n') {
			line[used] = 0;
			return 1;
		}
	}
	return 0;
}

/* Gives up root for good. The group stays the gateway's: it opens nothing any more. */
static void become_plain(void)
{
	remove_names();
	if (setgroups(0, NULL) != 0 || setgid(gateway_gid) != 0 || setuid(plain_uid) != 0 || setuid(0) == 0)
		fail("give up root: %s", strerror(errno));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
#endif
