#include <ctype.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include "process.h"

#define LAST_CAPABILITY 63

void (*tell)(const char *text, size_t length);

void give_up(const char *format, ...)
{
	char text[1536];
	va_list list;
	va_start(list, format);
	int n = vsnprintf(text, sizeof text, format, list);
	va_end(list);
	tell(text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
	_exit(255);
}

/* An errno's text as runC prints it: Go begins these with a small letter. */
const char *reason(int code)
{
	static char text[128];
	snprintf(text, sizeof text, "%s", strerror(code));
	text[0] = (char)tolower((unsigned char)text[0]);
	return text;
}

/* A text in double quotes as Go's strconv.Quote writes it; bytes above ASCII stand as they are. */
static const char *quoted(const char *text)
{
	static char out[512];
	size_t at = 0;
	out[at++] = '"';
	for (; *text != '\0' && at < sizeof out - 8; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			at += (size_t)sprintf(out + at, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			at += (size_t)sprintf(out + at, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\x%02x", c);
		else
			out[at++] = (char)c;
	}
	strcpy(out + at, "\"");
	return out;
}

/* runC would hand the standard streams to the user, so that /dev/stdout can be opened again. */
static void own_streams(uid_t uid)
{
	struct stat null, st;
	if (stat("/dev/null", &null) != 0)
		give_up("stat /dev/null: %s", reason(errno));
	for (int fd = 0; fd <= 2; fd++) {
		if (fstat(fd, &st) != 0)
			give_up("fstat of descriptor %d: %s", fd, reason(errno));
		if (st.st_uid == uid || st.st_rdev == null.st_rdev)
			continue;
		if (fchown(fd, uid, st.st_gid) != 0 && errno != EINVAL && errno != EPERM)
			give_up("fchown of descriptor %d: %s", fd, reason(errno));
	}
}

static void limit_bounding(uint64_t keep)
{
	for (unsigned long cap = 0; cap <= LAST_CAPABILITY; cap++)
		if ((keep >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL)
			give_up("drop a capability from the bounding set: %s", reason(errno));
}

static void set_capabilities(const uint64_t sets[CAPABILITY_SETS])
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	for (int half = 0; half < 2; half++)
		data[half] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(sets[EFFECTIVE] >> 32 * half),
			.permitted = (uint32_t)(sets[PERMITTED] >> 32 * half),
			.inheritable = (uint32_t)(sets[INHERITABLE] >> 32 * half),
		};
	if (syscall(SYS_capset, &head, data) != 0)
		give_up("unable to apply caps: %s", reason(errno));
	for (unsigned long cap = 0; cap <= LAST_CAPABILITY; cap++) {
		unsigned long action = sets[AMBIENT] >> cap & 1 ? PR_CAP_AMBIENT_RAISE : PR_CAP_AMBIENT_LOWER;
		if (prctl(PR_CAP_AMBIENT, action, cap, 0, 0) != 0 && errno != EINVAL)
			give_up("unable to apply caps: %s", reason(errno));
	}
}

static void filter_calls(const struct wish *wish)
{
	if (wish->filter.len > 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &wish->filter) != 0)
		give_up("unable to init seccomp: error loading seccomp filter: %s", reason(errno));
}

/* A folder outside the container's root has no path there (CVE-2024-21626). */
static void check_folder(void)
{
	char path[PATH_MAX];
	if (syscall(SYS_getcwd, path, sizeof path) < 0 ? errno == ENOENT : path[0] != '/')
		give_up("current working directory is outside of container mount namespace root -- possible container breakout detected");
}

/* The folder is entered as root first and as the user if that fails; then the user and its capabilities. */
static void become_user(const struct wish *wish)
{
	int entered = wish->cwd[0] == '\0' || chdir(wish->cwd) == 0;
	if (!entered && errno != EPERM && errno != EACCES)
		give_up("chdir to cwd (%s) set in config.json failed: %s", quoted(wish->cwd), reason(errno));
	limit_bounding(wish->capabilities[BOUNDING]);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
		give_up("unable to set keep caps: %s", reason(errno));
	own_streams(wish->uid);
	if (setgroups(wish->group_count, wish->groups) != 0)
		give_up("setgroups: %s", reason(errno));
	/* The system calls themselves: this process has one thread. */
	if (syscall(SYS_setgid, wish->gid) != 0 || syscall(SYS_setuid, wish->uid) != 0)
		give_up("unable to setup user: %s", reason(errno));
	if (!entered && chdir(wish->cwd) != 0)
		give_up("chdir to cwd (%s) set in config.json failed: %s", quoted(wish->cwd), reason(errno));
	check_folder();
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0)
		give_up("unable to clear keep caps: %s", reason(errno));
	set_capabilities(wish->capabilities);
}

