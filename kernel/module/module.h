/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File capabilities that belong to a user namespace: what the glue uses of a kernel and a module cannot
 * link to. compat.h includes this last, for it has macros with the names of functions.
 */
#ifndef _NSCAP_MODULE_H
#define _NSCAP_MODULE_H

#include <linux/audit.h>
#include <linux/dax.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/security.h>
#include <linux/shmem_fs.h>
#include <linux/static_call.h>
#include <linux/swap.h>
#include <linux/sysctl.h>

/*
 * Functions that are there, and not exported: X(name). Each call is a direct one once symbols.c has found
 * the function, as a kernel wants it that checks where indirect branches end.
 */
#define NSCAP_FUNCTIONS_BY_VERSION(X)
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#undef NSCAP_FUNCTIONS_BY_VERSION
#define NSCAP_FUNCTIONS_BY_VERSION(X) X(replace_page_cache_page)
#else
#undef NSCAP_FUNCTIONS_BY_VERSION
#define NSCAP_FUNCTIONS_BY_VERSION(X) X(replace_page_cache_folio) X(shmem_mapping)
#endif

#define NSCAP_FUNCTIONS(X)			\
	X(audit_log_untrustedstring)		\
	X(dax_layout_busy_page)			\
	X(folio_add_lru)			\
	X(lru_add_drain)			\
	X(security_inode_getxattr)		\
	X(security_inode_need_killpriv)		\
	X(__audit_file)				\
	X(find_module)				\
	NSCAP_FUNCTIONS_BY_VERSION(X)

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0) || LINUX_VERSION_CODE >= KERNEL_VERSION(7, 4, 0)
#error "nscap knows Linux 6.1 to 7.3"
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
/* Declared for mm/ alone. */
void lru_add_drain(void);
#endif

#define NSCAP_DECLARE(name) DECLARE_STATIC_CALL(nscap_##name, name);
NSCAP_FUNCTIONS(NSCAP_DECLARE)

#define audit_log_untrustedstring(...)		static_call(nscap_audit_log_untrustedstring)(__VA_ARGS__)
#define dax_layout_busy_page(...)		static_call(nscap_dax_layout_busy_page)(__VA_ARGS__)
#define folio_add_lru(...)			static_call(nscap_folio_add_lru)(__VA_ARGS__)
#define lru_add_drain(...)			static_call(nscap_lru_add_drain)(__VA_ARGS__)
#define security_inode_getxattr(...)		static_call(nscap_security_inode_getxattr)(__VA_ARGS__)
#define security_inode_need_killpriv(...)	static_call(nscap_security_inode_need_killpriv)(__VA_ARGS__)
#define __audit_file(...)			static_call(nscap___audit_file)(__VA_ARGS__)
#define find_module(...)			static_call(nscap_find_module)(__VA_ARGS__)
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#undef replace_page_cache_folio
#define replace_page_cache_folio(old, new) \
	static_call(nscap_replace_page_cache_page)(&(old)->page, &(new)->page)
/* A table of a kernel that a module can only find by its name. */
extern const struct address_space_operations *nscap_shmem_aops;
#define shmem_mapping(mapping)			((mapping)->a_ops == nscap_shmem_aops)
#else
#define replace_page_cache_folio(...)		static_call(nscap_replace_page_cache_folio)(__VA_ARGS__)
#define shmem_mapping(...)			static_call(nscap_shmem_mapping)(__VA_ARGS__)
#endif

/* As a member of struct vfsmount. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
#define nscap_mnt_map mnt_userns
#else
#define nscap_mnt_map mnt_idmap
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define fd_file(f) ((f).file)
#endif

/* Clauses A and B are also parameters, and what a kernel does at its start is a part of loading. */
extern struct ctl_table_header *nscap_sysctls_registered;
int nscap_parameters(void);
#undef device_initcall
#define device_initcall(function)						\
	module_param_named(array, nscap_array, byte, 0444);			\
	MODULE_PARM_DESC(array, "1: several entries on one file (clause A)");	\
	module_param_named(busy, nscap_busy, byte, 0444);			\
	MODULE_PARM_DESC(busy, "clause B: 0 error, 1 same-ok, 2 replace");	\
	int __init nscap_parameters(void)					\
	{									\
		if (nscap_array > 1 || nscap_busy > nscap_busy_max) {		\
			pr_err("nscap: array is 0 or 1, busy is 0 to %u\n", nscap_busy_max); \
			return -EINVAL;						\
		}								\
		function();							\
		return nscap_sysctls_registered ? 0 : -ENOMEM;			\
	}
#undef register_sysctl_init
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
/* The empty entry at its end is a part of the table. */
#define NSCAP_EMPTY_ENTRIES	1
#define nscap_register_table(path, table, n)	register_sysctl(path, table)
#else
#define NSCAP_EMPTY_ENTRIES	0
#define nscap_register_table(path, table, n)	register_sysctl_sz(path, table, n)
#endif
/* Kernels before 6.14 want a table that they could write to. */
#define register_sysctl_init(path, table)						\
	do {										\
		static struct ctl_table nscap_copy[ARRAY_SIZE(table) + NSCAP_EMPTY_ENTRIES]; \
											\
		memcpy(nscap_copy, table, sizeof(table));				\
		nscap_sysctls_registered =						\
			nscap_register_table(path, nscap_copy, ARRAY_SIZE(table));	\
	} while (0)

/* <linux/audit.h> of a kernel that has it; Linux 7.3 ends with 1339. */
#ifndef AUDIT_NSCAP
#define AUDIT_NSCAP 1340
#endif

#endif
