// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: file systems that replace content without a write, as a
 * module takes them over.
 *
 * Most write the file's pages out first, under the inode's lock and after all checks: there its grants are
 * dropped. Of others the file counts as mapped, and so cannot be granted to, from before its grants are
 * dropped until its content has been replaced.
 */
#include <linux/list.h>
#include <linux/spinlock.h>

#include "during.h"
#include "hook.h"
#include "nscap.h"

static int nscap_in_filemap_write_and_wait_range(struct address_space *mapping, loff_t start,
						 loff_t end);
NSCAP_ORIGINAL(filemap_write_and_wait_range)
static int nscap_in_filemap_write_and_wait_range(struct address_space *mapping, loff_t start,
						 loff_t end)
{
	struct nscap_during *during = nscap_during(NSCAP_CONTENT), own;
	struct inode *inode = mapping->host;
	int error = 0;

	if (!during || !inode_is_locked(inode) ||
	    (during->content.inode && during->content.inode != inode))
		return original(filemap_write_and_wait_range)(mapping, start, end);
	if (during->content.around)
		during->content.around(during, inode, false);
	nscap_begin_during(&own, NSCAP_OWN_WORK);
	error = nscap_content_replaced(inode);
	nscap_end_during(&own);
	if (error)
		return error;
	if (during->content.around)
		during->content.around(during, inode, true);
	return original(filemap_write_and_wait_range)(mapping, start, end);
}

/* From here to nscap_replace_end() nothing is granted. With write access, without the inode's lock. */
static int nscap_replace_begin(struct inode *inode)
{
	int error = mapping_map_writable(inode->i_mapping);

	if (error)
		return error;
	/* As nscap_mmap_begin(); what is being granted is waited for by the lock. */
	smp_mb__after_atomic();
	inode_lock(inode);
	error = nscap_content_replaced(inode);
	inode_unlock(inode);
	if (error)
		mapping_unmap_writable(inode->i_mapping);
	return error;
}

static void nscap_replace_end(struct inode *inode)
{
	mapping_unmap_writable(inode->i_mapping);
}

/* ext4 */

#define NSCAP_EXT4_SWAP_BOOT	17

static long nscap_ext4_ioctl(struct file *file, unsigned int cmd, unsigned long arg,
			     long (*rest)(struct file *, unsigned int, unsigned long))
{
	struct nscap_during during;
	long ret;

	if (_IOC_TYPE(cmd) != 'f' || _IOC_NR(cmd) != NSCAP_EXT4_SWAP_BOOT)
		return rest(file, cmd, arg);
	nscap_begin_during(&during, NSCAP_CONTENT);
	/* The other file has no name and grants nothing. */
	during.content.inode = file_inode(file);
	ret = rest(file, cmd, arg);
	nscap_end_during(&during);
	return ret;
}

static long nscap_in_ext4_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
NSCAP_ORIGINAL(ext4_ioctl)
static long nscap_rest_of_ext4_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return original(ext4_ioctl)(file, cmd, arg);
}

static long nscap_in_ext4_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return nscap_ext4_ioctl(file, cmd, arg, nscap_rest_of_ext4_ioctl);
}

static long nscap_in_ext4_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
NSCAP_ORIGINAL(ext4_compat_ioctl)
static long nscap_rest_of_ext4_compat_ioctl(struct file *file, unsigned int cmd,
					    unsigned long arg)
{
	return original(ext4_compat_ioctl)(file, cmd, arg);
}

static long nscap_in_ext4_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return nscap_ext4_ioctl(file, cmd, arg, nscap_rest_of_ext4_compat_ioctl);
}

static int nscap_in_ext4_move_extents(struct file *file, struct file *donor, __u64 at,
				      __u64 donor_at, __u64 len, __u64 *moved);
NSCAP_ORIGINAL(ext4_move_extents)
static int nscap_in_ext4_move_extents(struct file *file, struct file *donor, __u64 at,
				      __u64 donor_at, __u64 len, __u64 *moved)
{
	struct inode *inode = file_inode(file), *donors = file_inode(donor);
	int error;

	/* It refuses these. */
	if (inode->i_sb != donors->i_sb || inode == donors ||
	    !S_ISREG(inode->i_mode) || !S_ISREG(donors->i_mode))
		return original(ext4_move_extents)(file, donor, at, donor_at, len, moved);
	error = nscap_replace_begin(inode);
	if (error)
		return error;
	error = nscap_replace_begin(donors);
	if (!error) {
		error = original(ext4_move_extents)(file, donor, at, donor_at, len, moved);
		nscap_replace_end(donors);
	}
	nscap_replace_end(inode);
	return error;
}

/* XFS */

/* Of struct xfs_swapext, which is the system call's: what the caller knows the target by. */
struct nscap_xfs_swapext {
	__s64 version;
	__s64 fd_target;
	__s64 fd_tmp;
	__s64 offset;
	__s64 length;
	char pad[16];
	struct {
		__u64 ino;
		__u16 mode;
		__u16 nlink;
		__u32 uid;
		__u32 gid;
		__u32 rdev;
		__s32 blksize;
		__s64 size;
		struct {
			__kernel_long_t sec;
			__s32 nsec;
		} atime, mtime, ctime;
	} stat;
};

