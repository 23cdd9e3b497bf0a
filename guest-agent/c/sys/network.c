/* Interfaces, addresses and routes (rtnetlink(7), netdevice(7)). */
#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include "sys.h"

static int interface_ioctl(unsigned long request, struct ifreq *ifr, const char *name)
{
	if (strlen(name) >= IFNAMSIZ)
		return fail(EINVAL);
	strcpy(ifr->ifr_name, name);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	int result = ioctl(fd, request, ifr), code = errno;
	close(fd);
	return result == 0 ? 0 : fail(code);
}

int op_ifname(char **arg)
{
	struct ifreq ifr = { 0 };
	if (strlen(arg[1]) >= IFNAMSIZ)
		return fail(EINVAL);
	strcpy(ifr.ifr_newname, arg[1]);
	return interface_ioctl(SIOCSIFNAME, &ifr, arg[0]);
}

int op_ifmac(char **arg)
{
	struct ifreq ifr = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };
	unsigned char *m = (unsigned char *)ifr.ifr_hwaddr.sa_data;
	int end = 0;
	if (sscanf(arg[1], "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", m, m + 1, m + 2, m + 3, m + 4, m + 5, &end) != 6 ||
	    arg[1][end] != '\0')
		return fail(EINVAL);
	return interface_ioctl(SIOCSIFHWADDR, &ifr, arg[0]);
}

int op_ifmtu(char **arg)
{
	unsigned long long mtu;
	struct ifreq ifr = { 0 };
	if (number(arg[1], 65535, &mtu) != 0)
		return -1;
	ifr.ifr_mtu = (int)mtu;
	return interface_ioctl(SIOCSIFMTU, &ifr, arg[0]);
}

int op_ifup(char **arg)
{
	struct ifreq ifr = { 0 };
	if (interface_ioctl(SIOCGIFFLAGS, &ifr, arg[0]) != 0)
		return -1;
	ifr.ifr_flags |= IFF_UP;
	return interface_ioctl(SIOCSIFFLAGS, &ifr, arg[0]);
}

struct request {
	struct nlmsghdr head;
	union { struct ifaddrmsg addr; struct rtmsg route; } body;
	char attributes[128];
};

static void add_attribute(struct request *req, unsigned short type, const void *bytes, size_t length)
{
	struct rtattr *attr = (struct rtattr *)((char *)req + NLMSG_ALIGN(req->head.nlmsg_len));
	attr->rta_type = type;
	attr->rta_len = (unsigned short)RTA_LENGTH(length);
	memcpy(RTA_DATA(attr), bytes, length);
	req->head.nlmsg_len = NLMSG_ALIGN(req->head.nlmsg_len) + RTA_LENGTH(length);
}

static int talk(struct request *req)
{
	struct { struct nlmsghdr head; struct nlmsgerr error; char rest[1024]; } reply;
	struct timeval limit = { .tv_sec = 5 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), code = 0;
	if (fd < 0)
		return -1;
	req->head.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
	    send(fd, req, req->head.nlmsg_len, 0) < 0 || recv(fd, &reply, sizeof reply, 0) < 0)
		code = errno;
	else if (reply.head.nlmsg_type == NLMSG_ERROR)
		code = -reply.error.error;
	close(fd);
	return code == 0 ? 0 : fail(code);
}

struct prefix {
	unsigned char family, bits;
	size_t size;
	unsigned char bytes[16];
};

static int parse_prefix(char *text, struct prefix *out)
{
	char *slash = strchr(text, '/');
	unsigned long long bits;
	if (slash == NULL)
		return fail(EINVAL);
	*slash = '\0';
	out->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	out->size = out->family == AF_INET6 ? 16 : 4;
	int bad = inet_pton(out->family, text, out->bytes) != 1 || number(slash + 1, out->size * 8, &bits) != 0;
	*slash = '/';
	if (bad)
		return fail(EINVAL);
	out->bits = (unsigned char)bits;
	return 0;
}

/* addr INTERFACE CIDR. No duplicate address detection: CNI has given the address to this pod. */
int op_addr(char **arg)
{
	struct prefix p;
	unsigned index = if_nametoindex(arg[0]);
	if (index == 0 || parse_prefix(arg[1], &p) != 0)
		return -1;
	struct request req = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof req.body.addr), .nlmsg_type = RTM_NEWADDR,
					 .nlmsg_flags = NLM_F_REPLACE } };
	req.body.addr = (struct ifaddrmsg){ .ifa_family = p.family, .ifa_prefixlen = p.bits, .ifa_index = index,
					    .ifa_flags = p.family == AF_INET6 ? IFA_F_NODAD : 0 };
	add_attribute(&req, IFA_LOCAL, p.bytes, p.size);
	add_attribute(&req, IFA_ADDRESS, p.bytes, p.size);
	return talk(&req);
}

/* route INTERFACE CIDR GATEWAY: an empty gateway is a route on the link. */
int op_route(char **arg)
{
	struct prefix p;
	unsigned char gateway[16];
	int index = (int)if_nametoindex(arg[0]), via = arg[2][0] != '\0';
	if (index == 0 || parse_prefix(arg[1], &p) != 0)
		return -1;
	if (via && inet_pton(p.family, arg[2], gateway) != 1)
		return fail(EINVAL);
	struct request req = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof req.body.route), .nlmsg_type = RTM_NEWROUTE,
					 .nlmsg_flags = NLM_F_REPLACE } };
	/* ONLINK: some CNI plugins name a gateway outside the pod's own subnet. */
	req.body.route = (struct rtmsg){ .rtm_family = p.family, .rtm_dst_len = p.bits, .rtm_table = RT_TABLE_MAIN,
					 .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST,
					 .rtm_scope = via || p.family == AF_INET6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
					 .rtm_flags = via ? RTNH_F_ONLINK : 0 };
	if (p.bits > 0)
		add_attribute(&req, RTA_DST, p.bytes, p.size);
	if (via)
		add_attribute(&req, RTA_GATEWAY, gateway, p.size);
	add_attribute(&req, RTA_OIF, &index, sizeof index);
	return talk(&req);
}
