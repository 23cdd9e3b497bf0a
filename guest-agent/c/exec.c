/*
 * husk-exec: starts processes in running containers, as `runc exec --detach` does, without the
 * second that a Go program's start costs under emulation.
 *
 * One process for the life of the guest, started in the template. Standard input carries
 * requests, standard output their answers, in any order (numbers are little endian):
 *
 *   request  u32 length, then texts "key=value", each ended by a NUL; `id` comes first
 *   answer   u32 length, then "id=N", and "pid=N" or "error=TEXT", each ended by a NUL
 *
 * Each request forks: a container whose files hang holds up nobody else.
 *
 *   husk-exec ── fork ──▶ A: opens what is outside, joins the namespaces
 *                         └── clone3 into the exec's cgroup ──▶ B: becomes the process
 *
 * A reads B's pipe, which closes when B runs its program or tells why it cannot, answers and
 * ends; B is then PID 1's child, which reports its exit.
 *
 * The container is hostile. Every path of ours is opened before its namespaces are joined, no
 * descriptor of ours is open when its files are first looked at (CVE-2024-21626), our memory is
 * closed to its ptrace, and our binary lies on a read-only file system (CVE-2019-5736).
 *
 * A request with `keep=PATH` instead asks for the seccomp filter of a container that was created
 * and not started: the very bytes that its OCI runtime made, so that execs get the same.
 */
#include "process.h"
#include <linux/sched.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define MAX_REQUEST (4u << 20)
#define MAX_TEXTS 65536
#define DEVPTS_MAGIC 0x1cd1
/* Fixed descriptors, above those that are opened in passing. */
#define ANSWERS 20
#define FAILURE 21

/* The same as `namespaces` of the spec, in the order in which runC joins them. */
static const struct { const char *name; int flag; } kinds[] = {
	{ "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS }, { "net", CLONE_NEWNET },
	{ "pid", CLONE_NEWPID }, { "mnt", CLONE_NEWNS }, { "cgroup", CLONE_NEWCGROUP },
};
enum { KINDS = sizeof kinds / sizeof *kinds, CGROUP_KIND = KINDS - 1 };

struct request {
	const char *pid, *start, *namespaces, *cgroup, *filter, *filter_digits, *console, *keep;
	/* Descriptors of the agent that become 0, 1 and 2; -1 is /dev/null. */
	int streams[3];
	struct wish wish;
};

static unsigned long long whole(const char *text, unsigned long long max)
{
	char *end = NULL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || errno != 0 || *end != '\0' || value > max)
		give_up("husk-exec: number \"%.40s\": wanted 0 to %llu", text, max);
	return value;
}

static void parse_limit(struct wish *wish, const char *text)
{
	unsigned long long number, soft, hard;
	if (wish->limit_count == MAX_LIMITS || sscanf(text, "%llu:%llu:%llu", &number, &soft, &hard) != 3 || number > 64)
		give_up("husk-exec: limit \"%.80s\": wanted NUMBER:SOFT:HARD", text);
	wish->limits[wish->limit_count++] = (struct limit){ (int)number, { soft, hard } };
}

static void parse_capabilities(struct wish *wish, const char *text)
{
	unsigned long long *set = (unsigned long long[CAPABILITY_SETS]){ 0 };
	if (sscanf(text, "%llx:%llx:%llx:%llx:%llx", set, set + 1, set + 2, set + 3, set + 4) != CAPABILITY_SETS)
		give_up("husk-exec: capabilities \"%.120s\": wanted five hexadecimal masks", text);
	for (int i = 0; i < CAPABILITY_SETS; i++)
		wish->capabilities[i] = set[i];
}

