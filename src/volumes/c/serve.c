/*
 * The session with a guest's kernel: FUSE, as it is spoken over /dev/fuse, over a stream.
 *
 * One request at a time, in the order they come: a request waits at most for the file system that it is
 * for. What is no message of the protocol ends the session; what is wrong with a request is answered.
 */
#include "files.h"
#include <poll.h>

/* Room for what is told ahead of one answer: of two folders, or a file. */
enum { RETRY_LOCKS_MS = 50, NOTICE_EVERY = 4096, AHEAD_BYTES = 8192 };

static handler *const handlers[] = {
    [FUSE_LOOKUP] = do_lookup, [FUSE_FORGET] = do_forget, [FUSE_BATCH_FORGET] = do_batch_forget,
    [FUSE_SYMLINK] = do_symlink, [FUSE_MKNOD] = do_mknod, [FUSE_MKDIR] = do_mkdir, [FUSE_UNLINK] = do_unlink,
    [FUSE_RMDIR] = do_rmdir, [FUSE_RENAME] = do_rename, [FUSE_RENAME2] = do_rename2, [FUSE_LINK] = do_link,
    [FUSE_GETATTR] = do_getattr, [FUSE_SETATTR] = do_setattr, [FUSE_READLINK] = do_readlink,
    [FUSE_STATFS] = do_statfs, [FUSE_GETXATTR] = do_getxattr, [FUSE_LISTXATTR] = do_listxattr,
    [FUSE_SETXATTR] = do_setxattr, [FUSE_REMOVEXATTR] = do_removexattr, [FUSE_OPEN] = do_open,
    [FUSE_CREATE] = do_create, [FUSE_READ] = do_read, [FUSE_WRITE] = do_write, [FUSE_RELEASE] = do_release,
    [FUSE_RELEASEDIR] = do_release, [FUSE_FSYNC] = do_fsync, [FUSE_FSYNCDIR] = do_fsync,
    [FUSE_FALLOCATE] = do_fallocate, [FUSE_LSEEK] = do_lseek, [FUSE_OPENDIR] = do_opendir,
    [FUSE_READDIR] = do_readdir, [FUSE_READDIRPLUS] = do_readdirplus, [FUSE_SETLK] = do_lock,
    [FUSE_SETLKW] = do_lock_wait, [FUSE_INTERRUPT] = do_interrupt,
};
enum { HANDLERS = sizeof handlers / sizeof *handlers };

/* A message of at most this size is one piece for the socket: all of it is sent, or nothing (unix_stream_sendmsg). */
enum { ONE_PIECE = 32768 };

/*
 * What the next server needs if this one dies. `moving`: bytes are on their way, and how many nobody could tell; `saying`: so
 * many bytes of `words` were perhaps sent, all or none, and may be sent once more, for an answer that comes twice is known
 * again (guest-agent/c/files.c); `own`: they answer the request being served; `handling`: of so many bytes is that request,
 * which stands at `at`; `answered`: its answer was sent.
 */
static struct session {
  volatile int greeted, moving, own, answered;
  volatile size_t have, at, handling, saying;
  unsigned char *volatile words;
  struct fuse_out_header small;
  _Alignas(8) unsigned char input[2 * MAX_MESSAGE], output[AHEAD_BYTES + MAX_MESSAGE];
} *session;
static int channel, broken;

/* The guest's kernel asks for no more than it was told it may; the rest is left out. */
void put(struct answer *answer, const void *bytes, size_t size) {
  if ((size_t)(answer->end - answer->at) < size) return;
  memcpy(answer->at, bytes, size);
  answer->at += size;
}

/* The user for what is made, and for servers behind the file system that ask who it is. */
static void act_as(const struct fuse_in_header *head) {
  static uint32_t uid, gid;
  if (gid != head->gid) syscall(SYS_setfsgid, gid = head->gid);
  if (uid != head->uid) syscall(SYS_setfsuid, uid = head->uid);
}

