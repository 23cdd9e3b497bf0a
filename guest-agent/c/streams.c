/*
 * husk-streams: moves the bytes of exec, attach and port-forward between the host and the pod, so that
 * none of them passes the agent.
 *
 * The host opens streams on the port husk.stream.0 (streams-port.h, streams-session.h). It dials the
 * pod's loopback by itself; for a process the agent joins a stream with the process's descriptors.
 * One connection to the socket of this program stands for one stream or one terminal, in lines:
 *
 *   join NONCE STREAM IN OUT ERR   FIFOs by path, "-" for none; IN must have a reader already
 *   tty NONCE STREAM SOCKET        a terminal that comes to SOCKET, as runC's --console-socket sends it
 *   console SOCKET IN OUT          a container's terminal, joined with two FIFOs; OUT must have a reader
 *   drain MS                       answered when all output is on its way, or nothing came for MS
 *   size COLUMNS ROWS              for a console
 *
 * Answers are "ok", "drained" or "error TEXT". "size COLUMNS ROWS" and "gone" (the client is) come by
 * themselves. NONCE is that of the session with the host, so that a late call cannot join a stream of the
 * next one. The end of a connection closes what it stands for.
 *
 * Usage: husk-streams [--port-fd N] [--socket PATH]
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "ports.h"
#include "streams-session.h"

#define PORT_NAME "husk.stream.0"
#define LINE 1024
#define MAX_EVENTS 64
#define MAX_FILES 8192
#define PIPE_BYTES 16384
/* Wakes come by edges; this bounds the harm of one that was missed while somebody waits. */
#define LONG_WAIT_MS 1000

struct pipe {
	struct end *from, *to;
	size_t start, end;
	bool ended;
	char bytes[PIPE_BYTES];
};

/* One connection of the agent. */
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

static struct control *controls;
static struct end server = { .fd = -1 };
static const char *server_path = "/run/husk/streams.sock";

