// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace.
 *
 * What a file holds is written down in two attributes. security.capability is a value of the
 * kernel's own, or the companion of a sealed table in security.nscapability; every change of
 * content or owner drops it, as it always did, and with it the table counts for nothing. Whoever
 * changes either name is decided upon and served under the inode lock, in one go. All decisions are
 * the Rust object's; this file reads, asks, and does as it is told.
 */
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/nscap.h>
#include <linux/random.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysctl.h>
#include <linux/user_namespace.h>
#include <linux/xattr.h>

#include "nscap_rust.h"

/* Longer than any value; what is longer still is malformed all the same. */
#define CAPABILITY_ROOM 64

static int sysctl_array;
static int sysctl_same_ok;

/* The decisions' view of a namespace. */

const void *nscap_ns_parent(const void *ns)
{
	return ((const struct user_namespace *)ns)->parent;
}

u32 nscap_ns_owner(const void *ns)
{
	return __kuid_val(((const struct user_namespace *)ns)->owner);
}

u32 nscap_ns_map(const void *opaque, u32 kind, u32 id)
{
	struct user_namespace *ns = (struct user_namespace *)opaque;

	switch (kind) {
	case 0:
		return __kuid_val(make_kuid(ns, id));
	case 1:
		return from_kuid(ns, KUIDT_INIT(id));
	case 2:
		return __kgid_val(make_kgid(ns, id));
	default:
		return from_kgid(ns, KGIDT_INIT(id));
	}
}

bool nscap_decides(const char *name)
{
	return !strcmp(name, XATTR_NAME_CAPS) || !strcmp(name, XATTR_NAME_NSCAP);
}

/* A file and its two attributes as they are now. */
struct nscap_state {
	struct nscap_file file;
	u8 capability[CAPABILITY_ROOM];
	u8 *table;
};

static void nscap_describe(struct nscap_state *state, struct user_namespace *mnt_userns,
			   struct inode *inode)
{
	struct user_namespace *fs_ns = inode->i_sb->s_user_ns;
	struct nscap_file *file = &state->file;

	memset(file, 0, sizeof(*file));
	state->table = NULL;
	file->sb_ns = fs_ns;
	file->idmap = no_idmapping(mnt_userns, fs_ns) ? NULL : mnt_userns;
	file->owner = __vfsuid_val(i_uid_into_vfsuid(mnt_userns, inode));
	file->group = __vfsgid_val(i_gid_into_vfsgid(mnt_userns, inode));
	file->disk_uid = from_kuid(fs_ns, inode->i_uid);
	file->disk_gid = from_kgid(fs_ns, inode->i_gid);
	file->size = i_size_read(inode);
	file->immutable = IS_IMMUTABLE(inode) || IS_APPEND(inode);
}

static void nscap_take_capability(struct nscap_state *state, const void *value, ssize_t len)
{
	if (len == -ERANGE || len > CAPABILITY_ROOM) {
		memset(state->capability, 0, CAPABILITY_ROOM);
		len = CAPABILITY_ROOM;
	} else if (value) {
		memcpy(state->capability, value, len);
	}
	state->file.capability.data = state->capability;
	state->file.capability.len = len;
}

static int nscap_read_capability(struct nscap_state *state, struct dentry *dentry,
				 struct inode *inode)
{
	ssize_t len = __vfs_getxattr(dentry, inode, XATTR_NAME_CAPS, state->capability,
				     CAPABILITY_ROOM);

	if (len == -ENODATA || len == -EOPNOTSUPP)
		return len;
	if (len < 0 && len != -ERANGE)
		return len;
	nscap_take_capability(state, NULL, len);
	return 0;
}

/* The largest table, twice; anything longer is no table. */
static int nscap_read_table(struct nscap_state *state, struct dentry *dentry,
			    struct inode *inode)
{
	static const u8 none[1];
	ssize_t len = __vfs_getxattr(dentry, inode, XATTR_NAME_NSCAP, NULL, 0);

	if (len == -ENODATA || len == -EOPNOTSUPP)
		return 0;
	if (len < 0)
		return len;
	if (len == 0 || len > NSCAP_TABLES_LEN) {
		state->file.table.data = none;
		state->file.table.len = sizeof(none);
		return 0;
	}
	state->table = kvmalloc(len, GFP_KERNEL);
	if (!state->table)
		return -ENOMEM;
	len = __vfs_getxattr(dentry, inode, XATTR_NAME_NSCAP, state->table, len);
	if (len == -ENODATA || len == -ERANGE)
		return 0;	/* changed meanwhile: no companion opens what we do not have */
	if (len < 0)
		return len;
	state->file.table.data = state->table;
	state->file.table.len = len;
	return 0;
}

