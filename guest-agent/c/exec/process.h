/*
 * What a process of a container is made of, and how a process of ours becomes it: the last part of
 * runC's setns_init_linux.go and init_linux.go, step by step in the same order.
 */
#ifndef HUSK_PROCESS_H
#define HUSK_PROCESS_H
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { BOUNDING, EFFECTIVE, PERMITTED, INHERITABLE, AMBIENT, CAPABILITY_SETS };
#define MAX_GROUPS 65536
#define MAX_LIMITS 32

struct limit {
	int resource;
	struct rlimit value;
};

/* The process that is wanted. Texts point into the request. */
struct wish {
	char **args, **env;
	const char *cwd;
	/* Name of the container's session keyring; NULL: the keyring stays. */
	const char *session;
	const char *oom_score_adj;
	uid_t uid;
	gid_t gid, *groups;
	size_t group_count, limit_count;
	uint64_t capabilities[CAPABILITY_SETS];
	struct limit limits[MAX_LIMITS];
	struct sock_fprog filter;
	int no_new_privs;
	/* The first process of a container opens its keyring to those that come later. */
	int searchable;
};

/* Tells a failure to whoever waits for this process. */
extern void (*tell)(const char *text, size_t length);
/* Tells it, and ends. */
_Noreturn __attribute__((format(printf, 1, 2))) void give_up(const char *format, ...);
/* What Go calls an errno: it is in messages that users know from runC. */
const char *reason(int code);

void reset_signals(void);
/* All of the process but its program, whose path it gives. */
const char *prepare(const struct wish *wish);
_Noreturn void become(const struct wish *wish, const char *program);

#endif
