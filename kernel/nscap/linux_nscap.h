/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File capabilities that belong to a user namespace: what the VFS and commoncap ask of
 * security/nscap. Without CONFIG_SECURITY_NSCAP every one of these is nothing.
 */
#ifndef _LINUX_NSCAP_H
#define _LINUX_NSCAP_H

#include <linux/types.h>
#include <linux/errno.h>

#include <linux/xattr.h>

#define XATTR_NSCAP_SUFFIX "nscapability"
#define XATTR_NAME_NSCAP (XATTR_SECURITY_PREFIX XATTR_NSCAP_SUFFIX)

struct address_space;
struct user_namespace;
struct dentry;
struct inode;
struct file;
struct path;
struct super_block;
struct vfsmount;
struct cpu_vfs_cap_data;
struct nscap_kept;

#ifdef CONFIG_SECURITY_NSCAP

bool nscap_decides(const char *name);
bool nscap_is_changing(const char *name);
int nscap_setxattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name,
		   const void *value, size_t size, int flags);
int nscap_removexattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name);
ssize_t nscap_listxattr(struct vfsmount *mnt, struct dentry *dentry, char *list, size_t size,
			ssize_t listed);
int nscap_inode_getsecurity(struct user_namespace *mnt_userns, struct inode *inode,
			    const char *name, void **buffer, bool alloc);
int nscap_exec_caps(struct user_namespace *mnt_userns, struct dentry *dentry,
		    struct cpu_vfs_cap_data *cpu_caps);
void nscap_dropped(struct dentry *dentry, int error);
struct address_space *nscap_mmap_begin(struct file *file, unsigned long flags);
void nscap_mmap_end(struct address_space *mapping);
int nscap_content_replaced(struct inode *inode);
ssize_t nscap_layer_getxattr(struct super_block *above, const struct path *layer,
			     const char *name, void *value, size_t size);
int nscap_layer_setxattr(struct super_block *above, struct user_namespace *mnt_userns,
			 struct dentry *layer, const char *name, const void *value, size_t size,
			 int flags);
struct nscap_kept *nscap_keep_begin(struct dentry *upper);
int nscap_keep_end(struct nscap_kept *kept, struct user_namespace *mnt_userns,
		   struct dentry *upper, int error);
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

static inline int nscap_setxattr(struct user_namespace *mnt_userns, struct dentry *dentry,
				 const char *name, const void *value, size_t size, int flags)
{
	return -EOPNOTSUPP;
}

static inline int nscap_removexattr(struct user_namespace *mnt_userns, struct dentry *dentry,
				    const char *name)
{
	return -EOPNOTSUPP;
}

static inline ssize_t nscap_listxattr(struct vfsmount *mnt, struct dentry *dentry, char *list,
				      size_t size, ssize_t listed)
{
	return listed;
}

static inline int nscap_inode_getsecurity(struct user_namespace *mnt_userns,
					  struct inode *inode, const char *name,
					  void **buffer, bool alloc)
{
	return -EOPNOTSUPP;
}

static inline int nscap_exec_caps(struct user_namespace *mnt_userns, struct dentry *dentry,
				  struct cpu_vfs_cap_data *cpu_caps)
{
	return -EOPNOTSUPP;
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
				       struct user_namespace *mnt_userns, struct dentry *layer,
				       const char *name, const void *value, size_t size,
				       int flags)
{
	return -EOPNOTSUPP;
}

static inline struct nscap_kept *nscap_keep_begin(struct dentry *upper)
{
	return NULL;
}

static inline int nscap_keep_end(struct nscap_kept *kept, struct user_namespace *mnt_userns,
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

#endif
#endif