static void take_text(struct request *request, const char *key, char *value, size_t *args, size_t *env)
{
	const struct { const char *key; const char **to; } texts[] = {
		{ "pid", &request->pid }, { "start", &request->start }, { "namespaces", &request->namespaces },
		{ "cgroup", &request->cgroup }, { "filter", &request->filter }, { "console", &request->console },
		{ "keep", &request->keep }, { "bpf", &request->filter_digits }, { "cwd", &request->wish.cwd }, { "session", &request->wish.session },
		{ "oom", &request->wish.oom_score_adj },
	};
	struct wish *wish = &request->wish;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (strcmp(texts[i].key, key) == 0) {
			*texts[i].to = value;
			return;
		}
	if (strcmp(key, "arg") == 0)
		wish->args[(*args)++] = value;
	else if (strcmp(key, "env") == 0)
		wish->env[(*env)++] = value;
	else if (strcmp(key, "group") == 0 && wish->group_count < MAX_GROUPS)
		wish->groups[wish->group_count++] = (gid_t)whole(value, UINT32_MAX - 1);
	else if (strcmp(key, "uid") == 0)
		wish->uid = (uid_t)whole(value, UINT32_MAX - 1);
	else if (strcmp(key, "gid") == 0)
		wish->gid = (gid_t)whole(value, UINT32_MAX - 1);
	else if (strcmp(key, "nonewprivs") == 0)
		wish->no_new_privs = (int)whole(value, 1);
	else if (strcmp(key, "limit") == 0)
		parse_limit(wish, value);
	else if (strcmp(key, "capabilities") == 0)
		parse_capabilities(wish, value);
	else if (strcmp(key, "streams") != 0 || sscanf(value, "%d:%d:%d", request->streams, request->streams + 1, request->streams + 2) != 3)
		give_up("husk-exec: request: no key \"%.40s\"", key);
}

/* Cuts the request into its texts. It is the agent's own: a mistake in it is a mistake of ours. */
static void parse(char *at, char *end, struct request *request)
{
	static char *args[MAX_TEXTS + 1], *env[MAX_TEXTS + 1];
	static gid_t groups[MAX_GROUPS];
	size_t arg_count = 0, env_count = 0, texts = 0;
	request->wish.args = args;
	request->wish.env = env;
	request->wish.groups = groups;
	request->wish.cwd = "";
	for (char *next; at < end; at = next) {
		char *nul = memchr(at, '\0', (size_t)(end - at)), *equals = strchr(at, '=');
		if (nul == NULL || equals == NULL || equals > nul || ++texts > MAX_TEXTS)
			give_up("husk-exec: request: no list of texts");
		next = nul + 1;
		*equals = '\0';
		take_text(request, at, equals + 1, &arg_count, &env_count);
	}
	if (request->keep == NULL && arg_count == 0)
		give_up("husk-exec: request: arg is missing");
}

/* The folder of the container's first process in /proc, which stays that of this process alone. */
static int open_process(const struct request *request)
{
	if (request->pid == NULL || request->start == NULL)
		give_up("husk-exec: request: pid or start is missing");
	char path[64], text[1024], *after;
	snprintf(path, sizeof path, "/proc/%llu", whole(request->pid, INT32_MAX));
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int file = folder < 0 ? -1 : openat(folder, "stat", O_RDONLY | O_CLOEXEC);
	ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);
	if (file >= 0)
		close(file);
	text[got < 0 ? 0 : got] = '\0';
	/* Field 22; the name in field 2 may hold anything, but what follows it no parenthesis. */
	after = strrchr(text, ')');
	for (int field = 2; after != NULL && field < 22; field++)
		after = strchr(after + 1, ' ');
	if (after == NULL || strtoull(after, NULL, 10) != whole(request->start, UINT64_MAX) || text[0] == '\0')
		give_up("cannot exec in a stopped container");
	return folder;
}

static int open_namespace(int folder, const char *name)
{
	char path[32];
	snprintf(path, sizeof path, "ns/%s", name);
	int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		give_up("open namespace \"%s\": %s", name, reason(errno));
	return fd;
}

/* Whether a list with commas names the kind. */
static int listed(const char *list, const char *name)
{
	size_t length = strlen(name);
	for (const char *at = list; at != NULL; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0'))
			return 1;
	}
	return 0;
}

/* The agent, as long as it lives: its descriptors are fetched by this. */
static int agent = -1;

