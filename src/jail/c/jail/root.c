#include <sys/mount.h>
#include <sys/sysmacros.h>
#include "jail.h"

static void make_device(const char *path, unsigned major_number, unsigned minor_number, uid_t owner) {
  if (mknod(path, S_IFCHR | 0600, makedev(major_number, minor_number))) die("mknod %s", path);
  if (chown(path, owner, owner)) die("chown %s", path);
}

/*
 * A root of one read-only mount (the program, its libraries, its firmware: prepared by the daemon,
 * the same for all), a /dev of private nodes, and /fd: this process's own descriptors, because
 * QEMU takes guest memory by path only. No /proc.
 */
void enter_root(const struct options *o) {
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
