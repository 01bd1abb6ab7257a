/* SPDX-License-Identifier: GPL-2.0-only */
/* What the test programs share: values of both attributes, and a loud end. */
#ifndef NSCAP_TEST_H
#define NSCAP_TEST_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define CAPABILITY "security.capability"
#define NSCAPABILITY "security.nscapability"

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, \
				#condition, strerror(errno)); \
			exit(1); \
		} \
	} while (0)

/* Revision 2: permitted, effective. */
struct v2 {
	uint32_t magic, permitted, inheritable, permitted_high, inheritable_high;
};

/* Form F with room for a few entries. */
struct entry {
	uint32_t rootid, flags, permitted, inheritable, permitted_high, inheritable_high;
};

struct form_f {
	uint32_t magic, count;
	struct entry entries[8];
};

static inline struct v2 v2(uint32_t permitted)
{
	return (struct v2){ .magic = 0x02000001, .permitted = permitted };
}

static inline size_t form_f_len(uint32_t count)
{
	return 8 + 24 * count;
}

/* Entries for these root kuids, ascending, all with the same capabilities. */
static inline struct form_f form_f(uint32_t count, const uint32_t *rootids, uint32_t permitted)
{
	struct form_f value = { .magic = 0x01000000, .count = count };

	for (uint32_t i = 0; i < count; i++)
		value.entries[i] = (struct entry){ .rootid = rootids[i], .flags = 1,
						   .permitted = permitted };
	return value;
}

static inline int write_number(const char *path, int number)
{
	FILE *file = fopen(path, "w");

	if (!file)
		return -1;
	fprintf(file, "%d\n", number);
	return fclose(file);
}

#endif
