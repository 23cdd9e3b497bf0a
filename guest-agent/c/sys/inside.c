/* Inside the mount namespace of a container that was created and not started. */
#include <linux/magic.h>
#include <sched.h>
#include <sys/vfs.h>
#include "sys.h"

#define MOUNT_MOVE 0x2000UL

struct inside {
	const char *pid;
	int tree;
	const char *target, *folder;
};

/*
 * Goes there and comes back; a child for each mount took longer than all mounts. The container runs nothing of a
 * tenant's yet, and a process that did not find back would be of no use to anybody: it ends. Gives 0, or -1 and errno.
 */
static int run_inside(int (*work)(const struct inside *), const struct inside *what)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%s/ns/mnt", what->pid);
	int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int there = home < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC), code = errno;
	if (there >= 0) {
		mode_t mask = umask(022);
		code = setns(there, CLONE_NEWNS) == 0 && work(what) == 0 ? 0 : errno;
		if (setns(home, CLONE_NEWNS) != 0)
			_exit(1);
		umask(mask);
		close(there);
	}
	if (home >= 0)
		close(home);
	return code == 0 ? 0 : fail(code);
}

/* A mount point for the tree; what lies in /dev is still the runtime's own. */
static int make_in_dev(const struct inside *what)
{
	struct stat st;
	if (strncmp(what->target, "/dev/", 5) != 0)
		return fail(ENOENT);
	if (fstat(what->tree, &st) != 0 || S_ISDIR(st.st_mode))
		return mkdir(what->target, 0755);
	int fd = open(what->target, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0755);
	return fd < 0 ? -1 : close(fd);
}

static int attach(const struct inside *what)
{
	/* The namespace's root is the container's once its runtime has pivoted. */
	uint64_t flags = O_PATH | O_NOFOLLOW, resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
	int at = open_in(AT_FDCWD, what->target, flags, resolve);
	if (at < 0 && errno == ENOENT && make_in_dev(what) == 0)
		at = open_in(AT_FDCWD, what->target, flags, resolve);
	if (at < 0)
		return -1;
	int flag = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
	int result = (int)syscall(SYS_move_mount, what->tree, "", at, "", flag), code = errno;
	close(at);
	return result == 0 ? 0 : fail(code);
}

static int attach_to_proc(const struct inside *what)
{
	struct statfs fs;
	int at = open_in(AT_FDCWD, what->target, O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	int looked = at < 0 ? -1 : fstatfs(at, &fs), code = errno;
	if (at >= 0)
		close(at);
	if (looked != 0)
		return fail(code);
	return fs.f_type == PROC_SUPER_MAGIC ? attach(what) : fail(EXDEV);
}

static const struct { const char *word; uint64_t flag; } attributes[] = {
	{ "ro", MOUNT_ATTR_RDONLY }, { "nosuid", MOUNT_ATTR_NOSUID },
	{ "nodev", MOUNT_ATTR_NODEV }, { "noexec", MOUNT_ATTR_NOEXEC },
};

/*
 * A mount like that of SOURCE. With attributes it has these and no others, without it keeps its own,
 * as mount(8) and runC do; `rec` takes along what is mounted below.
 */
static int detached(const char *source, char *words)
{
	struct mount_attr attr = { 0 };
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	char *next = NULL;
	for (char *word = strtok_r(words, ",", &next); word != NULL; word = strtok_r(NULL, ",", &next)) {
		size_t i = 0;
		if (strcmp(word, "rec") == 0) {
			flags |= AT_RECURSIVE;
			continue;
		}
		while (i < sizeof attributes / sizeof *attributes && strcmp(attributes[i].word, word) != 0)
			i++;
		if (i == sizeof attributes / sizeof *attributes)
			return fail(EINVAL);
		attr.attr_set |= attributes[i].flag;
	}
	attr.attr_clr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, source, flags);
	if (tree >= 0 && attr.attr_set != 0 && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
		int code = errno;
		close(tree);
		return fail(code);
	}
	return tree;
}

