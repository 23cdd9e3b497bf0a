/* Requests that the host need not be asked at once: for husk-files. */
#ifndef HUSK_FILES_REQUESTS_H
#define HUSK_FILES_REQUESTS_H
#include <linux/fuse.h>
#include <string.h>

/*
 * What the kernel asks before the first write to a file, as `__vfs_getxattr` does: whether it has capabilities that the
 * write must take away. The host's kernel takes them away itself. Programs give room for the value.
 */
static int asks_for_capabilities(const char *bytes, size_t size)
{
	static const char name[] = "security.capability";
	struct fuse_getxattr_in in;
	size_t at = sizeof(struct fuse_in_header) + sizeof in;
	memcpy(&in, bytes + at - sizeof in, sizeof in);
	return in.size == 0 && size == at + sizeof name && memcmp(bytes + at, name, sizeof name) == 0;
}

/* The end of an open file whose lock is not waited for by others. */
static int just_ends(const char *bytes)
{
	struct fuse_release_in in;
	memcpy(&in, bytes + sizeof(struct fuse_in_header), sizeof in);
	return (in.release_flags & FUSE_RELEASE_FLOCK_UNLOCK) == 0;
}

/* Whether it is about two nodes. */
static int names_two(__u32 opcode)
{
	return opcode == FUSE_RENAME || opcode == FUSE_RENAME2 || opcode == FUSE_LINK;
}

/* Nobody waits for an interrupt itself, but it goes at once. */
static int has_answer(const char *bytes)
{
	struct fuse_in_header head;
	memcpy(&head, bytes, sizeof head);
	return head.opcode != FUSE_INTERRUPT;
}

#endif
