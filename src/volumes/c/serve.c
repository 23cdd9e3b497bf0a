/*
 * The 9P2000.L server of husk-share (protocol: diod's protocol.md; messages as Linux's net/9p sends them).
 *
 * One request at a time, in the order they come: a request waits at most for the file system that it
 * is for. Whatever is wrong with a message as such ends the session; what is wrong with a request is
 * answered with Rlerror.
 */
#define _GNU_SOURCE
#include "share.h"


enum { Rlerror = 7, Tstatfs = 8, Tlopen = 12, Tlcreate = 14, Tsymlink = 16, Tmknod = 18, Treadlink = 22, Tgetattr = 24,
       Tsetattr = 26, Txattrwalk = 30, Txattrcreate = 32, Treaddir = 40, Tfsync = 50, Tlock = 52, Tgetlock = 54, Tlink = 70,
       Tmkdir = 72, Trenameat = 74, Tunlinkat = 76, Tversion = 100, Tattach = 104, Tflush = 108, Twalk = 110, Tread = 116,
       Twrite = 118, Tclunk = 120 };
enum { HEAD = 7, BUCKETS = 4096, MAX_XATTR = 65536, MAX_DEVICES = 255, WALK_NAMES = 16 };
enum { QID_FOLDER = 0x80, QID_LINK = 0x02, QID_BYTES = 13 };

struct fid {
  struct fid *next;
  uint32_t id, uid;
  int path;                /* O_PATH: the file itself; -1 for an extended attribute */
  int io;                  /* opened for reading or writing, or -1 */
  uint64_t dir_at;         /* where io, a folder, stands */
  char *xattr;             /* its value, while one is read or written */
  size_t xattr_size, xattr_done;
  char xattr_name[XATTR_NAME_MAX + 1];
  int xattr_target, xattr_flags; /* a descriptor of what it is to be set on, or -1 */
};

static struct {
  int link, root;
  uint32_t msize, fids;
  struct fid *bucket[BUCKETS];
  dev_t device[MAX_DEVICES];
  int devices;
  uint32_t fsuid, fsgid;
  /* request */
  unsigned char *in, *in_end;
  int bad;
  /* reply */
  unsigned char *out, *out_at;
} s;

static unsigned char request[MAX_MESSAGE], reply[MAX_MESSAGE];

/* ---- the wire: little endian, counted ---- */

static uint64_t get(int bytes) {
  uint64_t value = 0;
  if (s.in_end - s.in < bytes) {
    s.bad = 1;
    return 0;
  }
  for (int i = 0; i < bytes; i++) value |= (uint64_t)s.in[i] << (8 * i);
  s.in += bytes;
  return value;
}

/* A counted text; NULs inside are an error, and room for `size` with the one at the end is needed. */
static void get_text(char *to, size_t size) {
  size_t n = get(2);
  to[0] = 0;
  if ((size_t)(s.in_end - s.in) < n || n >= size || memchr(s.in, 0, n)) {
    s.bad = s.bad || (size_t)(s.in_end - s.in) < n;
    s.in += s.bad ? 0 : n;
    return; /* empty: refused as a name */
  }
  memcpy(to, s.in, n);
  to[n] = 0;
  s.in += n;
}

static void put(uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) *s.out_at++ = (unsigned char)(value >> (8 * i));
}

static void put_bytes(const void *bytes, size_t n) {
  memcpy(s.out_at, bytes, n);
  s.out_at += n;
}

/* ---- files ---- */