static int nscap_read(struct nscap_state *state, struct user_namespace *mnt_userns,
		      struct dentry *dentry, struct inode *inode)
{
	int error;

	nscap_describe(state, mnt_userns, inode);
	error = nscap_read_capability(state, dentry, inode);
	if (error && error != -ENODATA)
		return error;
	return nscap_read_table(state, dentry, inode);
}

static void nscap_release(struct nscap_state *state)
{
	kvfree(state->table);
}

/* setxattr and removexattr. */

static int nscap_step(struct user_namespace *mnt_userns, struct dentry *dentry,
		      const struct nscap_step *step, struct inode **delegated)
{
	int error;

	switch (step->op) {
	case NSCAP_SET_TABLE:
		return __vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, step->data,
					     step->len, 0, delegated);
	case NSCAP_CREATE_CAPABILITY:
		return __vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_CAPS, step->value,
					     step->len, XATTR_CREATE, delegated);
	case NSCAP_REPLACE_CAPABILITY:
		return __vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_CAPS, step->value,
					     step->len, XATTR_REPLACE, delegated);
	case NSCAP_REMOVE_TABLE:
		error = __vfs_removexattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, delegated);
		break;
	default:
		error = __vfs_removexattr_locked(mnt_userns, dentry, XATTR_NAME_CAPS, delegated);
		break;
	}
	return error == -ENODATA ? 0 : error;
}

/* Before the step that commits fails, the table is as it was again. */
static void nscap_undo(struct user_namespace *mnt_userns, struct dentry *dentry,
		       const struct nscap_state *state)
{
	struct inode *ignored = NULL;

	if (state->table)
		__vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, state->table,
				      state->file.table.len, 0, &ignored);
	else
		__vfs_removexattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, &ignored);
	if (ignored)
		iput(ignored);
}

static int nscap_carry_out(struct user_namespace *mnt_userns, struct dentry *dentry,
			   const struct nscap_state *state, const struct nscap_answer *answer,
			   struct inode **delegated)
{
	bool table_touched = false;
	int i, error;

	for (i = 0; i < NSCAP_MAX_STEPS && answer->steps[i].op != NSCAP_END; i++) {
		const struct nscap_step *step = &answer->steps[i];

		error = nscap_step(mnt_userns, dentry, step, delegated);
		if (error) {
			if (table_touched)
				nscap_undo(mnt_userns, dentry, state);
			/* What a file system says of a value that does not fit. */
			return error == -E2BIG || error == -ERANGE ? -ENOSPC : error;
		}
		table_touched = step->op == NSCAP_SET_TABLE || step->op == NSCAP_REMOVE_TABLE;
	}
	return 0;
}

static void nscap_audit(struct dentry *dentry, u32 what, const struct nscap_answer *answer,
			int error)
{
	struct audit_buffer *ab;

	ab = audit_log_start(audit_context(), GFP_KERNEL, AUDIT_KERNEL_OTHER);
	if (!ab)
		return;
	audit_log_format(ab, "nscap op=%s name=",
			 what == NSCAP_SET_CAPABILITY || what == NSCAP_SET_NSCAPABILITY ?
			 "set" : "remove");
	audit_log_untrustedstring(ab, dentry->d_name.name);
	audit_log_format(ab, " ino=%lu dev=", d_backing_inode(dentry)->i_ino);
	audit_log_untrustedstring(ab, dentry->d_sb->s_id);
	audit_log_format(ab, " clause=%.*s res=%d", (int)answer->clause.len, answer->clause.data,
			 error);
	audit_log_end(ab);
}

