// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prints the names that FILE has, as each of the list calls says: by name and by descriptor, as a program of 64
 * bits makes them and as one of 32 bits. usage: lists FILE
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYS_LISTXATTRAT 465

static long call32(long number, long a, long b, long c)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(number), "b"(a), "c"(b), "d"(c) :
			 "memory", "r8", "r9", "r10", "r11");
	return (int)ret;
}

/* In one line: the call, and each name or the error. */
static void show(const char *how, long ret, const char *list)
{
	printf("%s:", how);
	if (ret < 0)
		printf(" %s", strerror(ret == -1 ? errno : -ret));
	for (const char *at = list; ret > 0 && at < list + ret; at += strlen(at) + 1)
		printf(" %s", at);
	printf("\n");
}

int main(int argc, char **argv)
{
	/* Where a pointer of 32 bits reaches. */
	char *low = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1;
	char *list = low + 4096;
	size_t size = 4096;
	long ret;

	if (low == MAP_FAILED || fd < 0)
		return 2;
	strncpy(low, argv[1], 4095);
	show("listxattr", syscall(SYS_listxattr, low, list, size), list);
	show("llistxattr", syscall(SYS_llistxattr, low, list, size), list);
	show("flistxattr", syscall(SYS_flistxattr, fd, list, size), list);
	show("listxattr, 32 bits", call32(232, (long)low, (long)list, size), list);
	show("llistxattr, 32 bits", call32(233, (long)low, (long)list, size), list);
	show("flistxattr, 32 bits", call32(234, fd, (long)list, size), list);
	ret = syscall(SYS_LISTXATTRAT, AT_FDCWD, low, 0, list, size);
	if (ret < 0 && errno == ENOSYS)
		return 0;
	show("listxattrat", ret, list);
	show("listxattrat, its descriptor", syscall(SYS_LISTXATTRAT, fd, "", AT_EMPTY_PATH, list, size), list);
	return 0;
}