/* One component that stays where it is. */
static int is_name(const char *name) {
  return name[0] != 0 && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Inode numbers repeat on other file systems: the number of the file system goes into the top byte. */
static uint64_t qid_path(dev_t device, uint64_t inode) {
  int i = 0;
  while (i < s.devices && s.device[i] != device) i++;
  if (i == s.devices && s.devices < MAX_DEVICES) s.device[s.devices++] = device;
  return inode ^ ((uint64_t)i << 56);
}

/* Version 0: the guest's kernel caches no content, so that every reader sees the latest (fs/9p/fid.h). */
static void put_qid(const struct stat *st) {
  put(S_ISDIR(st->st_mode) ? QID_FOLDER : S_ISLNK(st->st_mode) ? QID_LINK : 0, 1);
  put(0, 4);
  put(qid_path(st->st_dev, st->st_ino), 8);
}

static int stat_fd(int fd, struct stat *st) {
  return fstatat(fd, "", st, AT_EMPTY_PATH);
}

/* The descriptor once more, for calls that want a path; this /proc is the server's own. */
static const char *again(int fd) {
  static char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return path;
}

/* The user for what is made, and for servers behind the file system that ask who it is. */
static void act_as(uint32_t uid, uint32_t gid) {
  if (s.fsgid != gid) syscall(SYS_setfsgid, s.fsgid = gid);
  if (s.fsuid != uid) syscall(SYS_setfsuid, s.fsuid = uid);
}

static void close_fd(int fd) {
  if (fd >= 0) close(fd);
}

/* ---- fids ---- */

static struct fid **slot(uint32_t id) {
  struct fid **at = &s.bucket[(id * 2654435761u) >> 20];
  while (*at && (*at)->id != id) at = &(*at)->next;
  return at;
}

/* The fid that a request names; acts as its user from here on. */
static struct fid *fid(void) {
  struct fid *found = *slot((uint32_t)get(4));
  if (!found) {
    errno = EBADF;
    return 0;
  }
  act_as(found->uid, 0);
  return found;
}

static struct fid *new_fid(uint32_t id, uint32_t uid, int path) {
  struct fid **at = slot(id), *made;
  errno = *at ? EEXIST : EMFILE;
  if (*at || s.fids == FID_LIMIT || !(made = calloc(1, sizeof *made))) {
    close_fd(path);
    return 0;
  }
  made->id = id;
  made->uid = uid;
  made->path = path;
  made->io = made->xattr_target = -1;
  s.fids++;
  return *at = made;
}

static void drop_fid(uint32_t id) {
  struct fid **at = slot(id), *gone = *at;
  *at = gone->next;
  close_fd(gone->path);
  close_fd(gone->io);
  close_fd(gone->xattr_target);
  free(gone->xattr);
  free(gone);
  s.fids--;
}

static void drop_all(void) {
  for (int i = 0; i < BUCKETS; i++)
    while (s.bucket[i]) drop_fid(s.bucket[i]->id);
}

/* ---- requests: 0 is answered with what was put, -1 with errno ---- */

static int do_version(void) {
  char version[32];
  uint32_t asked = (uint32_t)get(4);
  get_text(version, sizeof version);
  drop_all();
  s.msize = asked < MAX_MESSAGE ? asked : MAX_MESSAGE;
  if (s.msize < 4096) {
    s.bad = 1;
    return -1;
  }
  const char *answer = strcmp(version, "9P2000.L") == 0 ? version : "unknown";
  put(s.msize, 4);
  put(strlen(answer), 2);
  put_bytes(answer, strlen(answer));
  return 0;
}

static int do_attach(void) {
  char user[256], tree[256];
  struct stat st;
  uint32_t id = (uint32_t)get(4);
  get(4); /* afid: there is no authentication, the channel belongs to one VM */
  get_text(user, sizeof user);
  get_text(tree, sizeof tree);
  uint32_t uid = (uint32_t)get(4);
  int path = fcntl(s.root, F_DUPFD_CLOEXEC, 0);
  if (path < 0) return -1;
  if (!new_fid(id, uid == UINT32_MAX ? 0 : uid, path) || stat_fd(path, &st)) return -1;
  put_qid(&st);
  return 0;
}

/* All names, or the fid is not made; a partial walk answers with the qids that it found. */
static int do_walk(void) {
  struct fid *from = fid();
  uint32_t id = (uint32_t)get(4), names = (uint32_t)get(2), found = 0;
  char name[NAME_MAX + 1];
  struct stat st;
  if (!from) return -1;
  if (names > WALK_NAMES || from->path < 0) {
    errno = EINVAL;
    return -1;
  }
  int at = fcntl(from->path, F_DUPFD_CLOEXEC, 0);
  unsigned char *count = s.out_at;
  put(0, 2);
  for (; at >= 0 && found < names; found++) {
    get_text(name, sizeof name);
    errno = ENOENT;
    int next = is_name(name) ? openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (next >= 0 && stat_fd(next, &st)) {
      close_fd(next);
      next = -1;
    }
    if (next < 0) break;
    close(at);
    at = next;
    put_qid(&st);
  }
  int code = errno;
  count[0] = (unsigned char)found;
  if (at < 0 || (found < names && found == 0)) {
    close_fd(at);
    errno = code;
    return -1;
  }
  if (found < names) {
    close(at);
    return 0;
  }
  uint32_t uid = from->uid;
  if (id == from->id) drop_fid(id);
  return new_fid(id, uid, at) ? 0 : -1;
}

static int do_getattr(void) {
  struct fid *f = fid();
  struct stat st;
  get(8);
  if (!f || stat_fd(f->path, &st)) return -1;
  put(0x7ff, 8); /* everything but birth time, generation and data version */
  put_qid(&st);
  put(st.st_mode, 4);
  put(st.st_uid, 4);
  put(st.st_gid, 4);
  put(st.st_nlink, 8);
  put(st.st_rdev, 8);
  put((uint64_t)st.st_size, 8);
  put((uint64_t)st.st_blksize, 8);
  put((uint64_t)st.st_blocks, 8);
  put((uint64_t)st.st_atim.tv_sec, 8);
  put((uint64_t)st.st_atim.tv_nsec, 8);
  put((uint64_t)st.st_mtim.tv_sec, 8);
  put((uint64_t)st.st_mtim.tv_nsec, 8);
  put((uint64_t)st.st_ctim.tv_sec, 8);
  put((uint64_t)st.st_ctim.tv_nsec, 8);
  for (int i = 0; i < 4; i++) put(0, 8);
  return 0;
}

/* Opens the file of the fid anew. Never a device, fifo or socket: they act when they are opened. */
static int reopen(struct fid *f, int flags) {
  struct stat st;
  if (stat_fd(f->path, &st)) return -1;
  if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
    errno = ENXIO;
    return -1;
  }
  return openat(AT_FDCWD, again(f->path), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int set_size(struct fid *f, uint64_t size) {
  if (f->io >= 0 && (fcntl(f->io, F_GETFL) & O_ACCMODE) != O_RDONLY) return ftruncate(f->io, (off_t)size);
  int io = reopen(f, O_WRONLY), result = io < 0 ? -1 : ftruncate(io, (off_t)size), code = errno;
  close_fd(io);
  errno = code;
  return result;
}

enum { SET_MODE = 1, SET_UID = 2, SET_GID = 4, SET_SIZE = 8, SET_ATIME = 0x10, SET_MTIME = 0x20, GIVEN_ATIME = 0x80, GIVEN_MTIME = 0x100 };

static int do_setattr(void) {
  struct fid *f = fid();
  uint32_t valid = (uint32_t)get(4), mode = (uint32_t)get(4), uid = (uint32_t)get(4), gid = (uint32_t)get(4);
  uint64_t size = get(8);
  struct timespec times[2];
  for (int i = 0; i < 2; i++) {
    times[i].tv_sec = (time_t)get(8);
    times[i].tv_nsec = (long)get(8);
  }
  if (!f || s.bad) return -1;
  if (valid & (SET_UID | SET_GID)) {
    uid_t to_uid = valid & SET_UID ? uid : (uid_t)-1;
    gid_t to_gid = valid & SET_GID ? gid : (gid_t)-1;
    if (fchownat(f->path, "", to_uid, to_gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) return -1;
  }
  if (valid & SET_MODE) {
    struct stat st;
    if (stat_fd(f->path, &st)) return -1;
    if (S_ISLNK(st.st_mode)) {
      errno = EOPNOTSUPP;
      return -1;
    }
    if (chmod(again(f->path), mode & 07777)) return -1;
  }
  if (valid & SET_SIZE && set_size(f, size)) return -1;
  if (valid & (SET_ATIME | SET_MTIME)) {
    if (!(valid & SET_ATIME)) times[0].tv_nsec = UTIME_OMIT;
    else if (!(valid & GIVEN_ATIME)) times[0].tv_nsec = UTIME_NOW;
    if (!(valid & SET_MTIME)) times[1].tv_nsec = UTIME_OMIT;
    else if (!(valid & GIVEN_MTIME)) times[1].tv_nsec = UTIME_NOW;
    if (utimensat(f->path, "", times, AT_EMPTY_PATH)) return -1;
  }
  return 0;
}

/* Numbers as on x86 Linux. O_DIRECT would want aligned buffers; NOATIME would need ownership. */
static int open_flags(uint32_t flags) {
  int kept = (int)flags & (O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC | O_EXCL);
  return kept & ~(flags & O_CREAT ? 0 : O_EXCL);
}

static int do_lopen(void) {
  struct fid *f = fid();
  uint32_t flags = (uint32_t)get(4);
  struct stat st;
  if (!f || s.bad) return -1;
  errno = EBUSY;
  if (f->io >= 0 || f->path < 0) return -1;
  int io = reopen(f, open_flags(flags & ~(uint32_t)O_CREAT) | (int)(flags & O_DIRECTORY));
  if (io < 0) return -1;
  if (fstat(io, &st)) {
    close(io);
    return -1;
  }
  f->io = io;
  f->dir_at = 0;
  put_qid(&st);
  put(0, 4);
  return 0;
}

static int do_lcreate(void) {
  struct fid *f = fid();
  char name[NAME_MAX + 1];
  struct stat st;
  get_text(name, sizeof name);
  uint32_t flags = (uint32_t)get(4), mode = (uint32_t)get(4), gid = (uint32_t)get(4);
  if (!f || s.bad) return -1;
  errno = f->io >= 0 ? EBUSY : EINVAL;
  if (f->io >= 0 || f->path < 0 || !is_name(name)) return -1;
  /* What has the name already is opened as any other file, or refused. */
  int path = openat(f->path, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (path >= 0 && flags & O_EXCL) {
    close(path);
    errno = EEXIST;
    return -1;
  }
  struct fid old = {.path = path};
  int io;
  if (path >= 0) {
    io = reopen(&old, open_flags(flags & ~(uint32_t)(O_CREAT | O_EXCL)));
  } else {
    act_as(f->uid, gid);
    io = openat(f->path, name, open_flags(flags) | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode & 07777);
    if (io >= 0) path = openat(AT_FDCWD, again(io), O_PATH | O_CLOEXEC);
  }
  if (io < 0 || path < 0 || fstat(io, &st)) {
    int code = errno;
    close_fd(io);
    close_fd(path);
    errno = code;
    return -1;
  }
  close(f->path);
  f->path = path;
  f->io = io;
  put_qid(&st);
  put(0, 4);
  return 0;
}

/* Answers with the qid of what was just made. */
static int made(struct fid *folder, const char *name) {
  struct stat st;
  if (fstatat(folder->path, name, &st, AT_SYMLINK_NOFOLLOW)) return -1;
  put_qid(&st);
  return 0;
}

static int do_symlink(void) {
  struct fid *f = fid();
  char name[NAME_MAX + 1], target[PATH_MAX];
  get_text(name, sizeof name);
  get_text(target, sizeof target);
  uint32_t gid = (uint32_t)get(4);
  if (!f || s.bad) return -1;
  errno = EINVAL;
  if (!is_name(name)) return -1;
  act_as(f->uid, gid);
  return symlinkat(target, f->path, name) ? -1 : made(f, name);
}

static int do_mknod(void) {
  struct fid *f = fid();
  char name[NAME_MAX + 1];
  get_text(name, sizeof name);
  uint32_t mode = (uint32_t)get(4);
  get(8);
  uint32_t gid = (uint32_t)get(4);
  if (!f || s.bad) return -1;
  errno = EINVAL;
  if (!is_name(name)) return -1;
  errno = EPERM;
  if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode)) return -1;
  act_as(f->uid, gid);
  return mknodat(f->path, name, mode & (S_IFMT | 07777), 0) ? -1 : made(f, name);
}

static int do_mkdir(void) {
  struct fid *f = fid();
  char name[NAME_MAX + 1];
  get_text(name, sizeof name);
  uint32_t mode = (uint32_t)get(4), gid = (uint32_t)get(4);
  if (!f || s.bad) return -1;
  errno = EINVAL;
  if (!is_name(name)) return -1;
  act_as(f->uid, gid);
  return mkdirat(f->path, name, mode & 07777) ? -1 : made(f, name);
}

static int do_readlink(void) {
  struct fid *f = fid();
  char target[PATH_MAX];
  if (!f) return -1;
  ssize_t n = readlinkat(f->path, "", target, sizeof target);
  if (n < 0) return -1;
  put((uint64_t)n, 2);
  put_bytes(target, (size_t)n);
  return 0;
}

static int do_link(void) {
  struct fid *folder = fid(), *f = fid();
  char name[NAME_MAX + 1];
  get_text(name, sizeof name);
  if (!folder || !f || s.bad) return -1;
  errno = EINVAL;
  if (!is_name(name)) return -1;
  return linkat(AT_FDCWD, again(f->path), folder->path, name, AT_SYMLINK_FOLLOW);
}

static int do_renameat(void) {
  char from[NAME_MAX + 1], to[NAME_MAX + 1];
  struct fid *old = fid();
  get_text(from, sizeof from);
  struct fid *new = fid();
  get_text(to, sizeof to);
  if (!old || !new || s.bad) return -1;
  errno = EINVAL;
  if (!is_name(from) || !is_name(to)) return -1;
  return renameat(old->path, from, new->path, to);
}

static int do_unlinkat(void) {
  struct fid *f = fid();
  char name[NAME_MAX + 1];
  get_text(name, sizeof name);
  uint32_t flags = (uint32_t)get(4);
  if (!f || s.bad) return -1;
  errno = EINVAL;
  if (!is_name(name)) return -1;
  return unlinkat(f->path, name, flags & AT_REMOVEDIR);
}

/* The count that fits into one answer of this session. */
static uint32_t fitting(uint32_t count, uint32_t head) {
  uint32_t most = s.msize - HEAD - head;
  return count < most ? count : most;
}

static int do_readdir(void) {
  struct fid *f = fid();
  uint64_t offset = get(8);
  uint32_t room = fitting((uint32_t)get(4), 4);
  static _Alignas(8) char raw[32768];
  struct stat st;
  if (!f) return -1;
  errno = EBADF;
  if (f->io < 0 || fstat(f->io, &st)) return -1;
  unsigned char *count = s.out_at, *start = s.out_at + 4;
  s.out_at = start;
  for (int full = 0; !full;) {
    if (f->dir_at != offset && lseek(f->io, (off_t)offset, SEEK_SET) < 0) return -1;
    long n = syscall(SYS_getdents64, f->io, raw, sizeof raw);
    if (n < 0) return -1;
    if (n == 0) break;
    f->dir_at = UINT64_MAX;
    for (long at = 0; at < n && !full;) {
      struct dirent64 *entry = (struct dirent64 *)(raw + at);
      size_t length = strlen(entry->d_name);
      full = (size_t)(s.out_at - start) + 24 + length > room;
      if (full) break;
      put(entry->d_type == DT_DIR ? QID_FOLDER : entry->d_type == DT_LNK ? QID_LINK : 0, 1);
      put(0, 4);
      put(qid_path(st.st_dev, entry->d_ino), 8);
      offset = (uint64_t)entry->d_off;
      put(offset, 8);
      put(entry->d_type, 1);
      put(length, 2);
      put_bytes(entry->d_name, length);
      at += entry->d_reclen;
      if (at == n) f->dir_at = offset;
    }
  }
  uint32_t bytes = (uint32_t)(s.out_at - start);
  s.out_at = count;
  put(bytes, 4);
  s.out_at = start + bytes;
  return 0;
}

static int do_read(void) {
  struct fid *f = fid();
  uint64_t offset = get(8);
  uint32_t count = fitting((uint32_t)get(4), 4);
  if (!f || s.bad) return -1;
  ssize_t n;
  if (f->xattr) {
    n = offset < f->xattr_size ? (ssize_t)(f->xattr_size - offset) : 0;
    if (n > (ssize_t)count) n = count;
    memcpy(s.out_at + 4, f->xattr + (n ? offset : 0), (size_t)n);
  } else {
    n = pread(f->io, s.out_at + 4, count, (off_t)offset);
  }
  if (n < 0) return -1;
  put((uint64_t)n, 4);
  s.out_at += n;
  return 0;
}

static int do_write(void) {
  struct fid *f = fid();
  uint64_t offset = get(8);
  uint32_t count = (uint32_t)get(4);
  if (!f || s.bad) return -1;
  if ((size_t)(s.in_end - s.in) < count) {
    s.bad = 1;
    return -1;
  }
  ssize_t n = count;
  if (f->xattr_target >= 0) {
    errno = EINVAL;
    if (offset != f->xattr_done || f->xattr_size - f->xattr_done < count) return -1;
    memcpy(f->xattr + offset, s.in, count);
    f->xattr_done += count;
  } else {
    n = pwrite(f->io, s.in, count, (off_t)offset);
  }
  if (n < 0) return -1;
  put((uint64_t)n, 4);
  return 0;
}

static int do_fsync(void) {
  struct fid *f = fid();
  uint32_t data = (uint32_t)get(4);
  if (!f) return -1;
  return data ? fdatasync(f->io) : fsync(f->io);
}

static int do_statfs(void) {
  struct fid *f = fid();
  struct statfs fs;
  if (!f || fstatfs(f->path, &fs)) return -1;
  put((uint64_t)fs.f_type, 4);
  put((uint64_t)fs.f_bsize, 4);
  put(fs.f_blocks, 8);
  put(fs.f_bfree, 8);
  put(fs.f_bavail, 8);
  put(fs.f_files, 8);
  put(fs.f_ffree, 8);
  put(0, 8);
  put((uint64_t)fs.f_namelen, 4);
  return 0;
}

/* The value, or the list of names, into a new fid that Tread reads. */
static int do_xattrwalk(void) {
  struct fid *f = fid();
  uint32_t id = (uint32_t)get(4);
  char name[XATTR_NAME_MAX + 1];
  get_text(name, sizeof name);
  if (!f || s.bad || f->path < 0) return -1;
  char *value = malloc(MAX_XATTR);
  if (!value) return -1;
  ssize_t n = name[0] ? getxattr(again(f->path), name, value, MAX_XATTR) : listxattr(again(f->path), value, MAX_XATTR);
  struct fid *to = n < 0 ? 0 : new_fid(id, f->uid, -1);
  if (!to) {
    int code = errno;
    free(value);
    errno = code;
    return -1;
  }
  to->xattr = value;
  to->xattr_size = (size_t)n;
  put((uint64_t)n, 8);
  return 0;
}

/* The fid becomes the value that is written to it; Tclunk sets it. */
static int do_xattrcreate(void) {
  struct fid *f = fid();
  char name[XATTR_NAME_MAX + 1];
  get_text(name, sizeof name);
  uint64_t size = get(8);
  uint32_t flags = (uint32_t)get(4);
  if (!f || s.bad) return -1;
  errno = E2BIG;
  if (size > MAX_XATTR || !name[0] || f->path < 0 || f->io >= 0) return -1;
  if (!(f->xattr = calloc(1, size + 1))) return -1;
  f->xattr_size = size;
  f->xattr_flags = (int)flags;
  f->xattr_target = f->path;
  f->path = -1;
  strcpy(f->xattr_name, name);
  return 0;
}

static int do_clunk(void) {
  struct fid *f = fid();
  int result = 0;
  if (!f) return -1;
  if (f->xattr_target >= 0) {
    const char *path = again(f->xattr_target);
    result = f->xattr_size == 0 ? removexattr(path, f->xattr_name)
                                : setxattr(path, f->xattr_name, f->xattr, f->xattr_done, f->xattr_flags);
  }
  int code = errno;
  drop_fid(f->id);
  errno = code;
  return result;
}

enum { SHARED = 0, EXCLUSIVE = 1, UNLOCKED = 2, GOT = 0, HELD = 1 };

/* A whole file goes by flock(2), which a file that is open for reading only takes too; a range by OFD locks. */
static int do_lock(void) {
  struct fid *f = fid();
  char client[256];
  uint32_t type = (uint32_t)get(1);
  get(4);
  uint64_t start = get(8), length = get(8);
  get(4);
  get_text(client, sizeof client);
  if (!f || s.bad) return -1;
  int result;
  if (start == 0 && length == 0) {
    result = flock(f->io, (type == SHARED ? LOCK_SH : type == EXCLUSIVE ? LOCK_EX : LOCK_UN) | LOCK_NB);
  } else {
    struct flock lock = {.l_type = type == SHARED ? F_RDLCK : type == EXCLUSIVE ? F_WRLCK : F_UNLCK,
                         .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)length};
    result = fcntl(f->io, F_OFD_SETLK, &lock);
  }
  if (result && errno != EAGAIN && errno != EACCES) return -1;
  put(result ? HELD : GOT, 1);
  return 0;
}

static int do_getlock(void) {
  struct fid *f = fid();
  char client[256];
  uint32_t type = (uint32_t)get(1);
  uint64_t start = get(8), length = get(8);
  uint32_t process = (uint32_t)get(4);
  get_text(client, sizeof client);
  if (!f || s.bad) return -1;
  struct flock lock = {.l_type = type == SHARED ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)length};
  if (fcntl(f->io, F_OFD_GETLK, &lock)) return -1;
  put(lock.l_type == F_UNLCK ? UNLOCKED : lock.l_type == F_RDLCK ? SHARED : EXCLUSIVE, 1);
  put((uint64_t)lock.l_start, 8);
  put((uint64_t)lock.l_len, 8);
  put(process, 4);
  put(strlen(client), 2);
  put_bytes(client, strlen(client));
  return 0;
}

