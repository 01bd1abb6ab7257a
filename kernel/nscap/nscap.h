/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of security/nscap share: a file as the decisions see it, and one change of it.
 */
#ifndef _SECURITY_NSCAP_H
#define _SECURITY_NSCAP_H

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/nscap.h>
#include <linux/user_namespace.h>
#include <linux/xarray.h>
#include <linux/xattr.h>

#include "compat.h"
#include "nscap_rust.h"

/* Longer than any value; what is longer still is malformed all the same. */
#define NSCAP_CAPABILITY_ROOM	64

/* A file and its two attributes as they were at one moment. */
struct nscap_state {
	struct nscap_file file;
	u8 capability[NSCAP_CAPABILITY_ROOM];
	u8 *table;
};

/* Capabilities and a number, whose bits they are. */
#ifndef NSCAP_CAPS_ARE_AN_ARRAY
static inline u64 nscap_cap_bits(kernel_cap_t caps)
{
	return caps.val;
}

static inline kernel_cap_t nscap_cap_of(u64 bits)
{
	return (kernel_cap_t){ bits & CAP_VALID_MASK };
}
#endif

/* Whether a mount of a file system of that owner maps ids. */
#ifndef nscap_is_mapped
static inline bool nscap_is_mapped(struct mnt_idmap *idmap, const struct user_namespace *owner)
{
	return idmap != &nop_mnt_idmap;
}
#endif

/*
 * What maps ids for the decisions is a user namespace, or the id map of a mount, marked by a bit
 * that no pointer has.
 */
static inline const void *nscap_idmap(struct mnt_idmap *idmap)
{
	return (void *)((unsigned long)idmap | 1);
}

static inline bool nscap_is_idmap(const void *ns)
{
	return (unsigned long)ns & 1;
}

static inline struct mnt_idmap *nscap_idmap_of(const void *ns)
{
	return (struct mnt_idmap *)((unsigned long)ns & ~1UL);
}

int nscap_read(struct nscap_state *state, struct mnt_idmap *idmap,
	       struct dentry *dentry, enum nscap_question question);
void nscap_release(struct nscap_state *state);

/* Around a grant, under the inode's lock: its content cannot change unseen, or -ETXTBSY. */
int nscap_grant_begin(struct inode *inode);
void nscap_grant_end(struct inode *inode);
int nscap_let_go(struct address_space *mapping);

/* Whether nscap_free_backing() has anything to do. */
extern struct xarray nscap_backed;
static __always_inline bool nscap_any_backed(void)
{
	return !xa_empty(&nscap_backed);
}

/*
 * Whether content can change through a mapping with these flags. What is not open for writing cannot
 * be made writable later, either.
 */
static __always_inline bool nscap_changes_content(const struct file *file, unsigned long flags)
{
	unsigned long type = flags & MAP_TYPE;

	return file && (type == MAP_SHARED || type == MAP_SHARED_VALIDATE) &&
	       file->f_mode & FMODE_WRITE;
}

/* The same of a mapping that is being made. */
static __always_inline bool nscap_vma_changes_content(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE);
}

struct nscap_request {
	enum nscap_what what;
	u32 policy;
	const void *value;
	size_t size;
	int flags;
};

u32 nscap_policy(void);

static inline bool nscap_sets(enum nscap_what what)
{
	return what == NSCAP_SET_CAPABILITY || what == NSCAP_SET_NSCAPABILITY;
}

/* What a log says of a change: the clause, of one letter or two, and an enum nscap_logs. */
struct nscap_record {
	char clause[2];
	u8 logged;
};

void nscap_audit_change(struct dentry *dentry, enum nscap_what what,
			const struct nscap_record *record, int error);

int nscap_change_locked(struct mnt_idmap *idmap, struct dentry *dentry,
			const struct nscap_request *request, struct nscap_record *record,
			struct delegated_inode *delegated);
int nscap_change(struct mnt_idmap *idmap, struct dentry *dentry,
		 const struct nscap_request *request);
int nscap_store(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
		const void *value, size_t size, int flags, struct delegated_inode *delegated);
void nscap_kept_changes(struct inode *inode);
int nscap_read_settled(struct nscap_state *state, struct mnt_idmap *idmap,
		       struct dentry *dentry);

#endif
