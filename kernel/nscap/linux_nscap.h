/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File capabilities that belong to a user namespace: what the VFS and commoncap ask of
 * security/nscap. Without CONFIG_SECURITY_NSCAP every one of these is nothing.
 */
#ifndef _LINUX_NSCAP_H
#define _LINUX_NSCAP_H

#include <linux/types.h>
#include <linux/errno.h>
#include <linux/nscap_compat.h>
#include <linux/xattr.h>

#define XATTR_NSCAP_SUFFIX "nscapability"
#define XATTR_NAME_NSCAP (XATTR_SECURITY_PREFIX XATTR_NSCAP_SUFFIX)

struct address_space;
struct mnt_idmap;
struct dentry;
struct inode;
struct file;
struct path;
struct super_block;
struct vfsmount;
struct vm_area_struct;
struct cpu_vfs_cap_data;
struct nscap_kept;

#ifdef CONFIG_SECURITY_NSCAP

/**
 * nscap_decides() - whether an attribute is one that nscap decides upon
 * @name: the whole name, with its prefix
 *
 * Return: true for security.capability and security.nscapability.
 */
bool nscap_decides(const char *name);

/**
 * nscap_is_changing() - whether the caller is in a step of a change that nscap decided
 * @name: the whole name of the attribute that is being changed
 *
 * For the checks of security.* names: they are made for any other change.
 *
 * Return: true while the current task carries out such a step, for either name.
 */
bool nscap_is_changing(const char *name);

/**
 * nscap_setxattr() - setxattr of either name
 * @idmap: id map of the mount
 * @dentry: the file
 * @name: security.capability or security.nscapability
 * @value: as the caller gave it, in the terms of its user namespace
 * @size: length of @value in bytes
 * @flags: XATTR_CREATE, XATTR_REPLACE or 0
 *
 * Context: With write access to the mount. Takes the inode's lock, and may sleep.
 * Return: 0, or -EINVAL, -EBUSY, -EEXIST, -EPERM, -ENODATA, -ENOSPC or -ETXTBSY by the
 * rules, or what the file system says.
 */
int nscap_setxattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
		   const void *value, size_t size, int flags);

/**
 * nscap_removexattr() - removexattr of either name
 * @idmap: id map of the mount
 * @dentry: the file
 * @name: security.capability or security.nscapability
 *
 * Context: As nscap_setxattr().
 * Return: 0, or -EPERM or -ENODATA by the rules, or what the file system says.
 */
int nscap_removexattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name);

/**
 * nscap_listxattr() - which of the two names a list shows
 * @mnt: the mount
 * @dentry: the file
 * @list: what vfs_listxattr() wrote; NULL where only the length is asked
 * @size: the size of @list in bytes
 * @listed: what vfs_listxattr() returned
 *
 * Context: May sleep.
 * Return: the length of the list for the caller, for size 0 an upper bound; -ERANGE where
 * it does not fit, -EIO where @list is no list.
 */
ssize_t nscap_listxattr(struct vfsmount *mnt, struct dentry *dentry, char *list, size_t size,
			ssize_t listed);

/**
 * nscap_inode_getsecurity() - getxattr of either name
 * @idmap: id map of the mount
 * @inode: the file
 * @name: the name without its prefix
 * @buffer: gets the value, for the caller to free
 * @alloc: whether @buffer is wanted
 *
 * Context: May sleep.
 * Return: the length of the value; -ENODATA, -EINVAL where what is stored is malformed, or
 * -EOPNOTSUPP for any other name.
 */
int nscap_inode_getsecurity(struct mnt_idmap *idmap, struct inode *inode,
			    const char *name, void **buffer, bool alloc);

/**
 * nscap_exec_caps() - what a file gives the current task at execve
 * @idmap: id map of the mount
 * @dentry: the file
 * @cpu_caps: gets the capabilities
 *
 * Context: May sleep.
 * Return: 0, -ENODATA where the file gives nothing, or -EINVAL where what is stored is
 * malformed.
 */
