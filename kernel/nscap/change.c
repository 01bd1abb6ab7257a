// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: setxattr and removexattr.
 *
 * A change of either name is decided upon and carried out in one section under the inode's lock.
 * Every step goes through the VFS with the name under which it is stored, so that security modules,
 * EVM, IMA and fsnotify see what is stored.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/init.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/security.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/sysctl.h>

#include "nscap.h"

static u8 nscap_array __read_mostly;
static u8 nscap_busy __read_mostly;
static unsigned int nscap_busy_max = NSCAP_BUSY_MAX;

/* The tasks that carry out a step right now. */
struct nscap_changer {
	struct hlist_node node;
	const struct task_struct *task;
};

static DEFINE_SPINLOCK(nscap_changers_lock);
static HLIST_HEAD(nscap_changers);

/* Whether the name is one that is decided upon, and the caller carries out such a decision. */
bool nscap_is_changing(const char *name)
{
	const struct nscap_changer *changer;
	bool found = false;

	if (!nscap_decides(name))
		return false;
	spin_lock(&nscap_changers_lock);
	hlist_for_each_entry(changer, &nscap_changers, node) {
		found = changer->task == current;
		if (found)
			break;
	}
	spin_unlock(&nscap_changers_lock);
	return found;
}

/* Writes one of the two names as it is stored, NULL removes. Under the inode's lock. */
int nscap_store(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
		const void *value, size_t size, int flags, struct delegated_inode *delegated)
{
	struct nscap_changer changer = { .task = current };
	int error;

	lockdep_assert_held_write(&d_inode(dentry)->i_rwsem);
	nscap_kept_changes(d_inode(dentry));
	spin_lock(&nscap_changers_lock);
	hlist_add_head(&changer.node, &nscap_changers);
	spin_unlock(&nscap_changers_lock);
	if (value)
		error = __vfs_setxattr_locked(idmap, dentry, name, value, size, flags,
					      delegated);
	else
		error = __vfs_removexattr_locked(idmap, dentry, name, delegated);
	spin_lock(&nscap_changers_lock);
	hlist_del(&changer.node);
	spin_unlock(&nscap_changers_lock);
	return error;
}

/* -ENODATA: what was to be removed is gone already. */
static int nscap_step(struct mnt_idmap *idmap, struct dentry *dentry,
		      const struct nscap_step *step, struct delegated_inode *delegated)
{
	int error;

	switch (step->op) {
	case NSCAP_SET_TABLE:
		return nscap_store(idmap, dentry, XATTR_NAME_NSCAP, step->data, step->len, 0,
				   delegated);
	case NSCAP_CREATE_CAPABILITY:
		return nscap_store(idmap, dentry, XATTR_NAME_CAPS, step->value, step->len,
				   XATTR_CREATE, delegated);
	case NSCAP_REPLACE_CAPABILITY:
		return nscap_store(idmap, dentry, XATTR_NAME_CAPS, step->value, step->len,
				   XATTR_REPLACE, delegated);
	case NSCAP_REMOVE_TABLE:
		error = nscap_store(idmap, dentry, XATTR_NAME_NSCAP, NULL, 0, 0, delegated);
		break;
	default:
		error = nscap_store(idmap, dentry, XATTR_NAME_CAPS, NULL, 0, 0, delegated);
		break;
	}
	return error == -ENODATA ? 0 : error;
}

/* Where the step that commits has failed, the table is put back. */
static void nscap_undo(struct mnt_idmap *idmap, struct dentry *dentry,
		       const struct nscap_state *state)
{
	nscap_store(idmap, dentry, XATTR_NAME_NSCAP, state->table, state->file.table.len, 0, NULL);
}

/* Once a step has committed the change is made; a table that is not trimmed grants the same. */
static int nscap_carry_out(struct mnt_idmap *idmap, struct dentry *dentry,
			   const struct nscap_state *state, const struct nscap_answer *answer,
			   struct delegated_inode *delegated)
{
	const struct nscap_step *step = answer->steps;
	bool committed = false;
	int error = 0;

	for (; step < answer->steps + NSCAP_MAX_STEPS && step->op != NSCAP_END; step++) {
		error = nscap_step(idmap, dentry, step, delegated);
		if (error)
			break;
		committed |= step->commits;
	}
	if (!error || committed)
		return 0;
	if (step > answer->steps)
		nscap_undo(idmap, dentry, state);
	/* What a file system says of a value that does not fit. */
	return error == -E2BIG || error == -ERANGE ? -ENOSPC : error;
}

