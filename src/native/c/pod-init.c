/*
 * husk-pod-init: PID 1 of a PID namespace that the containers of a native pod share.
 *
 * It reaps orphans until SIGTERM. When it ends, the kernel kills whatever is left in the
 * namespace (pid_namespaces(7)). It has no rights, no files and no output.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	/* Blocked, not handled: PID 1 gets no signal it has no handler for, but sigwait takes it. */
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return 1;
	/* Who started us reads our outputs to their end: do not hold them open. */
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