int nscap_exec_caps(struct mnt_idmap *idmap, struct dentry *dentry,
		    struct cpu_vfs_cap_data *cpu_caps);

/**
 * nscap_needs_drop() - whether a change of content or owner has a grant to drop
 * @size: what reading the size of security.capability answered
 *
 * Return: 1 or 0, or the negative errno by which it could not be read; then neither content
 * nor owner must change, for it may be there.
 */
int nscap_needs_drop(int size);

/**
 * nscap_dropped() - tell the audit log that a file's grants have gone with its content or
 * owner
 * @dentry: the file
 * @error: how the removal of security.capability ended
 *
 * Context: Under the inode's lock; does not wait for room in the log.
 */
void nscap_dropped(struct dentry *dentry, int error);

/**
 * nscap_mmap_begin() - before a file is mapped
 * @file: the file, or NULL
 * @flags: as mmap() has them
 *
 * Where the content can change through the mapping, drops what the file grants, and counts
 * it as mapped so that nothing is granted before the mapping is there.
 *
 * Context: Without mmap_lock. Where something is granted, takes write access and the
 * inode's lock.
 * Return: what nscap_mmap_end() takes, NULL where the mapping changes nothing, or an error
 * pointer.
 */
struct address_space *nscap_mmap_begin(struct file *file, unsigned long flags);

/**
 * nscap_mmap_end() - the file is mapped, or will not be
 * @mapping: what nscap_mmap_begin() returned
 */
void nscap_mmap_end(struct address_space *mapping);

/**
 * nscap_mmap_backing() - before a file is mapped in the place of another
 * @vma: the mapping; its flags are final
 * @file: the file that backs the other, as it was opened for it
 * @user: the file that mmap(2) named
 *
 * Where the content can change through the mapping, both count as mapped from here to
 * nscap_free_backing(), also where this fails.
 *
 * Context: With mmap_lock, after nscap_mmap_begin() of @user.
 * Return: 0; -ETXTBSY where @file grants something, or is about to; -EPERM where it is sealed
 * against writing; -ENOMEM; or by what error it cannot be read whether it grants something.
 */
int nscap_mmap_backing(struct vm_area_struct *vma, struct file *file, struct file *user);

/**
 * nscap_free_backing() - a file that backs another is neither open nor mapped any more
 * @file: the file, as nscap_mmap_backing() had it
 */
void nscap_free_backing(struct file *file);

/**
 * nscap_content_replaced() - before content is replaced by other means than a write
 * @inode: the file
 *
 * Drops what file_remove_privs() would.
 *
 * Context: Under the inode's lock, with write access to the file system.
 * Return: 0 or a negative errno; then the content must not be replaced.
 */
int nscap_content_replaced(struct inode *inode);

/**
 * nscap_layer_getxattr() - what a layer stores, in the terms of the superblock above it
 * @above: superblock of the stacked file system
 * @layer: the layer's file
 * @name: security.capability or security.nscapability
 * @value: gets the value
 * @size: the size of @value in bytes, or 0
 *
 * Context: With the mounter's credentials. May sleep.
 * Return: the length of the value, or a negative errno.
 */
ssize_t nscap_layer_getxattr(struct super_block *above, const struct path *layer,
			     const char *name, void *value, size_t size);

/**
 * nscap_layer_setxattr() - change what a layer stores
 * @above: superblock of the stacked file system
 * @idmap: id map of the layer's mount
 * @layer: the layer's file
 * @name: security.capability or security.nscapability
 * @value: as it has been decided upon above; NULL removes
 * @size: length of @value in bytes
 * @flags: XATTR_CREATE, XATTR_REPLACE or 0
 *
 * Context: With the mounter's credentials and write access to the layer. Takes the lock of
 * the layer's inode.
 * Return: 0, -EPERM where the mounter may not, -ENOSPC where the layer cannot hold it, or
 * another errno.
 */
int nscap_layer_setxattr(struct super_block *above, struct mnt_idmap *idmap,
			 struct dentry *layer, const char *name, const void *value, size_t size,
			 int flags);