static int nscap_change(struct user_namespace *mnt_userns, struct dentry *dentry, u32 what,
			const void *value, size_t size, int flags, struct inode **delegated)
{
	struct inode *inode = d_inode(dentry);
	const struct cred *cred = current_cred();
	struct nscap_caller caller = {
		.ns = cred->user_ns,
		.euid = __kuid_val(cred->euid),
		.policy = (sysctl_array ? NSCAP_POLICY_ARRAY : 0) |
			  (sysctl_same_ok ? NSCAP_POLICY_SAME_OK : 0),
	};
	struct nscap_bytes bytes = { .data = value, .len = value ? size : 0 };
	struct nscap_state *state;
	struct nscap_answer *answer;
	struct nscap_room room = {};
	int error = -ENOMEM;

	caller.effective = cred->cap_effective.cap[0] |
			   ((u64)cred->cap_effective.cap[1] << 32);
	state = kzalloc(sizeof(*state), GFP_KERNEL);
	answer = kzalloc(sizeof(*answer), GFP_KERNEL);
	room.entries_len = NSCAP_MAX_ENTRIES;
	room.entries = kvmalloc_array(NSCAP_MAX_ENTRIES, NSCAP_RECORD_LEN, GFP_KERNEL);
	room.tables_len = NSCAP_TABLES_LEN;
	room.tables = kvmalloc(NSCAP_TABLES_LEN, GFP_KERNEL);
	room.random = get_random_u64();
	if (!state || !answer || !room.entries || !room.tables)
		goto out;
	error = nscap_read(state, mnt_userns, dentry, inode);
	if (error)
		goto out;
	error = nscap_decide_change(what, &caller, &state->file, bytes, flags, &room, answer);
	if (!error && answer->steps[0].op != NSCAP_END &&
	    (what == NSCAP_SET_CAPABILITY || what == NSCAP_SET_NSCAPABILITY) &&
	    mapping_writably_mapped(inode->i_mapping))
		/* Whoever maps it could change the content unseen. */
		error = -ETXTBSY;
	if (!error)
		error = nscap_carry_out(mnt_userns, dentry, state, answer, delegated);
	nscap_audit(dentry, what, answer, error);
out:
	if (state)
		nscap_release(state);
	kfree(state);
	kfree(answer);
	kvfree(room.entries);
	kvfree(room.tables);
	return error;
}

int nscap_setxattr_locked(struct user_namespace *mnt_userns, struct dentry *dentry,
			  const char *name, const void *value, size_t size, int flags,
			  struct inode **delegated_inode)
{
	u32 what = strcmp(name, XATTR_NAME_CAPS) ? NSCAP_SET_NSCAPABILITY : NSCAP_SET_CAPABILITY;

	return nscap_change(mnt_userns, dentry, what, value, size, flags, delegated_inode);
}

int nscap_removexattr_locked(struct user_namespace *mnt_userns, struct dentry *dentry,
			     const char *name, struct inode **delegated_inode)
{
	u32 what = strcmp(name, XATTR_NAME_CAPS) ? NSCAP_REMOVE_NSCAPABILITY :
						   NSCAP_REMOVE_CAPABILITY_NAME;

	return nscap_change(mnt_userns, dentry, what, NULL, 0, 0, delegated_inode);
}

/* getxattr and listxattr. */

int nscap_inode_getsecurity(struct user_namespace *mnt_userns, struct inode *inode,
			    const char *name, void **buffer, bool alloc)
{
	struct nscap_state state;
	struct dentry *dentry;
	u32 what;
	ssize_t len;

	if (!strcmp(name, "capability"))
		what = 0;
	else if (!strcmp(name, "nscapability"))
		what = 1;
	else
		return -EOPNOTSUPP;
	dentry = d_find_any_alias(inode);
	if (!dentry)
		return -EINVAL;
	len = nscap_read(&state, mnt_userns, dentry, inode);
	dput(dentry);
	if (len)
		goto out;
	len = nscap_decide_get(what, current_user_ns(), &state.file, NULL, 0);
	if (len > 0 && alloc) {
		*buffer = kmalloc(len, GFP_KERNEL);
		len = *buffer ? nscap_decide_get(what, current_user_ns(), &state.file, *buffer,
						 len) : -ENOMEM;
	}
out:
	nscap_release(&state);
	return len;
}

