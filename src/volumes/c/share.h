/* What the parts of husk-share have in common. */
#ifndef HUSK_SHARE_H
#define HUSK_SHARE_H
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PROGRAM "husk-share"
#include "../../jail/c/program.h"

#if defined(__x86_64__)
#define OWN_AUDIT_ARCH AUDIT_ARCH_X86_64
#else
#error "add the architecture to the system call filter"
#endif

#define EXPORT "e"
/* First letter of the mount points of folders that nobody but the pod changes. */
#define OWN_FOLDER 'p'
/* Folders and files that a pod can share, each. */
#define MAX_SHARES 128
/* Descriptors of the server: files that the guest knows, files that it has opened, and a few of its own. */
#define OPEN_LIMIT (65536 + 16384 + 64)
/* Room in the socket for what QEMU has not taken yet. */
#define LINK_BYTES (2 << 20)
/* Not for the guest's kernel but for the program that joins it with the port: drop what is cached for nobody. */
#define FORGET_NOTICE 1000
/* For it too: what the kernel is about to ask for. A number of a node and attributes; two numbers, of a node and a handle, and content. */
#define FOLDER_NOTICE 1001
#define CONTENT_NOTICE 1002
/* All of a file. */
#define CONTENT_BYTES 4096

/* Each ends the program when it fails. */
void join_cgroup(const char *folder);
void enter_root(const char *folder);
void set_limits(void);
void drop_rights(void);
void filter_calls(void);

/* Serves FUSE on `link` until it ends, from where an earlier server left it. Returns an exit code. */
int serve(int link);

/*
 * keeper.c: has FUSE served on `link` below the folder `root` until the link ends; writes a byte to `deaths` for each server
 * that is followed by another. Returns an exit code.
 */
int keep(int link, int root, int deaths);

#endif
