/* Requests about files as such: attributes, extended ones, links, the file system. */
#include "files.h"
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <time.h>

enum { MAX_DEVICES = 255, RACY_MS = 50 };

int look(int fd, struct statx *to) {
  return statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_MNT_ID, to);
}

const char *again(int fd) {
  static char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return path;
}

/* File systems that were seen, of all servers of the session. */
static struct seen {
  dev_t device[MAX_DEVICES];
  int devices;
} *seen;

void start_attributes(void) {
  seen = shared(sizeof *seen);
}

/* Inode numbers repeat on other file systems: the number of the file system goes into the top byte. */
uint64_t told_inode(const struct statx *from, uint64_t inode) {
  dev_t wanted = makedev(from->stx_dev_major, from->stx_dev_minor);
  int i = 0;
  while (i < seen->devices && seen->device[i] != wanted) i++;
  if (i == seen->devices && i < MAX_DEVICES) seen->device[seen->devices++] = wanted;
  return inode ^ ((uint64_t)i << 56);
}

/*
 * The guest drops pages of a file whose time of change is another than it knew. A file that was changed just now can
 * be changed again within the same tick of the host's clock, so its time is told one nanosecond off: the next look,
 * with the true one, drops what was read in between.
 */
static uint32_t told_mtime(const struct statx *from, int own) {
  struct timespec now;
  uint32_t ns = from->stx_mtime.tv_nsec;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  int64_t age = (now.tv_sec - from->stx_mtime.tv_sec) * 1000 + (now.tv_nsec - (int64_t)ns) / 1000000;
  return !own && S_ISREG(from->stx_mode) && age >= 0 && age < RACY_MS ? ns ^ 1 : ns;
}

void fill_attr(const struct statx *from, int own, struct fuse_attr *to) {
  *to = (struct fuse_attr){
      .ino = told_inode(from, from->stx_ino),
      .size = from->stx_size,
      .blocks = from->stx_blocks,
      .atime = (uint64_t)from->stx_atime.tv_sec,
      .mtime = (uint64_t)from->stx_mtime.tv_sec,
      .ctime = (uint64_t)from->stx_ctime.tv_sec,
      .atimensec = from->stx_atime.tv_nsec,
      .mtimensec = told_mtime(from, own),
      .ctimensec = from->stx_ctime.tv_nsec,
      .mode = from->stx_mode,
      .nlink = from->stx_nlink,
      .uid = from->stx_uid,
      .gid = from->stx_gid,
      .rdev = (uint32_t)makedev(from->stx_rdev_major, from->stx_rdev_minor),
      .blksize = from->stx_blksize,
  };
}

static int attributes_of(const struct node *node, struct fuse_attr_out *out) {
  struct statx found;
  *out = (struct fuse_attr_out){.attr_valid = node->own ? OWN_VALID_SECONDS : 0, .attr_valid_nsec = node->own ? 0 : VALID_NS};
  if (look(node->fd, &found)) return errno;
  fill_attr(&found, (int)node->own, &out->attr);
  return 0;
}

static int put_attr(const struct node *node, struct answer *answer) {
  struct fuse_attr_out out;
  int code = attributes_of(node, &out);
  if (code == 0) put(answer, &out, sizeof out);
  return code;
}

void tell_folder(const struct node *folder) {
  struct fuse_attr_out out;
  uint64_t id = node_id(folder);
  if (attributes_of(folder, &out) == 0) tell_ahead(FOLDER_NOTICE, &id, sizeof id, &out, sizeof out);
}

int do_getattr(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  return node ? put_attr(node, answer) : errno;
}

