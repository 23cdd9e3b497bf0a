/* What makes a clone a machine of its own. */
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include "sys.h"

/* entropy HEX: credits the bytes to the kernel's pool and reseeds its generator (random(4)). */
int op_entropy(char **arg)
{
	struct {
		struct rand_pool_info head;
		unsigned char bytes[256];
	} pool;
	size_t digits = strlen(arg[0]), n = digits / 2;
	if (digits % 2 != 0 || n == 0 || n > sizeof pool.bytes)
		return fail(EINVAL);
	for (size_t i = 0; i < n; i++)
		if (sscanf(arg[0] + 2 * i, "%2hhx", (unsigned char *)pool.head.buf + i) != 1)
			return fail(EINVAL);
	pool.head.entropy_count = (int)n * 8;
	pool.head.buf_size = (int)n;
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int result = ioctl(fd, RNDADDENTROPY, &pool);
	if (result == 0)
		result = ioctl(fd, RNDRESEEDCRNG);
	int code = errno;
	explicit_bzero(&pool, sizeof pool);
	explicit_bzero(arg[0], digits);
	close(fd);
	return result == 0 ? 0 : fail(code);
}

/* random COUNT: bytes of the kernel's generator, not of a generator of this process. */
int op_random(char **arg)
{
	unsigned char bytes[256];
	unsigned long long n;
	if (number(arg[0], sizeof bytes, &n) != 0 || getrandom(bytes, n, 0) != (ssize_t)n)
		return -1;
	return put_result('k', bytes, (uint32_t)n);
}

int op_clock(char **arg)
{
	unsigned long long ns;
	if (number(arg[0], INT64_MAX, &ns) != 0)
		return -1;
	struct timespec now = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
	return clock_settime(CLOCK_REALTIME, &now);
}

int op_hostname(char **arg)
{
	return sethostname(arg[0], strlen(arg[0]));
}
