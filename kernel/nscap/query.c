// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: getxattr, listxattr and execve.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "nscap.h"

/* security.capability; a value that fits, copied for the caller where buffer is not NULL. */
static ssize_t nscap_get_one(struct user_namespace *ns, const struct nscap_state *state,
			     void **buffer)
{
	u8 value[NSCAP_CAPABILITY_LEN];
	ssize_t len = nscap_decide_get_capability(ns, &state->file, value);

	if (len <= 0 || !buffer)
		return len;
	*buffer = kmemdup(value, len, GFP_KERNEL);
	return *buffer ? len : -ENOMEM;
}

/* security.nscapability; likewise. */
static ssize_t nscap_get_all(struct user_namespace *ns, const struct nscap_state *state,
			     void **buffer)
{
	ssize_t len = nscap_decide_get_nscapability(ns, &state->file, NULL, 0);

	if (len <= 0 || !buffer)
		return len;
	*buffer = kmalloc(len, GFP_KERNEL);
	if (!*buffer)
		return -ENOMEM;
	return nscap_decide_get_nscapability(ns, &state->file, *buffer, len);
}

int nscap_inode_getsecurity(struct mnt_idmap *idmap, struct inode *inode,
			    const char *name, void **buffer, bool alloc)
{
	bool one = !strcmp(name, XATTR_CAPS_SUFFIX);
	struct nscap_state state;
	struct dentry *dentry;
	ssize_t len;

	if (!one && strcmp(name, XATTR_NSCAP_SUFFIX))
		return -EOPNOTSUPP;
	dentry = d_find_any_alias(inode);
	if (!dentry)
		return -EINVAL;
	len = nscap_read(&state, idmap, dentry,
			 one ? NSCAP_WHAT_APPLIES : NSCAP_WHAT_IS_LISTED);
	dput(dentry);
	if (!len && !state.file.capability.data)
		len = -ENODATA;
	if (!len)
		len = (one ? nscap_get_one : nscap_get_all)(current_user_ns(), &state,
							    alloc ? buffer : NULL);
	nscap_release(&state);
	return len;
}

/* Adds a name to the list of len bytes; -ERANGE where it does not fit. */
static ssize_t nscap_list_add(char *list, size_t size, ssize_t len, const char *name)
{
	size_t name_len = strlen(name) + 1;

	if (len < 0 || size - len < name_len)
		return -ERANGE;
	memcpy(list + len, name, name_len);
	return len + name_len;
}

/* Takes both names out of the list; its new length, or -EIO where it is no list. */
static ssize_t nscap_list_strip(char *list, ssize_t listed)
{
	char *at = list, *end = list + listed;

	while (at < end) {
		size_t len = strnlen(at, end - at) + 1;

		if (len > end - at)
			return -EIO;
		if (nscap_decides(at)) {
			memmove(at, at + len, end - at - len);
			end -= len;
		} else {
			at += len;
		}
	}
	return end - list;
}

/* Of a list that names either attribute, what the caller is to see of them (L). */
static ssize_t nscap_list_shown(struct vfsmount *mnt, struct dentry *dentry, char *list,
				size_t size, ssize_t listed)
{
	ssize_t len = nscap_list_strip(list, listed);
	struct nscap_state state;
	u32 names;
	int error;

	if (len < 0 || len == listed)
		return len;
	error = nscap_read(&state, mnt_idmap(mnt), dentry, NSCAP_WHAT_IS_LISTED);
	names = error || !state.file.capability.data ?
		0 : nscap_decide_list(current_user_ns(), &state.file);
	nscap_release(&state);
	if (error)
		return error;
	if (names & NSCAP_LISTS_CAPABILITY)
		len = nscap_list_add(list, size, len, XATTR_NAME_CAPS);
	if (names & NSCAP_LISTS_NSCAPABILITY)
		len = nscap_list_add(list, size, len, XATTR_NAME_NSCAP);
	return len;
}

/* What is stored does not fit; what is shown may. */
static ssize_t nscap_list_shorter(struct vfsmount *mnt, struct dentry *dentry, char *list,
				  size_t size)
{
	ssize_t len = vfs_listxattr(dentry, NULL, 0);
	size_t room = len + sizeof(XATTR_NAME_NSCAP);
	char *all;

	if (len <= 0 || len > XATTR_LIST_MAX)
		return -ERANGE;
	all = kvmalloc(room, GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	len = vfs_listxattr(dentry, all, len);
	if (len > 0)
		len = nscap_list_shown(mnt, dentry, all, room, len);
	if (len > (ssize_t)size)
		len = -ERANGE;
	if (len > 0)
		memcpy(list, all, len);
	kvfree(all);
	return len;
}

/*
 * What the caller is to see of a raw list, or of -ERANGE in its place. Asked for the length alone,
 * an upper bound: what is stored under the shorter name may be listed by the longer.
 */
ssize_t nscap_listxattr(struct vfsmount *mnt, struct dentry *dentry, char *list, size_t size,
			ssize_t listed)
{
	if (listed == -ERANGE && list && size)
		return nscap_list_shorter(mnt, dentry, list, size);
	if (listed < (ssize_t)sizeof(XATTR_NAME_CAPS))
		return listed;
	if (!list || !size)
		return __vfs_getxattr(dentry, d_inode(dentry), XATTR_NAME_CAPS, NULL, 0) > 0 ?
		       listed + sizeof(XATTR_NAME_NSCAP) : listed;
	if (listed > (ssize_t)size)
		return -EIO;
	return nscap_list_shown(mnt, dentry, list, size, listed);
}

/* -ENODATA where the file gives the task nothing. */
int nscap_exec_caps(struct mnt_idmap *idmap, struct dentry *dentry,
		    struct cpu_vfs_cap_data *cpu_caps)
{
	struct nscap_state state;
	struct nscap_grant grant;
	int found;

	found = nscap_read(&state, idmap, dentry, NSCAP_WHAT_APPLIES);
	/* As most files are: no capability, or nowhere to write one down. */
	if (found == -EOPNOTSUPP || (!found && !state.file.capability.data))
		found = -ENODATA;
	if (found)
		goto out;
	found = nscap_decide_exec(current_user_ns(), &state.file, &grant);
	if (found == 0)
		found = -ENODATA;
	if (found < 0)
		goto out;
	cpu_caps->magic_etc = grant.magic;
	cpu_caps->permitted = nscap_cap_of(grant.permitted);
	cpu_caps->inheritable = nscap_cap_of(grant.inheritable);
	cpu_caps->rootid = KUIDT_INIT(grant.rootid);
	found = 0;
out:
	nscap_release(&state);
	return found;
}