/* 0, the errno of stat, or -1 for what is no program. */
static int executable(const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return errno;
	return S_ISDIR(st.st_mode) || (st.st_mode & 0111) == 0 ? -1 : 0;
}

static const char *variable(char **env, const char *name)
{
	size_t length = strlen(name);
	for (; *env != NULL; env++)
		if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
			return *env + length + 1;
	return "";
}

/* Go's exec.LookPath with the PATH of the container: what is found by a relative entry is refused. */
static const char *find_program(const struct wish *wish)
{
	static char path[PATH_MAX];
	const char *name = wish->args[0], *entry = variable(wish->env, "PATH"), *end;
	if (strchr(name, '/') != NULL) {
		int code = executable(name);
		if (code < 0)
			give_up("exec: %s: permission denied", quoted(name));
		if (code > 0)
			give_up("exec: %s: stat %s: %s", quoted(name), name, reason(code));
		return name;
	}
	for (int more = name[0] != '\0' && entry[0] != '\0'; more; entry = end + 1) {
		end = strchrnul(entry, ':');
		more = *end != '\0';
		int length = (int)(end - entry), n;
		/* An empty entry is the current folder. */
		n = snprintf(path, sizeof path, "%.*s/%s", length > 0 ? length : 1, length > 0 ? entry : ".", name);
		if (n >= (int)sizeof path || executable(path) != 0)
			continue;
		if (path[0] != '/')
			give_up("exec: %s: cannot run executable found relative to current directory", quoted(name));
		return path;
	}
	give_up("exec: %s: executable file not found in $PATH", quoted(name));
}

void reset_signals(void)
{
	sigset_t none;
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL); /* fails for two of them, which is as well */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* As runC lets a later process find the keyring (libcontainer/keys, ModKeyringPerm). */
static void open_keyring(void)
{
	char text[256], *bits;
	long length = syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text - 1);
	if (length <= 0)
		return;
	text[length < (long)sizeof text ? length : (long)sizeof text - 1] = '\0';
	/* type;uid;gid;permissions;name */
	bits = strchr(text, ';');
	for (int field = 1; bits != NULL && field < 3; field++)
		bits = strchr(bits + 1, ';');
	if (bits == NULL || syscall(SYS_keyctl, KEYCTL_SETPERM, KEY_SPEC_SESSION_KEYRING, strtoul(bits + 1, NULL, 16) | 0x080000) != 0)
		give_up("unable to mod keyring permissions: %s", reason(errno));
}

/*
 * All but the program itself, in the order that runC does it: what needs the rights of root first.
 * Descriptors 0 to 2 are in place. Returns the program's path.
 */
const char *prepare(const struct wish *wish)
{
	for (size_t i = 0; i < wish->limit_count; i++)
		if (setrlimit(wish->limits[i].resource, &wish->limits[i].value) != 0)
			give_up("error setting rlimit type %d: %s", wish->limits[i].resource, reason(errno));
	umask(022);
	if (wish->session != NULL && syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, wish->session) < 0 && errno != ENOSYS)
		give_up("unable to join session keyring: %s", reason(errno));
	if (wish->searchable)
		open_keyring();
	if (wish->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		give_up("prctl: %s", reason(errno));
	/* Without no_new_privs only a process with CAP_SYS_ADMIN may set a filter. */
	if (!wish->no_new_privs)
		filter_calls(wish);
	become_user(wish);
	const char *program = find_program(wish);
	if (syscall(SYS_faccessat2, AT_FDCWD, program, X_OK, AT_EACCESS) != 0 && errno != ENOSYS && errno != EPERM)
		give_up("eaccess %s: %s", program, reason(errno));
	if (wish->no_new_privs)
		filter_calls(wish);
	return program;
}

void become(const struct wish *wish, const char *program)
{
	execve(program, wish->args, wish->env);
	/* By now runC counts the process as started: what the kernel says goes to its own output. */
	dprintf(STDERR_FILENO, "exec %s: %s\n", program, reason(errno));
	_exit(1);
}