/* Requests are done in turn: what is to be flushed has been answered. */
static int do_flush(void) {
  get(2);
  return 0;
}

static int (*const handlers[256])(void) = {
    [Tversion] = do_version, [Tattach] = do_attach, [Twalk] = do_walk, [Tgetattr] = do_getattr, [Tsetattr] = do_setattr,
    [Tlopen] = do_lopen, [Tlcreate] = do_lcreate, [Tsymlink] = do_symlink, [Tmknod] = do_mknod, [Tmkdir] = do_mkdir,
    [Treadlink] = do_readlink, [Tlink] = do_link, [Trenameat] = do_renameat, [Tunlinkat] = do_unlinkat,
    [Treaddir] = do_readdir, [Tread] = do_read, [Twrite] = do_write, [Tfsync] = do_fsync, [Tstatfs] = do_statfs,
    [Txattrwalk] = do_xattrwalk, [Txattrcreate] = do_xattrcreate, [Tclunk] = do_clunk, [Tlock] = do_lock,
    [Tgetlock] = do_getlock, [Tflush] = do_flush,
};

/* ---- the session ---- */

static int move(int out, unsigned char *bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t n = out ? write(s.link, bytes + done, size - done) : read(s.link, bytes + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return -1;
    done += (size_t)n;
  }
  return 0;
}

static int answer(unsigned type, unsigned tag) {
  s.out = reply;
  s.out_at = reply + HEAD;
  errno = EOPNOTSUPP;
  int result = handlers[type] && (s.msize || type == Tversion) ? handlers[type]() : -1;
  int code = errno;
  if (s.bad) return -1;
  if (result) {
    s.out_at = reply + HEAD;
    put((uint64_t)(code ? code : EIO), 4);
  }
  uint32_t size = (uint32_t)(s.out_at - reply);
  s.out_at = reply;
  put(size, 4);
  put(result ? Rlerror : type + 1, 1);
  put(tag, 2);
  return move(1, reply, size);
}

int serve(int link, int root) {
  s.link = link;
  s.root = root;
  for (;;) {
    if (move(0, request, HEAD)) return 0;
    s.in = request;
    s.in_end = request + HEAD;
    s.bad = 0;
    uint32_t size = (uint32_t)get(4), type = (uint32_t)get(1), tag = (uint32_t)get(2);
    if (size < HEAD || size > (s.msize ? s.msize : MAX_MESSAGE) || move(0, request + HEAD, size - HEAD)) return 1;
    s.in_end = request + size;
    if (answer(type, tag)) return 2;
  }
}
