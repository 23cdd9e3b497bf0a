/*
 * memfd: keeps a template's memory and device state in two memfds, which Node cannot create.
 *
 *   memfd hold BYTES   creates memory (BYTES large) as descriptor 3 and state (empty) as 4, says
 *                      `ready` and waits without end; the daemon reaches them by /proc/PID/fd
 *   memfd seal         makes descriptors 3 and 4 immutable for good
 *   memfd copy         copies the data of 3 into 4, leaving holes holes
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/capability.h>
#include "sparse.h"

enum { MEMORY = 3, STATE = 4 };

static __attribute__((noreturn)) void die(const char *what) {
  dprintf(STDERR_FILENO, "memfd: %s: %s\n", what, strerror(errno));
  _exit(70);
}

static void create(const char *name, int as, off_t bytes) {
  int fd = memfd_create(name, MFD_ALLOW_SEALING | MFD_CLOEXEC);
  if (fd < 0) die("create memfd");
  if (fd != as && (dup3(fd, as, O_CLOEXEC) < 0 || close(fd))) die("place memfd");
  /* QEMU of the template, another uid, opens it by path; sealing ends that. */
  if (fchmod(as, 0666)) die("chmod memfd");
  if (ftruncate(as, bytes)) die("size of memfd");
}

static int hold(const char *text) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {0};
  char *end;
  errno = EINVAL;
  long long bytes = strtoll(text, &end, 10);
  if (*end || bytes <= 0) die("size");
  if (syscall(SYS_close_range, MEMORY, ~0U, 0)) die("close_range");
  if (setsid() < 0 && errno != EPERM) die("setsid");
  if (chdir("/")) die("chdir");
  create("husk-memory", MEMORY, bytes);
  create("husk-state", STATE, 0);
  if (syscall(SYS_capset, &header, none)) die("drop capabilities");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("no_new_privs");
  signal(SIGHUP, SIG_IGN);
  dprintf(STDOUT_FILENO, "ready\n");
  close(STDOUT_FILENO);
  for (;;) pause();
}

static int seal(void) {
  const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  for (int fd = MEMORY; fd <= STATE; fd++) {
    /* Busy while a writable mapping exists anywhere: then someone could still change it. */
    if (fcntl(fd, F_ADD_SEALS, seals)) die("seal");
    if ((fcntl(fd, F_GET_SEALS) & seals) != seals) die("check seals");
  }
  return 0;
}

static int copy(void) {
  if (copy_sparse(3, 4)) die("copy");
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "hold") == 0) return hold(argv[2]);
  if (argc == 2 && strcmp(argv[1], "seal") == 0) return seal();
  if (argc == 2 && strcmp(argv[1], "copy") == 0) return copy();
  errno = EINVAL;
  die("arguments");
}
