// SPDX-License-Identifier: GPL-2.0-only
/*
 * K and content that is replaced without a write: what moves extents between two files takes from both
 * what they grant, and what may be taken back keeps a grant from being made.
 * usage: replaced DIRECTORY ext4|xfs|f2fs
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nscap_test.h"

#define SIZE (64 * 4096)

struct move_extent {
	uint32_t reserved, donor;
	uint64_t from, to, len, moved;
};
#define EXT4_IOC_MOVE_EXT _IOWR('f', 15, struct move_extent)
#define EXT4_IOC_SWAP_BOOT _IO('f', 17)

struct bstime {
	uint64_t sec;
	int32_t nsec;
};

struct swapext {
	int64_t version, target, other;
	int64_t offset, len;
	char pad[16];
	struct {
		uint64_t ino;
		uint16_t mode, nlink;
		uint32_t uid, gid, rdev;
		int32_t blksize;
		int64_t size;
		struct bstime atime, mtime, ctime;
		int64_t blocks;
		uint32_t xflags;
		int32_t extsize, extents;
		uint32_t gen;
		uint16_t projid, forkoff, projid_high, sick, checked;
		unsigned char pad[2];
		uint32_t cowextsize, dmevmask;
		uint16_t dmstate, aextents;
	} stat;
};
#define XFS_IOC_SWAPEXT _IOWR('X', 109, struct swapext)

struct f2fs_move_range {
	uint32_t to;
	uint64_t from_at, to_at, len;
};
#define F2FS_IOC_START_ATOMIC_WRITE _IO(0xf5, 1)
#define F2FS_IOC_COMMIT_ATOMIC_WRITE _IO(0xf5, 2)
#define F2FS_IOC_MOVE_RANGE _IOWR(0xf5, 9, struct f2fs_move_range)
#define F2FS_IOC_ABORT_ATOMIC_WRITE _IO(0xf5, 5)

static int filled(const char *path, char with)
{
	static char content[SIZE];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0755);

	memset(content, with, sizeof(content));
	CHECK(fd >= 0 && write(fd, content, SIZE) == SIZE && fsync(fd) == 0);
	return fd;
}

static int try_to_grant(int fd)
{
	struct v2 host = v2(1);
	struct form_f entries = form_f(2, (uint32_t[]){ 100000, 200000 }, 2);

	if (fsetxattr(fd, CAPABILITY, &host, sizeof(host), 0))
		return errno;
	if (fsetxattr(fd, NSCAPABILITY, &entries, form_f_len(2), 0))
		return errno;
	return 0;
}

static bool granted(int fd, const char *name)
{
	char value[1024];

	return fgetxattr(fd, name, value, sizeof(value)) > 0;
}

static bool grants(int fd)
{
	return granted(fd, CAPABILITY) || granted(fd, NSCAPABILITY);
}

/* As it is on disk. */
static char first(int fd)
{
	char byte = 0;

	CHECK(fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
	CHECK(pread(fd, &byte, 1, 0) == 1);
	return byte;
}

static void ext4(int one, int two)
{
	struct move_extent move = { .donor = two, .len = SIZE / 4096 };

	CHECK(ioctl(one, EXT4_IOC_MOVE_EXT, &move) == 0 && move.moved == SIZE / 4096);
	CHECK(!grants(one) && !grants(two));
	/* The boot loader's inode, whatever is in it. */
	CHECK(try_to_grant(one) == 0);
	CHECK(ioctl(one, EXT4_IOC_SWAP_BOOT) == 0);
	CHECK(!grants(one));
}

static void xfs(int one, int two)
{
	struct swapext swap = { .target = one, .other = two, .len = SIZE };
	struct stat stat;

	CHECK(fstat(one, &stat) == 0);
	swap.stat.ino = stat.st_ino;
	swap.stat.mtime = (struct bstime){ stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec };
	swap.stat.ctime = (struct bstime){ stat.st_ctim.tv_sec, stat.st_ctim.tv_nsec };
	CHECK(ioctl(one, XFS_IOC_SWAPEXT, &swap) == 0);
	CHECK(first(one) == 'b' && first(two) == 'a');
	CHECK(!grants(one) && !grants(two));
	/* What has changed since is not exchanged. */
	swap.stat.ctime.sec--;
	CHECK(ioctl(one, XFS_IOC_SWAPEXT, &swap) == -1 && errno == EBUSY);
}

static void f2fs(int one, int two)
{
	struct f2fs_move_range move = { .to = two, .len = SIZE / 2 };

	CHECK(ioctl(one, F2FS_IOC_MOVE_RANGE, &move) == 0);
	CHECK(first(one) == 0 && first(two) == 'a');
	CHECK(!grants(one) && !grants(two));
	/* What an atomic write has written can be taken back. */
	CHECK(try_to_grant(two) == 0);
	CHECK(ioctl(two, F2FS_IOC_START_ATOMIC_WRITE) == 0);
	CHECK(pwrite(two, "x", 1, 0) == 1 && !grants(two));
	CHECK(try_to_grant(two) == ETXTBSY && !grants(two));
	CHECK(ioctl(two, F2FS_IOC_ABORT_ATOMIC_WRITE) == 0);
	CHECK(try_to_grant(two) == 0 && first(two) == 'a');
	CHECK(ioctl(two, F2FS_IOC_START_ATOMIC_WRITE) == 0);
	CHECK(pwrite(two, "x", 1, 0) == 1);
	CHECK(ioctl(two, F2FS_IOC_COMMIT_ATOMIC_WRITE) == 0);
	CHECK(!grants(two) && first(two) == 'x');
	CHECK(try_to_grant(two) == 0);
}

int main(int argc, char **argv)
{
	int one, two;

	CHECK(argc == 3 && chdir(argv[1]) == 0);
	CHECK(write_number("/proc/sys/kernel/nscap_array", 1) == 0);
	one = filled("one", 'a');
	two = filled("two", 'b');
	CHECK(try_to_grant(one) == 0 && try_to_grant(two) == 0 && grants(one) && grants(two));
	if (!strcmp(argv[2], "ext4"))
		ext4(one, two);
	else if (!strcmp(argv[2], "xfs"))
		xfs(one, two);
	else
		f2fs(one, two);
	printf("replaced: as expected on %s\n", argv[2]);
	return 0;
}
