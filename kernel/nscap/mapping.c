// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: no grant on content that can change unseen.
 *
 * write(2) and its like drop what a file grants, a store through a shared mapping does not. So such
 * a mapping drops it, and as long as there is one, nothing can be granted: nothing is left that
 * closing the file would have to drop.
 *
 * A mapping takes no lock where the file grants nothing. It counts itself, then looks for a grant
 * that is being made, then for one that is there. A grant announces itself, looks for mappings, and
 * is made. So one of the two sees the other.
 */
#include <linux/atomic.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/refcount.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "nscap.h"

#define NSCAP_GRANTS_BITS 6

/* How many grants are being made, by file; files that share one make a mapping look twice. */
static atomic_t nscap_grants[1 << NSCAP_GRANTS_BITS];

static atomic_t *nscap_grants_of(const struct address_space *mapping)
{
	return &nscap_grants[hash_ptr(mapping, NSCAP_GRANTS_BITS)];
}

/*
 * Before a grant: its content can no longer change without anything that would drop it. What was
 * submitted to be written directly is waited for, and pages that are held are let go.
 */
int nscap_grant_begin(struct inode *inode)
{
	struct address_space *mapping = inode->i_mapping;
	int error;

	lockdep_assert_held_write(&inode->i_rwsem);
	if (!S_ISREG(inode->i_mode))
		return 0;
	atomic_inc(nscap_grants_of(mapping));
	/* Pairs with the count of a mapping in nscap_mmap_begin(). */
	smp_mb__after_atomic();
	inode_dio_wait(inode);
	error = mapping_writably_mapped(mapping) ? -ETXTBSY : nscap_let_go(mapping);
	if (error)
		nscap_grant_end(inode);
	return error;
}

void nscap_grant_end(struct inode *inode)
{
	if (!S_ISREG(inode->i_mode))
		return;
	/* The grant can be seen before it is no longer announced. */
	smp_mb__before_atomic();
	atomic_dec(nscap_grants_of(inode->i_mapping));
}

/* Where that cannot be read, dropping it says why. */
static bool nscap_has_grant(struct dentry *dentry)
{
	return !IS_NOSEC(d_inode(dentry)) && security_inode_need_killpriv(dentry);
}

/* Whether the layer's file may grant something, as soon as a grant that is under way is done. */
static bool nscap_may_have_grant(struct dentry *real)
{
	struct inode *inode = d_inode(real);
	bool has;

	if (!atomic_read(nscap_grants_of(inode->i_mapping))) {
		/* Pairs with nscap_grant_end(). */
		smp_rmb();
		return nscap_has_grant(real);
	}
	inode_lock(inode);
	has = nscap_has_grant(real);
	inode_unlock(inode);
	return has;
}

static int nscap_drop_of(struct mnt_idmap *idmap, struct dentry *dentry)
{
	struct iattr kill = { .ia_valid = ATTR_FORCE | ATTR_KILL_PRIV };
	struct inode *inode = d_inode(dentry);
	int error;

	inode_lock(inode);
	error = security_inode_need_killpriv(dentry);
	if (error > 0)
		error = notify_change(idmap, dentry, &kill, NULL);
	inode_unlock(inode);
	return error;
}

/* The file of a layer, of whose mount the overlay has the only reference. */
static int nscap_drop_of_layer(struct dentry *real)
{
	int error = -EROFS;

	sb_start_write(real->d_sb);
	if (!sb_rdonly(real->d_sb))
		error = nscap_drop_of(&nop_mnt_idmap, real);
	sb_end_write(real->d_sb);
	return error;
}

/* Of overlayfs a layer's file is mapped, and its mounter may not see all that the file grants. */
static int nscap_drop(struct file *file, struct dentry *dentry)
{
	struct dentry *real = d_real(dentry, D_REAL_DATA);
	int error;

	if (!nscap_may_have_grant(real))
		return 0;
	error = mnt_want_write_file(file);
	if (error)
		return error;
	error = nscap_drop_of(file_mnt_idmap(file), dentry);
	if (error >= 0 && real != dentry)
		error = nscap_drop_of_layer(real);
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
	struct address_space *mapping;
	struct dentry *dentry;
	int error;

	if (!nscap_changes_content(file, flags))
		return NULL;
	dentry = file_dentry(file);
	if (!S_ISREG(d_inode(dentry)->i_mode) || !(d_inode(dentry)->i_opflags & IOP_XATTR))
		return NULL;
	mapping = d_real_inode(dentry)->i_mapping;
	/* Sealed against writing: the mapping itself is refused, or cannot change anything. */
	if (mapping_map_writable(mapping))
		return NULL;
	/* Pairs with nscap_grant_begin(). */
	smp_mb__after_atomic();
	error = nscap_drop(file, dentry);
	if (!error)
		return mapping;
	mapping_unmap_writable(mapping);
	return ERR_PTR(error);
}

