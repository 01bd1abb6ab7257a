/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The decisions of nscap-core, as rust/lib.rs exports them.
 */
#ifndef _SECURITY_NSCAP_RUST_H
#define _SECURITY_NSCAP_RUST_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
#endif

#define NSCAP_MAX_ENTRIES	1024

/* As security.nscapability shows so many entries. */
#define NSCAP_RECORD_LEN	24
#define NSCAP_VALUE_LEN(entries)	(8 + NSCAP_RECORD_LEN * (entries))
/* A sealed table of them. */
#define NSCAP_TABLE_LEN(entries)	(56 + NSCAP_RECORD_LEN * (entries))
/* Two sealed tables of the largest size. */
#define NSCAP_TABLES_LEN	(2 * NSCAP_TABLE_LEN(NSCAP_MAX_ENTRIES))

struct nscap_bytes {
	const u8 *data;
	size_t len;
};

struct nscap_file {
	const void *sb_ns;
	const void *idmap;
	u32 owner;
	u32 group;
	u32 disk_uid;
	u32 disk_gid;
	u64 size;
	u32 immutable;
	u32 pad;
	struct nscap_bytes capability;
	struct nscap_bytes table;
};

#define NSCAP_POLICY_ARRAY	1
/* Clause B: error, same-ok, replace (Busy in nscap-core). */
#define NSCAP_POLICY_BUSY_SHIFT	1
#define NSCAP_BUSY_MAX	2

struct nscap_caller {
	const void *ns;
	u64 effective;
	u32 euid;
	u32 policy;
};

enum nscap_op {
	NSCAP_END,
	NSCAP_SET_TABLE,
	NSCAP_REMOVE_TABLE,
	NSCAP_CREATE_CAPABILITY,
	NSCAP_REPLACE_CAPABILITY,
	NSCAP_REMOVE_CAPABILITY,
};

struct nscap_step {
	enum nscap_op op;
	u32 len;
	const u8 *data;
	u8 value[24];
	/* Whether the change is made once this step is done. */
	bool commits;
};

#define NSCAP_MAX_STEPS 4

struct nscap_answer {
	struct nscap_step steps[NSCAP_MAX_STEPS];
	/* One letter and a zero, or two. */
	char clause[2];
	u8 logged;
	bool over_superblock;
};

enum nscap_logs {
	NSCAP_LOGS_NOTHING,
	NSCAP_LOGS_CHANGE,
	NSCAP_LOGS_REFUSAL,
};

struct nscap_room {
	u8 (*entries)[NSCAP_RECORD_LEN];
	size_t entries_len;
	u8 *tables;
	size_t tables_len;
	u64 random;
};

struct nscap_grant {
	u64 permitted;
	u64 inheritable;
	/* As security.capability has it: revision and effective bit. */
	u32 magic;
	u32 rootid;
};

enum nscap_what {
	NSCAP_SET_CAPABILITY,
	NSCAP_REMOVE_CAPABILITY_NAME,
	NSCAP_SET_NSCAPABILITY,
	NSCAP_REMOVE_NSCAPABILITY,
};

/* Which map of a namespace is asked, and in which direction. */
enum nscap_map {
	NSCAP_MAKE_KUID,
	NSCAP_FROM_KUID,
	NSCAP_MAKE_KGID,
	NSCAP_FROM_KGID,
};

/* What is asked of a file, and so how much of it has to be read. */
enum nscap_question {
	NSCAP_WHAT_APPLIES,	/* at execve, or as security.capability */
	NSCAP_WHAT_IS_LISTED,	/* all that counts */
	NSCAP_ALL_STORED,	/* a void table too */
};

/* Of security.capability. */
#define NSCAP_CAPABILITY_LEN	24

#define NSCAP_LISTS_CAPABILITY		1
#define NSCAP_LISTS_NSCAPABILITY	2
#define NSCAP_HAS_HOST_VALUE		4

/* Called by us. */
int nscap_decide_change(enum nscap_what what, const struct nscap_caller *caller,
			const struct nscap_file *file, struct nscap_bytes value, u32 flags,
			const struct nscap_room *room, struct nscap_answer *answer);
ssize_t nscap_decide_get_capability(const void *ns, const struct nscap_file *file, u8 *out);
ssize_t nscap_decide_get_nscapability(const void *ns, const struct nscap_file *file, u8 *out,
				      size_t room);
u32 nscap_decide_list(const void *ns, const struct nscap_file *file);
int nscap_decide_exec(const void *ns, const struct nscap_file *file, struct nscap_grant *grant);
bool nscap_needs_table(enum nscap_question question, const struct nscap_file *file);
ssize_t nscap_decide_entry_above(const void *above, const struct nscap_file *file, u8 *out);
ssize_t nscap_keep_named(u8 *value, size_t len);
bool nscap_entry_alone(struct nscap_bytes value, size_t index, u8 *out);
/* Takes the number, not its negative. */
bool nscap_left_behind(int error);

/* Called by the decisions. */
const void *nscap_ns_parent(const void *ns);
u32 nscap_ns_owner(const void *ns);
u32 nscap_ns_map(const void *ns, enum nscap_map map, u32 id);

#endif
