/* Requests about open files: their content, and their end. */
#include "files.h"

/* Numbers as on x86 Linux. O_DIRECT would want aligned buffers; NOATIME would need ownership. */
static int open_flags(uint32_t flags) {
  return (int)flags & (O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC);
}

/* What is opened to be read is read next: of a small file all goes along. Files without blocks may be no files of a disk. */
static void tell_content(struct node *node, uint64_t id, int fd) {
  static unsigned char bytes[CONTENT_BYTES];
  const uint64_t ids[] = {node_id(node), id};
  struct stat st;
  if ((node->own && node->read) || fstat(fd, &st) || st.st_blocks == 0 || st.st_size == 0 || st.st_size > CONTENT_BYTES) return;
  ssize_t n = pread(fd, bytes, sizeof bytes, 0);
  if (n != st.st_size) return;
  tell_ahead(CONTENT_NOTICE, ids, sizeof ids, bytes, (size_t)n);
  node->read = 1;
}

static int put_open(struct node *node, int fd, uint32_t flags, struct answer *answer) {
  int64_t id = new_handle(fd);
  if (id < 0) return errno;
  handle_of((uint64_t)id)->flags = flags & O_APPEND;
  if (flags & O_TRUNC) node->read = 0;
  if ((flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY) tell_content(node, (uint64_t)id, fd);
  struct fuse_open_out out = {.fh = (uint64_t)id, .open_flags = node->own ? FOPEN_KEEP_CACHE : 0};
  put(answer, &out, sizeof out);
  return 0;
}

int do_open(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  const struct fuse_open_in *in = &m->in.open;
  if (!node) return errno;
  if (node->type != S_IFREG) return ENXIO;
  int fd = reopen(node, open_flags(in->flags));
  if (fd < 0) return errno;
  if (in->flags & O_TRUNC && in->open_flags & FUSE_OPEN_KILL_SUIDGID && drop_suid(fd)) {
    close_fd(fd);
    return errno;
  }
  return put_open(node, fd, in->flags, answer);
}

/* Made for the user that asks. What has the name already is opened as any other file, or refused. */
static int made(int folder, const struct message *m) {
  const struct fuse_create_in *in = &m->in.create;
  int flags = open_flags(in->flags) | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  int fd = openat(folder, m->name, flags, in->mode & 07777);
  if (fd >= 0 || errno != EEXIST || in->flags & O_EXCL) return fd;
  int path = open_below(folder, m->name);
  if (path < 0) return -1;
  struct statx found;
  fd = look(path, &found) ? -1 : reopen(&(struct node){.fd = path, .type = found.stx_mode & S_IFMT}, open_flags(in->flags));
  close_fd(path);
  return fd;
}

/* The node is that of the open file, whatever has its name by now. */
int do_create(const struct message *m, struct answer *answer) {
  struct node *folder = node_of(m->head.nodeid);
  if (!folder) return errno;
  int fd = made(folder->fd, m);
  if (fd < 0) return errno;
  struct statx found;
  int path = openat(AT_FDCWD, again(fd), O_PATH | O_CLOEXEC);
  struct node *node = path < 0 || look(path, &found) ? 0 : hold(path, &found);
  if (!node) {
    close_fd(fd);
    return errno;
  }
  struct fuse_entry_out entry;
  node->own = (uint32_t)is_own(folder, m->name);
  tell_entry(node, &found, &entry);
  put(answer, &entry, sizeof entry);
  int code = put_open(node, fd, m->in.create.flags, answer);
  if (code) forget(node_id(node), 1);
  return code;
}

int do_read(const struct message *m, struct answer *answer) {
  struct handle *handle = handle_of(m->in.read.fh);
  size_t room = (size_t)(answer->end - answer->at), size = m->in.read.size;
  if (!handle) return errno;
  ssize_t n = pread(handle->fd, answer->at, size < room ? size : room, (off_t)m->in.read.offset);
  if (n < 0) return errno;
  answer->at += n;
  return 0;
}

/* What is appended goes to the end that the file has here. The guest may have changed the flag since it opened it. */
static void follow_append(struct handle *handle, uint32_t flags) {
  if ((flags & O_APPEND) == handle->flags) return;
  handle->flags = flags & O_APPEND;
  fcntl(handle->fd, F_SETFL, handle->flags | O_NONBLOCK);
}

int do_write(const struct message *m, struct answer *answer) {
  const struct fuse_write_in *in = &m->in.write;
  struct handle *handle = handle_of(in->fh);
  if (!handle) return errno;
  /* Pages of a mapping stand where they stand. */
  follow_append(handle, in->write_flags & FUSE_WRITE_CACHE ? 0 : in->flags);
  struct node *node = node_of(m->head.nodeid);
  if (node) node->read = 0;
  ssize_t n = pwrite(handle->fd, m->data, m->data_size, (off_t)in->offset);
  if (n < 0) return errno;
  if (in->write_flags & FUSE_WRITE_KILL_SUIDGID && drop_suid(handle->fd)) return errno;
  struct fuse_write_out out = {.size = (uint32_t)n};
  put(answer, &out, sizeof out);
  return 0;
}

int do_release(const struct message *m, struct answer *answer) {
  (void)answer;
  if (!handle_of(m->in.release.fh)) return errno;
  forget_lock_waits(m->in.release.fh);
  drop_handle(m->in.release.fh);
  return 0;
}

int do_fsync(const struct message *m, struct answer *answer) {
  struct handle *handle = handle_of(m->in.fsync.fh);
  (void)answer;
  if (!handle) return errno;
  return (m->in.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(handle->fd) : fsync(handle->fd)) ? errno : 0;
}

int do_fallocate(const struct message *m, struct answer *answer) {
  const struct fuse_fallocate_in *in = &m->in.fallocate;
  struct handle *handle = handle_of(in->fh);
  (void)answer;
  if (!handle) return errno;
  struct node *node = node_of(m->head.nodeid);
  if (node) node->read = 0;
  return fallocate(handle->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) ? errno : 0;
}

/* Where data or a hole begins. A folder's own place is not moved. */
int do_lseek(const struct message *m, struct answer *answer) {
  const struct fuse_lseek_in *in = &m->in.lseek;
  struct handle *handle = handle_of(in->fh);
  if (!handle) return errno;
  if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE) return EINVAL;
  off_t at = lseek(handle->fd, (off_t)in->offset, (int)in->whence);
  if (at < 0) return errno;
  handle->at = UINT64_MAX;
  struct fuse_lseek_out out = {.offset = (uint64_t)at};
  put(answer, &out, sizeof out);
  return 0;
}
