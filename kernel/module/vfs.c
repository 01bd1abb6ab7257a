// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: the functions of the VFS, of commoncap and of mm that
 * the patches touch, as a module takes them over.
 */
#include <linux/audit.h>
#include <linux/file.h>
#include <linux/mman.h>
#include <linux/namei.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>

#include "hook.h"
#include "layers.h"
#include "nscap.h"
#include "during.h"

/* fs/xattr.c */

static int nscap_in_vfs_setxattr(struct mnt_idmap *idmap, struct dentry *dentry,
				 const char *name, const void *value, size_t size, int flags);
NSCAP_ORIGINAL(vfs_setxattr)
static int nscap_in_vfs_setxattr(struct mnt_idmap *idmap, struct dentry *dentry,
				 const char *name, const void *value, size_t size, int flags)
{
	int error;

	if (!nscap_decides(name))
		return original(vfs_setxattr)(idmap, dentry, name, value, size, flags);
	if (nscap_layer_asked_set(idmap, dentry, name, value, size, flags, &error))
		return error;
	return nscap_setxattr(idmap, dentry, name, value, size, flags);
}

static int nscap_in_vfs_removexattr(struct mnt_idmap *idmap, struct dentry *dentry,
				    const char *name);
NSCAP_ORIGINAL(vfs_removexattr)
static int nscap_in_vfs_removexattr(struct mnt_idmap *idmap, struct dentry *dentry,
				    const char *name)
{
	int error;

	if (!nscap_decides(name))
		return original(vfs_removexattr)(idmap, dentry, name);
	if (nscap_layer_asked_set(idmap, dentry, name, NULL, 0, 0, &error))
		return error;
	return nscap_removexattr(idmap, dentry, name);
}

static ssize_t nscap_in_vfs_getxattr(struct mnt_idmap *idmap, struct dentry *dentry,
				     const char *name, void *value, size_t size);
NSCAP_ORIGINAL(vfs_getxattr)
static ssize_t nscap_in_vfs_getxattr(struct mnt_idmap *idmap, struct dentry *dentry,
				     const char *name, void *value, size_t size)
{
	ssize_t len;

	if (nscap_decides(name) &&
	    nscap_layer_asked_get(idmap, dentry, name, value, size, &len))
		return len;
	return original(vfs_getxattr)(idmap, dentry, name, value, size);
}

/* As listxattr() there, which does not know the mount. */
static ssize_t nscap_list(const struct path *path, char __user *list, size_t size)
{
	char *names = NULL;
	ssize_t len;

	size = min_t(size_t, size, XATTR_LIST_MAX);
	if (size) {
		names = kvmalloc(size, GFP_KERNEL);
		if (!names)
			return -ENOMEM;
	}
	len = vfs_listxattr(path->dentry, names, size);
	len = nscap_listxattr(path->mnt, path->dentry, names, size, len);
	if (len > 0 && size && copy_to_user(list, names, len))
		len = -EFAULT;
	else if (len == -ERANGE && size >= XATTR_LIST_MAX)
		len = -E2BIG;
	kvfree(names);
	return len;
}

static ssize_t nscap_list_of_name(int dfd, const char __user *name, unsigned int lookup_flags,
				  char __user *list, size_t size)
{
	struct path path;
	ssize_t len;

	do {
		len = user_path_at(dfd, name, lookup_flags, &path);
		if (len)
			return len;
		len = nscap_list(&path, list, size);
		path_put(&path);
		if (!retry_estale(len, lookup_flags))
			return len;
		lookup_flags |= LOOKUP_REVAL;
	} while (true);
}

