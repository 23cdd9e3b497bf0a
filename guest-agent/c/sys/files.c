/* Files and folders; also of hostile trees, whose links lead nowhere (mkpoint, read). */
#include "sys.h"

/* write PATH MODE TEXT: makes or replaces the content; also for /proc/sys. */
int op_write(char **arg)
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

int op_mkdir(char **arg)
{
	unsigned long long mode;
	if (number(arg[1], 07777, &mode) != 0)
		return -1;
	return mkdir(arg[0], (mode_t)mode) == 0 || errno == EEXIST ? 0 : -1;
}

/* chown PATH UID GID: of what we made ourselves; a link is not followed. */
int op_chown(char **arg)
{
	unsigned long long uid, gid;
	if (number(arg[1], INT32_MAX, &uid) != 0 || number(arg[2], INT32_MAX, &gid) != 0)
		return -1;
	return lchown(arg[0], (uid_t)uid, (gid_t)gid);
}

int op_mkfifo(char **arg)
{
	return mkfifo(arg[0], 0600);
}

int op_chdir(char **arg)
{
	return chdir(arg[0]);
}

int open_in(int root, const char *path, uint64_t flags, uint64_t resolve)
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
int op_read(char **arg)
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

/* mkpoint ROOT PATH KIND: a mount point, `dir` or `file`, in a tree that may hold links: none is followed. */
int op_mkpoint(char **arg)
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
