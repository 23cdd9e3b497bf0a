/* growfs: makes a mounted file system as large as its disk has become. For husk-sys. */
#ifndef HUSK_GROW_H
#define HUSK_GROW_H
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

/* As in the kernel: fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h. */
#define GROW_EXT4 _IOW('f', 16, uint64_t)
struct xfs_geometry_v1 {
	uint32_t blocksize, rtextsize, agblocks, agcount, logblocks, sectsize, inodesize, imaxpct;
	uint64_t datablocks, rtblocks, rtextents, logstart;
	uint8_t uuid[16];
	uint32_t sunit, swidth;
	int32_t version;
	uint32_t flags, logsectsize, rtsectsize, dirblocksize;
};
#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry_v1)
struct xfs_grow {
	uint64_t newblocks;
	uint32_t imaxpct;
};
#define GROW_XFS _IOW('X', 110, struct xfs_grow)

static int grow_xfs(int fd, uint64_t bytes)
{
	struct xfs_geometry_v1 now;
	if (ioctl(fd, XFS_GEOMETRY, &now) != 0)
		return -1;
	struct xfs_grow wanted = { .newblocks = bytes / now.blocksize, .imaxpct = now.imaxpct };
	return wanted.newblocks <= now.datablocks ? 0 : ioctl(fd, GROW_XFS, &wanted);
}

/* To at most so many bytes; one that is as large already stays. Neither file system shrinks while it is mounted. */
static int grow_to(int fd, uint64_t bytes)
{
	struct statfs fs;
	if (fstatfs(fd, &fs) != 0)
		return -1;
	if (fs.f_type == XFS_SUPER_MAGIC)
		return grow_xfs(fd, bytes);
	if (fs.f_type == EXT4_SUPER_MAGIC) {
		uint64_t blocks = bytes / (uint64_t)fs.f_bsize;
		return ioctl(fd, GROW_EXT4, &blocks);
	}
	errno = EOPNOTSUPP;
	return -1;
}

#endif
