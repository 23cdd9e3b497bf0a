/*
 * Locks of whole files, flock(2), which the host and other pods see. Locks of ranges are the guest's
 * own: its kernel knows whose they are.
 */
#include "files.h"
#include <sys/file.h>

enum { WAITS = 256 };

/* Requests that wait for a lock: asked again and again, since this process must not wait itself. */
struct wait {
  uint64_t unique, handle;
  int how;
};
static struct queue {
  struct wait waits[WAITS];
  int waiting;
} *queue;

void start_locks(void) {
  queue = shared(sizeof *queue);
}

static int how_of(const struct fuse_lk_in *in) {
  return in->lk.type == F_RDLCK ? LOCK_SH : in->lk.type == F_WRLCK ? LOCK_EX : LOCK_UN;
}

static int try_lock(uint64_t id, int how) {
  struct handle *handle = handle_of(id);
  return handle && flock(handle->fd, how | LOCK_NB) == 0 ? 0 : errno;
}

int do_lock(const struct message *m, struct answer *answer) {
  (void)answer;
  if (!(m->in.lk.lk_flags & FUSE_LK_FLOCK)) return ENOSYS;
  return try_lock(m->in.lk.fh, how_of(&m->in.lk));
}

int do_lock_wait(const struct message *m, struct answer *answer) {
  int code = do_lock(m, answer);
  if (code != EAGAIN) return code;
  if (queue->waiting == WAITS) return ENOLCK;
  queue->waits[queue->waiting++] = (struct wait){m->head.unique, m->in.lk.fh, how_of(&m->in.lk)};
  return LATER;
}

static void end_wait(int at, int code) {
  answer_later(queue->waits[at].unique, code);
  queue->waits[at] = queue->waits[--queue->waiting];
}

int locks_wait(void) {
  return queue->waiting > 0;
}

void retry_locks(void) {
  for (int i = queue->waiting - 1; i >= 0; i--) {
    int code = try_lock(queue->waits[i].handle, queue->waits[i].how);
    if (code != EAGAIN) end_wait(i, code);
  }
}

void forget_lock_waits(uint64_t handle) {
  for (int i = queue->waiting - 1; i >= 0; i--)
    if (queue->waits[i].handle == handle) end_wait(i, EBADF);
}

/* Only waits last long enough to be interrupted. */
int do_interrupt(const struct message *m, struct answer *answer) {
  (void)answer;
  for (int i = queue->waiting - 1; i >= 0; i--)
    if (queue->waits[i].unique == m->in.interrupt.unique) end_wait(i, EINTR);
  return NO_ANSWER;
}
