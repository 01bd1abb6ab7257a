// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: overlayfs (W). Its mounter's credentials are
 * in force in all of these.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/wait.h>

#include "nscap.h"

/* Whether what a layer stores means the same, byte for byte, on the superblock above it. */
static bool nscap_same_terms(struct super_block *above, struct mnt_idmap *idmap,
			     struct dentry *layer)
{
	struct user_namespace *ns = layer->d_sb->s_user_ns;

	return ns == above->s_user_ns && !nscap_is_mapped(idmap, ns);
}

/*
 * What a layer grants where terms differ, in those of the superblock above: there are no tables.
 * Its one entry, else what root of the owner above reads, which is never more than the layer
 * grants. entry gets which of the two, 1 or 0, or the error with which the layer was not read.
 */
static ssize_t nscap_layer_value(struct super_block *above, struct mnt_idmap *idmap,
				 struct dentry *layer, u8 *value, int *entry)
{
	struct nscap_state state;
	ssize_t len;

	len = nscap_read(&state, idmap, layer, NSCAP_WHAT_APPLIES);
	*entry = len;
	if (!len && !state.file.capability.data)
		len = -ENODATA;
	if (!len) {
		len = nscap_decide_entry_above(above->s_user_ns, &state.file, value);
		*entry = len > 0;
	}
	if (len == -ENODATA && state.file.capability.data)
		len = nscap_decide_get_capability(above->s_user_ns, &state.file, value);
	nscap_release(&state);
	return len;
}

/* What a layer stores, as the superblock above has it. */
ssize_t nscap_layer_getxattr(struct super_block *above, const struct path *layer,
			     const char *name, void *value, size_t size)
{
	struct mnt_idmap *idmap = mnt_idmap(layer->mnt);
	u8 shown[NSCAP_CAPABILITY_LEN];
	ssize_t len;
	int entry;

	len = security_inode_getxattr(layer->dentry, name);
	if (len)
		return len;
	if (nscap_same_terms(above, idmap, layer->dentry))
		return __vfs_getxattr(layer->dentry, d_inode(layer->dentry), name, value, size);
	if (strcmp(name, XATTR_NAME_CAPS))
		return -ENODATA;
	len = nscap_layer_value(above, idmap, layer->dentry, shown, &entry);
	if (len <= 0 || !size)
		return len;
	if (len > (ssize_t)size)
		return -ERANGE;
	memcpy(value, shown, len);
	return len;
}
EXPORT_SYMBOL_GPL(nscap_layer_getxattr);

/* Stores a value as it is. Under the lock of the layer's inode. */
static int nscap_layer_store_locked(struct mnt_idmap *idmap, struct dentry *layer,
				    const char *name, const void *value, size_t size, int flags,
				    struct delegated_inode *delegated)
{
	struct inode *inode = d_inode(layer);
	int error;

	/* A layer that is stacked itself asks its own. */
	if (d_real_inode(layer) != inode)
		return nscap_store(idmap, layer, name, value, size, flags, delegated);
	error = nscap_grant_begin(inode);
	if (error)
		return error;
	error = nscap_store(idmap, layer, name, value, size, flags, delegated);
	nscap_grant_end(inode);
	return error;
}

/* Stores a value as it is, NULL removes: what has been decided upon above. */
static int nscap_layer_store(struct mnt_idmap *idmap, struct dentry *layer,
			     const char *name, const void *value, size_t size, int flags)
{
	struct inode *inode = d_inode(layer);
	struct delegated_inode delegated = { };
	int error;

	do {
		inode_lock(inode);
		error = value ? nscap_layer_store_locked(idmap, layer, name, value, size,
							 flags, &delegated) :
				nscap_store(idmap, layer, name, NULL, 0, 0, &delegated);
		inode_unlock(inode);
		if (!is_delegated(&delegated))
			return error;
		error = break_deleg_wait(&delegated);
	} while (!error);
	return error;
}

/*
 * Where the terms differ, the mounter removes what nscap_layer_getxattr() shows, as others do. An error
 * where that cannot be read: it is not to remove another thing instead.
 */
static int nscap_layer_removal(struct super_block *above, struct mnt_idmap *idmap,
			       struct dentry *layer, enum nscap_what *removal)
{
	u8 value[NSCAP_CAPABILITY_LEN];
	int entry;

