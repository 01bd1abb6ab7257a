/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File capabilities that belong to a user namespace: what overlayfs asks its layers, and why.
 */
#ifndef _NSCAP_LAYERS_H
#define _NSCAP_LAYERS_H

#include "nscap.h"

/* Each: whether the call is overlayfs's to a layer, about one of our names; then *result is its answer. */
bool nscap_layer_asked_get(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
			   void *value, size_t size, ssize_t *result);
bool nscap_layer_asked_set(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
			   const void *value, size_t size, int flags, int *result);

/* Whether attributes are changed for overlayfs's own setattr. */
bool nscap_layer_asked_setattr(void);

#endif
