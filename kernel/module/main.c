// SPDX-License-Identifier: GPL-2.0-only
/*
 * nscap on a kernel that was not built with it. What can fail is tried first; then, and only then, functions
 * are taken over, all of them at one moment. It stays until the machine is started again.
 */
#define pr_fmt(fmt) "nscap: " fmt
#include <linux/module.h>
#include <generated/utsrelease.h>

#include "hook.h"
#include "nscap.h"
#include "symbols.h"

struct ctl_table_header *nscap_sysctls_registered;

static int __init nscap_load(void)
{
	int error = nscap_find_symbols();

	if (!error)
		error = nscap_hooks_register();
	if (error)
		return error;
	error = nscap_parameters();
	if (error) {
		nscap_hooks_unregister();
		return error;
	}
	nscap_hooks_begin();
	pr_info("file capabilities that belong to a user namespace, on Linux " UTS_RELEASE
		"; array %u, busy %u\n", nscap_policy() & NSCAP_POLICY_ARRAY,
		nscap_policy() >> NSCAP_POLICY_BUSY_SHIFT);
	return 0;
}
module_init(nscap_load);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("nscap");
MODULE_DESCRIPTION("File capabilities that belong to a user namespace");
