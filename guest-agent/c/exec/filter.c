#include <sys/ptrace.h>
#include <sys/wait.h>
#include "exec.h"

/* The filter in hexadecimal digits: for a container that cannot see the guest's files. */
void parse_filter(struct wish *wish, const char *digits)
{
	static struct sock_filter filter[BPF_MAXINSNS];
	size_t length = strlen(digits) / 2;
	if (length == 0 || length > sizeof filter || length % sizeof *filter != 0)
		give_up("husk-exec: seccomp filter: no whole filter");
	for (size_t i = 0; i < length; i++)
		if (sscanf(digits + 2 * i, "%2hhx", (unsigned char *)filter + i) != 1)
			give_up("husk-exec: seccomp filter: no hexadecimal digits");
	wish->filter = (struct sock_fprog){ (unsigned short)(length / sizeof *filter), filter };
}

/* The filter lies in a file of the guest's, which its agent made by `keep`. */
void load_filter(const char *path, struct wish *wish)
{
	static struct sock_filter filter[BPF_MAXINSNS];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t got = fd < 0 ? -1 : read(fd, filter, sizeof filter);
	if (got <= 0 || (size_t)got % sizeof *filter != 0)
		give_up("read the seccomp filter \"%.200s\": %s", path, got < 0 ? reason(errno) : "no whole filter");
	close(fd);
	wish->filter = (struct sock_fprog){ (unsigned short)((size_t)got / sizeof *filter), filter };
}

/* Copies the oldest seccomp filter of a stopped tracee; 0 instructions when it has none. */
static long fetch_filter(pid_t pid, struct sock_filter *into)
{
	long count = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, (void *)0, into);
	return count < 0 && errno == ENOENT ? 0 : count;
}

void keep_filter(const struct request *request)
{
	static struct sock_filter filter[BPF_MAXINSNS];
	int status = 0, folder = open_process(request);
	pid_t pid = (pid_t)whole(request->pid, INT32_MAX);
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0 ||
	    waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		give_up("read the container's seccomp filter: %s", reason(errno));
	long count = fetch_filter(pid, filter);
	int code = errno;
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	close(folder);
	if (count <= 0)
		give_up("read the container's seccomp filter: %s", count == 0 ? "it has none" : reason(code));
	size_t length = (size_t)count * sizeof *filter;
	int fd = open(request->keep, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, filter, length) != (ssize_t)length)
		give_up("keep the container's seccomp filter: %s", reason(errno));
	close(fd);
}
