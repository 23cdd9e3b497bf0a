#include <linux/sched.h>
#include <sched.h>
#include "exec.h"

/* The same as `namespaces` of the spec, in the order in which runC joins them. */
static const struct { const char *name; int flag; } kinds[] = {
	{ "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS }, { "net", CLONE_NEWNET },
	{ "pid", CLONE_NEWPID }, { "mnt", CLONE_NEWNS }, { "cgroup", CLONE_NEWCGROUP },
};
enum { KINDS = sizeof kinds / sizeof *kinds, CGROUP_KIND = KINDS - 1 };

/* The folder of the container's first process in /proc, which stays that of this process alone. */
int open_process(const struct request *request)
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

void set_oom_score(const char *text)
{
	int file = text == NULL ? -1 : open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (text != NULL && (file < 0 || write(file, text, strlen(text)) < 0))
		give_up("failed to update /proc/self/oom_score_adj: %s", reason(errno));
	close(file);
}

/* A: all that is done outside the container. Returns B's pid. */
pid_t enter(struct request *request)
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
