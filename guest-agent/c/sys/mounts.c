/* Mounts of the pod, and of sub paths of its volumes. */
#include "sys.h"

#define UMOUNT_NOFOLLOW 8
#define MOUNT_PRIVATE (1UL << 18)
#define MOUNT_REC 0x4000UL
#define MOUNT_BIND 0x1000UL

/* mount SOURCE TARGET TYPE FLAGS DATA: FLAGS is a list of the words below, with commas. */
int op_mount(char **arg)
{
	static const struct { const char *word; unsigned long flag; } words[] = {
		{ "ro", 1 }, { "nosuid", 2 }, { "nodev", 4 }, { "noexec", 8 }, { "remount", 32 },
		{ "noatime", 1024 }, { "bind", MOUNT_BIND }, { "rec", MOUNT_REC }, { "private", MOUNT_PRIVATE },
	};
	unsigned long flags = 0;
	char *next = NULL;
	for (char *word = strtok_r(arg[3], ",", &next); word != NULL; word = strtok_r(NULL, ",", &next)) {
		size_t i = 0;
		while (i < sizeof words / sizeof *words && strcmp(words[i].word, word) != 0)
			i++;
		if (i == sizeof words / sizeof *words)
			return fail(EINVAL);
		flags |= words[i].flag;
	}
	return mount(arg[0], arg[1], arg[2], flags, arg[4]);
}

int op_umount(char **arg)
{
	return umount2(arg[0], UMOUNT_NOFOLLOW);
}

/* Opens PATH inside `root`; with `make`, folders that are missing get the mode of `root`. */
static int open_sub_path(int root, char *path, int make)
{
	int fd = open_in(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	struct stat st;
	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	if (fstat(root, &st) != 0)
		return -1;
	int at = dup(root);
	char *next = NULL;
	for (char *name = strtok_r(path, "/", &next); name != NULL && at >= 0; name = strtok_r(NULL, "/", &next)) {
		int made = mkdirat(at, name, st.st_mode & 07777), code = errno;
		int below = made != 0 && code != EEXIST
				    ? fail(code)
				    : open_in(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW,
					      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
		code = errno;
		close(at);
		at = below >= 0 ? below : fail(code);
	}
	return at;
}

static int bind_tree(int tree, int from, const char *target)
{
	struct stat st;
	if (fstat(from, &st) != 0)
		return -1;
	if (S_ISDIR(st.st_mode))
		return mkdir(target, 0700) != 0 && errno != EEXIST
			       ? -1
			       : (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
	if (!S_ISREG(st.st_mode))
		return fail(EOPNOTSUPP);
	int fd = open(target, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	close(fd);
	return (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}

/*
 * bindat ROOT PATH TARGET MAKE: shows what is at PATH inside ROOT at TARGET. Containers write to
 * ROOT: links in it cannot lead out, whatever is exchanged meanwhile (CVE-2021-25741).
 */
int op_bindat(char **arg)
{
	unsigned long long make;
	if (number(arg[3], 1, &make) != 0)
		return -1;
	int root = open(arg[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	int from = root < 0 ? -1 : open_sub_path(root, arg[1], (int)make), code = errno;
	int tree = from < 0 ? fail(code)
			    : (int)syscall(SYS_open_tree, from, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	int result = tree < 0 ? -1 : bind_tree(tree, from, arg[2]);
	code = errno;
	for (int *fd = (int[]){ tree, from, root, -2 }; *fd != -2; fd++)
		if (*fd >= 0)
			close(*fd);
	return result == 0 ? 0 : fail(code);
}
