/* What the programs that jail themselves or another have in common. PROGRAM is the name that messages begin with. */
#ifndef HUSK_PROGRAM_H
#define HUSK_PROGRAM_H
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Says on standard output what failed, with errno, and ends. */
static inline __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...) {
  int saved = errno;
  char text[400];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  dprintf(STDOUT_FILENO, PROGRAM ": %s: %s\n", text, strerror(saved));
  _exit(70);
}

static inline long number(const char *text, long least, long most) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || end == text || *end || value < least || value > most) {
    errno = EINVAL;
    die("number '%.40s'", text);
  }
  return value;
}

/* Field 22 of /proc/PID/stat (proc(5)); field 2 may hold blanks and brackets, so count from the last ')'. */
static inline void start_ticks(pid_t pid, char *to, size_t size) {
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
  snprintf(to, size, "%.*s", (int)strcspn(field + 1, " "), field + 1);
}

#endif
