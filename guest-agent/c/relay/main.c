/*
 * husk-relay: joins the virtio-serial port of the VM with the agent's UNIX socket.
 *
 * Why it exists: a read of the port from Node blocks a thread for good, and the port tells
 * nobody when its other end was replaced. The bytes of one session must never reach the next
 * one, so each session starts with a handshake in frames of 43 bytes:
 *
 *   host  "HUSK-SYNC <nonce>\n"   every 50 ms until answered
 *   guest "HUSK-ECHO <nonce>\n"   one for each SYNC
 *   host  "HUSK-GO:: <nonce>\n"   from here on the bytes belong to the session
 *
 * Before GO, and once in the life of the VM, the host may give a clone its identity:
 *
 *   host  "HUSK-INIT <nonce>\n", a batch of husk-sys with its length in front
 *   guest "HUSK-DONE <nonce>\n", the answer of husk-sys with its length in front
 *
 * The batch runs here, and nothing of the session reaches the agent before it has run: no program
 * of a tenant, and no JavaScript either, sees a clone without entropy of its own. A batch that
 * cannot be run, or a second one, gets an empty answer.
 *
 * A SYNC inside a session means that the host side went away unseen: the session ends there.
 * No byte of a SYNC is passed on: what may be the start of one is held back, and released as
 * soon as it turns out otherwise or nothing follows for 20 ms.
 *
 * What a session carries can hold anything, a SYNC too (the input of an exec). So the first 16
 * digits of a nonce are the key of the VM's link, which only the host knows: with another key
 * than that of the session's GO, a SYNC in mid-stream is what it was sent as, bytes of the
 * session. A session whose key is 16 zeros ends at any SYNC: the template's, before any key.
 *
 * Usage: husk-relay [--port-fd N | --vsock PORT --vsock-peer CID] [--agent PATH] [--sys PATH]
 * Without --port-fd the port is looked up by its name husk.agent.0. With --vsock a connection from that
 * CID takes the port's place, one at a time: docs/adr/0051-the-link-is-virtio-serial.md.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include "../ports.h"
#include "relay.h"

#define PORT_NAME "husk.agent.0"
#define SHORT_WAIT_MS 20
/*
 * Wakes come by edges; this bounds the harm of one that was missed, below the ten seconds in which the host's ping must
 * be answered. Under emulation each wake costs 2 ms and a machine may have a hundred guests.
 */
#define LONG_WAIT_MS 8000

struct relay relay = {
	.port = -1,
	.agent = -1,
	.listener = -1,
	.peer_cid = VMADDR_CID_HOST,
	.agent_path = "/run/husk/agent.sock",
	.sys_path = "/usr/lib/husk/husk-sys",
};

void die(const char *what)
{
	fprintf(stderr, "husk-relay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static __attribute__((noreturn)) void pump(void)
{
	struct epoll_event events[4];
	for (;;) {
		/* Ahead of the session: in a clone the agent has taken the connection long ago, and said its first words. */
		if (relay.agent < 0)
			connect_agent();
		if (relay.port < 0)
			accept_port();
		bool moved = read_port();
		moved |= write_from(relay.agent, &relay.to_agent);
		moved |= read_agent();
		moved |= write_from(relay.port, &relay.to_port);
		if (moved)
			continue;
		bool soon = relay.agent < 0 || (relay.linked && relay.frame_length > 0);
		int count = epoll_wait(relay.epoll, events, 4, soon ? SHORT_WAIT_MS : LONG_WAIT_MS);
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		if (count == 0 && relay.linked && relay.frame_length > 0 && room(&relay.to_agent) >= FRAME)
			release_frame(relay.frame_length);
	}
}

static int open_port(void)
{
	int fd = await_port(PORT_NAME, O_RDWR | O_NONBLOCK);
	if (fd < 0)
		die("find the port " PORT_NAME);
	return fd;
}

static void listen_vsock(unsigned int port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
	relay.listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (relay.listener < 0 || bind(relay.listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(relay.listener, 1) < 0)
		die("listen on vsock");
	watch(relay.listener);
}

int main(int argc, char **argv)
{
	unsigned int vsock = 0;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--port-fd") == 0)
			relay.port = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--vsock") == 0)
			vsock = (unsigned int)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--vsock-peer") == 0)
			relay.peer_cid = (unsigned int)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--agent") == 0)
			relay.agent_path = argv[i + 1];
		else if (strcmp(argv[i], "--sys") == 0)
			relay.sys_path = argv[i + 1];
	}
	start_sys();
	relay.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (relay.epoll < 0)
		die("epoll_create1");
	if (vsock != 0) {
		listen_vsock(vsock);
		pump();
	}
	if (relay.port < 0)
		relay.port = open_port();
	if (fcntl(relay.port, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		die("make the port non-blocking");
	watch(relay.port);
	pump();
}
