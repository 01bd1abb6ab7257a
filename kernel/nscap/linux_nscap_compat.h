/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File capabilities that belong to a user namespace: what <linux/nscap.h> names on kernels before 6.3,
 * where the id map of a mount is a user namespace. No part of the series for the newest kernel.
 */
#ifndef _LINUX_NSCAP_COMPAT_H
#define _LINUX_NSCAP_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
#define mnt_idmap user_namespace
#endif

#endif
