/* Requests that list folders. */
#include "files.h"

int do_opendir(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  if (!node) return errno;
  if (node->type != S_IFDIR) return ENOTDIR;
  int fd = reopen(node, O_RDONLY | O_DIRECTORY);
  int64_t id = fd < 0 ? -1 : new_handle(fd);
  if (id < 0) return errno;
  struct fuse_open_out out = {.fh = (uint64_t)id};
  put(answer, &out, sizeof out);
  return 0;
}

static void put_dirent(const struct statx *folder, const struct dirent64 *entry, struct answer *answer) {
  static const char zeros[8];
  size_t length = strlen(entry->d_name);
  struct fuse_dirent head = {.ino = told_inode(folder, entry->d_ino), .off = (uint64_t)entry->d_off, .namelen = (uint32_t)length,
                             .type = entry->d_type};
  put(answer, &head, FUSE_NAME_OFFSET);
  put(answer, entry->d_name, length);
  put(answer, zeros, FUSE_DIRENT_ALIGN(length) - length);
}

/*
 * An entry of READDIRPLUS is looked up too, and counts as a look-up. One that is gone again, or cannot
 * be held, is told by its name alone; so are `.` and `..`.
 */
static void put_looked_up(const struct node *above, const struct statx *folder, const struct dirent64 *entry, struct answer *answer) {
  struct fuse_entry_out known = {0};
  int dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
  if (dots || nodes_are_many() || enter(above, entry->d_name, &known)) known = (struct fuse_entry_out){0};
  put(answer, &known, sizeof known);
  put_dirent(folder, entry, answer);
}

static int list(const struct message *m, struct answer *answer, int plus) {
  static _Alignas(8) char raw[32768];
  struct handle *handle = handle_of(m->in.read.fh);
  struct node *node = node_of(m->head.nodeid);
  struct statx folder;
  if (!handle || !node || look(node->fd, &folder)) return errno;
  uint64_t offset = m->in.read.offset;
  size_t room = (size_t)(answer->end - answer->at), size = m->in.read.size < room ? m->in.read.size : room;
  unsigned char *end = answer->at + size;
  for (int full = 0; !full;) {
    if (handle->at != offset && lseek(handle->fd, (off_t)offset, SEEK_SET) < 0) return errno;
    handle->at = UINT64_MAX;
    long n = syscall(SYS_getdents64, handle->fd, raw, sizeof raw);
    if (n < 0) return errno;
    if (n == 0) break;
    for (long at = 0; at < n; ) {
      struct dirent64 *entry = (struct dirent64 *)(raw + at);
      size_t bytes = (plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET) + strlen(entry->d_name);
      full = FUSE_DIRENT_ALIGN(bytes) > (size_t)(end - answer->at);
      if (full) break;
      if (plus) put_looked_up(node, &folder, entry, answer);
      else put_dirent(&folder, entry, answer);
      offset = (uint64_t)entry->d_off;
      at += entry->d_reclen;
      if (at == n) handle->at = offset;
    }
  }
  return 0;
}

int do_readdir(const struct message *m, struct answer *answer) {
  return list(m, answer, 0);
}

int do_readdirplus(const struct message *m, struct answer *answer) {
  return list(m, answer, 1);
}