/* The bytes are in the session. While there is no room for them nothing is on its way. */
static void say_piece(unsigned char *bytes, size_t size, int own) {
  struct pollfd room = {.fd = channel, .events = POLLOUT};
  session->words = bytes;
  session->own = own;
  /* All of it is there before it may be sent by another. */
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  for (ssize_t n = -1; n < 0 && !broken;) {
    session->saying = size;
    n = send(channel, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) session->answered |= own;
    session->saying = 0;
    if (n >= 0) broken = (size_t)n != size;
    else if (errno == EAGAIN) poll(&room, 1, -1);
    else broken = errno != EINTR;
  }
}

static void say_pieces(const unsigned char *bytes, size_t size) {
  session->moving = 1;
  for (size_t done = 0; done < size && !broken;) {
    ssize_t n = write(channel, bytes + done, size - done);
    if (n > 0) done += (size_t)n;
    else if (n == 0 || errno != EINTR) broken = 1;
  }
  session->answered = 1;
  session->moving = 0;
}

static void say_small(uint64_t unique, int error) {
  session->small = (struct fuse_out_header){.len = sizeof session->small, .error = error, .unique = unique};
  say_piece((unsigned char *)&session->small, sizeof session->small, 0);
}

static _Alignas(8) unsigned char ahead[AHEAD_BYTES];
static size_t ahead_size;

void tell_ahead(int what, const void *ids, size_t ids_size, const void *bytes, size_t size) {
  struct fuse_out_header head = {.len = (uint32_t)(sizeof head + ids_size + size), .error = what};
  if (head.len > sizeof ahead - ahead_size) return;
  unsigned char *to = ahead + ahead_size;
  memcpy(to, &head, sizeof head);
  memcpy(to + sizeof head, ids, ids_size);
  memcpy(to + sizeof head + ids_size, bytes, size);
  ahead_size += head.len;
}

void answer_later(uint64_t unique, int code) {
  say_small(unique, -code);
}

static int do_init(const struct message *m, struct answer *answer) {
  const struct fuse_init_in *in = &m->in.init;
  const uint32_t wanted = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_FLOCK_LOCKS | FUSE_AUTO_INVAL_DATA |
                          FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES |
                          FUSE_HANDLE_KILLPRIV_V2 | FUSE_ASYNC_DIO;
  struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
                              .max_readahead = MAX_CONTENT, .flags = in->flags & wanted, .max_background = 32,
                              .congestion_threshold = 24, .max_write = MAX_CONTENT, .time_gran = 1,
                              .max_pages = MAX_CONTENT / 4096};
  if (in->major != FUSE_KERNEL_VERSION || in->minor < 36) return EPROTO;
  session->greeted = 1;
  put(answer, &out, sizeof out);
  return 0;
}

/* The folders in which names have changed. */
static void tell_changed(const struct message *m) {
  uint64_t to = m->head.nodeid;
  switch (m->head.opcode) {
  case FUSE_RENAME: to = m->in.rename.newdir; break;
  case FUSE_RENAME2: to = m->in.rename2.newdir; break;
  case FUSE_CREATE: case FUSE_MKNOD: case FUSE_MKDIR: case FUSE_SYMLINK: case FUSE_LINK: case FUSE_UNLINK: case FUSE_RMDIR: break;
  default: return;
  }
  struct node *folder = node_of(m->head.nodeid), *other = node_of(to);
  if (folder) tell_folder(folder);
  if (other && other != folder) tell_folder(other);
}

static int handle_message(const struct message *m, struct answer *answer) {
  uint32_t op = m->head.opcode;
  if (op == FUSE_INIT) return do_init(m, answer);
  if (!session->greeted) return EPROTO;
  if (op == FUSE_DESTROY) return 0;
  act_as(&m->head);
  int code = op < HANDLERS && handlers[op] ? handlers[op](m, answer) : ENOSYS;
  if (code == 0) tell_changed(m);
  return code;
}

/* The guest's kernel keeps what it has seen until it needs the memory: it is told when that is too much. */
static void ask_to_forget(void) {
  static unsigned since = NOTICE_EVERY;
  since++;
  if (!nodes_are_many() || since < NOTICE_EVERY) return;
  since = 0;
  say_small(0, FORGET_NOTICE);
}

