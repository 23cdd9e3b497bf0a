/* virtio-serial ports, by the name that QEMU gave them (/sys/class/virtio-ports/N/name). */
#ifndef HUSK_PORTS_H
#define HUSK_PORTS_H
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"
/* Of 10 ms each: the device may come up after the program. */
#define PORT_TRIES 1000

/* Opens the port with the flags; -1 when there is none of that name, or it cannot be opened. */
static int find_port(const char *wanted, int flags)
{
	char path[300], name[64];
	struct dirent *entry;
	int found = -1;
	DIR *ports = opendir(PORTS);
	while (ports != NULL && found < 0 && (entry = readdir(ports)) != NULL) {
		snprintf(path, sizeof(path), PORTS "/%s/name", entry->d_name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		ssize_t got = read(fd, name, sizeof(name) - 1);
		close(fd);
		name[got < 0 ? 0 : got] = '\0';
		name[strcspn(name, "\n")] = '\0';
		if (strcmp(name, wanted) != 0)
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		found = open(path, flags | O_CLOEXEC);
	}
	if (ports != NULL)
		closedir(ports);
	return found;
}

/* The same for a port that may still come; -1 when it did not. */
static inline int await_port(const char *wanted, int flags)
{
	for (int tries = 0; tries < PORT_TRIES; tries++) {
		int fd = find_port(wanted, flags);
		if (fd >= 0)
			return fd;
		usleep(10000);
	}
	return -1;
}

#endif
