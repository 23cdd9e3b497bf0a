/* The agent's side: one connection for each stream, and for each terminal of a container. */
#ifndef HUSK_STREAMS_CONTROL_H
#define HUSK_STREAMS_CONTROL_H
#include "stream.h"

#define LINE 1024
#define PIPE_BYTES 16384

struct pipe {
	struct end *from, *to;
	size_t start, end;
	bool ended;
	char bytes[PIPE_BYTES];
};

struct control {
	struct control *next;
	struct end end;
	struct stream *stream;
	char line[LINE];
	size_t length;
	bool drain_asked;
	struct end listener, sender; /* where a terminal is awaited, and who brings it */
	char socket[108];
	bool is_console;
	struct end terminal, terminal_in, in, out;
	struct pipe *to_terminal, *from_terminal; /* once the terminal is there */
};

void listen_for_agent(const char *path);
void accept_controls(void);
/* Moves what the agent's connections can move. */
void move_controls(bool *moved);
void say(struct control *control, const char *line);
void say_error(struct control *control, const char *what);
bool open_fifo(const char *path, int flags, int *fd);

/* Terminals (terminal.c). Listens where one will be sent to; false: an error was said. */
bool await_terminal(struct control *control, const char *path);
void start_console(struct control *control, char **words);
void stop_listening(struct control *control);
/* Both return whether something moved. */
bool move_listener(struct control *control);
bool move_console(struct control *control);

#endif
