/*
 * jail: starts one QEMU that owns nothing but descriptors.
 *
 *   jail [options] -- PROGRAM ARGUMENTS
 *
 * Runs as root. The first process (the keeper) opens everything, forks, gives up all capabilities
 * and stays: it copies the program's messages into a capped file and writes how the program ended.
 * So a daemon that was restarted still learns the end of a process it is no parent of. The second
 * becomes the program, in namespaces and a root of its own. Descriptors of the program:
 *
 *   0 /dev/null   1,2 pipe to the keeper   3 guest memory (inherited)   4 device state (inherited)
 *   5 QMP   6 QMP for descriptors   7 agent   8 tap   14 file server   31 bulk channel
 *   others as --open-ro and --disk say
 *
 * Standard output carries one line to the caller: `ready PID STARTTICKS`, or `jail: what: errno`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/capability.h>
#include "sparse.h"

enum {
  FD_MEMORY = 3, FD_STATE = 4, FD_QMP = 5, FD_FDS = 6, FD_AGENT = 7, FD_TAP = 8, FD_SHARE = 14, FD_STREAM = 31,
  FD_LAST = 31
};
/* The program's messages are worth this much; the rest is read and dropped. */
enum { LOG_BYTES = 65536 };
enum { MAX_CGROUPS = 16, SPARE = 100 };
/* What every guest sees as the size of its disk; the limit on file size keeps it from filling it. */
#define DISK_CAPACITY ((off_t)1 << 40)

struct options {
  const char *state, *root, *netns, *cgroups[MAX_CGROUPS];
  int cgroup_count, kvm, sealed;
  uid_t uid, agent_uid;
  long oom;
  rlim_t file_bytes;
  /* held[n] is the descriptor, out of the way for now, that the program gets as n; 0 is none */
  int held[FD_LAST + 1];
};

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...) {
  int saved = errno;
  char text[400];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  dprintf(STDOUT_FILENO, "jail: %s: %s\n", text, strerror(saved));
  _exit(70);
}

static long number(const char *text, long least, long most) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || end == text || *end || value < least || value > most) {
    errno = EINVAL;
    die("number '%.40s'", text);
  }
  return value;
}

/* Moves a descriptor out of the range of the numbers that are handed out, closed on exec. */
static int spare(int fd, const char *what) {
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, SPARE);
  if (moved < 0) die("%s", what);
  close(fd);
  return moved;
}

static void hold_file(struct options *o, const char *number_text, const char *path) {
  long as = number(number_text, FD_TAP + 1, FD_STREAM - 1);
  struct stat st;
  int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) die("open %.300s", path);
  if (fstat(fd, &st)) die("stat %.300s", path);
  if (!S_ISREG(st.st_mode)) {
    errno = EINVAL;
    die("%.300s is no regular file", path);
  }
  o->held[as] = spare(fd, path);
}

/* Makes the writable disk: a sparse copy of a formatted one. Made anew, never an existing file. */
static void hold_disk(struct options *o, const char *number_text, const char *from, const char *to) {
  long as = number(number_text, FD_TAP + 1, FD_STREAM - 1);
  int source = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (source < 0) die("open %.300s", from);
  int disk = open(to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (disk < 0) die("create %.300s", to);
  if (copy_sparse(source, disk)) die("copy the disk to %.300s", to);
  if (ftruncate(disk, DISK_CAPACITY)) die("size of %.300s", to);
  if (fchown(disk, o->uid, o->uid)) die("chown %.300s", to);
  close(source);
  o->held[as] = spare(disk, to);
}

static void parse(struct options *o, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    int wants = strcmp(name, "--kvm") == 0 || strcmp(name, "--sealed") == 0 ? 0 : strncmp(name, "--open-", 7) == 0 ? 2
                : strcmp(name, "--disk") == 0 ? 3 : 1;
    if (i + wants >= argc) goto bad;
    const char *value = argv[i + 1];
    if (strcmp(name, "--state") == 0) o->state = value;
    else if (strcmp(name, "--root") == 0) o->root = value;
    else if (strcmp(name, "--netns") == 0) o->netns = value;
    else if (strcmp(name, "--uid") == 0) o->uid = (uid_t)number(value, 1, INT_MAX);
    else if (strcmp(name, "--agent-uid") == 0) o->agent_uid = (uid_t)number(value, 0, INT_MAX);
    else if (strcmp(name, "--oom") == 0) o->oom = number(value, -1000, 1000);
    else if (strcmp(name, "--file-bytes") == 0) o->file_bytes = (rlim_t)number(value, 1, LONG_MAX);
    else if (strcmp(name, "--cgroup") == 0 && o->cgroup_count < MAX_CGROUPS) o->cgroups[o->cgroup_count++] = value;
    else if (strcmp(name, "--kvm") == 0) o->kvm = 1;
    else if (strcmp(name, "--sealed") == 0) o->sealed = 1;
    else if (strcmp(name, "--open-ro") == 0) hold_file(o, value, argv[i + 2]);
    else if (strcmp(name, "--disk") == 0) hold_disk(o, value, argv[i + 2], argv[i + 3]);
    else goto bad;
    i += wants;
    continue;
  bad:
    errno = EINVAL;
    die("option '%.40s'", name);
  }
  errno = EINVAL;
  if (!o->state || !o->root || !o->netns || !o->uid || !o->file_bytes) die("an option is missing");
}