	nscap_layer_value(above, idmap, layer, value, &entry);
	*removal = entry > 0 ? NSCAP_REMOVE_NSCAPABILITY : NSCAP_REMOVE_CAPABILITY_NAME;
	return entry < 0 ? entry : 0;
}

/* Both attributes as they were, where nothing has been put in their place. */
static void nscap_put_back(struct mnt_idmap *idmap, struct dentry *layer,
			   const struct nscap_state *before)
{
	const struct nscap_file *file = &before->file;

	if (before->table)
		nscap_store(idmap, layer, XATTR_NAME_NSCAP, before->table, file->table.len, 0,
			    NULL);
	if (file->capability.data)
		nscap_store(idmap, layer, XATTR_NAME_CAPS, file->capability.data,
			    file->capability.len, 0, NULL);
}

/* Under the lock of the layer's inode: what cannot be replaced is still there. */
static int nscap_layer_replace(struct super_block *above, struct mnt_idmap *idmap,
			       struct dentry *layer, const struct nscap_request *set,
			       struct delegated_inode *delegated)
{
	struct nscap_request remove = { .policy = set->policy };
	struct nscap_record record;
	struct nscap_state before;
	int error;

	error = nscap_layer_removal(above, idmap, layer, &remove.what);
	if (error)
		return error;
	error = nscap_read(&before, idmap, layer, NSCAP_ALL_STORED);
	if (!error)
		error = nscap_change_locked(idmap, layer, &remove, &record, delegated);
	if (!error) {
		error = nscap_change_locked(idmap, layer, set, &record, delegated);
		if (error)
			nscap_put_back(idmap, layer, &before);
	}
	nscap_release(&before);
	return error;
}

/* Where the terms differ: the mounter asks for it. */
static int nscap_layer_ask(struct super_block *above, struct mnt_idmap *idmap,
			   struct dentry *layer, const void *value, size_t size, bool replace)
{
	const struct nscap_request set = {
		.what = NSCAP_SET_CAPABILITY,
		.policy = nscap_policy(),
		.value = value,
		.size = size,
	};
	struct inode *inode = d_inode(layer);
	struct delegated_inode delegated = { };
	struct nscap_record record;
	int error;

	do {
		inode_lock(inode);
		error = replace ?
			nscap_layer_replace(above, idmap, layer, &set, &delegated) :
			nscap_change_locked(idmap, layer, &set, &record, &delegated);
		inode_unlock(inode);
		if (!is_delegated(&delegated))
			return error;
		error = break_deleg_wait(&delegated);
	} while (!error);
	return error;
}

/*
 * Changes what a layer stores, NULL removes. Where the terms are the same it is stored as it is,
 * if the mounter may grant there; else the mounter asks for it.
 */
int nscap_layer_setxattr(struct super_block *above, struct mnt_idmap *idmap,
			 struct dentry *layer, const char *name, const void *value, size_t size,
			 int flags)
{
	struct nscap_request remove = { .policy = nscap_policy() };
	int error;

	if (nscap_same_terms(above, idmap, layer)) {
		if (value && !ns_capable(layer->d_sb->s_user_ns, CAP_SETFCAP))
			return -EPERM;
		return nscap_layer_store(idmap, layer, name, value, size, flags);
	}
	if (strcmp(name, XATTR_NAME_CAPS))
		/* A second entry is more than it can hold (A). */
		return value ? -ENOSPC : -ENODATA;
	if (!value) {
		error = nscap_layer_removal(above, idmap, layer, &remove.what);
		return error ?: nscap_change(idmap, layer, &remove);
	}
	return nscap_layer_ask(above, idmap, layer, value, size, flags & XATTR_REPLACE);
}
EXPORT_SYMBOL_GPL(nscap_layer_setxattr);

/*
 * What a file of the upper layer grants while its content is copied up, which drops it. Put back
 * afterwards, unless it was changed or the file given away meanwhile.
 */
struct nscap_kept {
	struct list_head list;
	/* The overlay's, of which the other is a layer's. */
	const struct inode *above;
	struct inode *inode;
	kuid_t uid;
	kgid_t gid;
	bool changed;
	ssize_t len;
	u8 value[NSCAP_CAPABILITY_ROOM];
};

static DEFINE_SPINLOCK(nscap_kept_lock);
static LIST_HEAD(nscap_kept);
static DECLARE_WAIT_QUEUE_HEAD(nscap_kept_queue);
/* How many have ended. */
static u64 nscap_kept_ended;

