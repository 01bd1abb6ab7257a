// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file system without room, and with a little more each time, till the call finds enough: afterwards the
 * file grants what it granted, or what the call was to make of it.
 * usage: full PROGRAM KIND DIRECTORY, which is of that kind and small
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "disk.h"

#define STEP 1024
#define STEPS 200

static const char *program;
static char file[4096], filler[4096], reserve[4096];
static unsigned int failures, refused;

static int create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	return fd;
}

/* To the last block. */
static void fill(void)
{
	int fd = create(filler);
	off_t at = 0, size;

	for (size = 1 << 28; size >= STEP; size /= 2)
		while (fallocate(fd, 0, at, size) == 0)
			at += size;
	CHECK(errno == ENOSPC);
	close(fd);
	sync();
}

/* A file can be removed where none can be cut for want of room. */
static void make_room(const char *path)
{
	CHECK(unlink(path) == 0);
	sync();
}

/* Full, but for so many bytes. */
static void fill_but(off_t room)
{
	int fd = create(reserve);

	CHECK(!room || fallocate(fd, 0, 0, room) == 0);
	close(fd);
	fill();
	make_room(reserve);
}

static void fill_and_call(const struct operation *operation)
{
	struct look before, after, now;
	unsigned int step, passed = 0, errors = 0, room_errors = 0;
	int error;

	prepare(operation, program, file);
	look_at(file, &before);
	CHECK(carry_out(operation, file, 0, NULL) == 0);
	look_at(file, &after);
	for (step = 0; passed < 2 && step < STEPS; step++) {
		prepare(operation, program, file);
		sync();
		fill_but(step * STEP);
		error = carry_out(operation, file, 0, NULL);
		passed = error ? 0 : passed + 1;
		errors += !!error;
		room_errors += error == -ENOSPC;
		look_at(file, &now);
		make_room(filler);
		if (error ? is_no_wider(&before, &after, &now) &&
			    (operation->kind == CONTENT || same_grants(&before, &now)) :
			    same_grants(&after, &now) && same_content(&after, &now))
			continue;
		fprintf(stderr, "%s, room for %d bytes, the call: %s\n", operation->name,
			step * STEP, strerror(-error));
		print_look("before", &before);
		print_look("with room", &after);
		print_look("now", &now);
		failures++;
	}
	refused += room_errors;
	printf("%s: %u sizes, %u errors, %u of them ENOSPC\n", operation->name, step, errors,
	       room_errors);
	CHECK(unlink(file) == 0);
}

int main(int argc, char **argv)
{
	CHECK(argc == 4);
	program = argv[1];
	snprintf(file, sizeof(file), "%s/file", argv[3]);
	snprintf(filler, sizeof(filler), "%s/filler", argv[3]);
	snprintf(reserve, sizeof(reserve), "%s/reserve", argv[3]);
	CHECK(write_number("/proc/sys/kernel/nscap_array", 1) == 0);
	CHECK(write_number("/proc/sys/kernel/nscap_busy", 2) == 0);
	look_begin();
	for (const struct operation *operation = operations; operation->name; operation++)
		if (operation->kind != READS)
			fill_and_call(operation);
	printf("%s: %u times no room, %u wrong\n", argv[2], refused, failures);
	/* Attributes of tmpfs are in the kernel's memory, of which there is enough. */
	CHECK(refused || !strcmp(argv[2], "tmpfs"));
	return failures != 0;
}
