/* SPDX-License-Identifier: GPL-2.0-only */
/* A log of dm-log-writes, as Documentation/admin-guide/device-mapper/log-writes.rst has it. */
#ifndef NSCAP_REPLAY_H
#define NSCAP_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

struct replay {
	int log, disk;
	uint64_t at, entries, sector_size;
	/* How many there were so far. */
	unsigned int entry;
	/* What the last one marks, or NULL. */
	const char *mark;
	char text[4096];
};

void replay_open(struct replay *replay, const char *log, const char *disk);
/* Writes the next entry to the disk; false where there is none. */
bool replay_next(struct replay *replay);
void replay_close(struct replay *replay);

#endif