/* Where the raw list names either attribute, what the caller is to see of them. */
ssize_t nscap_listxattr(struct dentry *dentry, char *list, size_t size, ssize_t listed)
{
	struct inode *inode = d_inode(dentry);
	struct nscap_state state;
	char *at, *end;
	u32 names;
	int error;

	if (listed <= 0 || !list || !size)
		return listed;
	end = list + listed;
	for (at = list; at < end; at += strlen(at) + 1)
		if (nscap_decides(at))
			break;
	if (at >= end)
		return listed;
	/* No mount is known here: as through one that is not id-mapped. */
	error = nscap_read(&state, &init_user_ns, dentry, inode);
	if (error) {
		nscap_release(&state);
		return error;
	}
	names = nscap_decide_list(current_user_ns(), &state.file);
	nscap_release(&state);
	for (at = list; at < end;) {
		size_t len = strlen(at) + 1;

		if (nscap_decides(at)) {
			memmove(at, at + len, end - at - len);
			end -= len;
		} else {
			at += len;
		}
	}
	if (names & 1) {
		if (list + size - end < sizeof(XATTR_NAME_CAPS))
			return -ERANGE;
		memcpy(end, XATTR_NAME_CAPS, sizeof(XATTR_NAME_CAPS));
		end += sizeof(XATTR_NAME_CAPS);
	}
	if (names & 2) {
		if (list + size - end < sizeof(XATTR_NAME_NSCAP))
			return -ERANGE;
		memcpy(end, XATTR_NAME_NSCAP, sizeof(XATTR_NAME_NSCAP));
		end += sizeof(XATTR_NAME_NSCAP);
	}
	return end - list;
}

/* execve. */

int nscap_exec_caps(struct user_namespace *mnt_userns, struct dentry *dentry,
		    const void *capability, int size, struct cpu_vfs_cap_data *cpu_caps)
{
	struct inode *inode = d_backing_inode(dentry);
	struct nscap_state state;
	struct nscap_grant grant;
	int found;

	if (size < 0 && size != -ERANGE)
		return size;
	nscap_describe(&state, mnt_userns, inode);
	nscap_take_capability(&state, capability, size);
	if (nscap_is_tripwire(state.file.capability)) {
		found = nscap_read_table(&state, dentry, inode);
		if (found)
			goto out;
	}
	found = nscap_decide_exec(current_user_ns(), &state.file, &grant);
	if (found == 0)
		found = -ENODATA;
	if (found < 0)
		goto out;
	cpu_caps->magic_etc = VFS_CAP_REVISION_2 |
			      (grant.effective ? VFS_CAP_FLAGS_EFFECTIVE : 0);
	cpu_caps->permitted.cap[0] = grant.permitted;
	cpu_caps->permitted.cap[1] = (grant.permitted >> 32) & CAP_LAST_U32_VALID_MASK;
	cpu_caps->inheritable.cap[0] = grant.inheritable;
	cpu_caps->inheritable.cap[1] = (grant.inheritable >> 32) & CAP_LAST_U32_VALID_MASK;
	cpu_caps->rootid = KUIDT_INIT(grant.rootid);
	found = 0;
out:
	nscap_release(&state);
	return found;
}

/* A mapping through which content can change unseen drops what the file grants. */

int nscap_mmap_file(struct file *file, unsigned long flags)
{
	unsigned long type = flags & MAP_TYPE;
	struct dentry *dentry;
	struct inode *inode;
	int error = 0;

	if (!file || (type != MAP_SHARED && type != MAP_SHARED_VALIDATE) ||
	    !(file->f_mode & FMODE_WRITE))
		return 0;
	dentry = file_dentry(file);
	inode = d_backing_inode(dentry);
	if (!S_ISREG(inode->i_mode) || !(inode->i_opflags & IOP_XATTR))
		return 0;
	inode_lock(inode);
	if (security_inode_need_killpriv(dentry) > 0)
		error = security_inode_killpriv(file_mnt_user_ns(file), dentry);
	inode_unlock(inode);
	return error == -ENODATA ? 0 : error;
}

static struct ctl_table nscap_table[] = {
	{
		.procname = "nscap_array",
		.data = &sysctl_array,
		.maxlen = sizeof(int),
		.mode = 0644,
		.proc_handler = proc_dointvec_minmax,
		.extra1 = SYSCTL_ZERO,
		.extra2 = SYSCTL_ONE,
	},
	{
		.procname = "nscap_same_ok",
		.data = &sysctl_same_ok,
		.maxlen = sizeof(int),
		.mode = 0644,
		.proc_handler = proc_dointvec_minmax,
		.extra1 = SYSCTL_ZERO,
		.extra2 = SYSCTL_ONE,
	},
	{ }
};

static int __init nscap_init(void)
{
	register_sysctl("kernel", nscap_table);
	return 0;
}
device_initcall(nscap_init);
