/* Copies the data of one file into another of the same size, holes as holes. */
#ifndef HUSK_SPARSE_H
#define HUSK_SPARSE_H
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0, or -1 with errno. `to` is empty. */
static int copy_sparse(int from, int to) {
  /* The keeper of a VM has this memory for as long as it lives. */
  static char buffer[1 << 16];
  struct stat st;
  if (fstat(from, &st) || ftruncate(to, st.st_size)) return -1;
  for (off_t at = 0, end; at < st.st_size; at = end) {
    off_t data = lseek(from, at, SEEK_DATA);
    if (data < 0) return errno == ENXIO ? 0 : -1;
    if ((end = lseek(from, data, SEEK_HOLE)) < 0) return -1;
    for (at = data; at < end;) {
      size_t want = end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer;
      ssize_t got = pread(from, buffer, want, at);
      if (got == 0) errno = EIO;
      if (got <= 0) return -1;
      /* A disk that fills up takes a part first, and says so with the next write. */
      ssize_t put = pwrite(to, buffer, (size_t)got, at);
      if (put <= 0) return -1;
      at += put;
    }
  }
  return 0;
}
#endif
