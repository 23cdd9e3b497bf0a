/*
 * husk-native-attach: joins a client of the streaming server with the streams of a native container.
 *
 *   husk-native-attach FOLDER UID GID CGROUPS WANTED BUNDLE
 *
 * WANTED has letters: i, o, e for the streams, t if the container is on a terminal, k to keep the connection to
 * conmon until the container ends, for conmon takes the end of any connection for the end of the input. BUNDLE has
 * conmon's socket `attach`, of packets whose first byte says which output it is, and its FIFO `ctl` for sizes.
 *
 * conmon waits for whoever does not take a packet, and the container with it. So this program always takes
 * them; a client that takes nothing for STUCK_MS while more waits for it is let go.
 */
#include "native-pipes.h"
#include <time.h>

/* conmon's numbers of the outputs, and its order "the terminal's size is" (utils.h, ctrl.c of conmon 2.1). */
#define PACKET_STDOUT 2
#define PACKET_STDERR 3
#define RESIZE_ORDER 1
#define LARGEST_SIZE 1000
/* conmon reads so much at once and cuts off the rest of a packet. */
#define INPUT_PACKET 8192
#define STUCK_MS 10000
#define END_OF_TRANSMISSION "\x04"

static struct pipes pipes;
static int conmon = -1, orders = -1, with_terminal, keep;
static char input[INPUT_PACKET], packet[65536];
static size_t input_used;
/* What of the packet is still to be handed over, and where to. */
static size_t output_at, output_end;
static int *output_to;
static long long stuck_at;

static long long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void on_line(const char *line)
{
	int columns, rows;
	if (!parse_size(line, &columns, &rows) || orders < 0)
		return;
	if (columns > LARGEST_SIZE)
		columns = LARGEST_SIZE;
	if (rows > LARGEST_SIZE)
		rows = LARGEST_SIZE;
	say(orders, "%d %d %d", RESIZE_ORDER, rows, columns);
}

/* Its path may be too long for a socket's address. */
static void join(const char *bundle)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int at = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (at < 0)
		fail("%s: %s", bundle, strerror(errno));
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/attach", at);
	conmon = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (conmon < 0 || connect(conmon, (struct sockaddr *)&address, sizeof address) != 0)
		fail("attach: the container's conmon does not answer: %s", strerror(errno));
	orders = openat(at, "ctl", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	close(at);
}

/* One packet of conmon. False: the container's outputs have ended. */
static int take_packet(void)
{
	ssize_t got = recv(conmon, packet, sizeof packet, MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0)
		return 0;
	output_to = packet[0] == PACKET_STDOUT ? &pipes.out : packet[0] == PACKET_STDERR ? &pipes.err : NULL;
	if (output_to == NULL || *output_to < 0)
		return 1;
	output_at = 1;
	output_end = got;
	stuck_at = now_ms() + STUCK_MS;
	return 1;
}

static void hand_over(void)
{
	ssize_t done = write(*output_to, packet + output_at, output_end - output_at);
	if (done > 0) {
		output_at += done;
		stuck_at = now_ms() + STUCK_MS;
	} else if (errno != EAGAIN && errno != EINTR) {
		shut(output_to);
	}
	if (*output_to < 0 || output_at == output_end)
		output_at = output_end = 0;
}

/* The end of a client's input is the container's where conmon thinks so; on a terminal its reader is told. */
static void take_input(void)
{
	ssize_t got = read(pipes.in, input, sizeof input);
	if (got > 0)
		input_used = got;
	if (got != 0)
		return;
	shut(&pipes.in);
	/* A client that broke off has said nothing of an end. */
	if (gateway_gone())
		return;
	if (with_terminal) {
		input[0] = *END_OF_TRANSMISSION;
		input_used = 1;
	} else if (!keep) {
		shutdown(conmon, SHUT_WR);
	}
}

/* The client is gone. */
static void let_go(void)
{
	if (!keep)
		quit(0);
	shut(&control);
	shut(&pipes.in);
	shut(&pipes.out);
	shut(&pipes.err);
	input_used = output_at = output_end = 0;
}

static void serve(void)
{
	struct lines lines = {0};
	for (;;) {
		int waits = output_end > 0;
		struct pollfd wait[] = {
			{.fd = control, .events = POLLIN},
			{.fd = input_used == 0 ? pipes.in : -1, .events = POLLIN},
			{.fd = waits ? *output_to : -1, .events = POLLOUT},
			{.fd = waits && input_used == 0 ? -1 : conmon,
			 .events = (waits ? 0 : POLLIN) | (input_used > 0 ? POLLOUT : 0)},
		};
		long long left = stuck_at - now_ms();
		if (waits && left <= 0) {
			let_go();
			continue;
		}
		if (poll(wait, 4, waits ? (int)left : -1) < 0)
			continue;
		if (wait[0].revents && !take_lines(&lines, control, on_line)) {
			let_go();
			continue;
		}
		if (wait[2].revents)
			hand_over();
		if (wait[1].revents)
			take_input();
		if (wait[3].revents & POLLOUT) {
			ssize_t sent = send(conmon, input, input_used, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (sent >= 0 || (errno != EAGAIN && errno != EINTR))
				input_used = 0;
		}
		if ((wait[3].revents & (POLLIN | POLLHUP | POLLERR)) && output_end == 0 && !take_packet())
			return;
	}
}

int main(int argc, char **argv)
{
	int columns = 0, rows = 0;
	if (argc != 7)
		return 64;
	begin(argv);
	with_terminal = strchr(argv[5], 't') != NULL;
	keep = strchr(argv[5], 'k') != NULL;
	pipes = make_pipes(argv[5]);
	end_joining(await_gateway(&columns, &rows));
	join(argv[6]);
	shut(&pipes.out_left);
	shut(&pipes.err_left);
	become_plain();
	if (columns > 0 && with_terminal)
		say(orders, "%d %d %d", RESIZE_ORDER, rows, columns);
	say(control, "started");
	serve();
	if (control >= 0)
		say(control, "exit 0");
	return 0;
}
