// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: what a file holds.
 *
 * It is written down in two attributes. security.capability is a value of the kernel's own, or the
 * companion of a sealed table in security.nscapability; every change of content or owner drops it,
 * as it always did, and then the table has no effect. All decisions are the Rust object's;
 * the C files read, ask, and do as they are told.
 */
#include <linux/build_bug.h>
#include <linux/capability.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "nscap.h"

/* More than any writer can exchange in that time, but one that does nothing else. */
#define NSCAP_LOOKS 1000

/* What lib.rs holds its side against, too. */
static_assert(sizeof(struct nscap_bytes) == 16);
static_assert(sizeof(struct nscap_file) == 80);
static_assert(sizeof(struct nscap_caller) == 24);
static_assert(sizeof(struct nscap_step) == 48);
static_assert(sizeof(struct nscap_answer) == 200);
static_assert(sizeof(struct nscap_room) == 40);
static_assert(sizeof(struct nscap_grant) == 24);
static_assert(sizeof(enum nscap_what) == sizeof(u32));
static_assert(sizeof(struct vfs_ns_cap_data) == NSCAP_CAPABILITY_LEN);

/* The decisions' view of a namespace. */

const void *nscap_ns_parent(const void *ns)
{
	return ((const struct user_namespace *)ns)->parent;
}

u32 nscap_ns_owner(const void *ns)
{
	return __kuid_val(((const struct user_namespace *)ns)->owner);
}

/* Of the id map of a mount; what the file system's own namespace maps is done before. */
static u32 nscap_idmap_map(struct mnt_idmap *idmap, enum nscap_map map, u32 id)
{
	struct user_namespace *ns = &init_user_ns;

	switch (map) {
	case NSCAP_MAKE_KUID:
		return __vfsuid_val(make_vfsuid(idmap, ns, KUIDT_INIT(id)));
	case NSCAP_FROM_KUID:
		return __kuid_val(from_vfsuid(idmap, ns, VFSUIDT_INIT(KUIDT_INIT(id))));
	case NSCAP_MAKE_KGID:
		return __vfsgid_val(make_vfsgid(idmap, ns, KGIDT_INIT(id)));
	case NSCAP_FROM_KGID:
		break;
	}
	return __kgid_val(from_vfsgid(idmap, ns, VFSGIDT_INIT(KGIDT_INIT(id))));
}

u32 nscap_ns_map(const void *opaque, enum nscap_map map, u32 id)
{
	struct user_namespace *ns = (struct user_namespace *)opaque;

	if (nscap_is_idmap(opaque))
		return nscap_idmap_map(nscap_idmap_of(opaque), map, id);
	switch (map) {
	case NSCAP_MAKE_KUID:
		return __kuid_val(make_kuid(ns, id));
	case NSCAP_FROM_KUID:
		return from_kuid(ns, KUIDT_INIT(id));
	case NSCAP_MAKE_KGID:
		return __kgid_val(make_kgid(ns, id));
	case NSCAP_FROM_KGID:
		break;
	}
	return from_kgid(ns, KGIDT_INIT(id));
}

bool nscap_decides(const char *name)
{
	return !strcmp(name, XATTR_NAME_CAPS) || !strcmp(name, XATTR_NAME_NSCAP);
}
EXPORT_SYMBOL_GPL(nscap_decides);

static void nscap_describe(struct nscap_state *state, struct mnt_idmap *idmap,
			   struct inode *inode)
{
	struct user_namespace *fs_ns = inode->i_sb->s_user_ns;
	struct nscap_file *file = &state->file;

	file->sb_ns = fs_ns;
	file->idmap = nscap_is_mapped(idmap, fs_ns) ? nscap_idmap(idmap) : NULL;
	file->owner = __vfsuid_val(i_uid_into_vfsuid(idmap, inode));
	file->group = __vfsgid_val(i_gid_into_vfsgid(idmap, inode));
	file->immutable = IS_IMMUTABLE(inode) || IS_APPEND(inode);
}

/* What a table is sealed with beside its companion. */
static void nscap_describe_content(struct nscap_file *file, struct inode *inode)
{
	struct user_namespace *fs_ns = inode->i_sb->s_user_ns;

	file->disk_uid = from_kuid(fs_ns, inode->i_uid);
	file->disk_gid = from_kgid(fs_ns, inode->i_gid);
	file->size = i_size_read(inode);
}

