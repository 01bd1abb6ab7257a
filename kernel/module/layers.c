// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: overlayfs, as a module takes it over.
 *
 * Of overlayfs's functions none is written anew. What takes one over notes what it is about (during.h), and
 * where overlayfs then asks a layer, through the VFS, the layer answers as kernel/nscap/overlay.c says.
 */
#include <linux/mount.h>
#include <linux/path.h>

#include "during.h"
#include "hook.h"
#include "layers.h"
#include "nscap.h"

/* As a copy-up has it that moves the grants of a layer itself. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define NSCAP_LEAVE_OUT		1
#define NSCAP_SOURCE
#define NSCAP_SOURCE_PASS
#else
#define NSCAP_LEAVE_OUT		(-ECANCELED)
#define NSCAP_SOURCE		struct dentry *source,
#define NSCAP_SOURCE_PASS	source,
#endif

/* Of a mount the id map alone is asked, and that is what overlayfs passes on. */
static void nscap_path_of(struct path *path, struct vfsmount *mount, struct mnt_idmap *idmap,
			  struct dentry *dentry)
{
	memset(mount, 0, sizeof(*mount));
	mount->nscap_mnt_map = idmap;
	path->mnt = mount;
	path->dentry = dentry;
}

/* What was written down when metadata was copied up is kept while content is, and put back by us. */
static ssize_t nscap_keep(struct nscap_during *during, struct dentry *upper, void *value,
			  size_t size)
{
	struct nscap_kept *kept;

	if (!during->copy_up.looked) {
		kept = nscap_keep_begin(during->copy_up.dentry, upper);
		if (IS_ERR(kept))
			return PTR_ERR(kept);
		during->copy_up.kept = kept;
		during->copy_up.upper = upper;
		during->copy_up.looked = true;
	}
	if (!during->copy_up.kept)
		return -ENODATA;
	/* That there is something is all that overlayfs has to know. */
	if (size)
		memset(value, 0, 1);
	return 1;
}

bool nscap_layer_asked_get(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
			   void *value, size_t size, ssize_t *result)
{
	struct nscap_during *during, own;
	struct vfsmount mount;
	struct path path;

	during = nscap_during(NSCAP_LAYER_COPY_UP);
	if (during) {
		nscap_begin_during(&own, NSCAP_OWN_WORK);
		*result = strcmp(name, XATTR_NAME_CAPS) ?
			  -ENODATA : nscap_keep(during, dentry, value, size);
		nscap_end_during(&own);
		return true;
	}
	during = nscap_during(NSCAP_LAYER_ATTRIBUTE);
	if (!during)
		return false;
	nscap_path_of(&path, &mount, idmap, dentry);
	nscap_begin_during(&own, NSCAP_OWN_WORK);
	*result = nscap_layer_getxattr(during->attribute.above, &path, name, value, size);
	nscap_end_during(&own);
	return true;
}

/* The content is there: what the file granted, too. */
static int nscap_put_back_kept(struct nscap_during *during, struct mnt_idmap *idmap,
			       struct dentry *upper)
{
	struct nscap_kept *kept = during->copy_up.kept;

	during->copy_up.kept = NULL;
	return nscap_keep_end(kept, idmap, upper, 0);
}

bool nscap_layer_asked_set(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
			   const void *value, size_t size, int flags, int *result)
{
	struct nscap_during *during, own;

	during = nscap_during(NSCAP_LAYER_COPY_UP);
	if (during) {
		nscap_begin_during(&own, NSCAP_OWN_WORK);
		*result = nscap_put_back_kept(during, idmap, dentry);
		nscap_end_during(&own);
		return true;
	}
	during = nscap_during(NSCAP_LAYER_ATTRIBUTE);
	if (!during)
		return false;
	/* What the copy has is decided upon anew, see nscap_change_locked(). */
	if (during->attribute.copied_up && (value || strcmp(name, XATTR_NAME_CAPS))) {
		*result = -ESTALE;
		return true;
	}
	nscap_begin_during(&own, NSCAP_OWN_WORK);
	*result = nscap_layer_setxattr(during->attribute.above, idmap, dentry, name, value, size,
				       flags);
	nscap_end_during(&own);
	return true;
}

bool nscap_layer_asked_setattr(void)
{
	return nscap_during(NSCAP_LAYER_SETATTR);
}

static int nscap_in_ovl_other_xattr_get(const struct xattr_handler *handler,
					struct dentry *dentry, struct inode *inode,
					const char *name, void *buffer, size_t size);
NSCAP_ORIGINAL(ovl_other_xattr_get)
static int nscap_in_ovl_other_xattr_get(const struct xattr_handler *handler,
					struct dentry *dentry, struct inode *inode,
					const char *name, void *buffer, size_t size)
{
	struct nscap_during during;
	int len;

	if (!nscap_decides(name))
		return original(ovl_other_xattr_get)(handler, dentry, inode, name, buffer, size);
	nscap_begin_during(&during, NSCAP_LAYER_ATTRIBUTE);
	during.attribute.above = dentry->d_sb;
	len = original(ovl_other_xattr_get)(handler, dentry, inode, name, buffer, size);
	nscap_end_during(&during);
	return len;
}

