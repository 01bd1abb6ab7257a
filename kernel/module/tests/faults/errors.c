// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk whose n-th request fails, alone or with all that follow, while a call is made and synced: neither at
 * once nor after the file system was mounted again does the file grant more than before, or than it was to.
 *
 * Where a request that carries a block from ext4's journal to its place fails, ext4 says when it is unmounted that
 * the journal is not needed, and the next mount forgets it: what the disk holds is of two moments. That is so
 * whatever was changed, and not ours to mend. So what is wrong then is looked at with the journal as well.
 * usage: errors PROGRAM KIND DIRECTORY [NAME], where images are made and mounted; NAME: of the operation
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "disk.h"

/* Of so many steps each lets one of the smallest requests more pass; from there on they grow. */
#define EACH 24
#define STEPS 400

static const char *program, *kind;
static char file[4096], at[4096], whole[4096], image[4096], kept[4096];
static unsigned int failures, looks, written_over, forgotten;

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

static void mount_image(const char *which)
{
	attach(which);
	CHECK(mount_disk("/dev/" LOOP, kind, at) == 0);
}

static void unmount_image(void)
{
	unmount_disk(at);
	detach();
}

/* Whether what is seen now is wrong. */
static bool is_wrong(const struct operation *operation, const struct look *before,
		     const struct look *done, struct look *now)
{
	look_at(file, now);
	looks++;
	if (is_no_wider(before, done, now))
		return false;
	if (!is_written_over_first(operation, before, now))
		return true;
	written_over++;
	return false;
}

static void report(const struct operation *operation, const char *when, unsigned long long after,
		   int times, const struct look *before, const struct look *done,
		   const struct look *now)
{
	fprintf(stderr, "%s, %s, %d requests fail after %llu bytes: %s\n", kind, operation->name,
		times, after, when);
	print_look("before", before);
	print_look("without failure", done);
	print_look("now", now);
	failures++;
}

static unsigned int smallest_request(void)
{
	return strcmp(kind, "btrfs") ? 1024 : 8192;
}

static bool may_forget(void)
{
	return !strcmp(kind, "ext4");
}

/* Whether it is wrong as well where the journal that the disk has is not forgotten. */
static bool is_wrong_with_journal(const struct operation *operation, const struct look *before,
				  const struct look *done)
{
	struct look now;
	bool wrong;

	if (!may_forget())
		return true;
	replay_journal(kept);
	mount_image(kept);
	wrong = is_wrong(operation, before, done, &now);
	unmount_image();
	return wrong;
}

/* Mounted without failing requests, after it was unmounted. */
static void judge_again(const struct operation *operation, unsigned long long after, int times,
			const struct look *before, const struct look *done)
{
	struct look now;
	bool wrong;

	if (may_forget())
		copy_image(image, kept);
	attach(image);
	if (mount_disk("/dev/" LOOP, kind, at)) {
		printf("%s: cannot be mounted again\n", operation->name);
		detach();
		return;
	}
	wrong = is_wrong(operation, before, done, &now);
	unmount_image();
	if (!wrong)
		return;
	if (is_wrong_with_journal(operation, before, done))
		report(operation, "mounted again", after, times, before, done, &now);
	else
		forgotten++;
}

/* Whether a request failed. */
static bool fail_once(const struct operation *operation, unsigned long long after, int times,
		      const struct look *before, const struct look *done, unsigned int *errors)
{
	struct look now;
	bool failed;

	copy_image(whole, image);
	mount_image(image);
	fail_requests(after, times);
	*errors += !!carry_out(operation, file, 0, NULL);
	sync_file();
	failed = requests_pass();
	if (is_wrong(operation, before, done, &now))
		report(operation, "at once", after, times, before, done, &now);
	unmount_image();
	judge_again(operation, after, times, before, done);
	return failed;
}

static void fail_each(const struct operation *operation)
{
	struct look before, done;
	unsigned int step, errors = 0, failed = 0;
	unsigned long long after;

	new_image(kind, image);
	mount_image(image);
	prepare(operation, program, file);
	sync();
	unmount_image();
	copy_image(image, whole);
	mount_image(image);
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
			after += step < EACH ? smallest_request() : after / 8;
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
	snprintf(kept, sizeof(kept), "%s/kept", argv[3]);
	CHECK(mkdir(at, 0755) == 0 || errno == EEXIST);
	CHECK(write_number("/proc/sys/kernel/nscap_array", 1) == 0);
	CHECK(write_number("/proc/sys/kernel/nscap_busy", 2) == 0);
	look_begin();
	for (const struct operation *operation = operations; operation->name; operation++)
		if (operation->kind != READS && (argc <= 4 || strstr(operation->name, argv[4])))
			fail_each(operation);
	printf("%s: %u looks, %u wrong, %u with content written over first, %u with a forgotten journal\n",
	       kind, looks, failures, written_over, forgotten);
	return failures != 0;
}
