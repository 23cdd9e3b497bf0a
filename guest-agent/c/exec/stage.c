#include "exec.h"

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
int stage(char *text)
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
