/*
 * Requests of the guest's kernel, taken apart: FUSE 7.36 and up (linux/fuse.h).
 *
 * The bytes are hostile. What `parse` lets through is complete: the fixed part is there, each name ends inside the
 * message and is of its kind, and data is as long as it says.
 */
#ifndef HUSK_PROTOCOL_H
#define HUSK_PROTOCOL_H
#include <linux/fuse.h>
#include <stddef.h>

struct message {
  struct fuse_in_header head;
  union {
    struct fuse_forget_in forget;
    struct fuse_batch_forget_in batch_forget;
    struct fuse_getattr_in getattr;
    struct fuse_setattr_in setattr;
    struct fuse_mknod_in mknod;
    struct fuse_mkdir_in mkdir;
    struct fuse_rename_in rename;
    struct fuse_rename2_in rename2;
    struct fuse_link_in link;
    struct fuse_open_in open;
    struct fuse_create_in create;
    struct fuse_read_in read;
    struct fuse_write_in write;
    struct fuse_release_in release;
    struct fuse_fsync_in fsync;
    struct fuse_getxattr_in getxattr;
    struct fuse_setxattr_in setxattr;
    struct fuse_init_in init;
    struct fuse_lk_in lk;
    struct fuse_interrupt_in interrupt;
    struct fuse_fallocate_in fallocate;
    struct fuse_lseek_in lseek;
  } in;
  /* As the request has them; each ends with a NUL. */
  const char *name, *second;
  const unsigned char *data;
  size_t data_size;
};

/* No answer that the protocol has for what is not a message of it. */
enum { NO_MESSAGE = -1 };

/*
 * Takes a whole message apart: `size` is what its header says. 0: all of `to` is set; an errno: the
 * answer, with `to->head` set; NO_MESSAGE: the session is to be ended.
 */
int parse(const unsigned char *bytes, size_t size, struct message *to);

#endif