static void say(struct control *control, const char *line)
{
	/* A line is small and the agent reads: what does not fit at once means that it is stuck. */
	if (control->end.fd >= 0 && send(control->end.fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		control->end.readable = true; /* its end is found by the next read */
}

static void say_error(struct control *control, const char *what)
{
	char line[LINE];
	snprintf(line, sizeof(line), "error %s: %s\n", what, strerror(errno));
	say(control, line);
}

static void control_size(struct control *control, uint16_t columns, uint16_t rows)
{
	char line[64];
	snprintf(line, sizeof(line), "size %u %u\n", columns, rows);
	say(control, line);
}

static void control_gone(struct control *control)
{
	say(control, "gone\n");
}

static void control_forget(struct control *control)
{
	control->stream = NULL;
}

static void stop_listening(struct control *control)
{
	end_close(&control->sender);
	if (control->listener.fd >= 0)
		unlink(control->socket);
	end_close(&control->listener);
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
	if (!port.linked || strlen(nonce) != NONCE || memcmp(nonce, port.nonce, NONCE) != 0 || id == 0) {
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

static bool open_fifo(const char *path, int flags, int *fd)
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

/* Listens where a terminal will be sent to. */
static bool await_terminal(struct control *control, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	snprintf(control->socket, sizeof(control->socket), "%s", path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0) {
		end_open(&control->listener, fd);
		return true;
	}
	say_error(control, "listen for a terminal");
	if (fd >= 0)
		close(fd);
	return false;
}

static void start_tty(struct control *control, char **words)
{
	if (claim(control, words[1], words[2]) != NULL && await_terminal(control, words[3]))
		say(control, "ok\n");
}

static void start_console(struct control *control, char **words)
{
	int in = -1, out = -1;
	control->is_console = true;
	if (!open_fifo(words[2], O_RDONLY, &in) || !open_fifo(words[3], O_WRONLY, &out)) {
		say_error(control, "open a FIFO");
		if (in >= 0)
			close(in);
		return;
	}
	if (in >= 0)
		end_open(&control->in, in);
	end_open(&control->out, out);
	if (await_terminal(control, words[1]))
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

/* The descriptor that the OCI runtime sends; -1 with EAGAIN while there is none. */
static int receive_terminal(int from)
{
	char name[256], space[CMSG_SPACE(sizeof(int) * 4)];
	struct iovec part = { .iov_base = name, .iov_len = sizeof(name) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	ssize_t got = recvmsg(from, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (got < 0)
		return -1;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (got == 0 || header == NULL || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int))) {
		errno = EPROTO;
		return -1;
	}
	int fd;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static void take_terminal(struct control *control, int fd)
{
	if (!control->is_console) {
		if (control->stream == NULL)
			close(fd);
		else if (!bind_both(control->stream, fd, true))
			reset_stream(control->stream, "out of descriptors");
		return;
	}
	int second = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct pipe *from = calloc(1, sizeof(*from)), *to = calloc(1, sizeof(*to));
	if (second < 0 || from == NULL || to == NULL || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		die("keep a terminal");
	end_open(&control->terminal, fd);
	end_open(&control->terminal_in, second);
	from->from = &control->terminal;
	from->to = &control->out;
	to->from = &control->in;
	to->to = &control->terminal_in;
	control->from_terminal = from;
	control->to_terminal = to;
}

static bool move_listener(struct control *control)
{
	if (control->listener.fd >= 0 && control->listener.readable && control->sender.fd < 0) {
		int fd = accept4(control->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		control->listener.readable = fd >= 0;
		if (fd >= 0)
			end_open(&control->sender, fd);
		return fd >= 0;
	}
	if (control->sender.fd < 0 || !control->sender.readable)
		return false;
	int fd = receive_terminal(control->sender.fd);
	if (fd < 0 && errno == EAGAIN) {
		control->sender.readable = false;
		return false;
	}
	if (fd < 0) {
		end_close(&control->sender);
		return true;
	}
	stop_listening(control);
	take_terminal(control, fd);
	return true;
}

/* Returns whether something moved. */
static bool move_pipe(struct pipe *pipe)
{
	bool moved = false;
	if (pipe->to->fd < 0)
		return false;
	if (!pipe->ended && pipe->start == pipe->end && pipe->from->readable) {
		ssize_t got = read(pipe->from->fd, pipe->bytes, PIPE_BYTES);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			pipe->from->readable = errno == EINTR;
		else if (got <= 0)
			pipe->ended = true;
		pipe->start = 0;
		pipe->end = got > 0 ? (size_t)got : 0;
		moved = true;
	}
	if (pipe->start < pipe->end && pipe->to->writable) {
		ssize_t sent = write(pipe->to->fd, pipe->bytes + pipe->start, pipe->end - pipe->start);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			pipe->to->writable = errno == EINTR;
		else if (sent < 0)
			pipe->start = pipe->end; /* nobody takes it any more */
		else
			pipe->start += (size_t)sent;
		moved |= sent > 0;
	}
	return moved;
}

static bool move_console(struct control *control)
{
	struct pipe *from = control->from_terminal, *to = control->to_terminal;
	if (from == NULL)
		return false;
	bool moved = move_pipe(from);
	moved |= move_pipe(to);
	if (from->ended && from->start == from->end && control->out.fd >= 0) {
		end_close(&control->out); /* the agent sees the end of the output */
		end_close(&control->terminal);
		end_close(&control->terminal_in);
		return true;
	}
	if (to->ended && to->start == to->end && control->in.fd >= 0) {
		if (control->terminal_in.fd >= 0 && write(control->terminal_in.fd, END_OF_TRANSMISSION, 1) < 0 && errno == EAGAIN)
			return moved;
		end_close(&control->in);
		return true;
	}
	return moved;
}

/* Returns false when the connection is over and its control freed. */
static bool move_control(struct control *control, bool *moved)
{
	if (!read_control(control, moved)) {
		free_control(control);
		*moved = true;
		return false;
	}
	*moved |= move_listener(control);
	*moved |= move_console(control);
	struct stream *stream = control->stream;
	if (control->drain_asked && (stream == NULL || output_done(stream) || !stream->bound)) {
		control->drain_asked = false;
		say(control, "drained\n");
	}
	return true;
}

static void accept_controls(void)
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

/* Moves all that can be moved; returns how long the next look may be put off, -1 for until something happens. */
static long work(void)
{
	bool moved;
	long wait;
	do {
		moved = read_port();
		wait = -1;
		accept_controls();
		for (struct control *each = controls, *next; each != NULL; each = next) {
			next = each->next;
			move_control(each, &moved);
		}
		for (struct stream *each = streams, *next; each != NULL; each = next) {
			next = each->next;
			moved |= move_stream(each, &wait);
		}
		moved |= write_port();
	} while (moved);
	return wait;
}

static int listen_for_agent(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", server_path);
	unlink(server_path);
	umask(0177);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0)
		die(server_path);
	return fd;
}

static int open_port(void)
{
	int fd = await_port(PORT_NAME, O_RDWR | O_NONBLOCK);
	if (fd < 0)
		die("find the port " PORT_NAME);
	return fd;
}

int main(int argc, char **argv)
{
	const struct rlimit files = { MAX_FILES, MAX_FILES };
	struct epoll_event events[MAX_EVENTS];
	int fd = -1;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--port-fd") == 0)
			fd = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--socket") == 0)
			server_path = argv[i + 1];
	}
	setrlimit(RLIMIT_NOFILE, &files); /* fewer will do, for fewer streams */
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		die("epoll_create1");
	end_open(&server, listen_for_agent());
	if (fd < 0)
		fd = open_port();
	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		die("make the port non-blocking");
	end_open(&port.end, fd);
	for (;;) {
		long wait = work();
		if (streams != NULL && (wait < 0 || wait > LONG_WAIT_MS))
			wait = LONG_WAIT_MS;
		int count = epoll_wait(epoll, events, MAX_EVENTS, (int)wait);
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++) {
			struct end *end = events[i].data.ptr;
			end->readable |= (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0;
			end->writable |= (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
		}
	}
}
