/*
 * husk-init: PID 1 of the guest, in two stages of one static program.
 *
 *   /init in the initramfs: loads the modules of /modules in that order, waits for the disk
 *   with the serial "root", mounts it read-only and goes on from there.
 *
 *   husk-init system: mounts what a Linux system needs, loads the other modules, starts the
 *   relay, the mover of streams and the agent, and from then on reaps.
 *
 *   husk-init supervise FIFO PROGRAM [ARGUMENT...]: only the last part, with one child; made
 *   for tests, which run it as PID 1 of a PID namespace.
 *
 * A container's first process is an orphan once `runc create` has ended, so its exit status
 * comes here. Each is written as "<pid> <wait status>\n" into a FIFO before the pid is reaped:
 * while the FIFO is full nothing is reaped, so that no status is lost and no pid used again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIBRARY "/usr/lib/husk/"
#define SYSTEM_GROUP "/sys/fs/cgroup/system"
#define EXITS "/run/husk/exits"
#define DATA "/run/husk/data"
#define SHM "/run/husk/shm"
#define NIC "eth0"
#define ROOT_TRIES 5000
#define MAX_FILE 65536
#define MAX_CHILDREN 3

struct child {
	const char *name;
	char **argv;
	pid_t pid;
};

static bool testing;

static void say(const char *what, const char *which)
{
	dprintf(2, "husk-init: %s %s: %s\n", what, which, strerror(errno));
}

/* The end of PID 1 is the end of the VM; the host finds the reason on the console. */
static _Noreturn void power_off(void)
{
	if (!testing) {
		sync();
		reboot(RB_POWER_OFF);
	}
	_exit(1);
}

static _Noreturn void die(const char *what, const char *which)
{
	say(what, which);
	power_off();
}

/* A whole small file as text; the caller frees it. NULL when it cannot be read. */
static char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : calloc(1, MAX_FILE);
	ssize_t got = text == NULL ? -1 : read(fd, text, MAX_FILE - 1);
	if (fd >= 0)
		close(fd);
	if (got >= 0)
		return text;
	free(text);
	return NULL;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t sent = write(fd, text, strlen(text));
	int problem = errno;
	close(fd);
	errno = problem;
	return sent == (ssize_t)strlen(text);
}

static void mount_at(const char *type, const char *path, mode_t mode, unsigned long flags, const char *data)
{
	mkdir(path, mode); /* there already, or the mount says what is wrong */
	if (mount(type, path, type, flags, data) < 0)
		die("mount", path);
}

/* Loads the modules of a list, one path a line, dependencies first. */
static void load_modules(const char *list, bool discard)
{
	char *text = read_file(list), *rest = text, *path;
	if (text == NULL)
		die("read", list);
	while ((path = strsep(&rest, "\n")) != NULL) {
		if (*path == '\0')
			continue;
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			say("load module", path);
		if (fd >= 0)
			close(fd);
		if (discard)
			unlink(path); /* the initramfs is memory */
	}
	free(text);
}

/* Finds the disk with the serial and writes its device path. */
static bool find_disk(const char *wanted, char *device, size_t size)
{
	size_t length = strlen(wanted);
	char path[300];
	struct dirent *entry;
	bool found = false;
	DIR *blocks = opendir("/sys/block");
	while (blocks != NULL && !found && (entry = readdir(blocks)) != NULL) {
		snprintf(path, sizeof(path), "/sys/block/%s/serial", entry->d_name);
		char *serial = strncmp(entry->d_name, "vd", 2) == 0 ? read_file(path) : NULL;
		found = serial != NULL && strncmp(serial, wanted, length) == 0 &&
			(serial[length] == '\n' || serial[length] == '\0');
		free(serial);
		if (found)
			snprintf(device, size, "/dev/%s", entry->d_name);
	}
	if (blocks != NULL)
		closedir(blocks);
	return found;
}

static void mount_root(const char *device)
{
	static const char *const types[] = { "erofs", "squashfs" };
	mkdir("/root", 0700);
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (mount(device, "/root", types[i], MS_RDONLY | MS_NODEV, NULL) == 0)
			return;
	die("mount the root disk", device);
}

static _Noreturn void stage_initramfs(void)
{
	static char *const argv[] = { "husk-init", "system", NULL };
	static char *const envp[] = { NULL };
	char device[300];
	mount_at("devtmpfs", "/dev", 0755, MS_NOSUID, "mode=0755");
	mount_at("sysfs", "/sys", 0555, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	load_modules("/modules", true);
	int tries = 0;
	while (!find_disk("root", device, sizeof(device))) {
		if (tries++ == ROOT_TRIES)
			die("find a disk with the serial", "root");
		usleep(1000);
	}
	mount_root(device);
	unlink("/init");
	unlink("/modules");
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) < 0 || mount("/sys", "/root/sys", NULL, MS_MOVE, NULL) < 0)
		die("move a mount to", "/root");
	if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		die("change the root to", device);
	execve(LIBRARY "husk-init", argv, envp);
	die("execute", LIBRARY "husk-init");
}

