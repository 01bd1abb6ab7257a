/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File capabilities that belong to a user namespace: what a task is in the middle of.
 *
 * A function that is taken over knows its arguments and not why it is called. So what takes over the caller
 * notes what it is about, for this task, as long as it runs; the newest note is what counts. That does
 * not depend on how a compiler made the calls between the two.
 */
#ifndef _NSCAP_DURING_H
#define _NSCAP_DURING_H

#include <linux/fs.h>
#include <linux/ftrace.h>
#include <linux/list.h>

enum nscap_doing {
	/* Work of our own: nothing that is called from there is meant. */
	NSCAP_OWN_WORK,
	NSCAP_LAYER_ATTRIBUTE,
	NSCAP_LAYER_SETATTR,
	NSCAP_LAYER_COPY_UP,
	NSCAP_CONTENT,
};

struct nscap_kept;

struct nscap_during {
	struct hlist_node node;
	const struct task_struct *task;
	enum nscap_doing doing;
	union {
		struct {
			struct super_block *above;
			bool copied_up;
		} attribute;
		struct {
			struct dentry *dentry;
			struct nscap_kept *kept;
			struct dentry *upper;
			bool looked;
		} copy_up;
		struct {
			/* The only one that is meant, or NULL where each is. */
			struct inode *inode;
			/* Before an inode's grants are dropped, and after. */
			void (*around)(struct nscap_during *during, struct inode *inode, bool after);
			void *data;
		} content;
	};
};

void nscap_begin_during(struct nscap_during *during, enum nscap_doing doing);
void nscap_end_during(struct nscap_during *during);

/* The newest note of this task, if it is of that kind. */
struct nscap_during *nscap_during(enum nscap_doing doing);

/* Whether any task has one: for what is called often. */
bool nscap_any_during(void);
/* The same, for a hook. */
bool nscap_during_wants(struct ftrace_regs *fregs);

#endif
