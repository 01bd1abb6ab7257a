// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: content that changes without a write.
 */
#include <linux/dax.h>
#include <linux/dcache.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate_wait.h>
#include <linux/rmap.h>
#include <linux/security.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/xarray.h>

#include "nscap.h"

/* A folio that is dirty again each time is one that is written to. */
#define NSCAP_TRIES 3

/*
 * Of an attribute that could not be read it is not known whether it grants something. Where a file
 * system keeps none, lets none be seen or, on a server, does not find the file any more, it grants
 * nothing.
 */
int nscap_needs_drop(int size)
{
	switch (size) {
	case -ENODATA:
	case -EOPNOTSUPP:
	case -ENOSYS:
	case -ENOENT:
	case -EINVAL:
	case -EACCES:
	case -EPERM:
		return 0;
	default:
		return size > 0 ? 1 : size;
	}
}

/*
 * Before the content of a file is replaced by other means than a write: drops what
 * file_remove_privs() would. Under the inode's lock, with write access to the file system.
 */
int nscap_content_replaced(struct inode *inode)
{
	struct iattr kill = { .ia_valid = ATTR_FORCE };
	struct dentry *dentry;
	int error;

	lockdep_assert_held_write(&inode->i_rwsem);
	if (!S_ISREG(inode->i_mode) || IS_NOSEC(inode))
		return 0;
	/* Of what is open, or is being changed by its name, there is one. */
	dentry = d_find_any_alias(inode);
	if (!dentry)
		return -ESTALE;
	kill.ia_valid |= setattr_should_drop_suidgid(&nop_mnt_idmap, inode);
	error = security_inode_need_killpriv(dentry);
	if (error > 0)
		kill.ia_valid |= ATTR_KILL_PRIV;
	if (error >= 0)
		error = kill.ia_valid == ATTR_FORCE ?
			0 : notify_change(&nop_mnt_idmap, dentry, &kill, NULL);
	dput(dentry);
	return error;
}
EXPORT_SYMBOL_GPL(nscap_content_replaced);

/* Whether anything but the page cache holds it: a page table too, which holds each page it maps. */
static bool nscap_is_held(struct folio *folio, int ours)
{
	return folio_ref_count(folio) !=
	       ours + folio_nr_pages(folio) + !!folio_has_private(folio);
}

/* From this index on, the first folio that something holds; false where there is none. */
static bool nscap_find_held(struct address_space *mapping, pgoff_t *index)
{
	XA_STATE(xas, &mapping->i_pages, *index);
	struct folio *folio;
	bool held = false;

	rcu_read_lock();
	xas_for_each(&xas, folio, ULONG_MAX) {
		if (xas_retry(&xas, folio) || xa_is_value(folio))
			continue;
		*index = xas.xa_index;
		held = nscap_is_held(folio, 0);
		if (held)
			break;
		if (need_resched()) {
			xas_pause(&xas);
			cond_resched_rcu();
		}
	}
	rcu_read_unlock();
	return held;
}

/* Puts a copy in the place of a page in memory, locked and mapped nowhere. */
static int nscap_exchange(struct address_space *mapping, struct folio *held)
{
	struct folio *copy;

	if (folio_test_large(held))
		return -EBUSY;
	copy = folio_alloc(mapping_gfp_mask(mapping), 0);
	if (!copy)
		return -ENOMEM;
	copy_highpage(&copy->page, &held->page);
	flush_dcache_folio(copy);
	__folio_set_locked(copy);
	__folio_set_swapbacked(copy);
	if (folio_test_uptodate(held))
		folio_mark_uptodate(copy);
	if (folio_test_dirty(held))
		folio_set_dirty(copy);
	replace_page_cache_folio(held, copy);
	folio_add_lru(copy);
	folio_unlock(copy);
	folio_put(copy);
	return 0;
}

/* tmpfs: the page cache is where the content is. */
static int nscap_let_go_in_memory(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = filemap_lock_folio(mapping, index);
	int error = 0;

	if (IS_ERR(folio))
		return 0;
	if (folio_mapped(folio))
		unmap_mapping_pages(mapping, folio->index, folio_nr_pages(folio), false);
	if (nscap_is_held(folio, 1))
		error = nscap_exchange(mapping, folio);
	folio_unlock(folio);
	folio_put(folio);
	return error;
}

/* Elsewhere it can be read again. */
static int nscap_let_go_on_disk(struct address_space *mapping, pgoff_t index)
{
	loff_t at = (loff_t)index << PAGE_SHIFT;
	int error = filemap_write_and_wait_range(mapping, at, at + PAGE_SIZE - 1);

	return error ?: invalidate_inode_pages2_range(mapping, index, index);
}

/*
 * Takes every page that something holds out of a file to which no writable mapping is left: what
 * pinned it through one may still write to it, and nothing says so. A reader holds pages in the
 * same way, and keeps what it holds; so it cannot keep a file from being granted to. -ETXTBSY where
 * it fails.
 */
int nscap_let_go(struct address_space *mapping)
{
	pgoff_t index = 0;
	int error, tries;

	if (dax_mapping(mapping))
		return dax_layout_busy_page(mapping) ? -ETXTBSY : 0;
	/* What this processor is about to put on a list of all. */
	lru_add_drain();
	for (; nscap_find_held(mapping, &index); index++) {
		error = -EBUSY;
		for (tries = 0; error == -EBUSY && tries < NSCAP_TRIES; tries++)
			error = shmem_mapping(mapping) ?
				nscap_let_go_in_memory(mapping, index) :
				nscap_let_go_on_disk(mapping, index);
		if (error)
			return error == -EBUSY ? -ETXTBSY : error;
		cond_resched();
	}
	return 0;
}
