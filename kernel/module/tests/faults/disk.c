// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "disk.h"

#define FAIL "/sys/kernel/debug/fail_make_request/"
/* More than any call asks for. */
#define TIMES 1000000

static void run(const char *format, ...)
{
	char command[8192];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	CHECK(system(command) == 0);
}

void new_image(const char *kind, const char *image)
{
	run("rm -f '%s' && truncate -s 320M '%s'", image, image);
	if (!strcmp(kind, "ext4"))
		/* No room in an inode: each attribute is a block of its own. */
		run("mke2fs -q -t ext4 -b 1024 -I 128 -m 0 -O ^ea_inode -N 64 -J size=1 '%s' 6M >/dev/null 2>&1", image);
	else
		run("mkfs.%s -q '%s' >/dev/null 2>&1", kind, image);
}

void copy_image(const char *from, const char *to)
{
	run("cp --sparse=always '%s' '%s'", from, to);
}

void replay_journal(const char *image)
{
	run("debugfs -w -R 'feature needs_recovery' '%s' >/dev/null 2>&1", image);
}

void attach(const char *image)
{
	struct loop_config config = {};
	int loop, file, tries;

	mknod("/dev/" LOOP, S_IFBLK | 0600, 7 << 8 | 7);
	loop = open("/dev/" LOOP, O_RDWR | O_CLOEXEC);
	file = open(image, O_RDWR | O_CLOEXEC);
	CHECK(loop >= 0 && file >= 0);
	config.fd = file;
	/* What was detached may still be on its way. */
	for (tries = 0; ioctl(loop, LOOP_CONFIGURE, &config); tries++) {
		CHECK(errno == EBUSY && tries < 200);
		usleep(20000);
	}
	close(file);
	close(loop);
}

void detach(void)
{
	int loop = open("/dev/" LOOP, O_RDWR | O_CLOEXEC);

	CHECK(loop >= 0 && ioctl(loop, LOOP_CLR_FD) == 0);
	close(loop);
}

int mount_disk(const char *device, const char *kind, const char *at)
{
	return mount(device, at, kind, 0, NULL) ? -errno : 0;
}

void unmount_disk(const char *at)
{
	int tries;

	for (tries = 0; umount(at); tries++) {
		CHECK(errno == EBUSY && tries < 200);
		usleep(20000);
	}
}

void fail_requests(unsigned long long after, int times)
{
	CHECK(write_number("/sys/block/" LOOP "/make-it-fail", 1) == 0);
	CHECK(write_number(FAIL "verbose", 0) == 0);
	CHECK(write_number(FAIL "space", after) == 0);
	CHECK(write_number(FAIL "times", times < 0 ? TIMES : times) == 0);
	CHECK(write_number(FAIL "probability", 100) == 0);
}

bool requests_pass(void)
{
	FILE *left = fopen(FAIL "times", "r");
	int times;

	CHECK(write_number(FAIL "probability", 0) == 0);
	CHECK(left && fscanf(left, "%d", &times) == 1);
	fclose(left);
	CHECK(write_number("/sys/block/" LOOP "/make-it-fail", 0) == 0);
	return times != 1 && times != TIMES;
}

static bool gets_no_more(const struct look *then, const struct look *now)
{
	bool nothing = true;

	for (int viewer = HOST; viewer < VIEWERS; viewer++) {
		if (!now->gets[viewer] || now->gets[viewer] == NOT_EXECUTED)
			continue;
		nothing = false;
		if (now->gets[viewer] != then->gets[viewer])
			return false;
	}
	if (now->capability_len > 0 && memcmp(now->capability, then->capability, sizeof(now->capability)))
		return false;
	if (now->nscapability_len > 0 &&
	    memcmp(now->nscapability, then->nscapability, sizeof(now->nscapability)))
		return false;
	nothing &= now->capability_len <= 0 && now->nscapability_len <= 0;
	return nothing || same_content(then, now);
}

bool is_no_wider(const struct look *before, const struct look *after, const struct look *now)
{
	return gets_no_more(before, now) || gets_no_more(after, now);
}

bool is_written_over_first(const struct operation *operation, const struct look *before,
			   const struct look *now)
{
	return operation->kind == CONTENT && same_grants(before, now) &&
	       now->size == before->size && now->uid == before->uid;
}