static int nscap_in_ovl_other_xattr_set(const struct xattr_handler *handler,
					struct mnt_idmap *idmap, struct dentry *dentry,
					struct inode *inode, const char *name,
					const void *value, size_t size, int flags);
NSCAP_ORIGINAL(ovl_other_xattr_set)
static int nscap_in_ovl_other_xattr_set(const struct xattr_handler *handler,
					struct mnt_idmap *idmap, struct dentry *dentry,
					struct inode *inode, const char *name,
					const void *value, size_t size, int flags)
{
	struct nscap_during during;
	int error;

	if (!nscap_decides(name))
		return original(ovl_other_xattr_set)(handler, idmap, dentry, inode, name, value,
						     size, flags);
	nscap_begin_during(&during, NSCAP_LAYER_ATTRIBUTE);
	during.attribute.above = dentry->d_sb;
	error = original(ovl_other_xattr_set)(handler, idmap, dentry, inode, name, value, size,
					      flags);
	nscap_end_during(&during);
	return error;
}

/* Where a change of an attribute had to copy the file up first, the copy is to be looked at. */
static int nscap_in_ovl_copy_up(struct dentry *dentry);
NSCAP_ORIGINAL(ovl_copy_up)
static int nscap_in_ovl_copy_up(struct dentry *dentry)
{
	struct nscap_during *during = nscap_during(NSCAP_LAYER_ATTRIBUTE);

	if (during)
		during->attribute.copied_up = true;
	return original(ovl_copy_up)(dentry);
}

static int nscap_in_ovl_copy_up_one(struct dentry *parent, struct dentry *dentry, int flags);
NSCAP_ORIGINAL(ovl_copy_up_one)
static int nscap_in_ovl_copy_up_one(struct dentry *parent, struct dentry *dentry, int flags)
{
	struct nscap_during during;
	int error;

	nscap_begin_during(&during, NSCAP_LAYER_COPY_UP);
	during.copy_up.dentry = dentry;
	error = original(ovl_copy_up_one)(parent, dentry, flags);
	/* The content was not copied: what is kept is dropped. */
	if (during.copy_up.kept)
		error = nscap_keep_end(during.copy_up.kept, NULL, during.copy_up.upper,
				       error ?: -EIO);
	nscap_end_during(&during);
	return error;
}

typedef void nscap_in_ovl_path_lower(struct dentry *dentry, struct path *path);
NSCAP_ORIGINAL(ovl_path_lower)
typedef void nscap_in_ovl_path_upper(struct dentry *dentry, struct path *path);
NSCAP_ORIGINAL(ovl_path_upper)

static int nscap_in_ovl_copy_up_metadata(void *context, struct dentry *temp);
NSCAP_ORIGINAL(ovl_copy_up_metadata)
static int nscap_in_ovl_copy_up_metadata(void *context, struct dentry *temp)
{
	int error = original(ovl_copy_up_metadata)(context, temp);
	struct nscap_during *during = nscap_during(NSCAP_LAYER_COPY_UP), own;
	struct path lower, upper;

	if (error)
		return error;
	if (!during)
		return -EIO;
	original(ovl_path_lower)(during->copy_up.dentry, &lower);
	original(ovl_path_upper)(during->copy_up.dentry, &upper);
	nscap_begin_during(&own, NSCAP_OWN_WORK);
	error = nscap_copy_up(&lower, upper.mnt, temp);
	nscap_end_during(&own);
	return error;
}

static int nscap_in_ovl_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
				struct iattr *attr);
NSCAP_ORIGINAL(ovl_setattr)
static int nscap_in_ovl_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
				struct iattr *attr)
{
	struct nscap_during during;
	int error;

	nscap_begin_during(&during, NSCAP_LAYER_SETATTR);
	error = original(ovl_setattr)(idmap, dentry, attr);
	nscap_end_during(&during);
	return error;
}

static int nscap_in_security_inode_copy_up_xattr(NSCAP_SOURCE const char *name);
NSCAP_ORIGINAL(security_inode_copy_up_xattr)
static int nscap_in_security_inode_copy_up_xattr(NSCAP_SOURCE const char *name)
{
	/* Sealed to the copy's owner and size: ovl_copy_up_metadata() */
	if (nscap_decides(name))
		return NSCAP_LEAVE_OUT;
	return original(security_inode_copy_up_xattr)(NSCAP_SOURCE_PASS name);
}

struct nscap_hook nscap_layer_hooks[] = {
	NSCAP_HOOK(NULL, security_inode_copy_up_xattr, NULL),
	NSCAP_CALLED("overlay", ovl_path_lower),
	NSCAP_CALLED("overlay", ovl_path_upper),
	NSCAP_HOOK("overlay", ovl_copy_up_metadata, NULL),
	NSCAP_HOOK("overlay", ovl_copy_up_one, NULL),
	NSCAP_HOOK("overlay", ovl_copy_up, NULL),
	NSCAP_HOOK("overlay", ovl_setattr, NULL),
	NSCAP_HOOK("overlay", ovl_other_xattr_set, NULL),
	NSCAP_HOOK("overlay", ovl_other_xattr_get, NULL),
	{ }
};
