// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "../../../tests/nscap_test.h"
#include "replay.h"

/* drivers/md/dm-log-writes.c; all are little-endian. */
#define MAGIC 0x6a736677736872ULL
#define DISCARD (1 << 2)
#define MARK (1 << 3)

struct super {
	uint64_t magic, version, entries;
	uint32_t sector_size;
};

struct entry_of_log {
	uint64_t sector, sectors, flags, data_len;
};

void replay_open(struct replay *replay, const char *log, const char *disk)
{
	struct super super;

	memset(replay, 0, sizeof(*replay));
	replay->log = open(log, O_RDONLY | O_CLOEXEC);
	replay->disk = open(disk, O_RDWR | O_CLOEXEC);
	CHECK(replay->log >= 0 && replay->disk >= 0);
	CHECK(pread(replay->log, &super, sizeof(super), 0) == sizeof(super));
	CHECK(super.magic == MAGIC && super.version == 1);
	replay->sector_size = super.sector_size;
	replay->entries = super.entries;
	replay->at = super.sector_size;
}

static void copy_sectors(struct replay *replay, uint64_t to, uint64_t len, bool discard)
{
	static char buffer[65536];

	while (len) {
		size_t part = len < sizeof(buffer) ? len : sizeof(buffer);

		if (discard)
			memset(buffer, 0, part);
		else
			CHECK(pread(replay->log, buffer, part, replay->at) == (ssize_t)part);
		CHECK(pwrite(replay->disk, buffer, part, to) == (ssize_t)part);
		if (!discard)
			replay->at += part;
		to += part;
		len -= part;
	}
}

bool replay_next(struct replay *replay)
{
	char sector[4096];
	const struct entry_of_log *entry = (const void *)sector;
	uint64_t size = replay->sector_size;

	if (replay->entry == replay->entries)
		return false;
	CHECK(size <= sizeof(sector) && pread(replay->log, sector, size, replay->at) == (ssize_t)size);
	replay->at += size;
	replay->entry++;
	replay->mark = NULL;
	if (entry->flags & MARK) {
		CHECK(entry->data_len < size - sizeof(*entry));
		memcpy(replay->text, sector + sizeof(*entry), entry->data_len);
		replay->text[entry->data_len] = 0;
		replay->mark = replay->text;
		return true;
	}
	/* Sectors of the log's own size, in an entry. */
	copy_sectors(replay, entry->sector * size, entry->sectors * size, entry->flags & DISCARD);
	return true;
}

void replay_close(struct replay *replay)
{
	close(replay->log);
	close(replay->disk);
}
