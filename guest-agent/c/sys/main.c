/*
 * husk-sys: the system calls that Node lacks, in batches.
 *
 * Standard input carries batches, standard output one answer for each, in order (numbers are
 * little endian):
 *
 *   batch   u32 length, then operations: a name and its arguments, each ended by a NUL;
 *           the name fixes the number of arguments
 *   answer  u32 length, then a result for each operation that ran: `k` (done) or `e` (failed),
 *           u32 length, and that many bytes: what it read, or why it failed
 *
 * A batch stops at the first operation that fails, unless its name is written with a `-` in
 * front. The program ends at the end of its input. It runs as root inside a guest and is fed by
 * the guest's own agent; bytes of an image reach it only through `read` and the file systems
 * that it mounts.
 */
#include <signal.h>
#include "../transfer.h"
#include "sys.h"

#define MAX_BATCH (8u << 20)
#define MAX_ANSWER (8u << 20)

static char answer[MAX_ANSWER];
static size_t answer_length;

int fail(int code)
{
	errno = code;
	return -1;
}

int put_result(char status, const void *bytes, uint32_t length)
{
	if (MAX_ANSWER - answer_length < 5 || length > MAX_ANSWER - answer_length - 5)
		return fail(EMSGSIZE);
	answer[answer_length] = status;
	memcpy(answer + answer_length + 1, &length, sizeof length);
	memcpy(answer + answer_length + 5, bytes, length);
	answer_length += 5 + length;
	return 0;
}

int number(const char *text, unsigned long long max, unsigned long long *out)
{
	char *end = NULL;
	if (text[0] < '0' || text[0] > '9')
		return fail(EINVAL);
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno != 0 || *end != '\0' || *out > max ? fail(EINVAL) : 0;
}

#define MAX_ARGUMENTS 5
static const struct op {
	const char *name;
	int arguments;
	int (*run)(char **);
	int answers; /* Adds its own result when it works. */
} ops[] = {
	{ "entropy", 1, op_entropy, 0 }, { "random", 1, op_random, 1 }, { "clock", 1, op_clock, 0 },
	{ "hostname", 1, op_hostname, 0 }, { "write", 3, op_write, 0 }, { "mkdir", 2, op_mkdir, 0 },
	{ "chown", 3, op_chown, 0 }, { "mkfifo", 1, op_mkfifo, 0 }, { "chdir", 1, op_chdir, 0 }, { "mount", 5, op_mount, 0 },
	{ "umount", 1, op_umount, 0 }, { "part", 4, op_part, 0 }, { "unpart", 2, op_unpart, 0 },
	{ "growfs", 2, op_growfs, 0 },
	{ "read", 3, op_read, 1 }, { "procfile", 3, op_procfile, 0 }, { "bindinto", 4, op_bindinto, 0 },
	{ "mkpoint", 3, op_mkpoint, 0 }, { "takeroot", 3, op_takeroot, 0 }, { "sealroot", 1, op_sealroot, 0 },
	{ "ifname", 2, op_ifname, 0 },
	{ "ifmac", 2, op_ifmac, 0 }, { "ifmtu", 2, op_ifmtu, 0 }, { "ifup", 1, op_ifup, 0 },
	{ "addr", 2, op_addr, 0 }, { "route", 3, op_route, 0 }, { "bindat", 4, op_bindat, 0 },
};

/* The next NUL-ended text, or NULL when there is none before the end. */
static char *take(char **at, char *end)
{
	char *start = *at, *nul = start < end ? memchr(start, '\0', (size_t)(end - start)) : NULL;
	if (nul == NULL)
		return NULL;
	*at = nul + 1;
	return start;
}

static const struct op *find(const char *name)
{
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		if (strcmp(ops[i].name, name) == 0)
			return &ops[i];
	return NULL;
}

static void put_failure(const char *name, const char *argument, int code)
{
	char line[512];
	int n = snprintf(line, sizeof line, "%d %s \"%.300s\": %s", code, name, argument, strerror(code));
	put_result('e', line, (uint32_t)(n < (int)sizeof line ? n : (int)sizeof line - 1));
}

static void run_batch(char *at, char *end)
{
	answer_length = 0;
	while (at < end) {
		char *arg[MAX_ARGUMENTS] = { "" }, *name = take(&at, end);
		const struct op *op = name == NULL ? NULL : find(name + (name[0] == '-'));
		if (op == NULL)
			return put_failure("batch", name == NULL ? "" : name, EBADMSG);
		for (int i = 0; i < op->arguments; i++)
			if ((arg[i] = take(&at, end)) == NULL)
				return put_failure("batch", op->name, EBADMSG);
		if (op->run(arg) == 0) {
			if (!op->answers)
				put_result('k', "", 0);
			continue;
		}
		put_failure(op->name, op->run == op_entropy ? "" : arg[0], errno);
		if (name[0] != '-')
			return;
	}
}

int main(void)
{
	static char batch[MAX_BATCH];
	uint32_t length;
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	while (transfer(STDIN_FILENO, &length, sizeof length, 0) == 0) {
		if (length > MAX_BATCH || transfer(STDIN_FILENO, batch, length, 0) != 0)
			return 1;
		run_batch(batch, batch + length);
		length = (uint32_t)answer_length;
		if (transfer(STDOUT_FILENO, &length, sizeof length, 1) != 0 ||
		    transfer(STDOUT_FILENO, answer, length, 1) != 0)
			return 1;
	}
	return 0;
}
