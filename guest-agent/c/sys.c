/*
 * husk-sys: the system calls that Node lacks, in batches.
 *
 * Standard input carries batches, standard output one answer for each, in order (numbers are
 * little endian):
 *
 *   batch   u32 length, then operations: a name and its arguments, each ended by a NUL;
 *           the name fixes the number of arguments
 *   answer  u32 length, then a result for each operation that ran: `k` (done) or `e` (failed),
 *           u32 length, and that many bytes: what it read, or why it failed
 *
 * A batch stops at the first operation that fails, unless its name is written with a `-` in
 * front. The program ends at the end of its input. It runs as root inside a guest and is fed by
 * the guest's own agent; bytes of an image reach it only through `read` and the file systems
 * that it mounts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/if_addr.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "grow.h"

/* <sys/mount.h> and <linux/mount.h> do not go together in Debian 12. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#define UMOUNT_NOFOLLOW 8
#define MOUNT_PRIVATE (1UL << 18)
#define MOUNT_REC 0x4000UL
#define MOUNT_BIND 0x1000UL
#define MOUNT_MOVE 0x2000UL

#define MAX_BATCH (8u << 20)
#define MAX_ANSWER (8u << 20)

static char answer[MAX_ANSWER];
static size_t answer_length;

static int fail(int code)
{
	errno = code;
	return -1;
}

static int put_result(char status, const void *bytes, uint32_t length)
{
	if (MAX_ANSWER - answer_length < 5 || length > MAX_ANSWER - answer_length - 5)
		return fail(EMSGSIZE);
	answer[answer_length] = status;
	memcpy(answer + answer_length + 1, &length, sizeof length);
	memcpy(answer + answer_length + 5, bytes, length);
	answer_length += 5 + length;
	return 0;
}

/* A whole decimal number up to `max`; nothing else counts as one. */
static int number(const char *text, unsigned long long max, unsigned long long *out)
{
	char *end = NULL;
	if (text[0] < '0' || text[0] > '9')
		return fail(EINVAL);
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno != 0 || *end != '\0' || *out > max ? fail(EINVAL) : 0;
}

/* ---- identity ---- */

/* entropy HEX: credits the bytes to the kernel's pool and reseeds its generator (random(4)). */
static int op_entropy(char **arg)
{
	struct {
		struct rand_pool_info head;
		unsigned char bytes[256];
	} pool;
	size_t digits = strlen(arg[0]), n = digits / 2;
	if (digits % 2 != 0 || n == 0 || n > sizeof pool.bytes)
		return fail(EINVAL);
	for (size_t i = 0; i < n; i++)
		if (sscanf(arg[0] + 2 * i, "%2hhx", (unsigned char *)pool.head.buf + i) != 1)
			return fail(EINVAL);
	pool.head.entropy_count = (int)n * 8;
	pool.head.buf_size = (int)n;
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int result = ioctl(fd, RNDADDENTROPY, &pool);
	if (result == 0)
		result = ioctl(fd, RNDRESEEDCRNG);
	int code = errno;
	explicit_bzero(&pool, sizeof pool);
	explicit_bzero(arg[0], digits);
	close(fd);
	return result == 0 ? 0 : fail(code);
}

/* random COUNT: bytes of the kernel's generator, not of a generator of this process. */
static int op_random(char **arg)
{
	unsigned char bytes[256];
	unsigned long long n;
	if (number(arg[0], sizeof bytes, &n) != 0 || getrandom(bytes, n, 0) != (ssize_t)n)
		return -1;
	return put_result('k', bytes, (uint32_t)n);
}

static int op_clock(char **arg)
{
	unsigned long long ns;
	if (number(arg[0], INT64_MAX, &ns) != 0)
		return -1;
	struct timespec now = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
	return clock_settime(CLOCK_REALTIME, &now);
}

static int op_hostname(char **arg)
{
	return sethostname(arg[0], strlen(arg[0]));
}

/* ---- files and mounts ---- */