void nscap_mmap_end(struct address_space *mapping)
{
	if (!mapping)
		return;
	/* What nscap_mmap_backing() counted can be seen before this is no longer counted. */
	smp_mb__before_atomic();
	mapping_unmap_writable(mapping);
}
#ifndef NSCAP_NO_BACKING_FILES

/*
 * Two files of which the one is mapped in the place of the other; above: where that other one is
 * itself mapped in the place of a third, which then counts as long.
 */
struct nscap_backed {
	refcount_t count;
	struct nscap_backed *above;
	struct path path[2];
	struct address_space *mapping[2];
};

/* By the open file that is mapped. */
DEFINE_XARRAY_FLAGS(nscap_backed, XA_FLAGS_ACCOUNT);

static struct nscap_backed *nscap_new_backed(struct file *user, const struct path *backing)
{
	struct nscap_backed *backed = kmalloc(sizeof(*backed), GFP_KERNEL_ACCOUNT);
	int error;

	if (!backed)
		return ERR_PTR(-ENOMEM);
	refcount_set(&backed->count, 1);
	backed->path[0] = user->f_path;
	backed->path[1] = *backing;
	backed->mapping[0] = file_inode(user)->i_mapping;
	backed->mapping[1] = d_real_inode(backing->dentry)->i_mapping;
	error = mapping_map_writable(backed->mapping[0]);
	if (error)
		goto free;
	error = mapping_map_writable(backed->mapping[1]);
	if (error)
		goto unmap;
	path_get(&backed->path[0]);
	path_get(&backed->path[1]);
	backed->above = xa_load(&nscap_backed, (unsigned long)user);
	if (backed->above)
		refcount_inc(&backed->above->count);
	return backed;
unmap:
	mapping_unmap_writable(backed->mapping[0]);
free:
	kfree(backed);
	return ERR_PTR(error);
}

static void nscap_put_backed(struct nscap_backed *backed)
{
	struct nscap_backed *above;

	for (; backed && refcount_dec_and_test(&backed->count); backed = above) {
		above = backed->above;
		for (int i = 0; i < 2; i++) {
			mapping_unmap_writable(backed->mapping[i]);
			path_put(&backed->path[i]);
		}
		kfree(backed);
	}
}

/* From now on, till the open file is freed, both files count as mapped. */
static int nscap_count_backed(struct file *file, struct file *user)
{
	unsigned long index = (unsigned long)file;
	struct nscap_backed *backed;
	int error;

	if (xa_load(&nscap_backed, index))
		return 0;
	backed = nscap_new_backed(user, &file->f_path);
	if (IS_ERR(backed))
		return PTR_ERR(backed);
	error = xa_insert(&nscap_backed, index, backed, GFP_KERNEL_ACCOUNT);
	if (error)
		nscap_put_backed(backed);
	/* Another task that maps it has counted it. */
	return error == -EBUSY ? 0 : error;
}

/*
 * A grant that is under way has the inode's lock, which cannot be waited for with that of an address
 * space. Another one may be of a file that shares the place.
 */
static bool nscap_is_being_granted_to(struct inode *inode)
{
	if (!atomic_read(nscap_grants_of(inode->i_mapping))) {
		/* Pairs with nscap_grant_end(). */
		smp_rmb();
		return false;
	}
	if (!inode_trylock_shared(inode))
		return true;
	inode_unlock_shared(inode);
	return false;
}

/*
 * Of a file that passes through to another (FUSE) that other one is mapped, which mmap(2) does not
 * name. The lock of the address space is held, so nothing can be dropped here: where the other one
 * grants something, it is not mapped. What the file itself granted is dropped already, and so is
 * what a layer granted of which overlayfs says that it is the file's; that one counts as well where
 * the overlay's is mapped in the place of another.
 */
int nscap_mmap_backing(struct vm_area_struct *vma, struct file *file, struct file *user)
{
	struct dentry *dentry;
	struct inode *inode;
	int error;

	if (!nscap_vma_changes_content(vma))
		return 0;
	dentry = d_real(file_dentry(file), D_REAL_DATA);
	inode = d_inode(dentry);
	if (d_real_inode(file_dentry(user)) == inode &&
	    !xa_load(&nscap_backed, (unsigned long)user))
		return 0;
	error = nscap_count_backed(file, user);
	if (error)
		return error;
	/* Pairs with nscap_grant_begin(). */
	smp_mb();
	if (nscap_is_being_granted_to(inode))
		return -ETXTBSY;
	error = IS_NOSEC(inode) ? 0 : security_inode_need_killpriv(dentry);
	return error > 0 ? -ETXTBSY : error;
}

void nscap_free_backing(struct file *file)
{
	struct nscap_backed *backed;

	if (!nscap_any_backed())
		return;
	backed = xa_erase(&nscap_backed, (unsigned long)file);
	nscap_put_backed(backed);
}
#endif
