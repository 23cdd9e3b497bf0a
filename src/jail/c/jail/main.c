/*
 * jail: starts one QEMU that owns nothing but descriptors.
 *
 *   jail [options] -- PROGRAM ARGUMENTS
 *
 * Runs as root. The first process (the keeper) opens everything, forks, gives up all capabilities
 * and stays: it copies the program's messages into a capped file and writes how the program ended.
 * So a daemon that was restarted still learns the end of a process it is no parent of. The second
 * becomes the program, in namespaces and a root of its own. Descriptors of the program:
 *
 *   0 /dev/null   1,2 pipe to the keeper   3 guest memory (inherited)   4 device state (inherited)
 *   5 QMP   6 QMP for descriptors   7 agent   8 tap   14 file server   31 bulk channel
 *   others as --open-ro and --disk say
 *
 * Standard output carries one line to the caller: `ready PID STARTTICKS`, or `jail: what: errno`.
 */
#include <linux/close_range.h>
#include <sched.h>
#include "jail.h"

/* The child: from here errors go to the program's log, where the daemon reads them. */
static __attribute__((noreturn)) void become(struct options *o, int messages, int go, char **command) {
  static char *const no_environment[] = {0};
  char released = 0;
  if (dup2(messages, STDOUT_FILENO) < 0 || dup2(messages, STDERR_FILENO) < 0) die("redirect messages");
  /* No release means that the keeper died before this process was on record. */
  if (read(go, &released, 1) != 1) _exit(70);
  if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP)) die("new namespaces");
  if (sethostname("vm", 2)) die("sethostname");
  enter_root(o);
  for (int fd = STDERR_FILENO + 1; fd <= FD_LAST; fd++) {
    if (o->held[fd] == 0) close(fd);
    else if (dup2(o->held[fd], fd) < 0) die("place descriptor %d", fd);
  }
  umask(0077);
  set_limits(o);
  drop_rights(o->uid);
  if (syscall(SYS_close_range, FD_LAST + 1, ~0U, 0)) die("close_range");
  execve(command[0], command, no_environment);
  die("exec %.300s", command[0]);
}

int main(int argc, char **argv) {
  struct options o = {0};
  int split = 1, messages[2], go[2];
  if (syscall(SYS_close_range, FD_STATE + 1, ~0U, 0)) die("close_range");
  while (split < argc && strcmp(argv[split], "--") != 0) split++;
  errno = EINVAL;
  if (split + 1 >= argc) die("no program after --");
  if (setsid() < 0 && errno != EPERM) die("setsid");
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR) die("ignore signals");
  parse(&o, split, argv);
  hold_memory(&o);
  o.held[FD_QMP] = listen_at(&o, "qmp.sock", 0);
  o.held[FD_FDS] = listen_at(&o, "fds.sock", 0);
  o.held[FD_AGENT] = listen_at(&o, "agent.sock", o.agent_uid);
  o.held[FD_STREAM] = listen_at(&o, "bulk.sock", o.agent_uid);
  o.held[FD_SHARE] = listen_at(&o, "share.sock", 0);
  o.held[FD_TAP] = open_tap(o.netns);
  join_groups(&o);
  if (pipe2(messages, O_CLOEXEC) || pipe2(go, O_CLOEXEC)) die("pipe");
  for (int i = 0; i < 2; i++) {
    messages[i] = spare(messages[i], "keep a pipe");
    go[i] = spare(go[i], "keep a pipe");
  }
  if (unshare(CLONE_NEWPID)) die("new process namespace");
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    close(go[1]);
    become(&o, messages[1], go[0], argv + split + 1);
  }
  close(messages[1]);
  close(go[0]);
  return keep(&o, pid, messages[0], go[1]);
}
