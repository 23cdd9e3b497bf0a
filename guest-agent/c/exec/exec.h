/* What the parts of husk-exec have in common. */
#ifndef HUSK_EXEC_H
#define HUSK_EXEC_H
#include "../transfer.h"
#include "process.h"

#define MAX_REQUEST (4u << 20)
/* Fixed descriptors, above those that are opened in passing. */
#define ANSWERS 20
#define FAILURE 21

struct request {
	const char *pid, *start, *namespaces, *cgroup, *filter, *filter_digits, *console, *keep;
	/* Descriptors of the agent that become 0, 1 and 2; -1 is /dev/null. */
	int streams[3];
	struct wish wish;
};

/* The agent, as long as it lives: its descriptors are fetched by this. */
extern int agent;

/* request.c: a mistake in a request ends the process. */
void parse(char *at, char *end, struct request *request);
unsigned long long whole(const char *text, unsigned long long max);

/* streams.c */
void take_streams(const struct request *request);
int connect_console(const char *path);
void open_terminal(int socket_fd);

/* filter.c: seccomp filters, of hexadecimal digits, of a file, and into one. */
void parse_filter(struct wish *wish, const char *digits);
void load_filter(const char *path, struct wish *wish);
void keep_filter(const struct request *request);

/* enter.c: the way into a container. Gives the descriptor of its process's folder, and the pid of the new process. */
int open_process(const struct request *request);
pid_t enter(struct request *request);
void set_oom_score(const char *text);

/* stage.c: the first process of a prepared container. Gives an exit code. */
int stage(char *text);

/* Fills the bytes from standard input; -1 when it ends early. */
static inline int take(char *bytes, size_t length)
{
	return transfer(STDIN_FILENO, bytes, length, 0);
}

#endif