static void nscap_xfs_ctime(struct inode *inode, __kernel_long_t *sec, __s32 *nsec)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	*sec = inode->i_ctime.tv_sec;
	*nsec = inode->i_ctime.tv_nsec;
#else
	*sec = inode_get_ctime_sec(inode);
	*nsec = inode_get_ctime_nsec(inode);
#endif
}

/*
 * Dropping its grants changes the ctime that the caller knows the target by. The target's pages are
 * written out first.
 */
static void nscap_xfs_around(struct nscap_during *during, struct inode *inode, bool after)
{
	struct nscap_xfs_swapext *swap = during->content.data;
	__kernel_long_t sec;
	__s32 nsec;

	nscap_xfs_ctime(inode, &sec, &nsec);
	if (after) {
		swap->stat.ctime.sec = sec;
		swap->stat.ctime.nsec = nsec;
		during->content.around = NULL;
	} else if (swap->stat.ctime.sec != sec || swap->stat.ctime.nsec != nsec) {
		during->content.around = NULL;
	}
}

static int nscap_in_xfs_swap_extents(void *target, void *other, struct nscap_xfs_swapext *swap);
NSCAP_ORIGINAL(xfs_swap_extents)
static int nscap_in_xfs_swap_extents(void *target, void *other, struct nscap_xfs_swapext *swap)
{
	struct nscap_during during;
	int error;

	nscap_begin_during(&during, NSCAP_CONTENT);
	during.content.around = nscap_xfs_around;
	during.content.data = swap;
	error = original(xfs_swap_extents)(target, other, swap);
	nscap_end_during(&during);
	return error;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
/* XFS_IOC_EXCHANGE_RANGE and XFS_IOC_COMMIT_RANGE. */
static bool nscap_xfs_exchanges(unsigned int cmd)
{
	return _IOC_TYPE(cmd) == 'X' && (_IOC_NR(cmd) == 129 || _IOC_NR(cmd) == 131);
}

static long nscap_in_xfs_file_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
NSCAP_ORIGINAL(xfs_file_ioctl)
static long nscap_in_xfs_file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct nscap_during during;
	long ret;

	if (!nscap_xfs_exchanges(cmd))
		return original(xfs_file_ioctl)(file, cmd, arg);
	nscap_begin_during(&during, NSCAP_CONTENT);
	ret = original(xfs_file_ioctl)(file, cmd, arg);
	nscap_end_during(&during);
	return ret;
}
#endif

/* f2fs */

#define NSCAP_F2FS_TYPE		0xf5
#define NSCAP_F2FS_MOVE_RANGE	9

static long nscap_f2fs_ioctl(struct file *file, unsigned int cmd, unsigned long arg,
			     long (*rest)(struct file *, unsigned int, unsigned long))
{
	struct nscap_during during;
	long ret;

	if (_IOC_TYPE(cmd) != NSCAP_F2FS_TYPE || _IOC_NR(cmd) != NSCAP_F2FS_MOVE_RANGE)
		return rest(file, cmd, arg);
	nscap_begin_during(&during, NSCAP_CONTENT);
	ret = rest(file, cmd, arg);
	nscap_end_during(&during);
	return ret;
}

static long nscap_in_f2fs_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
NSCAP_ORIGINAL(f2fs_ioctl)
static long nscap_rest_of_f2fs_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return original(f2fs_ioctl)(file, cmd, arg);
}

static long nscap_in_f2fs_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return nscap_f2fs_ioctl(file, cmd, arg, nscap_rest_of_f2fs_ioctl);
}

static long nscap_in_f2fs_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
NSCAP_ORIGINAL(f2fs_compat_ioctl)
static long nscap_rest_of_f2fs_compat_ioctl(struct file *file, unsigned int cmd,
					    unsigned long arg)
{
	return original(f2fs_compat_ioctl)(file, cmd, arg);
}

static long nscap_in_f2fs_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return nscap_f2fs_ioctl(file, cmd, arg, nscap_rest_of_f2fs_compat_ioctl);
}

/*
 * Files whose content an atomic write may still replace, or put back: each counts as mapped. One that is
 * being started stays when another ends.
 */
struct nscap_atomic {
	struct list_head list;
	struct inode *inode;
	bool starting;
};

static LIST_HEAD(nscap_atomics);
static DEFINE_SPINLOCK(nscap_atomics_lock);

static void nscap_atomic_start(struct nscap_atomic *atomic, struct inode *inode)
{
	atomic->inode = inode;
	atomic->starting = true;
	spin_lock(&nscap_atomics_lock);
	list_add(&atomic->list, &nscap_atomics);
	spin_unlock(&nscap_atomics_lock);
}

static void nscap_atomic_started(struct nscap_atomic *atomic, bool under_way)
{
	struct inode *inode = atomic->inode;

	spin_lock(&nscap_atomics_lock);
	atomic->starting = false;
	if (!under_way)
		list_del(&atomic->list);
	spin_unlock(&nscap_atomics_lock);
	if (under_way)
		return;
	kfree(atomic);
	mapping_unmap_writable(inode->i_mapping);
}