/* write PATH MODE TEXT: makes or replaces the content; also for /proc/sys. */
static int op_write(char **arg)
{
	unsigned long long mode;
	if (number(arg[1], 07777, &mode) != 0)
		return -1;
	int fd = open(arg[0], O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
	if (fd < 0)
		return -1;
	size_t length = strlen(arg[2]);
	ssize_t written = write(fd, arg[2], length);
	int code = errno;
	close(fd);
	if (written == (ssize_t)length)
		return 0;
	return fail(written < 0 ? code : EIO);
}

static int op_mkdir(char **arg)
{
	unsigned long long mode;
	if (number(arg[1], 07777, &mode) != 0)
		return -1;
	return mkdir(arg[0], (mode_t)mode) == 0 || errno == EEXIST ? 0 : -1;
}

/* chown PATH UID GID: of what we made ourselves; a link is not followed. */
static int op_chown(char **arg)
{
	unsigned long long uid, gid;
	if (number(arg[1], INT32_MAX, &uid) != 0 || number(arg[2], INT32_MAX, &gid) != 0)
		return -1;
	return lchown(arg[0], (uid_t)uid, (gid_t)gid);
}

static int op_mkfifo(char **arg)
{
	return mkfifo(arg[0], 0600);
}

static int op_chdir(char **arg)
{
	return chdir(arg[0]);
}

/* mount SOURCE TARGET TYPE FLAGS DATA: FLAGS is a list of the words below, with commas. */
static int op_mount(char **arg)
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

static int op_umount(char **arg)
{
	return umount2(arg[0], UMOUNT_NOFOLLOW);
}

static int partition(const char *disk, int op, const char *no, const char *start, const char *length)
{
	unsigned long long n = 0, from = 0, bytes = 0;
	if (number(no, 255, &n) != 0 || number(start, INT64_MAX, &from) != 0 || number(length, INT64_MAX, &bytes) != 0)
		return -1;
	struct blkpg_partition part = { .start = (long long)from, .length = (long long)bytes, .pno = (int)n };
	struct blkpg_ioctl_arg request = { .op = op, .datalen = sizeof part, .data = &part };
	int fd = open(disk, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int result = ioctl(fd, BLKPG, &request), code = errno;
	close(fd);
	return result == 0 ? 0 : fail(code);
}

/* part DISK NUMBER OFFSET BYTES: a range of the disk becomes a block device of its own. */
static int op_part(char **arg)
{
	return partition(arg[0], BLKPG_ADD_PARTITION, arg[1], arg[2], arg[3]);
}

static int op_unpart(char **arg)
{
	return partition(arg[0], BLKPG_DEL_PARTITION, arg[1], "0", "0");
}

/* growfs ROOT BYTES: the file system that is mounted there becomes as large as its disk. */
static int op_growfs(char **arg)
{
	unsigned long long bytes;
	if (number(arg[1], INT64_MAX, &bytes) != 0)
		return -1;
	int fd = open(arg[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int result = grow_to(fd, bytes), code = errno;
	close(fd);
	return result == 0 ? 0 : fail(code);
}

static int open_in(int root, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve };
	/* The kernel answers EAGAIN when a rename anywhere races with the walk. */
	for (int tries = 0; tries < 64; tries++) {
		int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
		if (fd >= 0 || errno != EAGAIN)
			return fd;
	}
	return -1;
}

static int read_regular(int fd, uint64_t cap)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return -1;
	if (!S_ISREG(st.st_mode))
		return fail(EINVAL);
	if ((uint64_t)st.st_size > cap)
		return fail(EFBIG);
	uint32_t size = (uint32_t)st.st_size, got = 0;
	char *bytes = malloc((size_t)size + 1);
	if (bytes == NULL)
		return -1;
	ssize_t n = 1;
	while (got < size && (n = read(fd, bytes + got, size - got)) > 0)
		got += (uint32_t)n;
	int result = n < 0 ? -1 : put_result('k', bytes, got), code = errno;
	free(bytes);
	return result == 0 ? 0 : fail(code);
}

/* read ROOT PATH CAP: a regular file of a hostile tree; links cannot lead out of ROOT. */
static int op_read(char **arg)
{
	unsigned long long cap;
	if (number(arg[2], 4u << 20, &cap) != 0)
		return -1;
	int root = open(arg[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -1;
	/* O_NONBLOCK: a FIFO in the image must not hang the open. */
	int fd = open_in(root, arg[1], O_RDONLY | O_NONBLOCK | O_NOCTTY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	int result = fd < 0 ? -1 : read_regular(fd, cap), code = errno;
	if (fd >= 0)
		close(fd);
	close(root);
	return result == 0 ? 0 : fail(code);
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
static int op_bindat(char **arg)
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

/* ---- inside a container's mount namespace ---- */

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
static int op_procfile(char **arg)
{
	char words[] = "ro,nosuid,nodev,noexec";
	return attach_source(arg, attach_to_proc, words);
}

/* bindinto PID SOURCE TARGET FLAGS: a bind mount in a container that runs nothing of a tenant's yet. */
static int op_bindinto(char **arg)
{
	return attach_source(arg, attach, arg[3]);
}

/* mkpoint ROOT PATH KIND: a mount point, `dir` or `file`, in a tree that may hold links: none is followed. */
static int op_mkpoint(char **arg)
{
	const uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
	int root = open(arg[0], O_PATH | O_DIRECTORY | O_CLOEXEC), at = root, file = strcmp(arg[2], "file") == 0;
	char *next = NULL, *name = strtok_r(arg[1], "/", &next);
	while (at >= 0 && name != NULL) {
		char *after = strtok_r(NULL, "/", &next);
		uint64_t flags = file && after == NULL ? O_PATH : O_PATH | O_DIRECTORY;
		int found = open_in(at, name, flags, resolve);
		if (found < 0 && errno == ENOENT) {
			mode_t mask = umask(022);
			int made = flags & O_DIRECTORY ? mkdirat(at, name, 0755)
						       : openat(at, name, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0755);
			umask(mask);
			if (made >= 0 && !(flags & O_DIRECTORY))
				close(made);
			found = made < 0 ? -1 : open_in(at, name, flags, resolve);
		}
		int code = errno;
		close(at);
		errno = code;
		at = found;
		name = after;
	}
	struct stat st;
	if (at < 0)
		return -1;
	int result = fstat(at, &st) != 0 ? -1 : S_ISDIR(st.st_mode) == file || S_ISLNK(st.st_mode) ? fail(ENOTDIR) : 0;
	int code = errno;
	close(at);
	return result == 0 ? 0 : fail(code);
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
static int op_takeroot(char **arg)
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
static int op_sealroot(char **arg)
{
	const struct inside what = { .pid = arg[0] };
	unsigned long long pid;
	return number(arg[0], INT32_MAX, &pid) != 0 ? -1 : run_inside(seal_root, &what);
}

/* ---- network ---- */

static int interface_ioctl(unsigned long request, struct ifreq *ifr, const char *name)
{
	if (strlen(name) >= IFNAMSIZ)
		return fail(EINVAL);
	strcpy(ifr->ifr_name, name);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	int result = ioctl(fd, request, ifr), code = errno;
	close(fd);
	return result == 0 ? 0 : fail(code);
}

static int op_ifname(char **arg)
{
	struct ifreq ifr = { 0 };
	if (strlen(arg[1]) >= IFNAMSIZ)
		return fail(EINVAL);
	strcpy(ifr.ifr_newname, arg[1]);
	return interface_ioctl(SIOCSIFNAME, &ifr, arg[0]);
}

static int op_ifmac(char **arg)
{
	struct ifreq ifr = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };
	unsigned char *m = (unsigned char *)ifr.ifr_hwaddr.sa_data;
	int end = 0;
	if (sscanf(arg[1], "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", m, m + 1, m + 2, m + 3, m + 4, m + 5, &end) != 6 ||
	    arg[1][end] != '\0')
		return fail(EINVAL);
	return interface_ioctl(SIOCSIFHWADDR, &ifr, arg[0]);
}

static int op_ifmtu(char **arg)
{
	unsigned long long mtu;
	struct ifreq ifr = { 0 };
	if (number(arg[1], 65535, &mtu) != 0)
		return -1;
	ifr.ifr_mtu = (int)mtu;
	return interface_ioctl(SIOCSIFMTU, &ifr, arg[0]);
}

static int op_ifup(char **arg)
{
	struct ifreq ifr = { 0 };
	if (interface_ioctl(SIOCGIFFLAGS, &ifr, arg[0]) != 0)
		return -1;
	ifr.ifr_flags |= IFF_UP;
	return interface_ioctl(SIOCSIFFLAGS, &ifr, arg[0]);
}

struct request {
	struct nlmsghdr head;
	union { struct ifaddrmsg addr; struct rtmsg route; } body;
	char attributes[128];
};

static void add_attribute(struct request *req, unsigned short type, const void *bytes, size_t length)
{
	struct rtattr *attr = (struct rtattr *)((char *)req + NLMSG_ALIGN(req->head.nlmsg_len));
	attr->rta_type = type;
	attr->rta_len = (unsigned short)RTA_LENGTH(length);
	memcpy(RTA_DATA(attr), bytes, length);
	req->head.nlmsg_len = NLMSG_ALIGN(req->head.nlmsg_len) + RTA_LENGTH(length);
}

static int talk(struct request *req)
{
	struct { struct nlmsghdr head; struct nlmsgerr error; char rest[1024]; } reply;
	struct timeval limit = { .tv_sec = 5 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), code = 0;
	if (fd < 0)
		return -1;
	req->head.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
	    send(fd, req, req->head.nlmsg_len, 0) < 0 || recv(fd, &reply, sizeof reply, 0) < 0)
		code = errno;
	else if (reply.head.nlmsg_type == NLMSG_ERROR)
		code = -reply.error.error;
	close(fd);
	return code == 0 ? 0 : fail(code);
}

struct prefix {
	unsigned char family, bits;
	size_t size;
	unsigned char bytes[16];
};

static int parse_prefix(char *text, struct prefix *out)
{
	char *slash = strchr(text, '/');
	unsigned long long bits;
	if (slash == NULL)
		return fail(EINVAL);
	*slash = '\0';
	out->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	out->size = out->family == AF_INET6 ? 16 : 4;
	int bad = inet_pton(out->family, text, out->bytes) != 1 || number(slash + 1, out->size * 8, &bits) != 0;
	*slash = '/';
	if (bad)
		return fail(EINVAL);
	out->bits = (unsigned char)bits;
	return 0;
}

/* addr INTERFACE CIDR. No duplicate address detection: CNI has given the address to this pod. */
static int op_addr(char **arg)
{
	struct prefix p;
	unsigned index = if_nametoindex(arg[0]);
	if (index == 0 || parse_prefix(arg[1], &p) != 0)
		return -1;
	struct request req = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof req.body.addr), .nlmsg_type = RTM_NEWADDR,
					 .nlmsg_flags = NLM_F_REPLACE } };
	req.body.addr = (struct ifaddrmsg){ .ifa_family = p.family, .ifa_prefixlen = p.bits, .ifa_index = index,
					    .ifa_flags = p.family == AF_INET6 ? IFA_F_NODAD : 0 };
	add_attribute(&req, IFA_LOCAL, p.bytes, p.size);
	add_attribute(&req, IFA_ADDRESS, p.bytes, p.size);
	return talk(&req);
}

/* route INTERFACE CIDR GATEWAY: an empty gateway is a route on the link. */
static int op_route(char **arg)
{
	struct prefix p;
	unsigned char gateway[16];
	int index = (int)if_nametoindex(arg[0]), via = arg[2][0] != '\0';
	if (index == 0 || parse_prefix(arg[1], &p) != 0)
		return -1;
	if (via && inet_pton(p.family, arg[2], gateway) != 1)
		return fail(EINVAL);
	struct request req = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof req.body.route), .nlmsg_type = RTM_NEWROUTE,
					 .nlmsg_flags = NLM_F_REPLACE } };
	/* ONLINK: some CNI plugins name a gateway outside the pod's own subnet. */
	req.body.route = (struct rtmsg){ .rtm_family = p.family, .rtm_dst_len = p.bits, .rtm_table = RT_TABLE_MAIN,
					 .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST,
					 .rtm_scope = via || p.family == AF_INET6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
					 .rtm_flags = via ? RTNH_F_ONLINK : 0 };
	if (p.bits > 0)
		add_attribute(&req, RTA_DST, p.bytes, p.size);
	if (via)
		add_attribute(&req, RTA_GATEWAY, gateway, p.size);
	add_attribute(&req, RTA_OIF, &index, sizeof index);
	return talk(&req);
}