static int attach_source(char **arg, int (*work)(const struct inside *), char *words)
{
	unsigned long long pid;
	if (number(arg[0], INT32_MAX, &pid) != 0)
		return -1;
	int tree = detached(arg[1], words);
	if (tree < 0)
		return -1;
	const struct inside what = { .pid = arg[0], .tree = tree, .target = arg[2] };
	int result = run_inside(work, &what), code = errno;
	close(tree);
	return result == 0 ? 0 : fail(code);
}

/*
 * procfile PID SOURCE TARGET: shows a file of ours, read-only, over TARGET in the /proc of a
 * container that was created and not started. OCI runtimes refuse most such mounts in a spec.
 */
int op_procfile(char **arg)
{
	char words[] = "ro,nosuid,nodev,noexec";
	return attach_source(arg, attach_to_proc, words);
}

/* bindinto PID SOURCE TARGET FLAGS: a bind mount in a container that runs nothing of a tenant's yet. */
int op_bindinto(char **arg)
{
	return attach_source(arg, attach, arg[3]);
}

static int make_folders(const char *path)
{
	char part[4096];
	for (const char *end = path; end != NULL && *end != '\0';) {
		end = strchr(end + 1, '/');
		int length = end == NULL ? (int)strlen(path) : (int)(end - path);
		if (snprintf(part, sizeof part, "%.*s", length, path) >= (int)sizeof part)
			return fail(ENAMETOOLONG);
		if (mkdir(part, 0755) != 0 && errno != EEXIST)
			return -1;
	}
	return 0;
}

/* Makes AFTER the root; BEFORE was it. */
static int change_root(int before, int after)
{
	if (fchdir(after) != 0 || syscall(SYS_pivot_root, ".", ".") != 0)
		return -1;
	return fchdir(before) != 0 || umount2(".", 2 /* MNT_DETACH */) != 0 || chdir("/") != 0 ? -1 : 0;
}

/* Puts the tree in the place of the root, with what is mounted in /proc, /dev and /sys taken along. */
static int take_root(const struct inside *what)
{
	static const char *const kept[][2] = { { "/proc", "/root/proc" }, { "/dev", "/root/dev" }, { "/sys", "/root/sys" } };
	if (syscall(SYS_move_mount, what->tree, "", AT_FDCWD, "/root", MOVE_MOUNT_F_EMPTY_PATH) != 0)
		return -1;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		if (mount(kept[i][0], kept[i][1], NULL, MOUNT_MOVE, NULL) != 0)
			return -1;
	int before = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), after = open("/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int result = before < 0 || after < 0 ? -1 : change_root(before, after), code = errno;
	for (int *fd = (int[]){ before, after, -2 }; *fd != -2; fd++)
		if (*fd >= 0)
			close(*fd);
	/* Before the root may become read-only, as runC does. */
	return result == 0 ? make_folders(what->folder) : fail(code);
}

/*
 * takeroot PID ROOT FOLDER: makes the file system that is mounted at ROOT the root of a prepared
 * container, whose process finds itself there (pivot_root(2)), and in it the process's FOLDER.
 */
int op_takeroot(char **arg)
{
	unsigned long long pid;
	if (number(arg[0], INT32_MAX, &pid) != 0)
		return -1;
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, arg[1], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return -1;
	const struct inside what = { .pid = arg[0], .tree = tree, .folder = arg[2] };
	int result = run_inside(take_root, &what), code = errno;
	close(tree);
	return result == 0 ? 0 : fail(code);
}

static int seal_root(const struct inside *what)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	(void)what;
	return (int)syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attr, sizeof attr);
}

/* sealroot PID: makes the root of a container read-only. */
int op_sealroot(char **arg)
{
	const struct inside what = { .pid = arg[0] };
	unsigned long long pid;
	return number(arg[0], INT32_MAX, &pid) != 0 ? -1 : run_inside(seal_root, &what);
}
