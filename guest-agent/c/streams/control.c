#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include "control.h"
#include "port.h"

static struct control *controls;
static struct end server = { .fd = -1 };

void say(struct control *control, const char *line)
{
	/* A line is small and the agent reads: what does not fit at once means that it is stuck. */
	if (control->end.fd >= 0 && send(control->end.fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		control->end.readable = true; /* its end is found by the next read */
}

void say_error(struct control *control, const char *what)
{
	char line[LINE];
	snprintf(line, sizeof(line), "error %s: %s\n", what, strerror(errno));
	say(control, line);
}

void control_size(struct control *control, uint16_t columns, uint16_t rows)
{
	char line[64];
	snprintf(line, sizeof(line), "size %u %u\n", columns, rows);
	say(control, line);
}

void control_gone(struct control *control)
{
	say(control, "gone\n");
}

void control_forget(struct control *control)
{
	control->stream = NULL;
}

static void free_control(struct control *control)
{
	struct control **link = &controls;
	struct stream *stream = control->stream;
	while (*link != control)
		link = &(*link)->next;
	*link = control->next;
	stop_listening(control);
	end_close(&control->end);
	end_close(&control->terminal);
	end_close(&control->terminal_in);
	end_close(&control->in);
	end_close(&control->out);
	free(control->to_terminal);
	free(control->from_terminal);
	free(control);
	if (stream == NULL)
		return;
	stream->control = NULL;
	if (stream->orphan) {
		free_stream(stream);
		return;
	}
	/* The process is over: what is left of its stream is closed, and the host says when to forget it. */
	if (!output_done(stream))
		reset_stream(stream, "closed by the agent");
	close_input(stream);
	close_output(stream, 0);
	close_output(stream, 1);
}

/* Splits a line at its spaces. Returns the number of words. */
static int split(char *line, char **words, int most)
{
	int count = 0;
	for (char *word = strtok(line, " "); word != NULL && count < most; word = strtok(NULL, " "))
		words[count++] = word;
	return count;
}

/* The stream that the agent means, which is new to it. NULL: an error was said. */
static struct stream *claim(struct control *control, const char *nonce, const char *id_text)
{
	uint32_t id = (uint32_t)strtoul(id_text, NULL, 10);
	if (!port_in_session(nonce) || id == 0) {
		say(control, "error the session with the host is over\n");
		return NULL;
	}
	struct stream *stream = find_stream(id);
	if (stream == NULL)
		stream = add_stream(id);
	if (stream == NULL || stream->bound || stream->control != NULL || stream->port != 0) {
		say(control, "error the stream is taken\n");
		return NULL;
	}
	control->stream = stream;
	stream->control = control;
	return stream;
}

bool open_fifo(const char *path, int flags, int *fd)
{
	*fd = -1;
	if (strcmp(path, "-") == 0)
		return true;
	*fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);
	return *fd >= 0;
}

static void join(struct control *control, char **words)
{
	int in = -1, out = -1, err = -1;
	struct stream *stream = claim(control, words[1], words[2]);
	if (stream == NULL)
		return;
	if (open_fifo(words[3], O_WRONLY, &in) && open_fifo(words[4], O_RDONLY, &out) && open_fifo(words[5], O_RDONLY, &err)) {
		say(control, "ok\n");
		bind_stream(stream, in, out, err);
		return;
	}
	say_error(control, "open a FIFO");
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
}

static void start_tty(struct control *control, char **words)
{
	if (claim(control, words[1], words[2]) != NULL && await_terminal(control, words[3]))
		say(control, "ok\n");
}

static void take_line(struct control *control, char *line)
{
	char *words[6];
	int count = split(line, words, 6);
	bool fresh = control->stream == NULL && !control->is_console;
	if (count == 6 && fresh && strcmp(words[0], "join") == 0)
		join(control, words);
	else if (count == 4 && fresh && strcmp(words[0], "tty") == 0)
		start_tty(control, words);
	else if (count == 4 && fresh && strcmp(words[0], "console") == 0)
		start_console(control, words);
	else if (count == 2 && strcmp(words[0], "drain") == 0) {
		control->drain_asked = true;
		if (control->stream != NULL) {
			control->stream->drain_ms = strtol(words[1], NULL, 10);
			control->stream->moved_at = now_ms();
		}
	} else if (count == 3 && strcmp(words[0], "size") == 0 && control->is_console) {
		const struct winsize size = { .ws_col = (unsigned short)atoi(words[1]), .ws_row = (unsigned short)atoi(words[2]) };
		if (control->terminal.fd >= 0)
			ioctl(control->terminal.fd, TIOCSWINSZ, &size);
	} else
		say(control, "error not understood\n");
}

/* Returns false when the connection is over. */
static bool read_control(struct control *control, bool *moved)
{
	while (control->end.readable) {
		ssize_t got = read(control->end.fd, control->line + control->length, LINE - 1 - control->length);
		if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
			control->end.readable = errno == EINTR;
			continue;
		}
		if (got <= 0)
			return false;
		*moved = true;
		control->length += (size_t)got;
		control->line[control->length] = '\0';
		char *end;
		while ((end = strchr(control->line, '\n')) != NULL) {
			*end = '\0';
			size_t used = (size_t)(end + 1 - control->line);
			take_line(control, control->line);
			control->length -= used;
			memmove(control->line, control->line + used, control->length + 1);
		}
		if (control->length == LINE - 1)
			return false;
	}
	return true;
}

static void move_control(struct control *control, bool *moved)
{
	if (!read_control(control, moved)) {
		free_control(control);
		*moved = true;
		return;
	}
	*moved |= move_listener(control);
	*moved |= move_console(control);
	struct stream *stream = control->stream;
	if (control->drain_asked && (stream == NULL || output_done(stream) || !stream->bound)) {
		control->drain_asked = false;
		say(control, "drained\n");
	}
}

void move_controls(bool *moved)
{
	for (struct control *each = controls, *next; each != NULL; each = next) {
		next = each->next;
		move_control(each, moved);
	}
}

void accept_controls(void)
{
	while (server.readable) {
		int fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			server.readable = errno == EINTR || errno == ECONNABORTED;
			continue;
		}
		struct control *fresh = calloc(1, sizeof(*fresh));
		if (fresh == NULL) {
			close(fd);
			continue;
		}
		fresh->listener.fd = fresh->sender.fd = fresh->terminal.fd = fresh->terminal_in.fd = -1;
		fresh->in.fd = fresh->out.fd = -1;
		end_open(&fresh->end, fd);
		fresh->next = controls;
		controls = fresh;
	}
}

void listen_for_agent(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	umask(0177);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0)
		die(path);
	end_open(&server, fd);
}