/*
 * Whether such a copy of the content of an overlay's file is under way; ended gets how many are not any
 * more. Till it ends the file that overlayfs names as the real one is the lower layer's.
 */
static bool nscap_is_kept(const struct inode *above, u64 *ended)
{
	const struct nscap_kept *kept;
	bool found = false;

	spin_lock(&nscap_kept_lock);
	list_for_each_entry(kept, &nscap_kept, list)
		found |= kept->above == above;
	*ended = nscap_kept_ended;
	spin_unlock(&nscap_kept_lock);
	return found;
}

/*
 * What a file holds, for a change of it. While its content is copied up the file seems to grant
 * nothing: that is waited for, since a removal would find nothing, and what it was to remove would
 * come back. Under the lock of the inode of the overlay, which a copy-up does not take.
 */
int nscap_read_settled(struct nscap_state *state, struct mnt_idmap *idmap,
		       struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);
	u64 before, after;
	int error;

	/* A caller that is killed while it waits releases what was never read. */
	state->table = NULL;
	/* A layer's own file, perhaps on behalf of the overlay. */
	if (d_real_inode(dentry) == inode)
		return nscap_read(state, idmap, dentry, NSCAP_ALL_STORED);
	for (;;) {
		if (wait_event_killable(nscap_kept_queue, !nscap_is_kept(inode, &before)))
			return -EINTR;
		error = nscap_read(state, idmap, dentry, NSCAP_ALL_STORED);
		if (error || (!nscap_is_kept(inode, &after) && before == after))
			return error;
		nscap_release(state);
	}
}

/* Under the inode's lock, before one of its attributes changes by a decision. */
void nscap_kept_changes(struct inode *inode)
{
	struct nscap_kept *kept;

	if (list_empty_careful(&nscap_kept))
		return;
	spin_lock(&nscap_kept_lock);
	list_for_each_entry(kept, &nscap_kept, list)
		kept->changed |= kept->inode == inode;
	spin_unlock(&nscap_kept_lock);
}

/* NULL where it grants nothing. Ends with nscap_keep_end(). */
struct nscap_kept *nscap_keep_begin(struct dentry *above, struct dentry *upper)
{
	struct inode *inode = d_inode(upper);
	struct nscap_kept *kept = kzalloc(sizeof(*kept), GFP_KERNEL);
	ssize_t len;

	if (!kept)
		return ERR_PTR(-ENOMEM);
	kept->above = d_inode(above);
	kept->inode = inode;
	inode_lock(inode);
	len = __vfs_getxattr(upper, inode, XATTR_NAME_CAPS, kept->value, sizeof(kept->value));
	kept->uid = inode->i_uid;
	kept->gid = inode->i_gid;
	kept->len = len;
	if (len > 0) {
		spin_lock(&nscap_kept_lock);
		list_add(&kept->list, &nscap_kept);
		spin_unlock(&nscap_kept_lock);
	}
	inode_unlock(inode);
	if (len > 0)
		return kept;
	kfree(kept);
	return len == 0 || len == -ENODATA || len == -EOPNOTSUPP ? NULL : ERR_PTR(len);
}
EXPORT_SYMBOL_GPL(nscap_keep_begin);

static int nscap_keep(const struct nscap_kept *kept, struct mnt_idmap *idmap,
		      struct dentry *upper)
{
	struct inode *inode = kept->inode;
	int error;

	if (kept->changed || !uid_eq(kept->uid, inode->i_uid) || !gid_eq(kept->gid, inode->i_gid))
		return 0;
	error = nscap_layer_store_locked(idmap, upper, XATTR_NAME_CAPS, kept->value, kept->len,
					 XATTR_CREATE, NULL);
	/* A delegation, or a mapping beneath: what a copy-up cannot keep is left out. */
	return error == -EEXIST || error == -ETXTBSY || error == -EWOULDBLOCK ||
	       nscap_left_behind(-error) ? 0 : error;
}

/* error: how the copy of the content ended, which is given back. */
int nscap_keep_end(struct nscap_kept *kept, struct mnt_idmap *idmap,
		   struct dentry *upper, int error)
{
	if (!kept)
		return error;
	inode_lock(kept->inode);
	if (!error)
		error = nscap_keep(kept, idmap, upper);
	spin_lock(&nscap_kept_lock);
	list_del(&kept->list);
	nscap_kept_ended++;
	spin_unlock(&nscap_kept_lock);
	inode_unlock(kept->inode);
	wake_up_all(&nscap_kept_queue);
	kfree(kept);
	return error;
}
EXPORT_SYMBOL_GPL(nscap_keep_end);

