// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk whose n-th request fails, alone or with all that follow, while a call is made and synced: neither at
 * once nor after the file system was mounted again does the file grant more than before, or than it was to.
 * usage: errors PROGRAM KIND DIRECTORY [NAME], where images are made and mounted; NAME: of the operation
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "disk.h"

#define SECTOR 512
/* In doubling steps from here on. */
#define EACH 24
#define STEPS 400

static const char *program, *kind;
static char file[4096], at[4096], whole[4096], image[4096];
static unsigned int failures, looks, written_over;

static void sync_file(void)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	/* May fail: that is what is tried. */
	if (fsync(fd))
		errno = 0;
	close(fd);
	sync();
}

static void mount_image(void)
{
	attach(image);
	CHECK(mount_disk("/dev/" LOOP, kind, at) == 0);
}

static void unmount_image(void)
{
	unmount_disk(at);
	detach();
}

static void judge(const struct operation *operation, const char *when, unsigned long long after,
		  int times, const struct look *before, const struct look *done)
{
	struct look now;

	look_at(file, &now);
	looks++;
	if (is_no_wider(before, done, &now))
		return;
	if (is_written_over_first(operation, before, &now)) {
		written_over++;
		return;
	}
	fprintf(stderr, "%s, %s, %d requests fail after %llu bytes: %s\n", kind, operation->name,
		times, after, when);
	print_look("before", before);
	print_look("without failure", done);
	print_look("now", &now);
	failures++;
}

/* Whether a request failed. */
static bool fail_once(const struct operation *operation, unsigned long long after, int times,
		      const struct look *before, const struct look *done, unsigned int *errors)
{
	bool failed;

	copy_image(whole, image);
	mount_image();
	fail_requests(after, times);
	*errors += !!carry_out(operation, file, 0, NULL);
	sync_file();
	failed = requests_pass();
	judge(operation, "at once", after, times, before, done);
	unmount_image();
	attach(image);
	if (mount_disk("/dev/" LOOP, kind, at) == 0) {
		judge(operation, "mounted again", after, times, before, done);
		unmount_disk(at);
	} else {
		printf("%s: cannot be mounted again\n", operation->name);
	}
	detach();
	return failed;
}

static void fail_each(const struct operation *operation)
{
	struct look before, done;
	unsigned int step, errors = 0, failed = 0;
	unsigned long long after;

	new_image(kind, image);
	mount_image();
	prepare(operation, program, file);
	sync();
	unmount_image();
	copy_image(image, whole);
	mount_image();
	look_at(file, &before);
	CHECK(carry_out(operation, file, 0, NULL) == 0);
	sync_file();
	look_at(file, &done);
	unmount_image();
	for (int times = 1; times >= -1; times -= 2)
		for (step = 0, after = 0; step < STEPS; step++) {
			if (!fail_once(operation, after, times, &before, &done, &errors))
				break;
			failed++;
			/* A request that asks for less than is left passes. */
			after += step < EACH ? SECTOR * 2 : after / 8;
		}
	printf("%s, %s: %u failed requests, %u errors\n", kind, operation->name, failed, errors);
	CHECK(failed);
}

int main(int argc, char **argv)
{
	CHECK(argc >= 4);
	program = argv[1];
	kind = argv[2];
	snprintf(at, sizeof(at), "%s/disk", argv[3]);
	snprintf(file, sizeof(file), "%s/disk/file", argv[3]);
	snprintf(whole, sizeof(whole), "%s/whole", argv[3]);
	snprintf(image, sizeof(image), "%s/image", argv[3]);
	CHECK(mkdir(at, 0755) == 0 || errno == EEXIST);
	CHECK(write_number("/proc/sys/kernel/nscap_array", 1) == 0);
	CHECK(write_number("/proc/sys/kernel/nscap_busy", 2) == 0);
	look_begin();
	for (const struct operation *operation = operations; operation->name; operation++)
		if (operation->kind != READS && (argc <= 4 || strstr(operation->name, argv[4])))
			fail_each(operation);
	printf("%s: %u looks, %u wrong, %u with content written over first\n", kind, looks, failures,
	       written_over);
	return failures != 0;
}