/* ---- batches ---- */

#define MAX_ARGUMENTS 5
static const struct op {
	const char *name;
	int arguments;
	int (*run)(char **);
	int answers; /* Adds its own result when it works. */
} ops[] = {
	{ "entropy", 1, op_entropy, 0 }, { "random", 1, op_random, 1 }, { "clock", 1, op_clock, 0 },
	{ "hostname", 1, op_hostname, 0 }, { "write", 3, op_write, 0 }, { "mkdir", 2, op_mkdir, 0 },
	{ "chown", 3, op_chown, 0 }, { "mkfifo", 1, op_mkfifo, 0 }, { "chdir", 1, op_chdir, 0 }, { "mount", 5, op_mount, 0 },
	{ "umount", 1, op_umount, 0 }, { "part", 4, op_part, 0 }, { "unpart", 2, op_unpart, 0 },
	{ "growfs", 2, op_growfs, 0 },
	{ "read", 3, op_read, 1 }, { "procfile", 3, op_procfile, 0 }, { "bindinto", 4, op_bindinto, 0 },
	{ "mkpoint", 3, op_mkpoint, 0 }, { "takeroot", 3, op_takeroot, 0 }, { "sealroot", 1, op_sealroot, 0 },
	{ "ifname", 2, op_ifname, 0 },
	{ "ifmac", 2, op_ifmac, 0 }, { "ifmtu", 2, op_ifmtu, 0 }, { "ifup", 1, op_ifup, 0 },
	{ "addr", 2, op_addr, 0 }, { "route", 3, op_route, 0 }, { "bindat", 4, op_bindat, 0 },
};

