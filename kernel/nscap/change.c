// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: setxattr and removexattr.
 *
 * Whoever changes either name is decided upon and served under the inode's lock, in one go. Every
 * step goes through the VFS with the name under which it is stored, so that security modules, EVM,
 * IMA and fsnotify see what is stored.
 */
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/security.h>
#include <linux/string.h>
#include <linux/sysctl.h>

#include "nscap.h"

static u8 nscap_array __read_mostly;
static u8 nscap_busy __read_mostly;
static unsigned int nscap_busy_max = NSCAP_BUSY_MAX;

/* -ENODATA: what was to be removed is not there. */
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

/* Where the step that commits has failed, the table is put back. */
static void nscap_undo(struct user_namespace *mnt_userns, struct dentry *dentry,
		       const struct nscap_state *state)
{
	struct inode *ignored = NULL;

	if (state->table)
		__vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, state->table,
				      state->file.table.len, 0, &ignored);
	else
		__vfs_removexattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, &ignored);
	iput(ignored);
}

/* A change of security.capability commits; a table that is not trimmed then counts as well. */
static int nscap_carry_out(struct user_namespace *mnt_userns, struct dentry *dentry,
			   const struct nscap_state *state, const struct nscap_answer *answer,
			   struct inode **delegated)
{
	const struct nscap_step *step = answer->steps;
	bool committed = false;
	int error = 0;

	for (; step < answer->steps + NSCAP_MAX_STEPS && step->op != NSCAP_END; step++) {
		error = nscap_step(mnt_userns, dentry, step, delegated);
		if (error)
			break;
		committed |= step->op != NSCAP_SET_TABLE && step->op != NSCAP_REMOVE_TABLE;
	}
	if (!error || committed)
		return 0;
	if (step > answer->steps)
		nscap_undo(mnt_userns, dentry, state);
	/* What a file system says of a value that does not fit. */
	return error == -E2BIG || error == -ERANGE ? -ENOSPC : error;
}

static void nscap_audit(struct dentry *dentry, const char *op, const struct nscap_bytes *clause,
			int error)
{
	struct inode *inode = d_backing_inode(dentry);
	struct name_snapshot name;
	struct audit_buffer *ab;

	ab = audit_log_start(audit_context(), GFP_KERNEL, AUDIT_KERNEL_OTHER);
	if (!ab)
		return;
	audit_log_format(ab, "nscap op=%s name=", op);
	take_dentry_name_snapshot(&name, dentry);
	audit_log_untrustedstring(ab, name.name.name);
	release_dentry_name_snapshot(&name);
	audit_log_format(ab, " ino=%lu dev=", inode->i_ino);
	audit_log_untrustedstring(ab, inode->i_sb->s_id);
	audit_log_format(ab, " clause=%.*s res=%d", (int)clause->len, clause->data, error);
	audit_log_end(ab);
}

static bool nscap_sets(u32 what)
{
	return what == NSCAP_SET_CAPABILITY || what == NSCAP_SET_NSCAPABILITY;
}

/* What the rules allow may still be refused: by a security module, or for a mapping. */
static int nscap_refuse(struct dentry *dentry, u32 what, const struct nscap_answer *answer)
{
	if (answer->steps[0].op == NSCAP_END)
		return 0;
	if (!ns_capable(current_user_ns(), CAP_SETFCAP) &&
	    !ns_capable(dentry->d_sb->s_user_ns, CAP_SETFCAP))
		return -EPERM;
	if (nscap_sets(what) && nscap_content_may_change(d_real_inode(dentry)))
		return -ETXTBSY;
	return 0;
}

/*
 * Room for all entries that there are and may come, and for a table of them beside the present
 * one. More than the largest number is refused for want of room.
 */
static int nscap_make_room(struct nscap_room *room, const struct nscap_state *state,
			   const struct nscap_request *request)
{
	size_t table_len = state->file.table.len;

	room->entries_len = min_t(size_t, NSCAP_MAX_ENTRIES,
				  2 + (table_len + request->size) / NSCAP_RECORD_LEN);
	room->tables_len = table_len + NSCAP_TABLE_LEN(room->entries_len);
	room->entries = kvmalloc_array(room->entries_len, NSCAP_RECORD_LEN, GFP_KERNEL);
	room->tables = kvmalloc(room->tables_len, GFP_KERNEL);
	room->random = get_random_u64();
	return room->entries && room->tables ? 0 : -ENOMEM;
}