/* The length of security.capability; what does not fit has a length that no value has. */
static ssize_t nscap_get_capability(struct dentry *dentry, struct inode *inode, u8 *value)
{
	ssize_t len = __vfs_getxattr(dentry, inode, XATTR_NAME_CAPS, value,
				     NSCAP_CAPABILITY_ROOM);

	if (len != -ERANGE)
		return len;
	memset(value, 0, NSCAP_CAPABILITY_ROOM);
	return NSCAP_CAPABILITY_ROOM;
}

/* Anything longer than the largest table, twice, is no table. */
static int nscap_get_table(struct nscap_state *state, struct dentry *dentry, struct inode *inode)
{
	static const u8 malformed[1];
	ssize_t len = __vfs_getxattr(dentry, inode, XATTR_NAME_NSCAP, NULL, 0);

	if (len == -ENODATA || len == -EOPNOTSUPP)
		return 0;
	if (len < 0)
		return len;
	if (len == 0 || len > NSCAP_TABLES_LEN) {
		state->file.table.data = malformed;
		state->file.table.len = sizeof(malformed);
		return 0;
	}
	state->table = kvmalloc(len, GFP_KERNEL);
	if (!state->table)
		return -ENOMEM;
	len = __vfs_getxattr(dentry, inode, XATTR_NAME_NSCAP, state->table, len);
	/* Another one by now, or none: so is the companion, which is looked at again. */
	if (len == -ENODATA || len == -ERANGE)
		return 0;
	if (len < 0)
		return len;
	state->file.table.data = state->table;
	state->file.table.len = len;
	return 0;
}

/* 1 where the table was looked at, 0 where it need not be, or an error. */
static int nscap_read_once(struct nscap_state *state, struct mnt_idmap *idmap,
			   struct dentry *dentry, enum nscap_question question)
{
	struct inode *inode = d_backing_inode(dentry);
	ssize_t len;

	memset(&state->file, 0, sizeof(state->file));
	state->table = NULL;
	len = nscap_get_capability(dentry, inode, state->capability);
	if (len < 0 && len != -ENODATA)
		return len;
	if (len >= 0) {
		state->file.capability.data = state->capability;
		state->file.capability.len = len;
	}
	if (len < 0 && question != NSCAP_ALL_STORED)
		return 0;
	nscap_describe(state, idmap, inode);
	if (!nscap_needs_table(question, &state->file))
		return 0;
	nscap_describe_content(&state->file, inode);
	return nscap_get_table(state, dentry, inode) ?: 1;
}

/* Whether companion and table were there together, and the facts that they are sealed with. */
static bool nscap_read_together(const struct nscap_state *state, struct dentry *dentry)
{
	struct inode *inode = d_backing_inode(dentry);
	const struct nscap_file *file = &state->file;
	u8 capability[NSCAP_CAPABILITY_ROOM];
	ssize_t len = nscap_get_capability(dentry, inode, capability);

	if (len < 0)
		return !file->capability.data;
	return file->capability.data && file->capability.len == len &&
	       !memcmp(capability, state->capability, len) &&
	       file->size == i_size_read(inode) &&
	       file->disk_uid == from_kuid(inode->i_sb->s_user_ns, inode->i_uid) &&
	       file->disk_gid == from_kgid(inode->i_sb->s_user_ns, inode->i_gid);
}

/*
 * What a file holds. Readers hold no lock: where a table was exchanged between two looks, both are
 * taken again. Of a file without security.capability there is nothing to ask, and state says no
 * more than that, but to a change. -EOPNOTSUPP where the file system has no such attributes,
 * -EAGAIN where they changed at every look.
 */
int nscap_read(struct nscap_state *state, struct mnt_idmap *idmap,
	       struct dentry *dentry, enum nscap_question question)
{
	int looked, tries;

	for (tries = 0; tries < NSCAP_LOOKS; tries++) {
		looked = nscap_read_once(state, idmap, dentry, question);
		if (looked <= 0)
			return looked;
		if (!state->file.capability.data || nscap_read_together(state, dentry))
			return 0;
		nscap_release(state);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return -EAGAIN;
}

void nscap_release(struct nscap_state *state)
{
	kvfree(state->table);
	state->table = NULL;
}