/* Fetches the agent's descriptors to 0, 1 and 2; those of A are not needed any more. */
static void take_streams(const struct request *request)
{
	for (int i = 0; i < 3 && request->console == NULL; i++) {
		int fd = request->streams[i] < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC)
						 : (int)syscall(SYS_pidfd_getfd, agent, request->streams[i], 0);
		if (fd < 0)
			give_up("husk-exec: stream %d of the agent: %s", i, reason(errno));
		/* 0 to 2 are taken, so a new descriptor is always above them. */
		if (dup2(fd, i) < 0)
			give_up("husk-exec: stream %d: %s", i, reason(errno));
		close(fd);
	}
}

static int connect_console(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || strlen(path) >= sizeof address.sun_path)
		give_up("console socket \"%.200s\": %s", path, fd < 0 ? reason(errno) : "too long");
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		give_up("console socket \"%.200s\": %s", path, reason(errno));
	return fd;
}

static void send_terminal(int socket_fd, int terminal)
{
	static char name[] = "/dev/ptmx";
	struct iovec bytes = { name, sizeof name - 1 };
	union { struct cmsghdr head; char space[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof terminal);
	memcpy(CMSG_DATA(head), &terminal, sizeof terminal);
	if (sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0)
		give_up("send the terminal: %s", reason(errno));
}

/* A terminal of the container's own devpts; its other end goes to whoever listens on the socket. */
static void open_terminal(int socket_fd)
{
	struct statfs fs;
	struct stat st;
	int unlock = 0, master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0)
		give_up("open /dev/ptmx: %s", reason(errno));
	/* The container may have put anything in its place. */
	if (fstat(master, &st) != 0 || fstatfs(master, &fs) != 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2) || fs.f_type != DEVPTS_MAGIC)
		give_up("open /dev/ptmx: no terminal of a devpts");
	if (ioctl(master, TIOCSPTLCK, &unlock) != 0)
		give_up("unlock the terminal: %s", reason(errno));
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		give_up("open the terminal: %s", reason(errno));
	send_terminal(socket_fd, master);
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			give_up("terminal as stream %d: %s", i, reason(errno));
	if (ioctl(0, TIOCSCTTY, 0) != 0)
		give_up("set the controlling terminal: %s", reason(errno));
}

/* The filter in hexadecimal digits: for a container that cannot see the guest's files. */
static void parse_filter(struct wish *wish, const char *digits)
{
	static struct sock_filter filter[BPF_MAXINSNS];
	size_t length = strlen(digits) / 2;
	if (length == 0 || length > sizeof filter || length % sizeof *filter != 0)
		give_up("husk-exec: seccomp filter: no whole filter");
	for (size_t i = 0; i < length; i++)
		if (sscanf(digits + 2 * i, "%2hhx", (unsigned char *)filter + i) != 1)
			give_up("husk-exec: seccomp filter: no hexadecimal digits");
	wish->filter = (struct sock_fprog){ (unsigned short)(length / sizeof *filter), filter };
}

/* The filter lies in a file of the guest's, which its agent made by `keep`. */
static void load_filter(const char *path, struct wish *wish)
{
	static struct sock_filter filter[BPF_MAXINSNS];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t got = fd < 0 ? -1 : read(fd, filter, sizeof filter);
	if (got <= 0 || (size_t)got % sizeof *filter != 0)
		give_up("read the seccomp filter \"%.200s\": %s", path, got < 0 ? reason(errno) : "no whole filter");
	close(fd);
	wish->filter = (struct sock_fprog){ (unsigned short)((size_t)got / sizeof *filter), filter };
}

/* B: inside the container's namespaces and the exec's cgroup. */
static _Noreturn void run(const struct request *request, int cgroup_namespace, int console)
{
	if (cgroup_namespace >= 0 && setns(cgroup_namespace, CLONE_NEWCGROUP) != 0)
		give_up("join namespace \"cgroup\": %s", reason(errno));
	if (setsid() < 0)
		give_up("setsid: %s", reason(errno));
	reset_signals();
	if (console >= 0)
		open_terminal(console);
	/* Only the streams and the pipe for a failure are left when the container's files are looked at. */
	if (syscall(SYS_close_range, 3, FAILURE - 1, 0) != 0 || syscall(SYS_close_range, FAILURE + 1, ~0U, 0) != 0)
		give_up("husk-exec: close_range: %s", reason(errno));
	become(&request->wish, prepare(&request->wish));
}