/* What the rules allow may still be refused: by a security module. */
static int nscap_refuse(struct dentry *dentry, const struct nscap_answer *answer)
{
	struct user_namespace *ns = answer->over_superblock ? dentry->d_sb->s_user_ns :
							      current_user_ns();

	return ns_capable(ns, CAP_SETFCAP) ? 0 : -EPERM;
}

/* On a stacked file system the layer that is written to is asked whether content may change. */
static int nscap_grant(struct mnt_idmap *idmap, struct dentry *dentry,
		       const struct nscap_state *state, const struct nscap_answer *answer,
		       struct delegated_inode *delegated)
{
	struct inode *inode = d_inode(dentry);
	int error;

	if (d_real_inode(dentry) != inode)
		return nscap_carry_out(idmap, dentry, state, answer, delegated);
	error = nscap_grant_begin(inode);
	if (error)
		return error;
	error = nscap_carry_out(idmap, dentry, state, answer, delegated);
	nscap_grant_end(inode);
	return error;
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

static int nscap_change_once(struct mnt_idmap *idmap, struct dentry *dentry,
			     const struct nscap_request *request, struct nscap_record *record,
			     struct delegated_inode *delegated)
{
	const struct cred *cred = current_cred();
	const struct nscap_caller caller = {
		.ns = cred->user_ns,
		.effective = nscap_cap_bits(cred->cap_effective),
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

	error = nscap_read_settled(&state, idmap, dentry);
	if (!error)
		error = nscap_make_room(&room, &state, request);
	if (error)
		goto out;
	error = nscap_decide_change(request->what, &caller, &state.file, value, request->flags,
				    &room, &answer);
	memcpy(record->clause, answer.clause, sizeof(record->clause));
	record->logged = answer.logged;
	if (error || answer.steps[0].op == NSCAP_END)
		goto out;
	error = nscap_refuse(dentry, &answer);
	if (!error)
		error = (nscap_sets(request->what) ? nscap_grant : nscap_carry_out)(
			idmap, dentry, &state, &answer, delegated);
out:
	nscap_release(&state);
	kvfree(room.entries);
	kvfree(room.tables);
	return error;
}

/*
 * Under the inode's lock. Overlayfs says -ESTALE where a step had to copy the file up first: then
 * nothing is done yet, and what the copy has is looked at anew. record gets what a log says of it.
 */
int nscap_change_locked(struct mnt_idmap *idmap, struct dentry *dentry,
			const struct nscap_request *request, struct nscap_record *record,
			struct delegated_inode *delegated)
{
	int error;

	lockdep_assert_held_write(&d_inode(dentry)->i_rwsem);
	error = nscap_change_once(idmap, dentry, request, record, delegated);
	if (error == -ESTALE)
		error = nscap_change_once(idmap, dentry, request, record, delegated);
	return error;
}

int nscap_change(struct mnt_idmap *idmap, struct dentry *dentry,
		 const struct nscap_request *request)
{
	struct nscap_record record = {};
	struct delegated_inode delegated = { };
	int error;

	do {
		inode_lock(d_inode(dentry));
		error = nscap_change_locked(idmap, dentry, request, &record, &delegated);
		inode_unlock(d_inode(dentry));
		if (!is_delegated(&delegated))
			break;
		error = break_deleg_wait(&delegated);
	} while (!error);
	nscap_audit_change(dentry, request->what, &record, error);
	return error;
}

u32 nscap_policy(void)
{
	return (READ_ONCE(nscap_array) ? NSCAP_POLICY_ARRAY : 0) |
	       READ_ONCE(nscap_busy) << NSCAP_POLICY_BUSY_SHIFT;
}

int nscap_setxattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
		   const void *value, size_t size, int flags)
{
	const struct nscap_request request = {
		.what = strcmp(name, XATTR_NAME_CAPS) ? NSCAP_SET_NSCAPABILITY :
							NSCAP_SET_CAPABILITY,
		.policy = nscap_policy(),
		.value = value,
		.size = size,
		.flags = flags,
	};

	return nscap_change(idmap, dentry, &request);
}

int nscap_removexattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name)
{
	const struct nscap_request request = {
		.what = strcmp(name, XATTR_NAME_CAPS) ? NSCAP_REMOVE_NSCAPABILITY :
							NSCAP_REMOVE_CAPABILITY_NAME,
		.policy = nscap_policy(),
	};

	return nscap_change(idmap, dentry, &request);
}

/* Clauses A and B; as boot parameters sysctl.kernel.nscap_array and sysctl.kernel.nscap_busy. */
static const struct ctl_table nscap_sysctls[] = {
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
};

static int __init nscap_init(void)
{
	register_sysctl_init("kernel", nscap_sysctls);
	return 0;
}
device_initcall(nscap_init);