static int nscap_change_once(struct user_namespace *mnt_userns, struct dentry *dentry,
			     const struct nscap_request *request, struct inode **delegated)
{
	const struct cred *cred = current_cred();
	const struct nscap_caller caller = {
		.ns = cred->user_ns,
		.effective = cred->cap_effective.cap[0] |
			     ((u64)cred->cap_effective.cap[1] << 32),
		.euid = __kuid_val(cred->euid),
		.policy = request->policy,
	};
	const struct nscap_bytes value = {
		.data = request->value,
		.len = request->value ? request->size : 0,
	};
	struct nscap_room room = {};
	struct nscap_answer answer = {};
	struct nscap_state state;
	int error;

	error = nscap_read(&state, mnt_userns, dentry, NSCAP_WHAT_IS_THERE);
	if (!error)
		error = nscap_make_room(&room, &state, request);
	if (error)
		goto out;
	error = nscap_decide_change(request->what, &caller, &state.file, value, request->flags,
				    &room, &answer);
	if (!error)
		error = nscap_refuse(dentry, request->what, &answer);
	if (!error)
		error = nscap_carry_out(mnt_userns, dentry, &state, &answer, delegated);
	/* To be done again, or nothing was there to remove: neither a grant nor a refusal. */
	if (!*delegated && error != -ESTALE && (error != -ENODATA || nscap_sets(request->what)))
		nscap_audit(dentry, nscap_sets(request->what) ? "set" : "remove", &answer.clause,
			    error);
out:
	nscap_release(&state);
	kvfree(room.entries);
	kvfree(room.tables);
	return error;
}

/*
 * Under the inode's lock. Overlayfs says -ESTALE where a step had to copy the file up first: then
 * nothing is done yet, and what the copy has is looked at anew.
 */
int nscap_change(struct user_namespace *mnt_userns, struct dentry *dentry,
		 const struct nscap_request *request, struct inode **delegated)
{
	struct inode *real = d_real_inode(dentry);
	int error = nscap_change_once(mnt_userns, dentry, request, delegated);

	if (error == -ESTALE && d_real_inode(dentry) != real)
		error = nscap_change_once(mnt_userns, dentry, request, delegated);
	return error;
}

static u32 nscap_policy(void)
{
	return (READ_ONCE(nscap_array) ? NSCAP_POLICY_ARRAY : 0) |
	       READ_ONCE(nscap_busy) << NSCAP_POLICY_BUSY_SHIFT;
}

int nscap_setxattr_locked(struct user_namespace *mnt_userns, struct dentry *dentry,
			  const char *name, const void *value, size_t size, int flags,
			  struct inode **delegated_inode)
{
	const struct nscap_request request = {
		.what = strcmp(name, XATTR_NAME_CAPS) ? NSCAP_SET_NSCAPABILITY :
							NSCAP_SET_CAPABILITY,
		.policy = nscap_policy(),
		.value = value,
		.size = size,
		.flags = flags,
	};

	return nscap_change(mnt_userns, dentry, &request, delegated_inode);
}

int nscap_removexattr_locked(struct user_namespace *mnt_userns, struct dentry *dentry,
			     const char *name, struct inode **delegated_inode)
{
	const struct nscap_request request = {
		.what = strcmp(name, XATTR_NAME_CAPS) ? NSCAP_REMOVE_NSCAPABILITY :
							NSCAP_REMOVE_CAPABILITY_NAME,
		.policy = nscap_policy(),
	};

	return nscap_change(mnt_userns, dentry, &request, delegated_inode);
}

/* K: what the file grants has been dropped with its content or its owner. */
void nscap_dropped(struct dentry *dentry, int error)
{
	static const struct nscap_bytes clause = { .data = "K", .len = 1 };

	if (error != -ENODATA && error != -EOPNOTSUPP)
		nscap_audit(dentry, "drop", &clause, error);
}

/* Clauses A and B; as boot parameters sysctl.kernel.nscap_array and sysctl.kernel.nscap_busy. */
static struct ctl_table nscap_sysctls[] = {
	{
		.procname	= "nscap_array",
		.data		= &nscap_array,
		.maxlen		= sizeof(nscap_array),
		.mode		= 0644,
		.proc_handler	= proc_dou8vec_minmax,
		.extra1		= SYSCTL_ZERO,
		.extra2		= SYSCTL_ONE,
	},
	{
		.procname	= "nscap_busy",
		.data		= &nscap_busy,
		.maxlen		= sizeof(nscap_busy),
		.mode		= 0644,
		.proc_handler	= proc_dou8vec_minmax,
		.extra1		= SYSCTL_ZERO,
		.extra2		= &nscap_busy_max,
	},
	{ }
};

static int __init nscap_init(void)
{
	register_sysctl_init("kernel", nscap_sysctls);
	return 0;
}
device_initcall(nscap_init);