/* The next NUL-ended text, or NULL when there is none before the end. */
static char *take(char **at, char *end)
{
	char *start = *at, *nul = start < end ? memchr(start, '\0', (size_t)(end - start)) : NULL;
	if (nul == NULL)
		return NULL;
	*at = nul + 1;
	return start;
}

static const struct op *find(const char *name)
{
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		if (strcmp(ops[i].name, name) == 0)
			return &ops[i];
	return NULL;
}

static void put_failure(const char *name, const char *argument, int code)
{
	char line[512];
	int n = snprintf(line, sizeof line, "%d %s \"%.300s\": %s", code, name, argument, strerror(code));
	put_result('e', line, (uint32_t)(n < (int)sizeof line ? n : (int)sizeof line - 1));
}

static void run_batch(char *at, char *end)
{
	answer_length = 0;
	while (at < end) {
		char *arg[MAX_ARGUMENTS] = { "" }, *name = take(&at, end);
		const struct op *op = name == NULL ? NULL : find(name + (name[0] == '-'));
		if (op == NULL)
			return put_failure("batch", name == NULL ? "" : name, EBADMSG);
		for (int i = 0; i < op->arguments; i++)
			if ((arg[i] = take(&at, end)) == NULL)
				return put_failure("batch", op->name, EBADMSG);
		if (op->run(arg) == 0) {
			if (!op->answers)
				put_result('k', "", 0);
			continue;
		}
		put_failure(op->name, op->run == op_entropy ? "" : arg[0], errno);
		if (name[0] != '-')
			return;
	}
}

static int transfer(int fd, char *bytes, size_t length, int out)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = out ? write(fd, bytes + done, length - done) : read(fd, bytes + done, length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

int main(void)
{
	static char batch[MAX_BATCH];
	uint32_t length;
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	while (transfer(STDIN_FILENO, (char *)&length, sizeof length, 0) == 0) {
		if (length > MAX_BATCH || transfer(STDIN_FILENO, batch, length, 0) != 0)
			return 1;
		run_batch(batch, batch + length);
		length = (uint32_t)answer_length;
		if (transfer(STDOUT_FILENO, (char *)&length, sizeof length, 1) != 0 ||
		    transfer(STDOUT_FILENO, answer, length, 1) != 0)
			return 1;
	}
	return 0;
}
