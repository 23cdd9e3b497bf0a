/*
 * husk-pause: PID 1 of a PID namespace that a pod's containers share.
 *
 * Started by the agent. It makes the namespace, prints the pid of its PID 1 as the guest sees
 * it, and ends; the PID 1 then reaps orphans until SIGTERM. When it ends, the kernel kills
 * whatever is left in the namespace (pid_namespaces(7)).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
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

int main(void)
{
	if (unshare(CLONE_NEWPID) != 0) {
		perror("husk-pause: unshare");
		return 1;
	}
	pid_t pid = fork();
	if (pid < 0) {
		perror("husk-pause: fork");
		return 1;
	}
	if (pid == 0) {
		setsid();
		return reap_until_term();
	}
	printf("%d\n", (int)pid);
	return 0;
}
