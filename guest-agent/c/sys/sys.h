/* What the operations of husk-sys have in common. */
#ifndef HUSK_SYS_H
#define HUSK_SYS_H
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <sys/mount.h> and <linux/mount.h> do not go together in Debian 12. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

/* Sets errno, and gives -1. */
int fail(int code);
/* Adds to the answer: `k` or `e`, and the bytes. */
int put_result(char status, const void *bytes, uint32_t length);
/* A whole decimal number up to `max`; nothing else counts as one. */
int number(const char *text, unsigned long long max, unsigned long long *out);
/* openat2(2), close-on-exec; -1 and errno. */
int open_in(int root, const char *path, uint64_t flags, uint64_t resolve);

/*
 * The operations, by their file; each takes its arguments and gives 0, or -1 and errno. They may change
 * the text of their arguments.
 */
/* identity.c */
int op_entropy(char **arg), op_random(char **arg), op_clock(char **arg), op_hostname(char **arg);
/* files.c */
int op_write(char **arg), op_mkdir(char **arg), op_chown(char **arg), op_mkfifo(char **arg), op_chdir(char **arg), op_read(char **arg), op_mkpoint(char **arg);
/* mounts.c */
int op_mount(char **arg), op_umount(char **arg), op_bindat(char **arg);
/* disks.c */
int op_part(char **arg), op_unpart(char **arg), op_growfs(char **arg);
/* inside.c */
int op_procfile(char **arg), op_bindinto(char **arg), op_takeroot(char **arg), op_sealroot(char **arg);
/* network.c */
int op_ifname(char **arg), op_ifmac(char **arg), op_ifmtu(char **arg), op_ifup(char **arg), op_addr(char **arg), op_route(char **arg);

#endif
