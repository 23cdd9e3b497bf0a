#include "exec.h"

#define MAX_TEXTS 65536

unsigned long long whole(const char *text, unsigned long long max)
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
void parse(char *at, char *end, struct request *request)
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
