/* SPDX-License-Identifier: GPL-2.0-only */
/* A file system in an image, on a loop device whose requests can be made to fail. */
#ifndef NSCAP_DISK_H
#define NSCAP_DISK_H

#include "operations.h"

#define LOOP "loop7"

/* A file system of that kind, with nothing on it. */
void new_image(const char *kind, const char *image);
/* Of an image that is not in use; both are sparse. */
void copy_image(const char *from, const char *to);
/* ext4, of an image that is not in use: the next mount plays the journal that it has. */
void replay_journal(const char *image);
void attach(const char *image);
void detach(void);
/* 0, or an errno below 0. */
int mount_disk(const char *device, const char *kind, const char *at);
void unmount_disk(const char *at);

/* From here on requests pass till they have asked for so many bytes; then so many fail, -1 is all. */
void fail_requests(unsigned long long after, int times);
/* Requests pass again. Whether one has failed. */
bool requests_pass(void);

/*
 * Each viewer gets what it got before, or what it is to get afterwards, with the content and the owner that
 * belong to that; or nothing; and the attributes say no more.
 */
bool is_no_wider(const struct look *before, const struct look *after, const struct look *now);

/*
 * Content that is written over in place may be on the disk before what the write dropped is off it, on
 * any kernel: file systems do not order the two. With the writer's fsync(2) that has ended.
 */
bool is_written_over_first(const struct operation *operation, const struct look *before,
			   const struct look *now);

#endif
