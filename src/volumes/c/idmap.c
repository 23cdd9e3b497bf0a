/* Mounts whose files belong to a user namespace: idmapped mounts (mount_setattr(2)). */
#include "share.h"

static int write_map(pid_t pid, const char *file, const char *range) {
  char path[64], text[64], end;
  unsigned base, length;
  if (sscanf(range, "%u:%u%c", &base, &length, &end) != 2) {
    errno = EINVAL;
    return -1;
  }
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
  int size = snprintf(text, sizeof text, "0 %u %u\n", base, length);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t sent = write(fd, text, (size_t)size);
  int problem = errno;
  close(fd);
  errno = problem;
  return sent == size ? 0 : -1;
}

/* A descriptor of a user namespace with the ranges, which lives by it alone. */
static int user_namespace(const char *uids, const char *gids) {
  char path[64];
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) return -1;
  if (pid == 0)
    for (;;) pause();
  snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
  int fd = write_map(pid, "uid_map", uids) || write_map(pid, "gid_map", gids) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  int problem = errno;
  kill(pid, SIGKILL);
  while (waitpid(pid, 0, 0) < 0 && errno == EINTR) continue;
  errno = problem;
  return fd;
}

int map_ids(int tree, const char *uids, const char *gids) {
  int space = user_namespace(uids, gids);
  if (space < 0) return -1;
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)space};
  int result = (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr), problem = errno;
  close(space);
  errno = problem;
  return result;
}
