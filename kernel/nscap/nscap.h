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

/* What somebody wants to know of a file, and so how much of it has to be read. */
enum nscap_question {
	NSCAP_WHAT_APPLIES,	/* at execve, or as security.capability */
	NSCAP_WHAT_IS_LISTED,	/* all that counts */
	NSCAP_WHAT_IS_THERE,	/* a table that counts for nothing too */
};

int nscap_read(struct nscap_state *state, struct user_namespace *mnt_userns,
	       struct dentry *dentry, enum nscap_question question);
void nscap_release(struct nscap_state *state);

bool nscap_content_may_change(struct inode *inode);

struct nscap_request {
	u32 what;
	u32 policy;
	const void *value;
	size_t size;
	int flags;
};

int nscap_change(struct user_namespace *mnt_userns, struct dentry *dentry,
		 const struct nscap_request *request, struct inode **delegated);

#endif
