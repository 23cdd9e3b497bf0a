/*
 * husk-shift: gives the files of a tree to the ids of a user namespace.
 *
 *   husk-shift ROOT UID GID LENGTHS: what belongs to uid N shall belong to UID + N, and so for groups;
 *   LENGTHS is how many uids and gids the namespace has, `65536:65536`. What belongs to an id beyond
 *   them gets the first id behind the namespace, which is nobody's in it.
 *
 * ROOT is an overlay that nobody uses yet, mounted with metacopy=on: the kernel copies owner and mode of
 * each file up, and no contents. Links are not followed. A change of owner takes set-user-ID bits and
 * file capabilities away (chown(2)): both are put back, the latter for root of the namespace.
 */
#include <errno.h>
#include <fts.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CAPS "security.capability"

struct range {
	uint32_t base, length;
};

static uint32_t shifted(struct range range, uint32_t id)
{
	return range.base + (id < range.length ? id : range.length);
}

static uint32_t number(const char *text, char end, char **rest)
{
	errno = 0;
	unsigned long value = strtoul(text, rest, 10);
	if (text[0] < '0' || text[0] > '9' || errno != 0 || value > INT32_MAX || **rest != end) {
		fprintf(stderr, "husk-shift: \"%.40s\": wanted a number\n", text);
		exit(2);
	}
	return (uint32_t)value;
}

static int restore_caps(const char *path, const struct vfs_cap_data *caps, uint32_t root)
{
	struct vfs_ns_cap_data given = { .rootid = root };
	given.magic_etc = (caps->magic_etc & VFS_CAP_FLAGS_EFFECTIVE) | VFS_CAP_REVISION_3;
	memcpy(given.data, caps->data, sizeof given.data);
	return lsetxattr(path, CAPS, &given, sizeof given, 0);
}

static int give(const FTSENT *entry, struct range uids, struct range gids)
{
	const struct stat *st = entry->fts_statp;
	const char *path = entry->fts_accpath;
	struct vfs_cap_data caps;
	int regular = S_ISREG(st->st_mode);
	int capable = regular && lgetxattr(path, CAPS, &caps, sizeof caps) == (ssize_t)XATTR_CAPS_SZ_2;
	if (lchown(path, shifted(uids, st->st_uid), shifted(gids, st->st_gid)) != 0)
		return -1;
	if (regular && (st->st_mode & (S_ISUID | S_ISGID)) != 0 && chmod(path, st->st_mode & 07777) != 0)
		return -1;
	return capable ? restore_caps(path, &caps, uids.base) : 0;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "husk-shift: wanted ROOT UID GID LENGTHS\n");
		return 2;
	}
	char *rest = NULL;
	struct range uids = { .base = number(argv[2], '\0', &rest) }, gids = { .base = number(argv[3], '\0', &rest) };
	uids.length = number(argv[4], ':', &rest);
	gids.length = number(rest + 1, '\0', &rest);
	char *const roots[] = { argv[1], NULL };
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_XDEV, NULL);
	const FTSENT *entry = NULL;
	unsigned long files = 0;
	while (walk != NULL && (errno = 0, entry = fts_read(walk)) != NULL) {
		/* Folders come twice: they are given away when all in them has been. */
		if (entry->fts_info == FTS_D)
			continue;
		int failed = entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS;
		if (failed || give(entry, uids, gids) != 0) {
			fprintf(stderr, "husk-shift: %.300s: %s\n", entry->fts_path, strerror(failed ? entry->fts_errno : errno));
			return 1;
		}
		files++;
	}
	if (walk == NULL || errno != 0) {
		fprintf(stderr, "husk-shift: %.300s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	printf("%lu\n", files);
	return 0;
}
