// SPDX-License-Identifier: GPL-2.0-only
/*
 * The power is cut after each write to the disk: of a log of dm-log-writes each entry is replayed, what is then on the
 * disk is mounted, and a file is looked at. It grants what it granted before the call that was under way, or what
 * that was to make of it, or nothing; what a call had synced is there.
 * usage: power PROGRAM DIRECTORY [NAME], where images are made and mounted; NAME: of the operation
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "disk.h"
#include "replay.h"

/* The only one that there is. */
#define MAPPER "/dev/dm-0"
#define KIND "ext4"

static const char *program, *directory;
static char file[4096], at[4096], image[4096], base[4096], log_image[4096], work[4096];
static unsigned int failures, looks, written_over;

static void shell(const char *format, const char *a, const char *b)
{
	char command[8192];

	snprintf(command, sizeof(command), format, a, b);
	CHECK(system(command) == 0);
}

static void sync_file(void)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0 && fsync(fd) == 0);
	close(fd);
}

/* The call with its fsync(2), each write of it in the log; marks are around it. */
static void record(const struct operation *operation, struct look *before, struct look *done)
{
	copy_image(base, image);
	attach(image);
	CHECK(mount_disk("/dev/" LOOP, KIND, at) == 0);
	prepare(operation, program, file);
	look_at(file, before);
	unmount_disk(at);
	detach();
	copy_image(image, work);
	shell("rm -f '%s' && truncate -s 64M '%s'", log_image, log_image);
	attach(image);
	shell("losetup /dev/loop6 '%s' && dmsetup --noudevsync --noudevrules create nscap-power"
	      " --table \"0 $(blockdev --getsz %s) log-writes /dev/loop7 /dev/loop6\"",
	      log_image, "/dev/" LOOP);
	CHECK(mount_disk(MAPPER, KIND, at) == 0);
	sync();
	shell("dmsetup --noudevsync message nscap-power 0 mark %s%s", "begin", "");
	CHECK(carry_out(operation, file, 0, NULL) == 0);
	sync_file();
	shell("dmsetup --noudevsync message nscap-power 0 mark %s%s", "end", "");
	look_at(file, done);
	unmount_disk(at);
	shell("dmsetup --noudevsync remove nscap-power%s%s", "", "");
	shell("losetup -d /dev/loop6%s%s", "", "");
	detach();
}

enum when { NOT_BEGUN, UNDER_WAY, SYNCED };

static void judge(const struct operation *operation, enum when when, unsigned int entry,
		  const struct look *before, const struct look *done)
{
	struct look now;
	bool right;

	look_at(file, &now);
	looks++;
	if (when == NOT_BEGUN)
		right = same_grants(before, &now) && same_content(before, &now);
	else if (when == SYNCED)
		right = same_grants(done, &now) && same_content(done, &now);
	else
		right = is_no_wider(before, done, &now);
	if (!right && when == UNDER_WAY && is_written_over_first(operation, before, &now)) {
		written_over++;
		return;
	}
	if (right)
		return;
	fprintf(stderr, "%s: power cut after entry %u, %s\n", operation->name, entry,
		when == NOT_BEGUN ? "before the call" : when == SYNCED ? "synced" : "under way");
	print_look("before", before);
	print_look("after", done);
	print_look("now", &now);
	failures++;
}

static void cut_after_each(const struct operation *operation)
{
	struct look before, done;
	enum when when = NOT_BEGUN;
	struct replay replay;
	unsigned int cuts = 0, began = written_over;

	record(operation, &before, &done);
	replay_open(&replay, log_image, work);
	while (replay_next(&replay)) {
		if (replay.mark)
			when = !strcmp(replay.mark, "begin") ? UNDER_WAY : SYNCED;
		/* Before the call a few are enough, and after it too. */
		if (when == NOT_BEGUN && replay.entry % 8)
			continue;
		copy_image(work, image);
		attach(image);
		CHECK(mount_disk("/dev/" LOOP, KIND, at) == 0);
		judge(operation, when, replay.entry, &before, &done);
		unmount_disk(at);
		detach();
		cuts++;
	}
	CHECK(when == SYNCED);
	replay_close(&replay);
	printf("%s: %u entries, %u cuts, %u with the content written over first\n", operation->name,
	       replay.entry, cuts, written_over - began);
}

int main(int argc, char **argv)
{
	CHECK(argc >= 3);
	program = argv[1];
	directory = argv[2];
	snprintf(at, sizeof(at), "%s/disk", directory);
	snprintf(file, sizeof(file), "%s/disk/file", directory);
	snprintf(base, sizeof(base), "%s/base", directory);
	snprintf(work, sizeof(work), "%s/work", directory);
	snprintf(image, sizeof(image), "%s/image", directory);
	snprintf(log_image, sizeof(log_image), "%s/log", directory);
	CHECK(mkdir(at, 0755) == 0 || errno == EEXIST);
	CHECK(write_number("/proc/sys/kernel/nscap_array", 1) == 0);
	CHECK(write_number("/proc/sys/kernel/nscap_busy", 2) == 0);
	look_begin();
	/* There is no udev. */
	setenv("DM_DISABLE_UDEV", "1", 1);
	new_image(KIND, base);
	for (const struct operation *operation = operations; operation->name; operation++)
		if (operation->kind != READS && (argc <= 3 || strstr(operation->name, argv[3])))
			cut_after_each(operation);
	printf("power: %u cuts, %u wrong, %u with content written over first\n", looks, failures,
	       written_over);
	return failures != 0;
}
