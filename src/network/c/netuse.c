/*
 * husk-netuse: what the interfaces of network namespaces counted.
 *
 * Reads paths of namespaces, one a line, and prints for each the path, the namespace's
 * /proc/net/dev, and a line with a dot. A namespace that is gone has no lines in between. Node
 * cannot call setns(2); one process for all pods costs less than an `ip` for each.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_counters(const char *path)
{
	char block[4096];
	ssize_t got;
	int netns = open(path, O_RDONLY | O_CLOEXEC);
	int dev = -1;

	if (netns < 0)
		return;
	if (setns(netns, CLONE_NEWNET) == 0)
		dev = open("/proc/thread-self/net/dev", O_RDONLY | O_CLOEXEC);
	close(netns);
	if (dev < 0)
		return;
	while ((got = read(dev, block, sizeof(block))) > 0)
		fwrite(block, 1, (size_t)got, stdout);
	close(dev);
}

int main(void)
{
	char path[4097];

	while (fgets(path, sizeof(path), stdin)) {
		size_t length = strlen(path);
		if (length == 0 || path[length - 1] != '\n') {
			fprintf(stderr, "husk-netuse: a path is longer than 4095 bytes, or its line is cut\n");
			return 2;
		}
		path[length - 1] = '\0';
		puts(path);
		print_counters(path);
		puts(".");
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "husk-netuse: write: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}
