/*
 * The first process of the server's namespace: starts the one that serves, and another when that one dies.
 *
 * What the guest knows survives, since both have the table of descriptors in common, and the session's state lies in memory
 * that both map. The keeper itself reads nothing of either, so a server that was taken over gains nothing by it.
 */
#include "files.h"
#include <sys/mman.h>
#include <time.h>

/* A server that dies again and again is not started for ever. */
enum { MOST_DEATHS = 8, WITHIN_SECONDS = 60 };

void *shared(size_t bytes) {
  void *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("map %zu bytes", bytes);
  return memory;
}

static time_t seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

/* Whether this death is one too many. */
static int too_often(void) {
  static time_t deaths[MOST_DEATHS];
  static unsigned count;
  time_t now = seconds(), *oldest = &deaths[count++ % MOST_DEATHS];
  int soon = count > MOST_DEATHS && now - *oldest < WITHIN_SECONDS;
  *oldest = now;
  return soon;
}

int keep(int link, int root, int deaths) {
  start_nodes(root);
  start_locks();
  start_attributes();
  start_session();
  for (;;) {
    int status;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0) return 70;
    if (pid == 0) {
      filter_calls();
      _exit(serve(link));
    }
    while (waitpid(pid, &status, 0) < 0)
      if (errno != EINTR) return 70;
    /* It says itself when the session is over. */
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (too_often() || write(deaths, "d", 1) != 1) return 128 + WTERMSIG(status);
  }
}
