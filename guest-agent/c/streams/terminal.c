#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "control.h"

void stop_listening(struct control *control)
{
	end_close(&control->sender);
	if (control->listener.fd >= 0)
		unlink(control->socket);
	end_close(&control->listener);
}

bool await_terminal(struct control *control, const char *path)
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

void start_console(struct control *control, char **words)
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

bool move_listener(struct control *control)
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

bool move_console(struct control *control)
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
