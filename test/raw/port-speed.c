/*
 * PID 1 of a guest that moves bytes over one device for port-speed.ts, and does nothing else.
 *
 * A request is a line on the virtio-serial port husk.raw.0:
 *   OUT block total   the guest writes `total` bytes, `block` a time
 *   IN block total    the guest reads `total` bytes, `block` a time at most, then answers "OK\n"
 *   SPLICE block total  as OUT, through a pipe and splice(2): the pages are moved, not copied
 * The kernel argument `net` asks for the same over TCP to 192.0.2.1 port 4050 of the first network card.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buffer[1 << 20];

static void load_modules(const char *listed) {
  FILE *list = fopen(listed, "r");
  char path[512];
  while (list && fgets(path, sizeof path, list)) {
    path[strcspn(path, "\n")] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)) printf("speed: module %s: %m\n", path);
    close(fd);
  }
}

static int open_port(void) {
  for (;;) {
    DIR *dir = opendir("/sys/class/virtio-ports");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
      char path[300], name[64] = "";
      snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
      int fd = open(path, O_RDONLY);
      if (fd >= 0 && read(fd, name, sizeof name - 1) > 0 && strcmp(name, "husk.raw.0\n") == 0) {
        snprintf(path, sizeof path, "/dev/%.200s", entry->d_name);
        return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
      }
      close(fd);
    }
    if (dir) closedir(dir);
    usleep(10000);
  }
}

static int open_net(void) {
  struct ifreq request = {.ifr_name = "eth0"};
  struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
  struct sockaddr_in host = {.sin_family = AF_INET, .sin_port = htons(4050)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  address->sin_family = AF_INET;
  inet_aton("192.0.2.2", &address->sin_addr);
  if (ioctl(fd, SIOCSIFADDR, &request)) printf("speed: address: %m\n");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(fd, SIOCSIFFLAGS, &request)) printf("speed: up: %m\n");
  inet_aton("192.0.2.1", &host.sin_addr);
  while (connect(fd, (struct sockaddr *)&host, sizeof host)) {
    usleep(20000);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

static void wait_for(int fd, short events) {
  struct pollfd wait = {.fd = fd, .events = events};
  poll(&wait, 1, 1000);
  if (wait.revents & (POLLHUP | POLLERR)) usleep(2000);
}

static void put(int fd, long block, long long total) {
  for (long long left = total; left > 0;) {
    ssize_t sent = write(fd, buffer, left < block ? (size_t)left : (size_t)block);
    if (sent > 0) left -= sent;
    else wait_for(fd, POLLOUT);
  }
}

static void put_spliced(int fd, long block, long long total) {
  int pipes[2];
  if (pipe(pipes) || fcntl(pipes[1], F_SETPIPE_SZ, 1 << 20) < 0) printf("speed: pipe: %m\n");
  for (long long left = total; left > 0;) {
    long in = write(pipes[1], buffer, left < block ? (size_t)left : (size_t)block);
    for (long rest = in; rest > 0;) {
      ssize_t sent = splice(pipes[0], NULL, fd, NULL, (size_t)rest, SPLICE_F_MOVE);
      if (sent > 0) rest -= sent;
      else wait_for(fd, POLLOUT);
    }
    left -= in;
  }
  close(pipes[0]);
  close(pipes[1]);
}

static void get(int fd, long block, long long total) {
  for (long long left = total; left > 0;) {
    ssize_t got = read(fd, buffer, left < block ? (size_t)left : (size_t)block);
    if (got > 0) left -= got;
    else wait_for(fd, POLLIN);
  }
}

int main(void) {
  char line[128], word[16];
  int used = 0;
  long block;
  long long total;
  mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, 0);
  mount("sysfs", "/sys", "sysfs", 0, 0);
  mount("devtmpfs", "/dev", "devtmpfs", 0, 0);
  load_modules("/modules");
  mkdir("/r", 0755);
  for (int tries = 0; mount("/dev/vda", "/r", "erofs", MS_RDONLY, 0) && tries < 500; tries++) usleep(10000);
  load_modules("/probe-modules");
  memset(buffer, 'x', sizeof buffer);
  int fd = getenv("net") ? open_net() : open_port();
  printf("speed: ready\n");
  fflush(stdout);
  for (;;) {
    if (read(fd, line + used, 1) <= 0) {
      wait_for(fd, POLLIN);
      continue;
    }
    if (line[used++] != '\n' && used < (int)sizeof line - 1) continue;
    line[used] = 0;
    used = 0;
    if (sscanf(line, "%15s %ld %lld", word, &block, &total) != 3 || block > (long)sizeof buffer) continue;
    if (strcmp(word, "OUT") == 0) put(fd, block, total);
    else if (strcmp(word, "SPLICE") == 0) put_spliced(fd, block, total);
    else {
      get(fd, block, total);
      put(fd, 1, 1);
    }
  }
}
