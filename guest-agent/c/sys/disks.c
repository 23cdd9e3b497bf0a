/* Ranges of disks as devices of their own, and disks that have grown. */
#include <linux/blkpg.h>
#include <sys/ioctl.h>
#include "grow.h"
#include "sys.h"

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
int op_part(char **arg)
{
	return partition(arg[0], BLKPG_ADD_PARTITION, arg[1], arg[2], arg[3]);
}

int op_unpart(char **arg)
{
	return partition(arg[0], BLKPG_DEL_PARTITION, arg[1], "0", "0");
}

/* growfs ROOT BYTES: the file system that is mounted there becomes as large as its disk. */
int op_growfs(char **arg)
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