/*
 * The template's memory and state come as descriptors of memfds. A clone may not get them unless
 * no one can ever write to them again (QEMU 7.2 opens the memory read-write even for share=off).
 * The state is opened anew, for an offset and an access mode of its own.
 */
static void hold_memory(struct options *o) {
  const int wanted = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  for (int fd = FD_MEMORY; fd <= FD_STATE; fd++) {
    if (fcntl(fd, F_GETFD) < 0) {
      if (o->sealed) die("inherited descriptor %d", fd);
      continue;
    }
    int kept = spare(fd, "keep the memory");
    if (o->sealed) {
      if ((fcntl(kept, F_GET_SEALS) & wanted) != wanted || fcntl(kept, F_GET_SEALS) < 0) {
        errno = EPERM;
        die("descriptor %d is not sealed", fd);
      }
      if (fd == FD_STATE) {
        char path[40];
        snprintf(path, sizeof path, "/proc/self/fd/%d", kept);
        int anew = open(path, O_RDONLY | O_CLOEXEC);
        if (anew < 0) die("open the device state");
        close(kept);
        kept = spare(anew, "keep the device state");
      }
    }
    o->held[fd] = kept;
  }
}

static int listen_at(const struct options *o, const char *name, uid_t owner) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int size = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", o->state, name);
  errno = ENAMETOOLONG;
  if (size >= (int)sizeof address.sun_path) die("socket %.100s/%s", o->state, name);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  if (unlink(address.sun_path) && errno != ENOENT) die("unlink %s", address.sun_path);
  mode_t old = umask(0177);
  if (bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind %s", address.sun_path);
  umask(old);
  if (owner && lchown(address.sun_path, owner, owner)) die("chown %s", address.sun_path);
  if (listen(fd, 4)) die("listen %s", address.sun_path);
  return spare(fd, "keep a socket");
}

/* The tap belongs to the pod's network namespace and lives as long as its descriptor. */
static int open_tap(const char *netns) {
  int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (own < 0) die("open own network namespace");
  if (strcmp(netns, "new") == 0) {
    if (unshare(CLONE_NEWNET)) die("new network namespace");
  } else {
    int fd = open(netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0) die("open %.300s", netns);
    if (setns(fd, CLONE_NEWNET)) die("enter %.300s", netns);
    close(fd);
  }
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  strcpy(request.ifr_name, "tap0");
  int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap < 0) die("open /dev/net/tun");
  if (ioctl(tap, TUNSETIFF, &request)) die("create tap0");
  /*
   * The end of the program does not wait for the end of an interface (15 ms and more, for the kernel waits until no
   * processor can use it any more): the tap ends with its namespace.
   */
  if (ioctl(tap, TUNSETPERSIST, 1UL)) die("keep tap0");
  if (setns(own, CLONE_NEWNET)) die("leave the pod's network namespace");
  close(own);
  return spare(tap, "keep the tap");
}

static int write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  int failed = write(fd, text, strlen(text)) < 0;
  int saved = errno;
  close(fd);
  errno = saved;
  return failed ? -1 : 0;
}

static void join_groups(const struct options *o) {
  char path[PATH_MAX], text[24];
  for (int i = 0; i < o->cgroup_count; i++) {
    snprintf(path, sizeof path, "%s/cgroup.procs", o->cgroups[i]);
    if (write_text(path, "0")) die("join cgroup %.300s", o->cgroups[i]);
  }
  snprintf(text, sizeof text, "%ld", o->oom);
  /* Below the inherited value needs CAP_SYS_RESOURCE: without it, stay at what was inherited. */
  if (write_text("/proc/self/oom_score_adj", text) && errno != EACCES && errno != EPERM) die("oom_score_adj");
}

