// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is executed to see what a file grants: writes its permitted capabilities, and what is left of the count of
 * its task's fail-nth, 8 bytes each. Without a C library, so that it is small and asks the kernel for little.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/syscall.h>

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

static uint64_t left(void)
{
	char digits[16];
	uint64_t number = 0;
	long fd = call(SYS_open, (long)"/proc/thread-self/fail-nth", O_RDONLY, 0), len, i;

	if (fd < 0)
		return 0;
	len = call(SYS_read, fd, (long)digits, sizeof(digits));
	for (i = 0; i < len && digits[i] >= '0' && digits[i] <= '9'; i++)
		number = number * 10 + digits[i] - '0';
	return number;
}

/* A program begins with another stack than a function. */
__attribute__((force_align_arg_pointer)) void _start(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	uint64_t said[2];

	said[1] = left();
	call(SYS_capget, (long)&header, (long)data, 0);
	said[0] = data[0].permitted | (uint64_t)data[1].permitted << 32;
	call(SYS_exit, call(SYS_write, 1, (long)said, sizeof(said)) != sizeof(said), 0, 0);
}
