/* Requests about names in folders. A name is one component: `parse` has seen to it. */
#include "files.h"

/* What stands there, never followed; the kernel refuses to leave the folder besides. */
int open_below(int folder, const char *name) {
  struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  return (int)syscall(SYS_openat2, folder, name, &how, sizeof how);
}

void tell_entry(const struct node *node, const struct statx *found, struct fuse_entry_out *to) {
  *to = (struct fuse_entry_out){.nodeid = node_id(node)};
  if (node->own) to->entry_valid = to->attr_valid = OWN_VALID_SECONDS;
  else to->entry_valid_nsec = to->attr_valid_nsec = VALID_NS;
  fill_attr(found, (int)node->own, &to->attr);
}

/* The name of a mount point says it, and holds for all that is below. */
int is_own(const struct node *folder, const char *name) {
  return node_id(folder) == FUSE_ROOT_ID ? *name == OWN_FOLDER : (int)folder->own;
}

/* RESOLVE_NO_SYMLINKS lets a link itself be opened by O_PATH with O_NOFOLLOW (openat2(2)). */
int enter(const struct node *folder, const char *name, struct fuse_entry_out *to) {
  struct statx found;
  int fd = open_below(folder->fd, name);
  if (fd < 0) return errno;
  if (look(fd, &found)) {
    close_fd(fd);
    return errno;
  }
  struct node *node = hold(fd, &found);
  if (!node) return errno;
  node->own = (uint32_t)is_own(folder, name);
  tell_entry(node, &found, to);
  return 0;
}

static int put_entry(const struct node *folder, const char *name, struct answer *answer) {
  struct fuse_entry_out entry;
  int code = enter(folder, name, &entry);
  if (code == 0) put(answer, &entry, sizeof entry);
  return code;
}

int do_lookup(const struct message *m, struct answer *answer) {
  struct node *folder = node_of(m->head.nodeid);
  return folder ? put_entry(folder, m->name, answer) : errno;
}

int do_forget(const struct message *m, struct answer *answer) {
  (void)answer;
  forget(m->head.nodeid, m->in.forget.nlookup);
  return NO_ANSWER;
}

int do_batch_forget(const struct message *m, struct answer *answer) {
  (void)answer;
  for (uint32_t i = 0; i < m->in.batch_forget.count; i++) {
    struct fuse_forget_one one;
    memcpy(&one, m->data + i * sizeof one, sizeof one);
    forget(one.nodeid, one.nlookup);
  }
  return NO_ANSWER;
}

int do_symlink(const struct message *m, struct answer *answer) {
  struct node *folder = node_of(m->head.nodeid);
  if (!folder) return errno;
  if (symlinkat(m->second, folder->fd, m->name)) return errno;
  return put_entry(folder, m->name, answer);
}

int do_mknod(const struct message *m, struct answer *answer) {
  struct node *folder = node_of(m->head.nodeid);
  uint32_t mode = m->in.mknod.mode;
  if (!folder) return errno;
  if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode)) return EPERM;
  if (mknodat(folder->fd, m->name, mode & (S_IFMT | 07777), 0)) return errno;
  return put_entry(folder, m->name, answer);
}

int do_mkdir(const struct message *m, struct answer *answer) {
  struct node *folder = node_of(m->head.nodeid);
  if (!folder) return errno;
  if (mkdirat(folder->fd, m->name, m->in.mkdir.mode & 07777)) return errno;
  return put_entry(folder, m->name, answer);
}

static int removed(const struct message *m, int flags) {
  struct node *folder = node_of(m->head.nodeid);
  return folder && unlinkat(folder->fd, m->name, flags) == 0 ? 0 : errno;
}

int do_unlink(const struct message *m, struct answer *answer) {
  (void)answer;
  return removed(m, 0);
}

int do_rmdir(const struct message *m, struct answer *answer) {
  (void)answer;
  return removed(m, AT_REMOVEDIR);
}

static int renamed(const struct message *m, uint64_t to, uint32_t flags) {
  struct node *from = node_of(m->head.nodeid), *folder = node_of(to);
  if (!from || !folder) return ESTALE;
  return renameat2(from->fd, m->name, folder->fd, m->second, flags) ? errno : 0;
}

int do_rename(const struct message *m, struct answer *answer) {
  (void)answer;
  return renamed(m, m->in.rename.newdir, 0);
}

/* RENAME_WHITEOUT would make a device. */
int do_rename2(const struct message *m, struct answer *answer) {
  (void)answer;
  if (m->in.rename2.flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) return EINVAL;
  return renamed(m, m->in.rename2.newdir, m->in.rename2.flags);
}

int do_link(const struct message *m, struct answer *answer) {
  struct node *folder = node_of(m->head.nodeid), *file = node_of(m->in.link.oldnodeid);
  if (!folder || !file) return ESTALE;
  if (linkat(AT_FDCWD, again(file->fd), folder->fd, m->name, AT_SYMLINK_FOLLOW)) return errno;
  return put_entry(folder, m->name, answer);
}
