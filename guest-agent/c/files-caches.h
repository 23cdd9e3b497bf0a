/* What the guest's kernel keeps of files: for husk-files. */
#ifndef HUSK_FILES_CACHES_H
#define HUSK_FILES_CACHES_H
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_AHEAD_KIB 2048

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t ignored = write(fd, text, strlen(text));
	(void)ignored;
	close(fd);
}

/* What is read one after the other is asked for ahead: several requests are on their way at a time. */
static void read_ahead(const char *target)
{
	char path[80], kib[16];
	struct statx st;
	/* What the kernel knows itself: the thread that asks is the one that would take the answer. */
	if (statx(AT_FDCWD, target, AT_STATX_DONT_SYNC, STATX_TYPE, &st) != 0)
		return;
	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", st.stx_dev_major, st.stx_dev_minor);
	snprintf(kib, sizeof kib, "%d", READ_AHEAD_KIB);
	write_text(path, kib);
}

/* Files that nothing uses leave the kernel's caches, and it tells the server. Not waited for: that would stop answers. */
static void forget_unused(void)
{
	if (fork() != 0)
		return;
	write_text("/proc/sys/vm/drop_caches", "2");
	_exit(0);
}

#endif
