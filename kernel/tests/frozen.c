// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file that grants nothing is mapped as ever where it cannot be changed right now: on a frozen file
 * system, and on one that has become read-only since it was opened. Where it grants something, the
 * mapping waits for the thaw, or is refused.
 * usage: frozen DIRECTORY, of a file system of its own
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nscap_test.h"

static int top;

static int opened(const char *name, bool grant)
{
	int fd = openat(top, name, O_RDWR | O_CREAT, 0755);
	struct v2 host = v2(1);

	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
	CHECK(!grant || fsetxattr(fd, CAPABILITY, &host, sizeof(host), 0) == 0);
	return fd;
}

static bool granted(int fd)
{
	struct v2 value;

	return fgetxattr(fd, CAPABILITY, &value, sizeof(value)) > 0;
}

/* The errno of a mapping, or 0. */
static int map(int fd)
{
	return mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0;
}

static pid_t mapper(int fd)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child)
		_exit(map(fd));
	return child;
}

/* Whether it has ended well within so many tenths of a second. */
static bool ended(pid_t child, int tenths)
{
	int status;

	for (; tenths > 0; tenths--) {
		if (waitpid(child, &status, WNOHANG) == child)
			return status == 0;
		usleep(100000);
	}
	return false;
}

static void frozen(int plain, int holder)
{
	bool waited, kept, well;
	pid_t child;

	CHECK(ioctl(top, FIFREEZE, 0) == 0);
	/* Whatever comes of it, it is thawed. */
	well = ended(mapper(plain), 100);
	child = mapper(holder);
	waited = !ended(child, 5);
	kept = granted(holder);
	CHECK(ioctl(top, FITHAW, 0) == 0);
	CHECK(well && waited && kept);
	CHECK(ended(child, 100) && !granted(holder));
}

static void read_only(int plain, int holder)
{
	struct statvfs now = {};
	int trigger = open("/proc/sysrq-trigger", O_WRONLY);

	CHECK(trigger >= 0 && write(trigger, "u", 1) == 1);
	for (int tenths = 0; tenths < 100 && !(now.f_flag & ST_RDONLY); tenths++) {
		usleep(100000);
		CHECK(fstatvfs(top, &now) == 0);
	}
	CHECK(now.f_flag & ST_RDONLY);
	CHECK(map(plain) == 0);
	CHECK(map(holder) == EROFS && granted(holder));
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	top = open(argv[1], O_RDONLY | O_DIRECTORY);
	CHECK(top >= 0);
	frozen(opened("plain", false), opened("holder", true));
	read_only(opened("plain", false), opened("holder", true));
	printf("frozen: as expected\n");
	return 0;
}
