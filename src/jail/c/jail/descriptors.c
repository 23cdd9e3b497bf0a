#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "../sparse.h"
#include "jail.h"

/* Above all numbers that are handed out. */
enum { SPARE = 100 };
/* What every guest sees as the size of its disk; the limit on file size keeps it from filling it. */
#define DISK_CAPACITY ((off_t)1 << 40)

/* Moves a descriptor out of the range of the numbers that are handed out, closed on exec. */
int spare(int fd, const char *what) {
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, SPARE);
  if (moved < 0) die("%s", what);
  close(fd);
  return moved;
}

void hold_file(struct options *o, const char *number_text, const char *path) {
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
void hold_disk(struct options *o, const char *number_text, const char *from, const char *to) {
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

/*
 * The template's memory and state come as descriptors of memfds. A clone may not get them unless
 * no one can ever write to them again (QEMU 7.2 opens the memory read-write even for share=off).
 * The state is opened anew, for an offset and an access mode of its own.
 */
void hold_memory(struct options *o) {
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

int listen_at(const struct options *o, const char *name, uid_t owner) {
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
int open_tap(const char *netns) {
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
