#include <sys/wait.h>
#include "jail.h"

/* The program's messages are worth this much; the rest is read and dropped. */
enum { LOG_BYTES = 65536 };

static int create(const struct options *o, const char *name) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", o->state, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) die("create %.300s", path);
  return spare(fd, path);
}

/* Copies messages until the program has closed them, keeping the first LOG_BYTES. */
static void copy_messages(int from, int to) {
  char buffer[4096];
  for (ssize_t left = LOG_BYTES, got; (got = read(from, buffer, sizeof buffer)) != 0;) {
    if (got < 0 && errno != EINTR) return;
    ssize_t keep = got < left ? got : left;
    if (keep > 0 && write(to, buffer, (size_t)keep) == keep) left -= keep;
  }
}

int keep(const struct options *o, pid_t pid, int messages, int go) {
  char ticks[24];
  int status = 0, log = create(o, "qemu.log"), end = create(o, "vm.exit"), record = create(o, "vm.pid");
  start_ticks(pid, ticks, sizeof ticks);
  if (dprintf(record, "%d %s\n", pid, ticks) < 0) die("write vm.pid");
  close(record);
  for (int fd = STDERR_FILENO; fd <= FD_LAST; fd++) {
    close(fd);
    if (o->held[fd]) close(o->held[fd]);
  }
  if (chdir("/")) die("chdir /");
  if (write(go, "g", 1) != 1) die("release the program");
  close(go);
  dprintf(STDOUT_FILENO, "ready %d %s\n", pid, ticks);
  close(STDOUT_FILENO);
  drop_rights(0);
  copy_messages(messages, log);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFSIGNALED(status)) dprintf(end, "signal %d\n", WTERMSIG(status));
  else dprintf(end, "exit %d\n", WEXITSTATUS(status));
  return 0;
}
