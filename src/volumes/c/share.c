/*
 * husk-share: the file server of one VM pod. It speaks FUSE to the pod's guest kernel.
 *
 *   husk-share serve --socket QEMU_SOCKET --root EMPTY_FOLDER [--cgroup FOLDER]...
 *   husk-share add PID SOURCE NAME [ro|rro|rw] [private|slave] [UIDS GIDS]
 *   husk-share probe FOLDER
 *
 * `serve` connects to the socket of the VM's virtio-serial port, moves into namespaces and a root
 * of its own that holds nothing but empty mount points (d0, d1, ... for folders, p0, p1, ... for those
 * that nobody but the pod changes, f0, f1, ... for files), gives up what it can, prints `ready PID STARTTICKS` and serves until the socket ends.
 * `add` mounts a path of the host on one of them: nodev, nosuid, nosymfollow; with ranges of ids as a user
 * namespace sees them. `probe` tells by its exit code whether the file system of a folder can have that.
 *
 * The guest is hostile. What keeps it in:
 * - every file that the guest knows is an open descriptor; a name is one component, opened relative to it, never followed
 *   if it is a link, and never `..`: there is no path that could be exchanged (CVE-2021-25741, CVE-2026-93834)
 * - only regular files and folders are ever opened (CVE-2023-2861, CVE-2020-35517); no device can be made
 * - nothing but the shares is mounted here, and read-only is a property of the mount
 * - no network, no process but this one is visible, a list of allowed system calls
 *
 * It acts for users of the guest that the host does not know, with file systems that the guest's
 * kernel guards: permissions are checked there, with the groups of the asking process; here a new
 * file gets the user that the guest names, and CAP_DAC_OVERRIDE stands in for the groups.
 */
#include "../../jail/c/idmap.h"
#include "share.h"

static __attribute__((noreturn)) void usage(void) {
  errno = EINVAL;
  die("usage: husk-share serve|add|probe ...");
}

/* ---- add ---- */

static int attach(int pid, int tree, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/mnt", pid);
  int ns = open(path, O_RDONLY | O_CLOEXEC);
  if (ns < 0 || setns(ns, CLONE_NEWNS)) return -1;
  snprintf(path, sizeof path, "/" EXPORT "/%s", name);
  return (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
}

/* The source was resolved by the caller: a link that took its place since is not followed. */
static int add(int argc, char **argv) {
  if (argc != 7 && argc != 9) usage();
  int ro = strcmp(argv[5], "rw") != 0, deep = strcmp(argv[5], "rro") == 0, slave = strcmp(argv[6], "slave") == 0;
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  int source = (int)syscall(SYS_openat2, AT_FDCWD, argv[3], &how, sizeof how);
  if (source < 0) die("open %.300s", argv[3]);
  struct stat st;
  if (fstat(source, &st)) die("stat %.300s", argv[3]);
  if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
    errno = EINVAL;
    die("%.300s is neither a folder nor a file", argv[3]);
  }
  int tree = (int)syscall(SYS_open_tree, source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  if (tree < 0) die("clone the mounts at %.300s", argv[3]);
  struct mount_attr all = {.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOSYMFOLLOW | (deep ? MOUNT_ATTR_RDONLY : 0),
                           .propagation = slave ? MS_SLAVE : MS_PRIVATE};
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &all, sizeof all)) die("restrict the mounts");
  if (argc == 9 && map_ids(tree, argv[7], argv[8])) die("map ids of the mounts at %.300s (mount_setattr(2))", argv[3]);
  struct mount_attr top = {.attr_set = MOUNT_ATTR_RDONLY};
  if (ro && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &top, sizeof top)) die("make the mount read-only");
  if (attach((int)number(argv[2], 2, INT_MAX), tree, argv[4])) die("mount %.300s as %.40s", argv[3], argv[4]);
  return 0;
}

/* Whether ids can be mapped at the folder. */
static int probe(int argc, char **argv) {
  if (argc != 3) usage();
  int tree = (int)syscall(SYS_open_tree, AT_FDCWD, argv[2], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (tree < 0) die("clone the mount of %.300s", argv[2]);
  if (map_ids(tree, "65536:65536", "65536:65536")) die("map ids of the mount of %.300s", argv[2]);
  return 0;
}

/* ---- serve ---- */

static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  errno = ENAMETOOLONG;
  if (strlen(path) >= sizeof address.sun_path) die("socket %.100s", path);
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect to %.100s", path);
  const int bytes = LINK_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes)) die("size of the socket's buffer");
  return fd;
}

static __attribute__((noreturn)) void become(const char *root, int link, int up) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) die("open /dev/null");
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)) die("death signal");
  if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)) die("new namespaces");
  enter_root(root);
  int export = open("/" EXPORT, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (export < 0) die("open the shares");
  umask(0);
  set_limits();
  drop_rights();
  /* What was told so far is complete with the keeper's `ready`. */
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (write(up, "u", 1) != 1) _exit(70);
  _exit(keep(link, export, up));
}

static int start(int argc, char **argv) {
  const char *path = 0, *root = 0;
  for (int i = 2; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--socket") == 0) path = argv[i + 1];
    else if (strcmp(argv[i], "--root") == 0) root = argv[i + 1];
    else if (strcmp(argv[i], "--cgroup") == 0) join_cgroup(argv[i + 1]);
    else usage();
  }
  if (!path || !root) usage();
  int link = connect_to(path), up[2], status = 0;
  char ticks[24], ok;
  if (pipe2(up, O_CLOEXEC)) die("pipe");
  if (setsid() < 0 && errno != EPERM) die("setsid");
  if (unshare(CLONE_NEWPID)) die("new process namespace");
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    close(up[0]);
    become(root, link, up[1]);
  }
  close(up[1]);
  close(link);
  if (read(up[0], &ok, 1) == 1) {
    start_ticks(pid, ticks, sizeof ticks);
    dprintf(STDOUT_FILENO, "ready %d %s\n", pid, ticks);
  }
  close(STDOUT_FILENO);
  /* This parent stays to tell the daemon, whose child it is, of servers that died, and how the last one ended. */
  while (read(up[0], &ok, 1) == 1 || errno == EINTR) dprintf(STDERR_FILENO, "died\n");
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv) {
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR) die("ignore signals");
  if (syscall(SYS_close_range, 3, ~0U, 0)) die("close_range");
  if (argc > 1 && strcmp(argv[1], "add") == 0) return add(argc, argv);
  if (argc > 1 && strcmp(argv[1], "serve") == 0) return start(argc, argv);
  if (argc > 1 && strcmp(argv[1], "probe") == 0) return probe(argc, argv);
  usage();
}