/**
 * nscap_keep_begin() - before content is copied up to a file that has its metadata already
 * @above: the file of the overlay; changes of it wait till nscap_keep_end()
 * @upper: the file of the upper layer
 *
 * Context: With the mounter's credentials. Takes the inode's lock.
 * Return: what nscap_keep_end() takes, NULL where the file grants nothing, or an error
 * pointer.
 */
struct nscap_kept *nscap_keep_begin(struct dentry *above, struct dentry *upper);

/**
 * nscap_keep_end() - put back what the file granted, unless that was changed meanwhile
 * @kept: what nscap_keep_begin() returned
 * @idmap: id map of the upper layer's mount
 * @upper: the file of the upper layer
 * @error: how the copy of the content ended
 *
 * Context: As nscap_keep_begin().
 * Return: @error where it is not 0, else 0 or a negative errno.
 */
int nscap_keep_end(struct nscap_kept *kept, struct mnt_idmap *idmap,
		   struct dentry *upper, int error);

/**
 * nscap_copy_up() - make a layer's grants again on the copy of a file
 * @from: the layer's file
 * @upper: the mount of the upper layer
 * @to: the copy, whose content, size and owner are final
 *
 * Context: With the mounter's credentials. Takes the lock of the copy's inode.
 * Return: 0, also where a grant is left out that the mounter may not make or the layer
 * cannot hold; or a negative errno.
 */
int nscap_copy_up(const struct path *from, struct vfsmount *upper, struct dentry *to);

#else

static inline bool nscap_decides(const char *name)
{
	return false;
}

static inline bool nscap_is_changing(const char *name)
{
	return false;
}

static inline int nscap_setxattr(struct mnt_idmap *idmap, struct dentry *dentry,
				 const char *name, const void *value, size_t size, int flags)
{
	return -EOPNOTSUPP;
}

static inline int nscap_removexattr(struct mnt_idmap *idmap, struct dentry *dentry,
				    const char *name)
{
	return -EOPNOTSUPP;
}

static inline ssize_t nscap_listxattr(struct vfsmount *mnt, struct dentry *dentry, char *list,
				      size_t size, ssize_t listed)
{
	return listed;
}

static inline int nscap_inode_getsecurity(struct mnt_idmap *idmap,
					  struct inode *inode, const char *name,
					  void **buffer, bool alloc)
{
	return -EOPNOTSUPP;
}

static inline int nscap_exec_caps(struct mnt_idmap *idmap, struct dentry *dentry,
				  struct cpu_vfs_cap_data *cpu_caps)
{
	return -EOPNOTSUPP;
}

static inline int nscap_needs_drop(int size)
{
	return size > 0;
}

static inline void nscap_dropped(struct dentry *dentry, int error)
{
}

static inline ssize_t nscap_layer_getxattr(struct super_block *above, const struct path *layer,
					   const char *name, void *value, size_t size)
{
	return -EOPNOTSUPP;
}

static inline int nscap_layer_setxattr(struct super_block *above,
				       struct mnt_idmap *idmap, struct dentry *layer,
				       const char *name, const void *value, size_t size,
				       int flags)
{
	return -EOPNOTSUPP;
}

static inline struct nscap_kept *nscap_keep_begin(struct dentry *above, struct dentry *upper)
{
	return NULL;
}

static inline int nscap_keep_end(struct nscap_kept *kept, struct mnt_idmap *idmap,
				 struct dentry *upper, int error)
{
	return error;
}

static inline int nscap_copy_up(const struct path *from, struct vfsmount *upper,
				struct dentry *to)
{
	return 0;
}

static inline int nscap_content_replaced(struct inode *inode)
{
	return 0;
}

static inline struct address_space *nscap_mmap_begin(struct file *file, unsigned long flags)
{
	return NULL;
}

static inline void nscap_mmap_end(struct address_space *mapping)
{
}

static inline int nscap_mmap_backing(struct vm_area_struct *vma, struct file *file,
				     struct file *user)
{
	return 0;
}

static inline void nscap_free_backing(struct file *file)
{
}

#endif
#endif