/* B's failures go to A; nobody waits for a process that cannot tell. */
static void tell_parent(const char *text, size_t length)
{
	if (write(FAILURE, text, length) < 0)
		_exit(254);
}

static pid_t clone_into(int cgroup)
{
	struct clone_args how = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup };
	return (pid_t)syscall(SYS_clone3, &how, sizeof how);
}

static void set_oom_score(const char *text)
{
	int file = text == NULL ? -1 : open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (text != NULL && (file < 0 || write(file, text, strlen(text)) < 0))
		give_up("failed to update /proc/self/oom_score_adj: %s", reason(errno));
	close(file);
}

/* A: all that is done outside the container. Returns B's pid. */
static pid_t enter(struct request *request)
{
	int folder = open_process(request), console = -1, spaces[KINDS];
	if (request->cgroup == NULL)
		give_up("husk-exec: request: cgroup is missing");
	take_streams(request);
	if (request->console != NULL)
		console = connect_console(request->console);
	if (request->filter != NULL)
		load_filter(request->filter, &request->wish);
	for (size_t i = 0; i < KINDS; i++)
		spaces[i] = listed(request->namespaces, kinds[i].name) ? open_namespace(folder, kinds[i].name) : -1;
	int cgroup = open(request->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (cgroup < 0)
		give_up("open the cgroup \"%.200s\": %s", request->cgroup, reason(errno));
	set_oom_score(request->wish.oom_score_adj);
	close(folder);
	/* From here on, ptrace and /proc of what we become are root's until the program runs. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		give_up("husk-exec: prctl: %s", reason(errno));
	/* The cgroup namespace comes last, by B: from inside it the exec's cgroup could not be entered. */
	for (size_t i = 0; i < CGROUP_KIND; i++)
		if (spaces[i] >= 0 && (setns(spaces[i], kinds[i].flag) != 0 || close(spaces[i]) != 0))
			give_up("join namespace \"%s\": %s", kinds[i].name, reason(errno));
	pid_t pid = clone_into(cgroup);
	if (pid == 0) {
		tell = tell_parent;
		run(request, spaces[CGROUP_KIND], console);
	}
	if (pid < 0)
		give_up("clone into the cgroup: %s", reason(errno));
	return pid;
}

/* Copies the oldest seccomp filter of a stopped tracee; 0 instructions when it has none. */
static long fetch_filter(pid_t pid, struct sock_filter *into)
{
	long count = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, (void *)0, into);
	return count < 0 && errno == ENOENT ? 0 : count;
}

static void keep_filter(const struct request *request)
{
	static struct sock_filter filter[BPF_MAXINSNS];
	int status = 0, folder = open_process(request);
	pid_t pid = (pid_t)whole(request->pid, INT32_MAX);
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0 ||
	    waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		give_up("read the container's seccomp filter: %s", reason(errno));
	long count = fetch_filter(pid, filter);
	int code = errno;
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	close(folder);
	if (count <= 0)
		give_up("read the container's seccomp filter: %s", count == 0 ? "it has none" : reason(code));
	size_t length = (size_t)count * sizeof *filter;
	int fd = open(request->keep, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, filter, length) != (ssize_t)length)
		give_up("keep the container's seccomp filter: %s", reason(errno));
	close(fd);
}

/* Of the request that this process serves. */
static const char *id;

/* One write: an answer is smaller than what a socket takes at once, so those of others cannot mix in. */
static void answer(const char *key, const char *text, int text_length)
{
	char bytes[2048];
	int n = snprintf(bytes + 4, sizeof bytes - 4, "id=%s%c%s=%.*s%c", id, 0, key, text_length, text, 0);
	uint32_t length = (uint32_t)n;
	memcpy(bytes, &length, sizeof length);
	if (write(ANSWERS, bytes, (size_t)n + 4) < 0)
		_exit(1);
}

