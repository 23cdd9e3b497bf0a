/* The streams of a process: descriptors of the agent, or a terminal. */
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include "exec.h"

#define DEVPTS_MAGIC 0x1cd1

int agent = -1;

/* Fetches the agent's descriptors to 0, 1 and 2; those of A are not needed any more. */
void take_streams(const struct request *request)
{
	for (int i = 0; i < 3 && request->console == NULL; i++) {
		int fd = request->streams[i] < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC)
						 : (int)syscall(SYS_pidfd_getfd, agent, request->streams[i], 0);
		if (fd < 0)
			give_up("husk-exec: stream %d of the agent: %s", i, reason(errno));
		/* 0 to 2 are taken, so a new descriptor is always above them. */
		if (dup2(fd, i) < 0)
			give_up("husk-exec: stream %d: %s", i, reason(errno));
		close(fd);
	}
}

int connect_console(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || strlen(path) >= sizeof address.sun_path)
		give_up("console socket \"%.200s\": %s", path, fd < 0 ? reason(errno) : "too long");
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		give_up("console socket \"%.200s\": %s", path, reason(errno));
	return fd;
}

static void send_terminal(int socket_fd, int terminal)
{
	static char name[] = "/dev/ptmx";
	struct iovec bytes = { name, sizeof name - 1 };
	union { struct cmsghdr head; char space[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof terminal);
	memcpy(CMSG_DATA(head), &terminal, sizeof terminal);
	if (sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0)
		give_up("send the terminal: %s", reason(errno));
}

/* A terminal of the container's own devpts; its other end goes to whoever listens on the socket. */
void open_terminal(int socket_fd)
{
	struct statfs fs;
	struct stat st;
	int unlock = 0, master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0)
		give_up("open /dev/ptmx: %s", reason(errno));
	/* The container may have put anything in its place. */
	if (fstat(master, &st) != 0 || fstatfs(master, &fs) != 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2) || fs.f_type != DEVPTS_MAGIC)
		give_up("open /dev/ptmx: no terminal of a devpts");
	if (ioctl(master, TIOCSPTLCK, &unlock) != 0)
		give_up("unlock the terminal: %s", reason(errno));
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		give_up("open the terminal: %s", reason(errno));
	send_terminal(socket_fd, master);
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			give_up("terminal as stream %d: %s", i, reason(errno));
	if (ioctl(0, TIOCSCTTY, 0) != 0)
		give_up("set the controlling terminal: %s", reason(errno));
}