/* Gives up every capability for good and, for the program, the root's uid and groups. */
static void drop_rights(uid_t uid) {
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

static void limit(int what, rlim_t value, const char *name) {
  const struct rlimit both = {.rlim_cur = value, .rlim_max = value};
  if (setrlimit(what, &both)) die("limit %s", name);
}

static void make_device(const char *path, unsigned major_number, unsigned minor_number, uid_t owner) {
  if (mknod(path, S_IFCHR | 0600, makedev(major_number, minor_number))) die("mknod %s", path);
  if (chown(path, owner, owner)) die("chown %s", path);
}

/*
 * A root of one read-only mount (the program, its libraries, its firmware: prepared by the daemon,
 * the same for all), a /dev of private nodes, and /fd: this process's own descriptors, because
 * QEMU takes guest memory by path only. No /proc.
 */
static void enter_root(const struct options *o) {
  if (mount("", "/", 0, MS_REC | MS_SLAVE, 0)) die("make mounts private");
  if (mount(o->root, o->root, 0, MS_BIND, 0)) die("bind %.300s", o->root);
  if (mount("", o->root, 0, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, 0)) die("make the root read-only");
  if (chdir(o->root)) die("chdir %.300s", o->root);
  if (mount("dev", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=4k,nr_inodes=8,mode=0755")) die("mount /dev");
  make_device("dev/null", 1, 3, o->uid);
  make_device("dev/urandom", 1, 9, o->uid);
  if (o->kvm) make_device("dev/kvm", 10, 232, o->uid);
  if (mount("", "dev", 0, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC, "size=4k,nr_inodes=8")) die("make /dev read-only");
  /* The mounted procfs counts as the host does: this is the number of this process there. */
  char self[24] = "", path[48];
  if (readlink("/proc/self", self, sizeof self - 1) < 1) die("read /proc/self");
  snprintf(path, sizeof path, "/proc/%s/fd", self);
  if (mount(path, "fd", 0, MS_BIND, 0)) die("bind /fd");
  if (mount("", "fd", 0, MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0)) die("restrict /fd");
  if (syscall(SYS_pivot_root, ".", ".")) die("pivot_root");
  if (umount2(".", MNT_DETACH)) die("leave the host's root");
  if (chdir("/")) die("chdir /");
}

static void set_limits(const struct options *o) {
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

/* The child: from here errors go to the program's log, where the daemon reads them. */
static __attribute__((noreturn)) void become(struct options *o, int messages, int go, char **command) {
  static char *const no_environment[] = {0};
  char released = 0;
  if (dup2(messages, STDOUT_FILENO) < 0 || dup2(messages, STDERR_FILENO) < 0) die("redirect messages");
  /* No release means that the keeper died before this process was on record. */
  if (read(go, &released, 1) != 1) _exit(70);
  if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP)) die("new namespaces");
  if (sethostname("vm", 2)) die("sethostname");
  enter_root(o);
  for (int fd = STDERR_FILENO + 1; fd <= FD_LAST; fd++) {
    if (o->held[fd] == 0) close(fd);
    else if (dup2(o->held[fd], fd) < 0) die("place descriptor %d", fd);
  }
  umask(0077);
  set_limits(o);
  drop_rights(o->uid);
  if (syscall(SYS_close_range, FD_LAST + 1, ~0U, 0)) die("close_range");
  execve(command[0], command, no_environment);
  die("exec %.300s", command[0]);
}

static int create(const struct options *o, const char *name) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", o->state, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) die("create %.300s", path);
  return spare(fd, path);
}

/* Field 22 of /proc/PID/stat; field 2 may hold blanks and brackets, so count from the last ')'. */
static void start_ticks(pid_t pid, char *to, size_t size) {
  char path[40], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (got <= 0) die("read %s", path);
  close(fd);
  text[got] = 0;
  char *field = strrchr(text, ')');
  for (int n = 2; field && n < 22; n++) field = strchr(field + 1, ' ');
  if (!field) die("parse %s", path);
  field++;
  snprintf(to, size, "%.*s", (int)strcspn(field, " "), field);
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

static int keep(const struct options *o, pid_t pid, int messages, int go) {
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

int main(int argc, char **argv) {
  struct options o = {0};
  int split = 1, messages[2], go[2];
  if (syscall(SYS_close_range, FD_STATE + 1, ~0U, 0)) die("close_range");
  while (split < argc && strcmp(argv[split], "--") != 0) split++;
  errno = EINVAL;
  if (split + 1 >= argc) die("no program after --");
  if (setsid() < 0 && errno != EPERM) die("setsid");
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR) die("ignore signals");
  parse(&o, split, argv);
  hold_memory(&o);
  o.held[FD_QMP] = listen_at(&o, "qmp.sock", 0);
  o.held[FD_FDS] = listen_at(&o, "fds.sock", 0);
  o.held[FD_AGENT] = listen_at(&o, "agent.sock", o.agent_uid);
  o.held[FD_STREAM] = listen_at(&o, "bulk.sock", o.agent_uid);
  o.held[FD_SHARE] = listen_at(&o, "share.sock", 0);
  o.held[FD_TAP] = open_tap(o.netns);
  join_groups(&o);
  if (pipe2(messages, O_CLOEXEC) || pipe2(go, O_CLOEXEC)) die("pipe");
  for (int i = 0; i < 2; i++) {
    messages[i] = spare(messages[i], "keep a pipe");
    go[i] = spare(go[i], "keep a pipe");
  }
  if (unshare(CLONE_NEWPID)) die("new process namespace");
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    close(go[1]);
    become(&o, messages[1], go[0], argv + split + 1);
  }
  close(messages[1]);
  close(go[0]);
  return keep(&o, pid, messages[0], go[1]);
}