static void tell_agent(const char *text, size_t length)
{
	answer("error", text, (int)length);
}

/* A: serves one request and ends. */
static _Noreturn void serve(char *text, uint32_t length)
{
	struct request request = { .namespaces = "", .streams = { -1, -1, -1 } };
	char error[1600], number[16] = "0";
	char *nul = length > 3 ? memchr(text, '\0', length) : NULL;
	int ends[2];
	if (nul == NULL || strncmp(text, "id=", 3) != 0)
		_exit(1);
	id = text + 3;
	tell = tell_agent;
	/* Ignored, B's exit status would be thrown away instead of going to PID 1. */
	signal(SIGCHLD, SIG_DFL);
	parse(nul + 1, text + length, &request);
	if (request.keep != NULL) {
		keep_filter(&request);
	} else {
		if (pipe2(ends, O_CLOEXEC) != 0 || dup3(ends[1], FAILURE, O_CLOEXEC) < 0)
			give_up("husk-exec: pipe: %s", reason(errno));
		close(ends[1]);
		snprintf(number, sizeof number, "%d", (int)enter(&request));
		close(FAILURE);
		size_t filled = 0;
		for (ssize_t got = 1; got > 0 && filled < sizeof error; filled += got > 0 ? (size_t)got : 0)
			got = read(ends[0], error + filled, sizeof error - filled);
		if (filled > 0) {
			tell_agent(error, filled);
			_exit(0);
		}
	}
	answer("pid", number, (int)strlen(number));
	_exit(0);
}

static int take(char *bytes, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = read(STDIN_FILENO, bytes + done, length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

/* ---- the first process of a prepared container ---- */

static void tell_output(const char *text, size_t length)
{
	if (write(STDOUT_FILENO, text, length) < 0)
		_exit(254);
}

/*
 * husk-exec stage: runC runs it as the first process of a container that has nothing of a tenant's
 * yet. When the container gets its root file system, the request comes by standard input; the
 * process becomes all of it but the program, says so with one line on its output, and runs the program
 * when one more byte comes: the two halves of `runc create` and `runc start`.
 */
static int stage(char *text)
{
	struct request request = { .namespaces = "", .streams = { -1, -1, -1 } };
	uint32_t length;
	char go;
	tell = tell_output;
	if (take((char *)&length, sizeof length) != 0 || length > MAX_REQUEST || take(text, length) != 0)
		return 1;
	parse(text, text + length, &request);
	if (request.filter_digits != NULL)
		parse_filter(&request.wish, request.filter_digits);
	set_oom_score(request.wish.oom_score_adj);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), control = dup3(STDIN_FILENO, ANSWERS, O_CLOEXEC);
	if (null < 0 || control < 0 || dup2(null, STDIN_FILENO) < 0)
		give_up("husk-exec: streams: %s", reason(errno));
	close(null);
	reset_signals();
	request.wish.searchable = 1;
	const char *program = prepare(&request.wish);
	tell_output("ready\n", 6);
	if (read(control, &go, 1) != 1)
		return 1;
	become(&request.wish, program);
}

int main(int argc, char **argv)
{
	static char text[MAX_REQUEST];
	uint32_t length;
	if (argc == 2 && strcmp(argv[1], "stage") == 0)
		return stage(text);
	signal(SIGCHLD, SIG_IGN); /* children end by themselves */
	signal(SIGPIPE, SIG_IGN);
	agent = (int)syscall(SYS_pidfd_open, getppid(), 0);
	if (agent < 0 || dup3(STDOUT_FILENO, ANSWERS, O_CLOEXEC) < 0)
		return 1;
	while (take((char *)&length, sizeof length) == 0) {
		if (length > MAX_REQUEST || take(text, length) != 0)
			return 1;
		pid_t child = fork();
		if (child == 0)
			serve(text, length);
		/* An environment may hold secrets: what is started next has no part of it in its memory. */
		explicit_bzero(text, length);
		if (child < 0)
			return 1;
	}
	return 0;
}