/* To number 0 nothing is said: the kernel has been answered already (guest-agent/c/files.c). */
static int has_answer(const struct fuse_in_header *head) {
  return head->unique != 0 && head->opcode != FUSE_FORGET && head->opcode != FUSE_BATCH_FORGET && head->opcode != FUSE_INTERRUPT;
}

/* NO_MESSAGE ends the session. */
static int serve_message(const unsigned char *bytes, size_t size) {
  struct message m;
  unsigned char *output = session->output + AHEAD_BYTES;
  struct fuse_out_header head = {.len = sizeof head};
  struct answer answer = {output + sizeof head, output + MAX_MESSAGE};
  ahead_size = 0;
  int code = parse(bytes, size, &m);
  if (code == NO_MESSAGE) return NO_MESSAGE;
  if (code == 0) code = handle_message(&m, &answer);
  if (code == NO_ANSWER || code == LATER || !has_answer(&m.head)) return 0;
  head.unique = m.head.unique;
  head.error = -code;
  if (code == 0) head.len = (uint32_t)(answer.at - output);
  else ahead_size = 0;
  memcpy(output, &head, sizeof head);
  memcpy(output - ahead_size, ahead, ahead_size);
  size_t all = ahead_size + head.len;
  if (all <= ONE_PIECE) say_piece(output - ahead_size, all, 1);
  else say_pieces(output - ahead_size, all);
  ask_to_forget();
  return 0;
}

static void end_message(void) {
  session->moving = 1;
  session->at += session->handling;
  session->handling = 0;
  session->answered = 0;
  session->moving = 0;
}

/* Serves every whole message of the input and keeps the rest; NO_MESSAGE ends the session. */
static int serve_input(void) {
  unsigned char *input = session->input;
  for (uint32_t size; session->have - session->at >= sizeof(struct fuse_in_header); end_message()) {
    memcpy(&size, input + session->at, sizeof size);
    if (size < sizeof(struct fuse_in_header) || size > MAX_MESSAGE) return NO_MESSAGE;
    if (size > session->have - session->at) break;
    session->handling = size;
    if (serve_message(input + session->at, size) == NO_MESSAGE) return NO_MESSAGE;
  }
  if (session->at == 0) return 0;
  session->moving = 1;
  memmove(input, input + session->at, session->have - session->at);
  session->have -= session->at;
  session->at = 0;
  session->moving = 0;
  return 0;
}

void start_session(void) {
  session = shared(sizeof *session);
}

/* The request over which an earlier server died is answered with EIO: served again, it could end this one too. */
static int resume(void) {
  struct fuse_in_header head;
  if (session->moving) return NO_MESSAGE;
  if (session->saying > 0) say_piece(session->words, session->saying, session->own);
  if (session->handling == 0) return 0;
  memcpy(&head, session->input + session->at, sizeof head);
  if (has_answer(&head) && !session->answered) answer_later(head.unique, EIO);
  end_message();
  return serve_input();
}

/* Waits for input. 0: there is none yet, but time to ask for locks again. */
static int wait_for_input(void) {
  struct pollfd asked = {.fd = channel, .events = POLLIN};
  return poll(&asked, 1, locks_wait() ? RETRY_LOCKS_MS : -1) > 0;
}

/* 1: there is more. Only what cannot be told afterwards is `moving`: the wait before is not. */
static int read_input(void) {
  session->moving = 1;
  ssize_t n = recv(channel, session->input + session->have, sizeof session->input - session->have, MSG_DONTWAIT);
  if (n > 0) session->have += (size_t)n;
  session->moving = 0;
  return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

int serve(int link) {
  channel = link;
  if (resume() == NO_MESSAGE) return 1;
  while (!broken) {
    if (wait_for_input()) {
      if (!read_input()) return 0;
      if (serve_input() == NO_MESSAGE) return 1;
    }
    retry_locks();
  }
  return 0;
}
