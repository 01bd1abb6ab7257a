// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: overlayfs (W). Its mounter's credentials are
 * in force in all of these.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/security.h>
#include <linux/string.h>

#include "nscap.h"

/* Whether what a layer stores means the same, byte for byte, on the superblock above it. */
static bool nscap_same_terms(struct super_block *above, struct user_namespace *mnt_userns,
			     struct dentry *layer)
{
	struct user_namespace *ns = layer->d_sb->s_user_ns;

	return ns == above->s_user_ns && no_idmapping(mnt_userns, ns);
}

/* The one entry of a layer, in the terms of the superblock above; -ENODATA where it has none. */
static ssize_t nscap_layer_entry(struct super_block *above, struct user_namespace *mnt_userns,
				 struct dentry *layer, void *value, size_t size)
{
	struct user_namespace *ns = layer->d_sb->s_user_ns;
	struct vfs_ns_cap_data entry;
	ssize_t len;
	uid_t rootid;
	vfsuid_t root;

	len = __vfs_getxattr(layer, d_inode(layer), XATTR_NAME_CAPS, &entry, sizeof(entry));
	if (len != sizeof(entry) ||
	    (le32_to_cpu(entry.magic_etc) & VFS_CAP_REVISION_MASK) != VFS_CAP_REVISION_3)
		return -ENODATA;
	root = make_vfsuid(mnt_userns, ns, make_kuid(ns, le32_to_cpu(entry.rootid)));
	rootid = vfsuid_valid(root) ? from_kuid(above->s_user_ns, vfsuid_into_kuid(root)) : -1;
	if (rootid == (uid_t)-1)
		return -ENODATA;
	entry.rootid = cpu_to_le32(rootid);
	if (value && size < sizeof(entry))
		return -ERANGE;
	if (value)
		memcpy(value, &entry, sizeof(entry));
	return sizeof(entry);
}

/*
 * What a layer stores, as the superblock above has it. Where their terms differ there are no
 * tables: one entry, else what the mounter reads, which is never more than the layer grants.
 */
ssize_t nscap_layer_getxattr(struct super_block *above, const struct path *layer,
			     const char *name, void *value, size_t size)
{
	struct user_namespace *mnt_userns = mnt_user_ns(layer->mnt);
	ssize_t len;

	if (nscap_same_terms(above, mnt_userns, layer->dentry))
		return __vfs_getxattr(layer->dentry, d_inode(layer->dentry), name, value, size);
	if (strcmp(name, XATTR_NAME_CAPS))
		return -ENODATA;
	len = nscap_layer_entry(above, mnt_userns, layer->dentry, value, size);
	if (len == -ENODATA)
		len = vfs_getxattr(mnt_userns, layer->dentry, name, value, size);
	return len;
}
EXPORT_SYMBOL_GPL(nscap_layer_getxattr);

/* Stores a value as it is, NULL removes: what has been decided upon above, or was there before. */
int nscap_layer_store(struct user_namespace *mnt_userns, struct dentry *layer, const char *name,
		      const void *value, size_t size, int flags)
{
	struct inode *inode = d_inode(layer);
	struct inode *delegated = NULL;
	int error;

	do {
		inode_lock(inode);
		if (!value)
			error = __vfs_removexattr_locked(mnt_userns, layer, name, &delegated);
		else if (nscap_content_may_change(d_real_inode(layer)))
			error = -ETXTBSY;
		else
			error = __vfs_setxattr_locked(mnt_userns, layer, name, value, size, flags,
						      &delegated);
		inode_unlock(inode);
		if (!delegated)
			return error;
		error = break_deleg_wait(&delegated);
	} while (!error);
	return error;
}
EXPORT_SYMBOL_GPL(nscap_layer_store);

/* Where the terms differ, the mounter removes what nscap_layer_getxattr() shows, as others do. */
static int nscap_layer_remove(struct super_block *above, struct user_namespace *mnt_userns,
			      struct dentry *layer)
{
	bool entry = nscap_layer_entry(above, mnt_userns, layer, NULL, 0) > 0;

	return vfs_removexattr(mnt_userns, layer, entry ? XATTR_NAME_NSCAP : XATTR_NAME_CAPS);
}

/*
 * Changes what a layer stores, NULL removes. Where the terms are the same it is stored as it is,
 * if the mounter may grant there; else the mounter asks for it.
 */
int nscap_layer_setxattr(struct super_block *above, struct user_namespace *mnt_userns,
			 struct dentry *layer, const char *name, const void *value, size_t size,
			 int flags)
{
	int error = 0;

	if (nscap_same_terms(above, mnt_userns, layer)) {
		if (value && !ns_capable(layer->d_sb->s_user_ns, CAP_SETFCAP))
			return -EPERM;
		return nscap_layer_store(mnt_userns, layer, name, value, size, flags);
	}
	if (strcmp(name, XATTR_NAME_CAPS))
		/* A second entry is more than it can hold (A). */
		return value ? -ENOSPC : -ENODATA;
	if (!value || flags & XATTR_REPLACE)
		error = nscap_layer_remove(above, mnt_userns, layer);
	if (value && !error)
		error = vfs_setxattr(mnt_userns, layer, name, value, size, 0);
	return error;
}
EXPORT_SYMBOL_GPL(nscap_layer_setxattr);

