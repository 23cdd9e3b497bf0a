#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include "jail.h"

static int write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  int failed = write(fd, text, strlen(text)) < 0;
  int saved = errno;
  close(fd);
  errno = saved;
  return failed ? -1 : 0;
}

void join_groups(const struct options *o) {
  char path[PATH_MAX], text[24];
  for (int i = 0; i < o->cgroup_count; i++) {
    snprintf(path, sizeof path, "%s/cgroup.procs", o->cgroups[i]);
    if (write_text(path, "0")) die("join cgroup %.300s", o->cgroups[i]);
  }
  snprintf(text, sizeof text, "%ld", o->oom);
  /* Below the inherited value needs CAP_SYS_RESOURCE: without it, stay at what was inherited. */
  if (write_text("/proc/self/oom_score_adj", text) && errno != EACCES && errno != EPERM) die("oom_score_adj");
}

static void limit(int what, rlim_t value, const char *name) {
  const struct rlimit both = {.rlim_cur = value, .rlim_max = value};
  if (setrlimit(what, &both)) die("limit %s", name);
}

void set_limits(const struct options *o) {
  /* A clone writes to single pages of its memory; QEMU would have 2 MiB pages for its tables, and use a part of each. */
  if (o->sealed && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)) die("disable huge pages");
  limit(RLIMIT_CORE, 0, "core");
  limit(RLIMIT_NOFILE, 1024, "files");
  limit(RLIMIT_MEMLOCK, 0, "locked memory");
  limit(RLIMIT_MSGQUEUE, 0, "message queues");
  /* Threads of this uid: the block layer's pool alone may reach 64, and QEMU aborts at the limit. */
  limit(RLIMIT_NPROC, 256, "processes");
  limit(RLIMIT_FSIZE, o->file_bytes, "file size");
  /* Over the size limit a write is to fail, not to kill. */
  if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR) die("ignore SIGXFSZ");
}

/* Gives up every capability for good and, for the program, the root's uid and groups. */
void drop_rights(uid_t uid) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {0};
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)) die("clear ambient capabilities");
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
    if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) die("drop capability %d", cap);
  }
  if (setgroups(0, 0)) die("setgroups");
  if (uid && setresgid(uid, uid, uid)) die("setresgid %u", uid);
  if (uid && setresuid(uid, uid, uid)) die("setresuid %u", uid);
  if (syscall(SYS_capset, &header, none)) die("drop capabilities");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("no_new_privs");
}