/* Applies lines of the form "<path below /proc/sys> <value>". */
static void apply_sysctls(const char *list)
{
	char *text = read_file(list), *rest = text, *line, path[300];
	if (text == NULL)
		die("read", list);
	while ((line = strsep(&rest, "\n")) != NULL) {
		char *value = strchr(line, ' ');
		if (value == NULL || *line == '#')
			continue;
		*value++ = '\0';
		snprintf(path, sizeof(path), "/proc/sys/%s", line);
		if (!write_file(path, value))
			say("set", path);
	}
	free(text);
}

/*
 * The pod's writable disk. A clone's is a copy of the template's as it was when the template's memory was
 * saved, so what the kernel knows of a file system that it has mounted is true of the copy too.
 */
static void mount_data_disk(void)
{
	char device[300];
	if (!find_disk("data", device, sizeof(device)))
		return;
	mkdir(DATA, 0700);
	if (mount(device, DATA, "ext4", MS_NODEV | MS_NOATIME, NULL) < 0)
		die("mount the data disk", device);
}

static void bring_up(const char *name)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strncpy(request.ifr_name, name, sizeof(request.ifr_name) - 1);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		say("bring up", name);
	if (fd >= 0)
		close(fd);
}

/*
 * What is the same for every pod is done here, so that a clone finds it done: the interface is up,
 * silent and without an address, since its MAC address is a placeholder until the pod has its own.
 * A neighbour must not be able to give the pod routes (CVE-2020-10749).
 */
static void prepare_interface(void)
{
	if (access("/sys/class/net/" NIC, F_OK) < 0)
		return;
	if (access("/proc/sys/net/ipv6", F_OK) == 0 &&
	    (!write_file("/proc/sys/net/ipv6/conf/" NIC "/accept_ra", "0") ||
	     !write_file("/proc/sys/net/ipv6/conf/" NIC "/addr_gen_mode", "1")))
		say("silence", NIC);
	bring_up(NIC);
}

