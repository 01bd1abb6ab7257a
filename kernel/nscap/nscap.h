/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of security/nscap share: a file as the decisions see it, and one change of it.
 */
#ifndef _SECURITY_NSCAP_H
#define _SECURITY_NSCAP_H

#include <linux/fs.h>
#include <linux/nscap.h>
#include <linux/user_namespace.h>
#include <linux/xattr.h>

#include "nscap_rust.h"

/* Longer than any value; what is longer still is malformed all the same. */
#define NSCAP_CAPABILITY_ROOM	64

/* A file and its two attributes as they were at one moment. */
struct nscap_state {
	struct nscap_file file;
	u8 capability[NSCAP_CAPABILITY_ROOM];
	u8 *table;
};

int nscap_read(struct nscap_state *state, struct user_namespace *mnt_userns,
	       struct dentry *dentry, enum nscap_question question);
void nscap_release(struct nscap_state *state);

/* Around a grant, under the inode's lock: its content cannot change unseen, or -ETXTBSY. */
int nscap_grant_begin(struct inode *inode);
void nscap_grant_end(struct inode *inode);
int nscap_let_go(struct address_space *mapping);

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

int nscap_change_locked(struct user_namespace *mnt_userns, struct dentry *dentry,
			const struct nscap_request *request, struct nscap_record *record,
			struct inode **delegated);
int nscap_change(struct user_namespace *mnt_userns, struct dentry *dentry,
		 const struct nscap_request *request);
int nscap_store(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name,
		const void *value, size_t size, int flags, struct inode **delegated);
void nscap_kept_changes(struct inode *inode);
int nscap_read_settled(struct nscap_state *state, struct user_namespace *mnt_userns,
		       struct dentry *dentry);

#endif
