#include "protocol.h"
#include <errno.h>
#include <limits.h>
#include <string.h>

/* What a text of a request is. */
enum text { NONE, NAME, TARGET, XATTR };

/* What follows the header: a fixed part, up to two texts, then data. */
static const struct shape {
  unsigned short known, fixed;
  unsigned char first, second, data;
} shapes[] = {
#define SHAPE(op, bytes, one, two, more) [FUSE_##op] = {1, bytes, one, two, more}
    SHAPE(LOOKUP, 0, NAME, NONE, 0),
    SHAPE(FORGET, sizeof(struct fuse_forget_in), NONE, NONE, 0),
    SHAPE(BATCH_FORGET, sizeof(struct fuse_batch_forget_in), NONE, NONE, 1),
    SHAPE(GETATTR, sizeof(struct fuse_getattr_in), NONE, NONE, 0),
    SHAPE(SETATTR, sizeof(struct fuse_setattr_in), NONE, NONE, 0),
    SHAPE(READLINK, 0, NONE, NONE, 0),
    SHAPE(SYMLINK, 0, NAME, TARGET, 0),
    SHAPE(MKNOD, sizeof(struct fuse_mknod_in), NAME, NONE, 0),
    SHAPE(MKDIR, sizeof(struct fuse_mkdir_in), NAME, NONE, 0),
    SHAPE(UNLINK, 0, NAME, NONE, 0),
    SHAPE(RMDIR, 0, NAME, NONE, 0),
    SHAPE(RENAME, sizeof(struct fuse_rename_in), NAME, NAME, 0),
    SHAPE(RENAME2, sizeof(struct fuse_rename2_in), NAME, NAME, 0),
    SHAPE(LINK, sizeof(struct fuse_link_in), NAME, NONE, 0),
    SHAPE(OPEN, sizeof(struct fuse_open_in), NONE, NONE, 0),
    SHAPE(OPENDIR, sizeof(struct fuse_open_in), NONE, NONE, 0),
    SHAPE(CREATE, sizeof(struct fuse_create_in), NAME, NONE, 0),
    SHAPE(READ, sizeof(struct fuse_read_in), NONE, NONE, 0),
    SHAPE(READDIR, sizeof(struct fuse_read_in), NONE, NONE, 0),
    SHAPE(READDIRPLUS, sizeof(struct fuse_read_in), NONE, NONE, 0),
    SHAPE(WRITE, sizeof(struct fuse_write_in), NONE, NONE, 1),
    SHAPE(RELEASE, sizeof(struct fuse_release_in), NONE, NONE, 0),
    SHAPE(RELEASEDIR, sizeof(struct fuse_release_in), NONE, NONE, 0),
    SHAPE(FSYNC, sizeof(struct fuse_fsync_in), NONE, NONE, 0),
    SHAPE(FSYNCDIR, sizeof(struct fuse_fsync_in), NONE, NONE, 0),
    SHAPE(STATFS, 0, NONE, NONE, 0),
    SHAPE(GETXATTR, sizeof(struct fuse_getxattr_in), XATTR, NONE, 0),
    SHAPE(LISTXATTR, sizeof(struct fuse_getxattr_in), NONE, NONE, 0),
    SHAPE(SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE, XATTR, NONE, 1),
    SHAPE(REMOVEXATTR, 0, XATTR, NONE, 0),
    /* A later kernel's may be longer. */
    SHAPE(INIT, offsetof(struct fuse_init_in, flags2), NONE, NONE, 1),
    SHAPE(SETLK, sizeof(struct fuse_lk_in), NONE, NONE, 0),
    SHAPE(SETLKW, sizeof(struct fuse_lk_in), NONE, NONE, 0),
    SHAPE(INTERRUPT, sizeof(struct fuse_interrupt_in), NONE, NONE, 0),
    SHAPE(FALLOCATE, sizeof(struct fuse_fallocate_in), NONE, NONE, 0),
    SHAPE(LSEEK, sizeof(struct fuse_lseek_in), NONE, NONE, 0),
    SHAPE(DESTROY, 0, NONE, NONE, 0),
};

/* One component that stays where it is; other texts only have to fit. */
static int judge(const char *text, size_t length, enum text kind) {
  if (kind == TARGET) return length == 0 ? EINVAL : length >= PATH_MAX ? ENAMETOOLONG : 0;
  if (kind == XATTR) return length == 0 || length > 255 ? ERANGE : 0;
  if (length > NAME_MAX) return ENAMETOOLONG;
  return length == 0 || memchr(text, '/', length) || strcmp(text, ".") == 0 || strcmp(text, "..") == 0 ? EINVAL : 0;
}

/* Moves `at` behind the text. NO_MESSAGE when it does not end. */
static int take(const unsigned char **at, const unsigned char *end, enum text kind, const char **to) {
  if (kind == NONE) return 0;
  const unsigned char *last = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : 0;
  if (!last) return NO_MESSAGE;
  *to = (const char *)*at;
  *at = last + 1;
  return judge(*to, (size_t)(last - (const unsigned char *)*to), kind);
}

/* What a message says about its data must be what it brings. */
static int fits(const struct message *m) {
  switch (m->head.opcode) {
  case FUSE_WRITE: return m->data_size == m->in.write.size;
  case FUSE_SETXATTR: return m->data_size == m->in.setxattr.size;
  case FUSE_BATCH_FORGET: return m->data_size == (size_t)m->in.batch_forget.count * sizeof(struct fuse_forget_one);
  default: return 1;
  }
}

int parse(const unsigned char *bytes, size_t size, struct message *to) {
  memset(to, 0, sizeof *to);
  if (size < sizeof to->head) return NO_MESSAGE;
  memcpy(&to->head, bytes, sizeof to->head);
  if (to->head.len != size) return NO_MESSAGE;
  uint32_t op = to->head.opcode;
  if (op >= sizeof shapes / sizeof *shapes || !shapes[op].known) return ENOSYS;
  const struct shape *shape = &shapes[op];
  const unsigned char *at = bytes + sizeof to->head, *end = bytes + size;
  if ((size_t)(end - at) < shape->fixed) return NO_MESSAGE;
  memcpy(&to->in, at, shape->fixed);
  at += shape->fixed;
  int first = take(&at, end, shape->first, &to->name);
  int second = first == NO_MESSAGE ? NO_MESSAGE : take(&at, end, shape->second, &to->second);
  if (second == NO_MESSAGE) return NO_MESSAGE;
  to->data = at;
  to->data_size = (size_t)(end - at);
  if (shape->data ? !fits(to) : to->data_size != 0) return NO_MESSAGE;
  return first ? first : second;
}
