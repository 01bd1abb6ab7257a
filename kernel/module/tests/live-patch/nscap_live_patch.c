// SPDX-License-Identifier: GPL-2.0-only
/*
 * A live patch, as a vendor would load one: it replaces one function that returns an int by one that returns
 * -ENODATA. Of get_vfs_caps_from_disk() that means: no file has capabilities.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

static char *object;
module_param(object, charp, 0444);
MODULE_PARM_DESC(object, "the module that has the function; the kernel itself where it is not said");
static char *function = "get_vfs_caps_from_disk";
module_param(function, charp, 0444);

static int replacement(void)
{
	return -ENODATA;
}

static struct klp_func functions[] = {
	{ .new_func = replacement },
	{ }
};
static struct klp_object objects[] = {
	{ .funcs = functions },
	{ }
};
static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init live_patch_init(void)
{
	objects[0].name = object;
	functions[0].old_name = function;
	return klp_enable_patch(&patch);
}

/* livepatch lets it be called once the patch is disabled. */
static void __exit live_patch_exit(void)
{
}

module_init(live_patch_init);
module_exit(live_patch_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A live patch of one function, for a test");
MODULE_INFO(livepatch, "Y");
