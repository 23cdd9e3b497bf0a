/* What the parts of husk-jail have in common. */
#ifndef HUSK_JAIL_H
#define HUSK_JAIL_H
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROGRAM "jail"
#include "../program.h"

enum {
  FD_MEMORY = 3, FD_STATE = 4, FD_QMP = 5, FD_FDS = 6, FD_AGENT = 7, FD_TAP = 8, FD_SHARE = 14, FD_STREAM = 31,
  FD_LAST = 31
};
enum { MAX_CGROUPS = 16 };

struct options {
  const char *state, *root, *netns, *cgroups[MAX_CGROUPS];
  int cgroup_count, kvm, sealed;
  uid_t uid, agent_uid;
  long oom;
  rlim_t file_bytes;
  /* held[n] is the descriptor, out of the way for now, that the program gets as n; 0 is none */
  int held[FD_LAST + 1];
};

/* options.c */
void parse(struct options *o, int argc, char **argv);

/* descriptors.c: each opens what the program gets, and keeps it out of the way until then. */
int spare(int fd, const char *what);
void hold_file(struct options *o, const char *number_text, const char *path);
void hold_disk(struct options *o, const char *number_text, const char *from, const char *to);
void hold_memory(struct options *o);
int listen_at(const struct options *o, const char *name, uid_t owner);
int open_tap(const char *netns);

/* rights.c */
void join_groups(const struct options *o);
void set_limits(const struct options *o);
void drop_rights(uid_t uid);

/* root.c */
void enter_root(const struct options *o);

/* keeper.c: stays until the program has ended. */
int keep(const struct options *o, pid_t pid, int messages, int go);

#endif
