/*
 * sendfd: gives a QEMU open files over its QMP socket, which Node cannot.
 *
 *   sendfd SOCKET add-fd FIRST PATH...  opens each file read-only and makes it a descriptor set: FIRST, FIRST + 1, ...
 *   sendfd SOCKET add-disk ro|rw PATH   the same with a block device, for writing where asked
 *   sendfd SOCKET getfd NAME        hands over descriptor 3 under the name
 *
 * Prints QEMU's reply to each command as a line. What QEMU says is not parsed here beyond telling
 * replies from events. Ends with an error after 10 seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A reply to these commands is some hundred bytes; a longer line is refused. */
static char line[65536];

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...) {
  int saved = errno;
  va_list args;
  va_start(args, format);
  fputs("sendfd: ", stderr);
  vfprintf(stderr, format, args);
  fprintf(stderr, ": %s\n", strerror(saved));
  _exit(70);
}

/* Reads byte by byte: no byte of a later message may be swallowed with this line. */
static void read_line(int from) {
  for (size_t used = 0; used < sizeof line - 1; used++) {
    ssize_t got = read(from, line + used, 1);
    if (got == 0) errno = ECONNRESET;
    if (got <= 0) die("read from QEMU");
    if (line[used] == '\n') {
      line[used + 1] = 0;
      return;
    }
  }
  errno = EMSGSIZE;
  die("read from QEMU");
}

/* Sends one command, with a descriptor unless that is -1, and reads its reply. */
static void command(int to, const char *text, int fd) {
  union {
    char bytes[CMSG_SPACE(sizeof fd)];
    struct cmsghdr align;
  } control = {0};
  struct iovec data = {.iov_base = (void *)text, .iov_len = strlen(text)};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  if (sendmsg(to, &message, MSG_NOSIGNAL) != (ssize_t)data.iov_len) die("send to QEMU");
  do read_line(to);
  while (!strstr(line, "\"return\"") && !strstr(line, "\"error\""));
}

/*
 * A file that is exchanged for a fifo does not block, and one of another kind is not handed over.
 * QEMU chooses the set's number where `set` is NULL.
 */
static void add_fd(int to, const char *path, int access, mode_t wanted, const unsigned int *set) {
  char text[128] = "{\"execute\":\"add-fd\"}\n";
  struct stat st;
  int fd = open(path, access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) die("open %.300s", path);
  if (fstat(fd, &st)) die("stat %.300s", path);
  errno = EINVAL;
  if ((st.st_mode & S_IFMT) != wanted) die("%.300s is no %s", path, wanted == S_IFBLK ? "block device" : "regular file");
  if (set) snprintf(text, sizeof text, "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":%u}}\n", *set);
  command(to, text, fd);
  fputs(line, stdout);
  close(fd);
}

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char text[128];
  errno = EINVAL;
  if (argc < 4 || strlen(argv[1]) >= sizeof address.sun_path) die("arguments");
  strcpy(address.sun_path, argv[1]);
  alarm(10);
  int to = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (to < 0) die("socket");
  if (connect(to, (struct sockaddr *)&address, sizeof address)) die("connect to %s", argv[1]);
  read_line(to);
  command(to, "{\"execute\":\"qmp_capabilities\"}\n", -1);
  if (strcmp(argv[2], "getfd") == 0) {
    snprintf(text, sizeof text, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"%.20s\"}}\n", argv[3]);
    command(to, text, 3);
    fputs(line, stdout);
  } else if (strcmp(argv[2], "add-fd") == 0) {
    unsigned int set = (unsigned int)strtoul(argv[3], NULL, 10);
    for (int i = 4; i < argc; i++, set++) add_fd(to, argv[i], O_RDONLY, S_IFREG, &set);
  } else if (strcmp(argv[2], "add-disk") == 0 && argc == 5) {
    add_fd(to, argv[4], strcmp(argv[3], "rw") == 0 ? O_RDWR : O_RDONLY, S_IFBLK, NULL);
  } else {
    errno = EINVAL;
    die("command '%.20s'", argv[2]);
  }
  return fflush(stdout) ? 70 : 0;
}