/* Makes all controllers usable by containers; our own processes get a group beside theirs. */
static void prepare_cgroups(void)
{
	mount_at("cgroup2", "/sys/fs/cgroup", 0755, MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate");
	char *text = read_file("/sys/fs/cgroup/cgroup.controllers"), *rest = text, *name, change[64];
	while (text != NULL && (name = strsep(&rest, " \n")) != NULL) {
		snprintf(change, sizeof(change), "+%s", name);
		if (*name != '\0' && !write_file("/sys/fs/cgroup/cgroup.subtree_control", change))
			say("enable the cgroup controller", name);
	}
	free(text);
	if (mkdir(SYSTEM_GROUP, 0755) < 0)
		die("make", SYSTEM_GROUP);
}

static void prepare_system(void)
{
	const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	umask(0);
	mount_at("proc", "/proc", 0555, quiet, NULL);
	mount_at("tmpfs", "/run", 0755, MS_NOSUID | MS_NODEV, "mode=0755");
	mount_at("tmpfs", "/tmp", 01777, MS_NOSUID | MS_NODEV, "mode=1777");
	mount_at("devpts", "/dev/pts", 0755, MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666");
	mount_at("tmpfs", "/dev/shm", 01777, MS_NOSUID | MS_NODEV, "mode=1777");
	mount_at("mqueue", "/dev/mqueue", 01777, quiet, NULL);
	if (symlink("/proc/self/fd", "/dev/fd") < 0 && errno != EEXIST)
		say("link", "/dev/fd");
	umask(022);
	/* /etc is read-only; the files that the agent writes are links into this folder. */
	if (mkdir("/run/husk", 0700) < 0 || mkdir("/run/etc", 0755) < 0)
		die("make a folder in", "/run");
	prepare_cgroups();
	load_modules(LIBRARY "modules", false);
	apply_sysctls(LIBRARY "sysctl");
	bring_up("lo");
	prepare_interface();
	mount_at("tmpfs", SHM, 01777, quiet, "mode=1777,size=64m");
	mount_data_disk();
	reboot(RB_DISABLE_CAD);
}

static void start(struct child *child)
{
	static char *const envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run", "TMPDIR=/tmp", NULL };
	sigset_t none;
	child->pid = fork();
	if (child->pid < 0)
		die("fork for", child->name);
	if (child->pid > 0)
		return;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (!testing) {
		int null = open("/dev/null", O_RDONLY);
		if (null < 0 || dup2(null, 0) < 0 || !write_file(SYSTEM_GROUP "/cgroup.procs", "0"))
			say("prepare", child->name);
		/* A container that eats the memory must not take the agent with it. */
		if (!write_file("/proc/self/oom_score_adj", "-1000"))
			say("protect", child->name);
	}
	execve(child->argv[0], child->argv, envp);
	say("execute", child->argv[0]);
	_exit(127);
}

/* Ends the VM when one of our own children has ended: without them it serves nobody. */
static void check_child(const struct child *child)
{
	siginfo_t info = { 0 };
	if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
		return;
	dprintf(2, "husk-init: %s (pid %d) ended with %s %d: powering off\n", child->name, (int)child->pid,
		info.si_code == CLD_EXITED ? "exit code" : "signal", info.si_status);
	power_off();
}

/* The status as wait(2) would have given it. */
static int wait_status(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return (info->si_status & 0xff) << 8;
	return (info->si_status & 0x7f) | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

/* Reports and reaps one orphan. False: none is left, or the FIFO is full (then *full is set). */
static bool reap_one(int fifo, const struct child *children, size_t count, bool *full)
{
	char line[32];
	siginfo_t info = { 0 };
	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || info.si_pid == 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (children[i].pid == info.si_pid)
			return true; /* it ended after check_child had looked: the next look finds it */
	int length = snprintf(line, sizeof(line), "%d %d\n", (int)info.si_pid, wait_status(&info));
	/* Short writes cannot be: a line is far below PIPE_BUF, so it goes in whole or not at all. */
	while (write(fifo, line, (size_t)length) < 0) {
		if (errno == EINTR)
			continue;
		*full = errno == EAGAIN;
		if (!*full)
			say("write", EXITS);
		return false;
	}
	waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG | __WALL);
	return true;
}

static _Noreturn void supervise(const char *exits, struct child *children, size_t count)
{
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	int signals = signalfd(-1, &chld, SFD_NONBLOCK | SFD_CLOEXEC);
	if (mkfifo(exits, 0600) < 0 && errno != EEXIST)
		die("make", exits);
	/* Open for reading too: so the FIFO keeps its lines while the agent has not opened it. */
	int fifo = open(exits, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (signals < 0 || fifo < 0)
		die("open", exits);
	for (size_t i = 0; i < count; i++)
		start(&children[i]);
	for (;;) {
		struct signalfd_siginfo ignored;
		bool full = false;
		while (read(signals, &ignored, sizeof(ignored)) > 0)
			continue;
		do
			for (size_t i = 0; i < count; i++)
				check_child(&children[i]);
		while (reap_one(fifo, children, count, &full));
		struct pollfd waits[2] = { { .fd = signals, .events = POLLIN }, { .fd = fifo, .events = POLLOUT } };
		poll(waits, full ? 2 : 1, -1);
	}
}

/*
 * Under emulation machine code that runs for the first time in a clone costs more than what it does:
 * QEMU translates it. The interpreter's code is small and the same for every function, compiled
 * functions are each their own, so only what runs very often is compiled, and nothing is thrown away that
 * would have to be compiled anew. V8's parser, its notes of objects' shapes and its collector have their
 * turn in the template: docs/adr/0060.
 */
static char *emulated_agent[] = { LIBRARY "node", "--no-sparkplug", "--no-flush-bytecode", "--no-memory-reducer",
	"--regexp-interpret-all", "--min-semi-space-size=4", "--no-minor-gc-task", "--no-lazy-feedback-allocation", "--no-lazy",
	"--invocation-count-for-maglev=20000", "--invocation-count-for-maglev-osr=20000",
	"--invocation-count-for-turbofan=60000", "--invocation-count-for-osr=10000",
	"--invocation-count-for-early-optimization=20000", LIBRARY "agent.mjs", NULL };

/* Whether the kernel's command line has the word. */
static bool told(const char *word)
{
	char *text = read_file("/proc/cmdline"), *rest = text, *next;
	bool found = false;
	while (text != NULL && !found && (next = strsep(&rest, " \n")) != NULL)
		found = strcmp(next, word) == 0;
	free(text);
	return found;
}

int main(int argc, char **argv)
{
	static char *relay[] = { LIBRARY "husk-relay", NULL };
	static char *streams[] = { LIBRARY "husk-streams", NULL };
	static char *agent[] = { LIBRARY "node", LIBRARY "agent.mjs", NULL };
	if (getpid() != 1) {
		fprintf(stderr, "husk-init: runs as PID 1 only\n");
		return 2;
	}
	if (argc >= 4 && strcmp(argv[1], "supervise") == 0) {
		struct child only = { "program", argv + 3, 0 };
		testing = true;
		supervise(argv[2], &only, 1);
	}
	if (argc >= 2 && strcmp(argv[1], "system") == 0) {
		struct child children[MAX_CHILDREN] = { { "relay", relay, 0 }, { "streams", streams, 0 }, { "agent", agent, 0 } };
		prepare_system();
		if (told("husk.emulated"))
			children[MAX_CHILDREN - 1].argv = emulated_agent;
		supervise(EXITS, children, MAX_CHILDREN);
	}
	stage_initramfs();
}