/* Opens the file of the node anew. Never a device, fifo or socket: they act when they are opened. */
int reopen(const struct node *node, int flags) {
  errno = ENXIO;
  if (node->type != S_IFREG && node->type != S_IFDIR) return -1;
  return openat(AT_FDCWD, again(node->fd), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* As Linux does for a writer without CAP_FSETID, which this process has. */
int drop_suid(int fd) {
  struct stat st;
  if (fstat(fd, &st)) return -1;
  mode_t gone = st.st_mode & S_ISUID;
  if (st.st_mode & S_IXGRP) gone |= st.st_mode & S_ISGID;
  return gone ? chmod(again(fd), st.st_mode & 07777 & ~gone) : 0;
}

static int set_size(const struct node *node, const struct fuse_setattr_in *in) {
  struct handle *open = in->valid & FATTR_FH ? handle_of(in->fh) : 0;
  int own = open ? -1 : reopen(node, O_WRONLY), fd = open ? open->fd : own;
  if (fd < 0) return -1;
  int result = ftruncate(fd, (off_t)in->size);
  if (result == 0 && in->valid & FATTR_KILL_SUIDGID) result = drop_suid(fd);
  close_fd(own);
  return result;
}

static int set_times(const struct node *node, const struct fuse_setattr_in *in) {
  struct timespec times[2] = {{(time_t)in->atime, in->atimensec}, {(time_t)in->mtime, in->mtimensec}};
  if (!(in->valid & FATTR_ATIME)) times[0].tv_nsec = UTIME_OMIT;
  else if (in->valid & FATTR_ATIME_NOW) times[0].tv_nsec = UTIME_NOW;
  if (!(in->valid & FATTR_MTIME)) times[1].tv_nsec = UTIME_OMIT;
  else if (in->valid & FATTR_MTIME_NOW) times[1].tv_nsec = UTIME_NOW;
  return utimensat(node->fd, "", times, AT_EMPTY_PATH);
}

int do_setattr(const struct message *m, struct answer *answer) {
  const struct fuse_setattr_in *in = &m->in.setattr;
  struct node *node = node_of(m->head.nodeid);
  if (!node) return errno;
  if (in->valid & (FATTR_UID | FATTR_GID)) {
    uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
    gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
    if (fchownat(node->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) return errno;
  }
  if (in->valid & FATTR_MODE) {
    if (node->type == S_IFLNK) return EOPNOTSUPP;
    if (chmod(again(node->fd), in->mode & 07777)) return errno;
  }
  if (in->valid & FATTR_SIZE) node->read = 0;
  if (in->valid & FATTR_SIZE && set_size(node, in)) return errno;
  if (in->valid & (FATTR_ATIME | FATTR_MTIME) && set_times(node, in)) return errno;
  return put_attr(node, answer);
}

int do_readlink(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  char target[PATH_MAX];
  if (!node) return errno;
  ssize_t n = readlinkat(node->fd, "", target, sizeof target);
  if (n < 0) return errno;
  put(answer, target, (size_t)n);
  return 0;
}

int do_statfs(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  struct statfs fs;
  if (!node || fstatfs(node->fd, &fs)) return errno;
  struct fuse_statfs_out out = {.st = {.blocks = fs.f_blocks, .bfree = fs.f_bfree, .bavail = fs.f_bavail,
                                       .files = fs.f_files, .ffree = fs.f_ffree, .bsize = (uint32_t)fs.f_bsize,
                                       .namelen = (uint32_t)fs.f_namelen, .frsize = (uint32_t)fs.f_frsize}};
  put(answer, &out, sizeof out);
  return 0;
}

/* A size of 0 asks for the size. */
static int put_value(const char *value, ssize_t n, uint32_t room, struct answer *answer) {
  struct fuse_getxattr_out out = {.size = (uint32_t)n};
  if (n < 0) return errno;
  if (room == 0) put(answer, &out, sizeof out);
  else if ((size_t)n > room) return ERANGE;
  else put(answer, value, (size_t)n);
  return 0;
}

static char value[MAX_XATTR];

int do_getxattr(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  if (!node) return errno;
  return put_value(value, getxattr(again(node->fd), m->name, value, sizeof value), m->in.getxattr.size, answer);
}

int do_listxattr(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  if (!node) return errno;
  return put_value(value, listxattr(again(node->fd), value, sizeof value), m->in.getxattr.size, answer);
}

int do_setxattr(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  (void)answer;
  if (!node) return errno;
  if (m->data_size > MAX_XATTR) return E2BIG;
  return setxattr(again(node->fd), m->name, m->data, m->data_size, (int)m->in.setxattr.flags) ? errno : 0;
}

int do_removexattr(const struct message *m, struct answer *answer) {
  struct node *node = node_of(m->head.nodeid);
  (void)answer;
  return node && removexattr(again(node->fd), m->name) == 0 ? 0 : errno;
}
