/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File capabilities that belong to a user namespace: the files here are written for the newest kernel;
 * what they use of it, where an older one has it under another name. No part of the series for the
 * newest kernel. Included last, for it has macros with the names of functions.
 */
#ifndef _SECURITY_NSCAP_COMPAT_H
#define _SECURITY_NSCAP_COMPAT_H

#include <linux/capability.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/sysctl.h>
#include <linux/version.h>
#include <linux/xattr.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#include <linux/filelock.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
/* As a function of a mount: mnt_idmap is user_namespace, see <linux/nscap_compat.h>. */
#define user_namespace(mnt) mnt_user_ns(mnt)
#define file_mnt_idmap(file) file_mnt_user_ns(file)
#define nop_mnt_idmap init_user_ns

/* Capabilities are an array of two. */
static inline u64 nscap_cap_bits(kernel_cap_t caps)
{
	return caps.cap[0] | ((u64)caps.cap[1] << 32);
}

static inline kernel_cap_t nscap_cap_of(u64 bits)
{
	return (kernel_cap_t){ { bits, (bits >> 32) & CAP_LAST_U32_VALID_MASK } };
}
#define NSCAP_CAPS_ARE_AN_ARRAY

/* A mount of another owner's file system has its namespace, and maps nothing by that. */
#define nscap_is_mapped(idmap, owner) (!no_idmapping(idmap, owner))
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
static inline void nscap_replace_folio(struct folio *old, struct folio *new)
{
	replace_page_cache_page(&old->page, &new->page);
}
#define replace_page_cache_folio(old, new) nscap_replace_folio(old, new)

static inline struct folio *nscap_lock_folio(struct address_space *mapping, pgoff_t index)
{
	return filemap_lock_folio(mapping, index) ?: ERR_PTR(-ENOENT);
}
#define filemap_lock_folio(mapping, index) nscap_lock_folio(mapping, index)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
/* A table ends with an empty entry, and can be written to. */
static inline void nscap_register_sysctls(const char *path, const struct ctl_table *table, size_t n)
{
	struct ctl_table *copy = kcalloc(n + 1, sizeof(*copy), GFP_KERNEL);

	if (!copy)
		return;
	memcpy(copy, table, n * sizeof(*copy));
	__register_sysctl_init(path, copy, "nscap");
}
#undef register_sysctl_init
#define register_sysctl_init(path, table) nscap_register_sysctls(path, table, ARRAY_SIZE(table))
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
#define d_real(dentry, type) d_real(dentry, NULL)
/* None but overlayfs has them, and it says so of a dentry. */
#define NSCAP_NO_BACKING_FILES
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
/* A pointer to the inode alone says what holds a delegation. */
struct delegated_inode {
	struct inode *di_inode;
};

static inline bool is_delegated(const struct delegated_inode *delegated)
{
	return delegated->di_inode;
}

static inline struct inode **nscap_delegated(struct delegated_inode *delegated)
{
	return delegated ? &delegated->di_inode : NULL;
}
#define break_deleg_wait(delegated) break_deleg_wait(nscap_delegated(delegated))
#define __vfs_setxattr_locked(idmap, dentry, name, value, size, flags, delegated) \
	__vfs_setxattr_locked(idmap, dentry, name, value, size, flags, nscap_delegated(delegated))
#define __vfs_removexattr_locked(idmap, dentry, name, delegated) \
	__vfs_removexattr_locked(idmap, dentry, name, nscap_delegated(delegated))
#endif

/* What a module cannot link to. */
#ifdef MODULE
#include "module.h"
#endif

#endif
