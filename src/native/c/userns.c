/*
 * husk-userns: namespaces of a native pod that belong to a user namespace of its own, and mounts whose files do.
 *
 *   husk-userns hold UIDS GIDS HOSTNAME USER NET IPC UTS
 *       makes a user namespace and, owned by it, one of each other kind, with loopback up and the hostname, and
 *       binds them to the files. What stands on NET already is replaced.
 *   husk-userns bind SOURCE TARGET UIDS GIDS rw|ro|rro [private|slave]
 *       shows SOURCE, and with `slave` or `rro` too what is mounted below, at TARGET
 *
 * It runs as root on words of the daemon's own. SOURCE is a path that the daemon has resolved: a link that took
 * its place since is not followed.
 */
#include "../../jail/c/idmap.h"
#include <linux/openat2.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static _Noreturn void die(const char *what, const char *which)
{
	fprintf(stderr, "husk-userns: %s %.300s: %s\n", what, which, strerror(errno));
	_exit(1);
}

/* ---- hold ---- */

struct inside {
	const char *hostname;
	int ready;
};

/* In the user namespace, as its root. */
static void make_namespaces(void *argument)
{
	const struct inside *what = argument;
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
		die("make", "namespaces");
	if (sethostname(what->hostname, strlen(what->hostname)) != 0)
		die("set the hostname", what->hostname);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) != 0)
		die("bring up", "lo");
	close(fd);
	if (write(what->ready, "r", 1) != 1)
		_exit(1);
	close(what->ready);
}

static void bind_namespace(pid_t pid, const char *kind, const char *file)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
	if (strcmp(kind, "net") == 0 && umount2(file, MNT_DETACH) != 0 && errno != EINVAL)
		die("unmount", file);
	int fd = open(file, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);
	if (fd < 0)
		die("create", file);
	close(fd);
	if (mount(path, file, NULL, MS_BIND, NULL) != 0)
		die("bind a namespace to", file);
}

static int hold(char **arg)
{
	static const char *const kinds[] = { "user", "net", "ipc", "uts" };
	int ready[2];
	char ok;
	if (pipe2(ready, O_CLOEXEC) != 0)
		die("make", "a pipe");
	struct inside what = { .hostname = arg[2], .ready = ready[1] };
	pid_t pid = hold_user_namespace(arg[0], arg[1], make_namespaces, &what);
	if (pid < 0)
		die("make", "a user namespace");
	close(ready[1]);
	if (read(ready[0], &ok, 1) != 1)
		return 1; /* It has said why. */
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		bind_namespace(pid, kinds[i], arg[3 + i]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

/* ---- bind ---- */

static int bind_mapped(char **arg, const char *propagation)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	const int deep = strcmp(arg[4], "rro") == 0, slave = strcmp(propagation, "slave") == 0;
	int source = (int)syscall(SYS_openat2, AT_FDCWD, arg[0], &how, sizeof how);
	if (source < 0)
		die("open", arg[0]);
	int tree = (int)syscall(SYS_open_tree, source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		die("clone the mounts at", arg[0]);
	/* Never a peer of the host's mounts: taking this one away would take theirs away. */
	struct mount_attr all = { .attr_set = deep ? MOUNT_ATTR_RDONLY : 0, .propagation = slave ? MS_SLAVE : MS_PRIVATE };
	struct mount_attr top = { .attr_set = strcmp(arg[4], "rw") == 0 ? 0 : MOUNT_ATTR_RDONLY };
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &all, sizeof all) != 0 ||
	    syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &top, sizeof top) != 0)
		die("restrict the mounts at", arg[0]);
	if (map_ids(tree, arg[2], arg[3]) != 0)
		die("map ids of the mounts at", arg[0]);
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, arg[1], MOVE_MOUNT_F_EMPTY_PATH) != 0)
		die("mount at", arg[1]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 9 && strcmp(argv[1], "hold") == 0)
		return hold(argv + 2);
	if ((argc == 7 || argc == 8) && strcmp(argv[1], "bind") == 0)
		return bind_mapped(argv + 2, argc == 8 ? argv[7] : "private");
	fprintf(stderr, "husk-userns: wanted hold or bind and what belongs to it\n");
	return 2;
}
