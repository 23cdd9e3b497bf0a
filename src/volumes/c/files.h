/*
 * What the parts of the file server have in common: the guest's nodes and handles, and answers.
 *
 * A node is a file that the guest's kernel knows, a handle one that it has opened. Both are open descriptors: no path
 * is ever looked at again, so nothing can be exchanged under one.
 */
#ifndef HUSK_FILES_H
#define HUSK_FILES_H
#include "protocol.h"
#include "share.h"
#include <sys/stat.h>

/* Bytes of content in one message. */
#define MAX_CONTENT (1u << 19)
#define MAX_MESSAGE (MAX_CONTENT + 4096)
#define MAX_XATTR 65536
/* Files that the guest may hold on to; each costs a descriptor. */
#define NODE_LIMIT 65536
#define HANDLE_LIMIT 16384
/* What was seen counts for about a tick of the guest's clock: for the calls that follow one look. */
#define VALID_NS 1000000
/* In a folder that nobody else changes: for the programs of the guest it is always true. */
#define OWN_VALID_SECONDS 10
/* From here on the guest is asked to forget what it does not use. */
#define NODES_ENOUGH (NODE_LIMIT / 4 * 3)

struct node {
  struct node *next; /* of the same bucket, or free */
  int fd;            /* O_PATH */
  uint64_t mount, inode, device, lookups;
  uint32_t type; /* S_IFMT */
  uint32_t own;  /* nobody but this guest changes it */
  uint32_t read; /* the guest has read it since it changed it last: of its own files it keeps what it read */
};

struct handle {
  int fd;         /* -1: free */
  uint32_t flags; /* O_APPEND */
  uint64_t at;    /* where a folder stands */
  int next;
};

/* What handlers return beside 0 and an errno. */
enum { NO_ANSWER = -2, LATER = -3 };

/* The answer that is being made; content goes behind a header that is not there yet. */
struct answer {
  unsigned char *at, *end;
};

typedef int handler(const struct message *, struct answer *);
handler do_lookup, do_forget, do_batch_forget, do_symlink, do_mknod, do_mkdir, do_unlink, do_rmdir, do_rename,
    do_rename2, do_link, do_getattr, do_setattr, do_readlink, do_statfs, do_getxattr, do_listxattr, do_setxattr,
    do_removexattr, do_open, do_create, do_read, do_write, do_release, do_fsync, do_fallocate, do_lseek, do_opendir,
    do_readdir, do_readdirplus, do_lock, do_lock_wait, do_interrupt;

/* keeper.c: zeroed memory that this server has in common with those that follow it. */
void *shared(size_t bytes);

/* nodes.c */
void start_nodes(int root);
struct node *node_of(uint64_t id);
struct handle *handle_of(uint64_t id);
/* Takes the descriptor over, whatever happens. 0: errno is set. */
struct node *hold(int fd, const struct statx *found);
void forget(uint64_t id, uint64_t lookups);
uint64_t node_id(const struct node *);
/* Takes the descriptor over. -1: there are too many. */
int64_t new_handle(int fd);
void drop_handle(uint64_t id);
int nodes_are_many(void);

/* names.c */
int open_below(int folder, const char *name);
/* Looks at what the name is now and makes it known to the guest. */
int enter(const struct node *folder, const char *name, struct fuse_entry_out *to);
/* Whether what is found there is changed by this guest alone. */
int is_own(const struct node *folder, const char *name);
void tell_entry(const struct node *, const struct statx *, struct fuse_entry_out *to);

/* attributes.c */
void start_attributes(void);
int look(int fd, struct statx *to);
/* After a change in it the kernel asks for a folder's attributes. */
void tell_folder(const struct node *);
/* The number that the guest sees of a file on the file system that was looked at. */
uint64_t told_inode(const struct statx *, uint64_t inode);
void fill_attr(const struct statx *from, int own, struct fuse_attr *to);
int reopen(const struct node *, int flags);
int drop_suid(int fd);
/* The descriptor once more, for calls that want a path. */
const char *again(int fd);

/* locks.c */
void start_locks(void);
void retry_locks(void);
int locks_wait(void);
void forget_lock_waits(uint64_t handle);

/* serve.c */
void start_session(void);
void put(struct answer *, const void *bytes, size_t size);
void answer_later(uint64_t unique, int code);
/* Goes ahead of the answer that is being made, for the program that joins the kernel with the port. */
void tell_ahead(int what, const void *ids, size_t ids_size, const void *bytes, size_t size);

static inline void close_fd(int fd) {
  int code = errno;
  if (fd >= 0) close(fd);
  errno = code;
}

#endif
