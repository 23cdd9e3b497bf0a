/*
 * husk-pause: PID 1 of a PID namespace that a pod's containers share, and what holds the pod's user
 * namespace.
 *
 *   husk-pause                    a PID namespace
 *   husk-pause UIDS GIDS          a user namespace beside it; `65536:65536` maps id 0 to 65536, and so
 *                                 on for 65536 ids
 *
 * Started by the agent. It makes the namespaces, prints the pid of their PID 1 as the guest sees
 * it, and ends; the PID 1 then reaps orphans until SIGTERM. When it ends, the kernel kills
 * whatever is left in the PID namespace (pid_namespaces(7)).
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int reap_until_term(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	/* Blocked, not handled: PID 1 gets no signal it has no handler for, but sigwait takes it. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* The agent reads our outputs to their end: do not hold them open. */
	for (int fd = 0; fd <= 2; fd++)
		close(fd);
	for (;;) {
		int sig = 0;
		if (sigwait(&set, &sig) == 0 && sig == SIGTERM)
			return 0;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

/* In the new namespaces. Until the ids are mapped it is nobody there. */
static int child(int mapped)
{
	char go;
	if (mapped >= 0) {
		if (read(mapped, &go, 1) != 1)
			return 1;
		close(mapped);
		/* Root of the namespace: its containers may signal it. */
		if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
			return 1;
	}
	setsid();
	return reap_until_term();
}

static int map_ids(pid_t pid, const char *file, const char *ids)
{
	char path[64], text[64];
	unsigned base, length;
	char end;
	if (sscanf(ids, "%u:%u%c", &base, &length, &end) != 2) {
		errno = EINVAL;
		return -1;
	}
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	snprintf(text, sizeof text, "0 %u %u\n", base, length);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t sent = write(fd, text, strlen(text));
	int problem = errno;
	close(fd);
	errno = problem;
	return sent == (ssize_t)strlen(text) ? 0 : -1;
}

int main(int argc, char **argv)
{
	int mapped[2] = { -1, -1 }, user = argc == 3;
	if (argc != 1 && !user) {
		fprintf(stderr, "husk-pause: wanted UIDS GIDS, or nothing\n");
		return 2;
	}
	if (user && pipe2(mapped, O_CLOEXEC) != 0) {
		perror("husk-pause: pipe");
		return 1;
	}
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | (user ? CLONE_NEWUSER : 0) | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0) {
		perror("husk-pause: clone");
		return 1;
	}
	if (pid == 0) {
		if (user)
			close(mapped[1]);
		return child(mapped[0]);
	}
	if (user && (map_ids(pid, "uid_map", argv[1]) != 0 || map_ids(pid, "gid_map", argv[2]) != 0 || write(mapped[1], "g", 1) != 1)) {
		perror("husk-pause: map ids");
		kill(pid, SIGKILL);
		return 1;
	}
	printf("%d\n", (int)pid);
	return 0;
}
