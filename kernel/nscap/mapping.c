// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: no grant on content that can change unseen.
 *
 * write(2) and its like drop what a file grants, a store through a shared mapping does not. So such
 * a mapping drops it, and as long as there is one, nothing can be granted: nothing is left that
 * closing the file would have to drop.
 */
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/security.h>

#include "nscap.h"

static int nscap_drop_of(struct user_namespace *mnt_userns, struct dentry *dentry)
{
	struct iattr kill = { .ia_valid = ATTR_FORCE | ATTR_KILL_PRIV };
	struct inode *inode = d_inode(dentry);
	int error;

	inode_lock(inode);
	error = security_inode_need_killpriv(dentry);
	if (error > 0)
		error = notify_change(mnt_userns, dentry, &kill, NULL);
	inode_unlock(inode);
	return error;
}

/* Of overlayfs a layer's file is mapped, and its mounter may not see all that the file grants. */
static int nscap_drop(struct file *file, struct dentry *dentry)
{
	struct dentry *real = d_real(dentry, NULL);
	int error = mnt_want_write_file(file);

	if (error)
		return error;
	error = nscap_drop_of(file_mnt_user_ns(file), dentry);
	if (error >= 0 && real != dentry)
		error = nscap_drop_of(&init_user_ns, real);
	mnt_drop_write_file(file);
	return error < 0 ? error : 0;
}

/*
 * Before a file is mapped: where its content can change through that, drops what it grants. From
 * here to nscap_mmap_end(), which takes what this returns, it counts as mapped already, so that no
 * grant comes to be in between. NULL where there is nothing to keep, or an error pointer.
 */
struct address_space *nscap_mmap_begin(struct file *file, unsigned long flags)
{
	unsigned long type = flags & MAP_TYPE;
	struct address_space *mapping;
	struct dentry *dentry;
	int error;

	/* What is not open for writing cannot be made writable later, either. */
	if (!file || (type != MAP_SHARED && type != MAP_SHARED_VALIDATE) ||
	    !(file->f_mode & FMODE_WRITE))
		return NULL;
	dentry = file_dentry(file);
	if (!S_ISREG(d_inode(dentry)->i_mode) || !(d_inode(dentry)->i_opflags & IOP_XATTR))
		return NULL;
	mapping = d_real_inode(dentry)->i_mapping;
	/* Sealed against writing: the mapping itself is refused, or cannot change anything. */
	if (mapping_map_writable(mapping))
		return NULL;
	error = nscap_drop(file, dentry);
	if (!error)
		return mapping;
	mapping_unmap_writable(mapping);
	return ERR_PTR(error);
}

void nscap_mmap_end(struct address_space *mapping)
{
	if (mapping)
		mapping_unmap_writable(mapping);
}

/* Whether a page is pinned by what a device or io_uring may write to, mapped or no longer. */
static bool nscap_has_pinned_page(struct address_space *mapping)
{
	XA_STATE(xas, &mapping->i_pages, 0);
	struct folio *folio;
	bool pinned = false;

	rcu_read_lock();
	xas_for_each(&xas, folio, ULONG_MAX) {
		if (xas_retry(&xas, folio) || xa_is_value(folio))
			continue;
		pinned = folio_maybe_dma_pinned(folio);
		if (pinned)
			break;
		if (need_resched()) {
			xas_pause(&xas);
			cond_resched_rcu();
		}
	}
	rcu_read_unlock();
	return pinned;
}

/*
 * Whether the content of a file can still change without anything that drops what it grants: by a
 * mapping, or by a page that was pinned through one. What was submitted to be written directly is
 * waited for. Left over is a read that was submitted into a mapping which is gone since.
 */
bool nscap_content_may_change(struct inode *inode)
{
	if (!S_ISREG(inode->i_mode))
		return false;
	inode_dio_wait(inode);
	return mapping_writably_mapped(inode->i_mapping) ||
	       nscap_has_pinned_page(inode->i_mapping);
}