static int nscap_grant_again(struct user_namespace *mnt_userns, struct dentry *to, u32 what,
			     const void *value, size_t size)
{
	const struct nscap_request request = {
		.what = what,
		.policy = NSCAP_POLICY_ARRAY,
		.value = value,
		.size = size,
	};
	struct inode *delegated = NULL;
	int error;

	inode_lock(d_inode(to));
	error = nscap_change(mnt_userns, to, &request, &delegated);
	inode_unlock(d_inode(to));
	/* Nobody else has the copy yet, but for whoever looks into the work directory. */
	iput(delegated);
	return error;
}

/* What the mounter could not have written stays behind, which is no error. */
static int nscap_may_stay_behind(int error)
{
	return error == -EPERM || error == -EINVAL || error == -EBUSY ? 0 : error;
}

static bool nscap_has_host_value(const struct nscap_state *state)
{
	return nscap_decide_list(state->file.sb_ns, &state->file) & NSCAP_HAS_HOST_VALUE;
}

/* Takes the entries without a rootid for the mounter out of a value of form F; its new length. */
static ssize_t nscap_named_entries(u8 *value, ssize_t len)
{
	const __le32 unmapped = cpu_to_le32(-1);
	u8 *from, *to = value + NSCAP_HEADER_LEN;
	__le32 count;

	for (from = to; from < value + len; from += NSCAP_RECORD_LEN) {
		if (!memcmp(from, &unmapped, sizeof(unmapped)))
			continue;
		memmove(to, from, NSCAP_RECORD_LEN);
		to += NSCAP_RECORD_LEN;
	}
	len = to - value;
	count = cpu_to_le32((len - NSCAP_HEADER_LEN) / NSCAP_RECORD_LEN);
	memcpy(value + sizeof(__le32), &count, sizeof(count));
	return len;
}

/* Each entry as if it stood alone, from a value of form F. */
static int nscap_copy_each(u8 *value, ssize_t len, struct user_namespace *mnt_userns,
			   struct dentry *to)
{
	u8 one[NSCAP_HEADER_LEN + NSCAP_RECORD_LEN];
	const __le32 count = cpu_to_le32(1);
	int error = 0;
	u8 *at;

	memcpy(one, value, NSCAP_HEADER_LEN);
	memcpy(one + sizeof(__le32), &count, sizeof(count));
	for (at = value + NSCAP_HEADER_LEN; !error && at < value + len; at += NSCAP_RECORD_LEN) {
		memcpy(one + NSCAP_HEADER_LEN, at, NSCAP_RECORD_LEN);
		error = nscap_may_stay_behind(nscap_grant_again(mnt_userns, to,
								NSCAP_SET_NSCAPABILITY, one,
								sizeof(one)));
	}
	return error;
}

/* The entries as the mounter sees them: all at once, or where one is refused, the others. */
static int nscap_copy_entries(const struct nscap_state *state, struct user_namespace *mnt_userns,
			      struct dentry *to)
{
	struct user_namespace *ns = current_user_ns();
	ssize_t len = nscap_decide_get(NSCAP_GET_NSCAPABILITY, ns, &state->file, NULL, 0);
	int error = 0;
	u8 *all;

	if (len < 0)
		return len == -ENODATA ? 0 : len;
	all = kvmalloc(len, GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	len = nscap_decide_get(NSCAP_GET_NSCAPABILITY, ns, &state->file, all, len);
	len = nscap_named_entries(all, len);
	if (len > NSCAP_HEADER_LEN)
		error = nscap_grant_again(mnt_userns, to, NSCAP_SET_NSCAPABILITY, all, len);
	if (error && !nscap_may_stay_behind(error))
		error = nscap_copy_each(all, len, mnt_userns, to);
	kvfree(all);
	return error;
}

/* 1 where the copy has the host value as one, 0 where it cannot, or an error. */
static int nscap_copy_host_value(const struct nscap_state *state,
				 struct user_namespace *mnt_userns, struct dentry *to)
{
	u8 value[NSCAP_CAPABILITY_ROOM];
	ssize_t len = nscap_decide_get(NSCAP_GET_CAPABILITY, current_user_ns(), &state->file,
				       value, sizeof(value));
	struct nscap_state copy;
	int error;

	if (len < 0)
		return len == -ENODATA || len == -EINVAL ? 0 : len;
	error = nscap_grant_again(mnt_userns, to, NSCAP_SET_CAPABILITY, value, len);
	error = nscap_may_stay_behind(error);
	if (error)
		return error;
	error = nscap_read(&copy, mnt_userns, to, NSCAP_WHAT_IS_LISTED);
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
	struct user_namespace *mnt_userns = mnt_user_ns(upper);
	struct inode *inode = d_inode(from->dentry);
	struct nscap_state state;
	int error;

	if (!S_ISREG(inode->i_mode))
		return 0;
	error = nscap_read(&state, mnt_user_ns(from->mnt), from->dentry, NSCAP_WHAT_IS_LISTED);
	if (!error && state.file.capability.data) {
		int kept = nscap_has_host_value(&state) ?
			   nscap_copy_host_value(&state, mnt_userns, to) : 1;

		error = kept > 0 ? nscap_copy_entries(&state, mnt_userns, to) : kept;
	}
	nscap_release(&state);
	/* A file system without attributes has nothing to copy. */
	return error == -EOPNOTSUPP && !state.file.capability.data ? 0 : error;
}
EXPORT_SYMBOL_GPL(nscap_copy_up);
