/*
 * What the server tells ahead of being asked: for husk-files, which answers the kernel with it.
 *
 * After it changed a folder the kernel asks for the folder's attributes before the next name in it; after it opened a
 * file it reads it. The server sends both before the answer that the kernel waits for, so what is here is never older than
 * what the kernel has been told. It counts for a tick or so, and once for content.
 */
#ifndef HUSK_FILES_AHEAD_H
#define HUSK_FILES_AHEAD_H
#include <linux/fuse.h>
#include <string.h>
#include <time.h>

/* As in src/volumes/c/share.h. */
#define FOLDER_NOTICE 1001
#define CONTENT_NOTICE 1002
#define CONTENT_BYTES 4096
#define FOLDERS 4
#define CONTENTS 4
/* What the kernel holds counts longer. */
#define AHEAD_NS 4000000L

static struct known_folder {
	struct timespec told;
	__u64 node;
	struct fuse_attr_out attr;
} known_folders[FOLDERS];

static struct known_content {
	struct timespec told;
	__u64 node, handle;
	size_t size;
	char bytes[CONTENT_BYTES];
} known_contents[CONTENTS];

static int is_fresh(const struct timespec *told)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - told->tv_sec) * 1000000000L + now.tv_nsec - told->tv_nsec < AHEAD_NS;
}

static void keep_folder(const char *bytes, size_t size)
{
	static unsigned next;
	struct known_folder *to = NULL;
	__u64 node;
	if (size != sizeof node + sizeof to->attr)
		return;
	memcpy(&node, bytes, sizeof node);
	for (size_t i = 0; i < FOLDERS && to == NULL; i++)
		if (known_folders[i].node == node)
			to = &known_folders[i];
	if (to == NULL)
		to = &known_folders[next++ % FOLDERS];
	to->node = node;
	memcpy(&to->attr, bytes + sizeof node, sizeof to->attr);
	clock_gettime(CLOCK_MONOTONIC, &to->told);
}

static void keep_content(const char *bytes, size_t size)
{
	static unsigned next;
	struct known_content *to = &known_contents[next++ % CONTENTS];
	if (size < 2 * sizeof(__u64) || size - 2 * sizeof(__u64) > CONTENT_BYTES)
		return;
	memcpy(&to->node, bytes, sizeof to->node);
	memcpy(&to->handle, bytes + sizeof to->node, sizeof to->handle);
	to->size = size - 2 * sizeof(__u64);
	memcpy(to->bytes, bytes + 2 * sizeof(__u64), to->size);
	clock_gettime(CLOCK_MONOTONIC, &to->told);
}

/* A request about the node may change it, or its number may be another file's afterwards; 0: any node. */
static void drop_known(__u64 node)
{
	for (size_t i = 0; i < FOLDERS; i++)
		if (node == 0 || known_folders[i].node == node)
			known_folders[i].node = 0;
	for (size_t i = 0; i < CONTENTS; i++)
		if (node == 0 || known_contents[i].node == node)
			known_contents[i].node = 0;
}

/* The body of an answer; NULL when it must be asked for. */
static const void *known_attributes(__u64 node, size_t *size)
{
	for (size_t i = 0; i < FOLDERS; i++) {
		if (known_folders[i].node != node || !is_fresh(&known_folders[i].told))
			continue;
		*size = sizeof known_folders[i].attr;
		return &known_folders[i].attr;
	}
	return NULL;
}

/* All of a small file, for the first that reads from its beginning. */
static const void *known_bytes(const char *request, size_t *size)
{
	struct fuse_in_header head;
	struct fuse_read_in in;
	memcpy(&head, request, sizeof head);
	memcpy(&in, request + sizeof head, sizeof in);
	for (size_t i = 0; i < CONTENTS; i++) {
		struct known_content *found = &known_contents[i];
		if (found->node != head.nodeid || found->handle != in.fh)
			continue;
		found->node = 0;
		if (in.offset != 0 || in.size < found->size || !is_fresh(&found->told))
			return NULL;
		*size = found->size;
		return found->bytes;
	}
	return NULL;
}

#endif
