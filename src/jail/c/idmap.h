/*
 * User namespaces of ranges of ids, and mounts whose files belong to one: idmapped mounts (mount_setattr(2)).
 * A range is written `65536:65536`: id N of the namespace is 65536 + N outside, for 65536 ids.
 */
#ifndef HUSK_IDMAP_H
#define HUSK_IDMAP_H
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* A process in a new user namespace that runs `work` and then waits to be killed; its pid, or -1 and errno. */
static pid_t hold_user_namespace(const char *uids, const char *gids, void (*work)(void *), void *what) {
  int mapped[2];
  if (pipe2(mapped, O_CLOEXEC)) return -1;
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) {
    char go;
    close(mapped[1]);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL)) _exit(70);
    if (read(mapped[0], &go, 1) != 1) _exit(70);
    if (work) work(what);
    for (;;) pause();
  }
  close(mapped[0]);
  if (pid > 0 && (write_map(pid, "uid_map", uids) || write_map(pid, "gid_map", gids) || write(mapped[1], "g", 1) != 1)) {
    int problem = errno;
    kill(pid, SIGKILL);
    while (waitpid(pid, 0, 0) < 0 && errno == EINTR) continue;
    errno = problem;
    pid = -1;
  }
  int problem = errno;
  close(mapped[1]);
  errno = problem;
  return pid;
}

/*
 * Makes the files of a tree of mounts that is attached nowhere, and of what is mounted below, belong to a user
 * namespace. -1 and errno where a file system cannot.
 */
static int map_ids(int tree, const char *uids, const char *gids) {
  char path[64];
  pid_t pid = hold_user_namespace(uids, gids, 0, 0);
  if (pid < 0) return -1;
  snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
  int space = open(path, O_RDONLY | O_CLOEXEC), problem = errno;
  kill(pid, SIGKILL);
  while (waitpid(pid, 0, 0) < 0 && errno == EINTR) continue;
  errno = problem;
  if (space < 0) return -1;
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)space};
  int result = (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr);
  problem = errno;
  close(space);
  errno = problem;
  return result;
}

#endif