static ssize_t nscap_list_of_file(int number, char __user *list, size_t size)
{
	struct fd f = fdget(number);
	struct file *file = fd_file(f);
	ssize_t len;

	if (!file)
		return -EBADF;
	/* audit_file(), which is inlined, calls what a module cannot link to. */
	if (!audit_dummy_context())
		__audit_file(file);
	len = nscap_list(&file->f_path, list, size);
	fdput(f);
	return len;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static ssize_t nscap_in_path_listxattr(const char __user *name, char __user *list, size_t size,
				       unsigned int lookup_flags)
{
	return nscap_list_of_name(AT_FDCWD, name, lookup_flags, list, size);
}

#ifdef CONFIG_ARM64
/* Of tasks of 32 bits, too. */
static long nscap_in___arm64_sys_flistxattr(const struct pt_regs *regs)
{
	return nscap_list_of_file(regs->regs[0], (char __user *)regs->regs[1], regs->regs[2]);
}
#else
static long nscap_in___x64_sys_flistxattr(const struct pt_regs *regs)
{
	return nscap_list_of_file(regs->di, (char __user *)regs->si, regs->dx);
}

static long nscap_in___ia32_sys_flistxattr(const struct pt_regs *regs)
{
	return nscap_list_of_file((u32)regs->bx, (char __user *)(unsigned long)(u32)regs->cx,
				  (u32)regs->dx);
}
#endif
#else
/* Each of the four calls. Without a name, or with an empty one where that is allowed, the file itself. */
static ssize_t nscap_in_path_listxattrat(int dfd, const char __user *name, unsigned int at_flags,
					 char __user *list, size_t size)
{
	char first;

	if (at_flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (at_flags & AT_EMPTY_PATH) {
		if (!name)
			return nscap_list_of_file(dfd, list, size);
		if (get_user(first, name))
			return -EFAULT;
		if (!first && dfd >= 0)
			return nscap_list_of_file(dfd, list, size);
	}
	return nscap_list_of_name(dfd, name,
				  (at_flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
				  (at_flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0), list, size);
}
#endif

/* fs/attr.c */

/*
 * Content and owner are changed without a word of the grants for overlayfs, which asks on behalf of its
 * mounter, who may not see them, and by servers of a network: both go through here.
 */
static bool notrace nscap_without_a_word(struct ftrace_regs *fregs)
{
	return current->flags & PF_KTHREAD || nscap_any_during();
}

static int nscap_in_notify_change(struct mnt_idmap *idmap, struct dentry *dentry,
				  struct iattr *attr, void *delegated);
NSCAP_ORIGINAL(notify_change)
static int nscap_in_notify_change(struct mnt_idmap *idmap, struct dentry *dentry,
				  struct iattr *attr, void *delegated)
{
	if (attr->ia_valid & (ATTR_SIZE | ATTR_UID | ATTR_GID) &&
	    (current->flags & PF_KTHREAD || nscap_layer_asked_setattr()))
		attr->ia_valid |= ATTR_KILL_PRIV;
	return original(notify_change)(idmap, dentry, attr, delegated);
}

/* security/commoncap.c */

static int nscap_in_get_vfs_caps_from_disk(struct mnt_idmap *idmap, const struct dentry *dentry,
					   struct cpu_vfs_cap_data *cpu_caps)
{
	memset(cpu_caps, 0, sizeof(*cpu_caps));
	if (!d_backing_inode(dentry))
		return -ENODATA;
	return nscap_exec_caps(idmap, (struct dentry *)dentry, cpu_caps);
}

static int nscap_in_cap_inode_getsecurity(struct mnt_idmap *idmap, struct inode *inode,
					  const char *name, void **buffer, bool alloc)
{
	return nscap_inode_getsecurity(idmap, inode, name, buffer, alloc);
}

static int nscap_in_cap_inode_setxattr(struct dentry *dentry, const char *name,
				       const void *value, size_t size, int flags);
NSCAP_ORIGINAL(cap_inode_setxattr)
static int nscap_in_cap_inode_setxattr(struct dentry *dentry, const char *name,
				       const void *value, size_t size, int flags)
{
	return nscap_is_changing(name) ?
	       0 : original(cap_inode_setxattr)(dentry, name, value, size, flags);
}

static int nscap_in_cap_inode_removexattr(struct mnt_idmap *idmap, struct dentry *dentry,
					  const char *name);
NSCAP_ORIGINAL(cap_inode_removexattr)
static int nscap_in_cap_inode_removexattr(struct mnt_idmap *idmap, struct dentry *dentry,
					  const char *name)
{
	return nscap_is_changing(name) ?
	       0 : original(cap_inode_removexattr)(idmap, dentry, name);
}

static int nscap_in_cap_inode_need_killpriv(struct dentry *dentry)
{
	return nscap_needs_drop(__vfs_getxattr(dentry, d_backing_inode(dentry), XATTR_NAME_CAPS,
					       NULL, 0));
}

static int nscap_in_cap_inode_killpriv(struct mnt_idmap *idmap, struct dentry *dentry)
{
	int error = __vfs_removexattr(idmap, dentry, XATTR_NAME_CAPS);

	nscap_dropped(dentry, error);
	return error == -EOPNOTSUPP ? 0 : error;
}

/* mm/util.c */

/* Both functions begin with the same five arguments. Nearly all that is mapped is mapped privately. */
static bool notrace nscap_maps_content(struct ftrace_regs *fregs)
{
	return nscap_changes_content((struct file *)ftrace_regs_get_argument(fregs, 0),
				     ftrace_regs_get_argument(fregs, 4));
}

static unsigned long nscap_in_vm_mmap_pgoff(struct file *file, unsigned long addr,
					    unsigned long len, unsigned long prot,
					    unsigned long flag, unsigned long pgoff);
NSCAP_ORIGINAL(vm_mmap_pgoff)
static unsigned long nscap_in_vm_mmap_pgoff(struct file *file, unsigned long addr,
					    unsigned long len, unsigned long prot,
					    unsigned long flag, unsigned long pgoff)
{
	struct address_space *writable = nscap_mmap_begin(file, flag);
	unsigned long ret;

	if (IS_ERR(writable))
		return PTR_ERR(writable);
	ret = original(vm_mmap_pgoff)(file, addr, len, prot, flag, pgoff);
	nscap_mmap_end(writable);
	return ret;
}

/*
 * mm/mmap.c: remap_file_pages(2) takes a mapping away before it makes it again, of the same file. In between
 * it still counts as mapped. The lock of the address space is held, so no more than that is done here;
 * the mapping that there was has dropped what the file granted.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define NSCAP_MMAP_FLAGS
#define NSCAP_MMAP_PASS
#elif LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#define NSCAP_MMAP_FLAGS vm_flags_t vm_flags,
#define NSCAP_MMAP_PASS vm_flags,
#else
#define NSCAP_MMAP_FLAGS vma_flags_t vm_flags,
#define NSCAP_MMAP_PASS vm_flags,
#endif
static unsigned long nscap_in_do_mmap(struct file *file, unsigned long addr, unsigned long len,
				      unsigned long prot, unsigned long flags,
				      NSCAP_MMAP_FLAGS unsigned long pgoff,
				      unsigned long *populate, struct list_head *uf);
NSCAP_ORIGINAL(do_mmap)
static unsigned long nscap_in_do_mmap(struct file *file, unsigned long addr, unsigned long len,
				      unsigned long prot, unsigned long flags,
				      NSCAP_MMAP_FLAGS unsigned long pgoff,
				      unsigned long *populate, struct list_head *uf)
{
	struct address_space *mapping = NULL;
	unsigned long ret;

	if (nscap_changes_content(file, flags) && !mapping_map_writable(file->f_mapping))
		mapping = file->f_mapping;
	ret = original(do_mmap)(file, addr, len, prot, flags, NSCAP_MMAP_PASS pgoff, populate, uf);
	nscap_mmap_end(mapping);
	return ret;
}

#ifndef NSCAP_NO_BACKING_FILES
/* fs/backing-file.c, which asks security modules about a file that is mapped in the place of another. */

static int nscap_in_security_mmap_backing_file(struct vm_area_struct *vma, struct file *file,
					       struct file *user);
NSCAP_ORIGINAL(security_mmap_backing_file)
static int nscap_in_security_mmap_backing_file(struct vm_area_struct *vma, struct file *file,
					       struct file *user)
{
	int error = nscap_mmap_backing(vma, file, user);

	return error ?: original(security_mmap_backing_file)(vma, file, user);
}

/* Programs and libraries of an overlay are mapped privately. */
static bool notrace nscap_maps_backing(struct ftrace_regs *fregs)
{
	return nscap_vma_changes_content((struct vm_area_struct *)ftrace_regs_get_argument(fregs, 0));
}

static bool notrace nscap_frees_backed(struct ftrace_regs *fregs)
{
	return nscap_any_backed();
}

static void nscap_in_security_backing_file_free(struct file *file);
NSCAP_ORIGINAL(security_backing_file_free)
static void nscap_in_security_backing_file_free(struct file *file)
{
	nscap_free_backing(file);
	original(security_backing_file_free)(file);
}
#endif

struct nscap_hook nscap_vfs_hooks[] = {
	NSCAP_HOOK(NULL, do_mmap, nscap_maps_content),
	NSCAP_HOOK(NULL, vm_mmap_pgoff, nscap_maps_content),
	NSCAP_HOOK(NULL, notify_change, nscap_without_a_word),
	NSCAP_HOOK(NULL, vfs_setxattr, NULL),
	NSCAP_HOOK(NULL, vfs_removexattr, NULL),
	NSCAP_HOOK(NULL, vfs_getxattr, nscap_during_wants),
	NSCAP_WHOLE(NULL, cap_inode_need_killpriv),
	NSCAP_WHOLE(NULL, cap_inode_killpriv),
	NSCAP_WHOLE(NULL, cap_inode_getsecurity),
	NSCAP_WHOLE(NULL, get_vfs_caps_from_disk),
	NSCAP_HOOK(NULL, cap_inode_setxattr, NULL),
	NSCAP_HOOK(NULL, cap_inode_removexattr, NULL),
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	NSCAP_WHOLE(NULL, path_listxattr),
#ifdef CONFIG_ARM64
	NSCAP_WHOLE(NULL, __arm64_sys_flistxattr),
#else
	NSCAP_WHOLE(NULL, __x64_sys_flistxattr),
	NSCAP_WHOLE(NULL, __ia32_sys_flistxattr),
#endif
#else
	NSCAP_WHOLE(NULL, path_listxattrat),
#endif
#ifndef NSCAP_NO_BACKING_FILES
	NSCAP_HOOK(NULL, security_backing_file_free, nscap_frees_backed),
	NSCAP_HOOK(NULL, security_mmap_backing_file, nscap_maps_backing),
#endif
	{ }
};
