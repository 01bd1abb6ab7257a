// SPDX-License-Identifier: GPL-2.0-only
/*
 * K and shared mappings: a file that is mapped so that its content can change loses what it grants,
 * and nothing can be granted for as long as it can change.
 * usage: mapping DIRECTORY [--pins]
 * On a kernel without entries it looks at host values alone, and is to fail at them.
 * With --pins a page can be pinned by io_uring and outlive its mapping, as on tmpfs; else pinning must be
 * refused, as on ext4.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nscap_test.h"

#define SIZE (4 * 4096)

static int fd;
static bool has_entries;

static int set_host(void)
{
	struct v2 value = v2(1);

	return fsetxattr(fd, CAPABILITY, &value, sizeof(value), 0) ? errno : 0;
}

static int set_entries(void)
{
	struct form_f value = form_f(2, (uint32_t[]){ 100000, 200000 }, 2);

	if (!has_entries)
		return set_host();
	return fsetxattr(fd, NSCAPABILITY, &value, form_f_len(2), 0) ? errno : 0;
}

static bool granted(const char *name)
{
	char value[1024];

	if (!has_entries)
		name = CAPABILITY;
	return fgetxattr(fd, name, value, sizeof(value)) > 0;
}

static void grant(void)
{
	CHECK(set_host() == 0);
	CHECK(set_entries() == 0);
	CHECK(granted(CAPABILITY) && granted(NSCAPABILITY));
}

static bool nothing_granted(void)
{
	return !granted(CAPABILITY) && !granted(NSCAPABILITY);
}

static bool refused(void)
{
	return set_host() == ETXTBSY && set_entries() == ETXTBSY && nothing_granted();
}

/* Both can be granted, and are then taken back. */
static bool allowed(void)
{
	if (set_host() || set_entries())
		return false;
	return (!has_entries || fremovexattr(fd, NSCAPABILITY) == 0) && fremovexattr(fd, CAPABILITY) == 0 &&
	       nothing_granted();
}

static char *map(int file, int protection, int flags)
{
	return mmap(NULL, SIZE, protection, flags, file, 0);
}

