/* What keeps the server in: an empty root, few rights, a list of system calls. */
#include "share.h"

void join_cgroup(const char *folder) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/cgroup.procs", folder);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0", 1) != 1) die("join cgroup %.300s", folder);
  close(fd);
}

static void make_mount_points(void) {
  char path[40];
  for (int i = 0; i < MAX_SHARES; i++) {
    for (const char *kind = (const char[]){'d', OWN_FOLDER, 0}; *kind; kind++) {
      snprintf(path, sizeof path, EXPORT "/%c%d", *kind, i);
      if (mkdir(path, 0)) die("mkdir %s", path);
    }
    snprintf(path, sizeof path, EXPORT "/f%d", i);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
    if (fd < 0) die("create %s", path);
    close(fd);
  }
}

/* A root of empty mount points and a /proc of this process alone, whose fd/ reopens descriptors. */
void enter_root(const char *folder) {
  if (mount("", "/", 0, MS_REC | MS_PRIVATE, 0)) die("make mounts private");
  if (mount("share", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,nr_inodes=1k,mode=0755")) die("mount the root");
  if (chdir(folder)) die("chdir %.300s", folder);
  if (mkdir(EXPORT, 0755) || mkdir("proc", 0555)) die("mkdir");
  make_mount_points();
  if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid")) die("mount /proc");
  if (syscall(SYS_pivot_root, ".", ".")) die("pivot_root");
  if (umount2(".", MNT_DETACH)) die("leave the host's root");
  if (chdir("/")) die("chdir /");
  if (mount("", "/", 0, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0)) die("make the root read-only");
}

/* Kept: what stands in for the guest's own checks. Changing the user for new files does not take them. */
void drop_rights(void) {
  static const int kept[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETUID, CAP_SETGID};
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[2] = {0};
  if (prctl(PR_SET_SECUREBITS, 0x3f & ~(1 << 4), 0, 0, 0)) die("secure bits"); /* all but KEEP_CAPS, each locked */
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)) die("clear ambient capabilities");
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) sets[0].effective |= 1u << kept[i];
  sets[0].permitted = sets[0].effective;
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
    if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) die("drop capability %d", cap);
  if (setgroups(0, 0)) die("setgroups");
  if (syscall(SYS_capset, &header, sets)) die("drop capabilities");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("no_new_privs");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) die("dumpable");
}

/* The machine's limit for root may be lower; then the guest hears of it sooner. */
void set_limits(void) {
  const struct rlimit none = {0, 0}, files = {OPEN_LIMIT, OPEN_LIMIT};
  struct rlimit had;
  if (setrlimit(RLIMIT_CORE, &none)) die("limit core");
  if (setrlimit(RLIMIT_NOFILE, &files) == 0) return;
  if (getrlimit(RLIMIT_NOFILE, &had)) die("read the limit of files");
  had.rlim_cur = had.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &had)) die("limit files");
}

/* A violation ends the server, which the daemon notices. */
void filter_calls(void) {
  static const unsigned allowed[] = {
      SYS_read, SYS_recvfrom, SYS_sendto, SYS_write, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_openat, SYS_openat2, SYS_close, SYS_fstat, SYS_newfstatat, SYS_statx,
      SYS_fstatfs, SYS_lseek, SYS_getdents64, SYS_fchownat, SYS_chmod, SYS_fchmodat, SYS_utimensat, SYS_ftruncate,
      SYS_mkdirat, SYS_mknodat, SYS_symlinkat, SYS_linkat, SYS_renameat, SYS_renameat2, SYS_unlinkat, SYS_readlinkat,
      SYS_fsync, SYS_fdatasync, SYS_setfsuid, SYS_setfsgid, SYS_getxattr, SYS_setxattr, SYS_removexattr, SYS_listxattr,
      SYS_fcntl, SYS_flock, SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_exit_group, SYS_rt_sigreturn, SYS_dup, SYS_dup2, SYS_poll,
      SYS_restart_syscall, SYS_fallocate, SYS_clock_gettime,
  };
  enum { COUNT = sizeof allowed / sizeof *allowed };
  struct sock_filter code[COUNT + 6];
  size_t n = 0;
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
  code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_AUDIT_ARCH, 1, 0);
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (size_t i = 0; i < COUNT; i++)
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (unsigned char)(COUNT - i), 0);
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) die("filter system calls");
}