static void nscap_atomic_ended(struct inode *inode)
{
	struct nscap_atomic *atomic, *next;
	LIST_HEAD(ended);

	spin_lock(&nscap_atomics_lock);
	list_for_each_entry_safe(atomic, next, &nscap_atomics, list)
		if (atomic->inode == inode && !atomic->starting)
			list_move(&atomic->list, &ended);
	spin_unlock(&nscap_atomics_lock);
	list_for_each_entry_safe(atomic, next, &ended, list) {
		kfree(atomic);
		mapping_unmap_writable(inode->i_mapping);
	}
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define NSCAP_TRUNCATE
#define NSCAP_TRUNCATE_PASS
#else
#define NSCAP_TRUNCATE		, bool truncate
#define NSCAP_TRUNCATE_PASS	, truncate
#endif
static int nscap_in_f2fs_ioc_start_atomic_write(struct file *file NSCAP_TRUNCATE);
NSCAP_ORIGINAL(f2fs_ioc_start_atomic_write)
static int nscap_in_f2fs_ioc_start_atomic_write(struct file *file NSCAP_TRUNCATE)
{
	struct inode *inode = file_inode(file);
	struct nscap_atomic *atomic;
	int error;

	if (!(file->f_mode & FMODE_WRITE) || !S_ISREG(inode->i_mode))
		return original(f2fs_ioc_start_atomic_write)(file NSCAP_TRUNCATE_PASS);
	atomic = kmalloc(sizeof(*atomic), GFP_KERNEL);
	if (!atomic)
		return -ENOMEM;
	error = mapping_map_writable(inode->i_mapping);
	if (error) {
		kfree(atomic);
		return error;
	}
	nscap_atomic_start(atomic, inode);
	error = original(f2fs_ioc_start_atomic_write)(file NSCAP_TRUNCATE_PASS);
	nscap_atomic_started(atomic, !error);
	return error;
}

/* By the task that ends it, with the inode's lock where the file can still be granted to. */
static int nscap_in_f2fs_abort_atomic_write(struct inode *inode, bool clean);
NSCAP_ORIGINAL(f2fs_abort_atomic_write)
static int nscap_in_f2fs_abort_atomic_write(struct inode *inode, bool clean)
{
	int ret = original(f2fs_abort_atomic_write)(inode, clean);

	nscap_atomic_ended(inode);
	return ret;
}

/* gfs2, ntfs3, ocfs2 */

static long nscap_in_gfs2_fallocate(struct file *file, int mode, loff_t offset, loff_t len);
NSCAP_ORIGINAL(gfs2_fallocate)
static long nscap_in_gfs2_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	long error = nscap_replace_begin(inode);

	if (error)
		return error;
	error = original(gfs2_fallocate)(file, mode, offset, len);
	nscap_replace_end(inode);
	return error;
}

static long nscap_in_ntfs_fallocate(struct file *file, int mode, loff_t offset, loff_t len);
NSCAP_ORIGINAL(ntfs_fallocate)
static long nscap_in_ntfs_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	long error = nscap_replace_begin(inode);

	if (error)
		return error;
	error = original(ntfs_fallocate)(file, mode, offset, len);
	nscap_replace_end(inode);
	return error;
}

static int nscap_in___ocfs2_change_file_space(struct file *file, struct inode *inode, loff_t at,
					      unsigned int cmd, void *space, int change_size);
NSCAP_ORIGINAL(__ocfs2_change_file_space)
static int nscap_in___ocfs2_change_file_space(struct file *file, struct inode *inode, loff_t at,
					      unsigned int cmd, void *space, int change_size)
{
	int error = nscap_replace_begin(inode);

	if (error)
		return error;
	error = original(__ocfs2_change_file_space)(file, inode, at, cmd, space, change_size);
	nscap_replace_end(inode);
	return error;
}

struct nscap_hook nscap_filesystem_hooks[] = {
	NSCAP_HOOK(NULL, filemap_write_and_wait_range, nscap_during_wants),
	NSCAP_HOOK("ext4", ext4_ioctl, NULL),
	NSCAP_HOOK("ext4", ext4_compat_ioctl, NULL),
	NSCAP_HOOK("ext4", ext4_move_extents, NULL),
	NSCAP_HOOK("xfs", xfs_swap_extents, NULL),
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
	NSCAP_HOOK("xfs", xfs_file_ioctl, NULL),
#endif
	NSCAP_HOOK("f2fs", f2fs_ioctl, NULL),
	NSCAP_HOOK("f2fs", f2fs_compat_ioctl, NULL),
	NSCAP_HOOK("f2fs", f2fs_ioc_start_atomic_write, NULL),
	NSCAP_HOOK("f2fs", f2fs_abort_atomic_write, NULL),
	NSCAP_HOOK("gfs2", gfs2_fallocate, NULL),
	NSCAP_HOOK("ntfs3", ntfs_fallocate, NULL),
	NSCAP_HOOK("ocfs2", __ocfs2_change_file_space, NULL),
	{ }
};