/* What cannot change the file drops nothing. */
static void harmless(const char *path)
{
	int reader = open(path, O_RDONLY);
	char *private, *shared;

	grant();
	private = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	CHECK(private != MAP_FAILED);
	private[0]++;
	shared = map(reader, PROT_READ, MAP_SHARED);
	CHECK(shared != MAP_FAILED);
	CHECK(mprotect(shared, SIZE, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
	CHECK(granted(CAPABILITY) && granted(NSCAPABILITY));
	CHECK(munmap(private, SIZE) == 0 && munmap(shared, SIZE) == 0);
	CHECK(close(reader) == 0);
	CHECK(granted(CAPABILITY) && granted(NSCAPABILITY));
}

/* A mapping that is only read can be made writable later, and outlives its descriptor. */
static void protected_later(const char *path)
{
	int other = open(path, O_RDWR);
	char *mapped = map(other, PROT_READ, MAP_SHARED);

	CHECK(mapped != MAP_FAILED);
	CHECK(nothing_granted() && refused());
	CHECK(close(other) == 0);
	CHECK(refused());
	CHECK(mprotect(mapped, SIZE, PROT_READ | PROT_WRITE) == 0);
	mapped[1]++;
	CHECK(refused());
	CHECK(mprotect(mapped, SIZE, PROT_NONE) == 0);
	CHECK(refused());
	CHECK(munmap(mapped, SIZE) == 0);
	CHECK(allowed());
}

static void moved_and_cut(void)
{
	char *mapped = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), *moved;

	CHECK(mapped != MAP_FAILED);
	moved = mremap(mapped, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, mapped + (1L << 30));
	CHECK(moved != MAP_FAILED && refused());
	CHECK(munmap(moved + 4096, 4096) == 0 && refused());
	CHECK(munmap(moved, 4096) == 0 && refused());
	/* Over itself: there is no moment without. */
	CHECK(mmap(moved + 8192, 8192, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
	CHECK(refused());
	CHECK(syscall(SYS_remap_file_pages, moved + 8192, 4096, 0, 1, 0) == 0);
	CHECK(refused());
	CHECK(munmap(moved + 8192, 8192) == 0);
	CHECK(allowed());
}

static void inherited(void)
{
	char *mapped = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	int gate[2], status;
	pid_t child;
	char byte;

	CHECK(mapped != MAP_FAILED && pipe(gate) == 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		close(gate[1]);
		_exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(gate[0]);
	CHECK(munmap(mapped, SIZE) == 0);
	CHECK(refused());
	close(gate[1]);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(allowed());
}

/* A task that only reads prevents no grant, however often it maps a page or holds one. */
static void readers(const char *path)
{
	int reader = open(path, O_RDONLY), pipes[2], page;
	char *maps[1100], held[4096], now[4096];
	off_t at = 0;

	CHECK(reader >= 0 && pipe(pipes) == 0);
	for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
		maps[i] = mmap(NULL, 4096, PROT_READ, MAP_SHARED, reader, 0);
		CHECK(maps[i] != MAP_FAILED && maps[i][0] == maps[0][0]);
	}
	CHECK(pread(fd, now, sizeof(now), 0) == sizeof(now));
	page = splice(reader, &at, pipes[1], NULL, 4096, 0);
	CHECK(page == 4096);
	CHECK(allowed());
	grant();
	/* What they see and hold is what there was. */
	CHECK(maps[0][0] == now[0] && maps[1099][4095] == now[4095]);
	CHECK(read(pipes[0], held, sizeof(held)) == page && !memcmp(held, now, page));
	CHECK(pread(fd, held, sizeof(held), 0) == page && !memcmp(held, now, page));
	for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++)
		CHECK(munmap(maps[i], 4096) == 0);
	CHECK(close(reader) == 0 && close(pipes[0]) == 0 && close(pipes[1]) == 0);
	CHECK(granted(CAPABILITY) && granted(NSCAPABILITY));
}

/* Reads so many bytes from a file into the first fixed buffer of a ring, which is at this address. */
static void read_fixed(int ring, const struct io_uring_params *params, int from, void *to, unsigned int len)
{
	char *queue = mmap(NULL, params->sq_off.array + params->sq_entries * 4, PROT_READ | PROT_WRITE,
			   MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entry = mmap(NULL, sizeof(*entry), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
					  IORING_OFF_SQES);

	CHECK(queue != MAP_FAILED && entry != MAP_FAILED);
	*entry = (struct io_uring_sqe){ .opcode = IORING_OP_READ_FIXED, .fd = from, .addr = (uintptr_t)to,
					.len = len };
	*(uint32_t *)(queue + params->sq_off.array) = 0;
	__atomic_store_n((uint32_t *)(queue + params->sq_off.tail), 1, __ATOMIC_RELEASE);
	CHECK(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
}

/* Buffers of io_uring stay pinned when the mapping is gone; what is read into them goes elsewhere. */
static void pinned(bool pins)
{
	struct io_uring_params params = {};
	int ring = syscall(SYS_io_uring_setup, 4, &params);
	char *mapped = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct iovec buffer = { mapped, SIZE };
	int registered, zero = open("/dev/zero", O_RDONLY);
	char now = 0;

	CHECK(ring >= 0 && zero >= 0 && mapped != MAP_FAILED);
	memset(mapped, 'x', SIZE);
	registered = syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1);
	if (!pins) {
		/* The first until 6.1, the second since 6.12 at the latest. */
		CHECK(registered == -1 && (errno == EOPNOTSUPP || errno == EFAULT));
		CHECK(munmap(mapped, SIZE) == 0);
		CHECK(allowed());
		return;
	}
	CHECK(registered == 0 && refused());
	CHECK(munmap(mapped, SIZE) == 0);
	grant();
	read_fixed(ring, &params, zero, mapped, SIZE);
	for (int at = 0; at < SIZE; at += 4095)
		CHECK(pread(fd, &now, 1, at) == 1 && now == 'x');
	CHECK(granted(CAPABILITY) && granted(NSCAPABILITY));
	CHECK(close(ring) == 0);
	CHECK(granted(CAPABILITY) && granted(NSCAPABILITY));
}

int main(int argc, char **argv)
{
	char path[4096];

	CHECK(argc >= 2);
	has_entries = write_number("/proc/sys/kernel/nscap_array", 1) == 0;
	snprintf(path, sizeof(path), "%s/mapped", argv[1]);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0755);
	CHECK(fd >= 0 && ftruncate(fd, SIZE) == 0);
	harmless(path);
	protected_later(path);
	moved_and_cut();
	inherited();
	readers(path);
	pinned(argc > 2 && !strcmp(argv[2], "--pins"));
	printf("mapping: as expected in %s\n", argv[1]);
	return 0;
}