static int nscap_grant_again(struct mnt_idmap *idmap, struct dentry *to,
			     enum nscap_what what, const void *value, size_t size)
{
	const struct nscap_request request = {
		.what = what,
		.policy = NSCAP_POLICY_ARRAY,
		.value = value,
		.size = size,
	};

	return nscap_change(idmap, to, &request);
}

/* Each entry of a value as if it were alone, until nothing more fits. */
static int nscap_copy_each(struct nscap_bytes value, struct mnt_idmap *idmap,
			   struct dentry *to)
{
	u8 alone[NSCAP_VALUE_LEN(1)];
	size_t i;
	int error;

	for (i = 0; nscap_entry_alone(value, i, alone); i++) {
		error = nscap_grant_again(idmap, to, NSCAP_SET_NSCAPABILITY, alone,
					  sizeof(alone));
		if (error && !nscap_left_behind(-error))
			return error;
		if (error == -ENOSPC)
			return 0;
	}
	return 0;
}

/* The entries that the mounter can name: all at once, or where one is refused, the others. */
static int nscap_copy_entries(const struct nscap_state *state, struct mnt_idmap *idmap,
			      struct dentry *to)
{
	struct user_namespace *ns = current_user_ns();
	ssize_t len = nscap_decide_get_nscapability(ns, &state->file, NULL, 0);
	int error;
	u8 *all;

	if (len < 0)
		return len == -ENODATA ? 0 : len;
	all = kvmalloc(len, GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	len = nscap_decide_get_nscapability(ns, &state->file, all, len);
	len = len < 0 ? len : nscap_keep_named(all, len);
	error = len < 0 ? len : nscap_grant_again(idmap, to, NSCAP_SET_NSCAPABILITY, all, len);
	if (len > 0 && error && nscap_left_behind(-error))
		error = nscap_copy_each((struct nscap_bytes){ all, len }, idmap, to);
	kvfree(all);
	return error == -ENODATA ? 0 : error;
}

static bool nscap_has_host_value(const struct nscap_state *state)
{
	return nscap_decide_list(state->file.sb_ns, &state->file) & NSCAP_HAS_HOST_VALUE;
}

/* 1 where the copy has the host value as one, 0 where it cannot, or an error. */
static int nscap_copy_host_value(const struct nscap_state *state,
				 struct mnt_idmap *idmap, struct dentry *to)
{
	u8 value[NSCAP_CAPABILITY_LEN];
	ssize_t len = nscap_decide_get_capability(current_user_ns(), &state->file, value);
	struct nscap_state copy;
	int error;

	if (len < 0)
		return len == -ENODATA || len == -EINVAL ? 0 : len;
	error = nscap_grant_again(idmap, to, NSCAP_SET_CAPABILITY, value, len);
	if (error && !nscap_left_behind(-error))
		return error;
	error = nscap_read(&copy, idmap, to, NSCAP_WHAT_IS_LISTED);
	if (!error && copy.file.capability.data)
		error = nscap_has_host_value(&copy);
	nscap_release(&copy);
	return error;
}

/*
 * Copies the grants of a layer to a new file of another, whose content, size and owner are final.
 * Entries wait behind a host value; where that cannot be kept as one, they stay behind with it.
 */
int nscap_copy_up(const struct path *from, struct vfsmount *upper, struct dentry *to)
{
	struct mnt_idmap *idmap = mnt_idmap(upper);
	struct inode *inode = d_inode(from->dentry);
	struct nscap_state state;
	int error;

	if (!S_ISREG(inode->i_mode))
		return 0;
	error = nscap_read(&state, mnt_idmap(from->mnt), from->dentry, NSCAP_WHAT_IS_LISTED);
	if (!error && state.file.capability.data) {
		int kept = nscap_has_host_value(&state) ?
			   nscap_copy_host_value(&state, idmap, to) : 1;

		error = kept > 0 ? nscap_copy_entries(&state, idmap, to) : kept;
	}
	nscap_release(&state);
	/* A file system without attributes has nothing to copy. */
	return error == -EOPNOTSUPP && !state.file.capability.data ? 0 : error;
}
EXPORT_SYMBOL_GPL(nscap_copy_up);
