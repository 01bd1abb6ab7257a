// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: taking functions over.
 *
 * By ftrace, as livepatch does: IPMODIFY, so that one function has one that takes it over, and the second
 * is told; PERMANENT, so that it cannot be turned off below us. Not by a helper that may leave a call
 * out, as FTRACE_OPS_FL_RECURSION would: what is left out would be a hole.
 */
#define pr_fmt(fmt) "nscap: " fmt
#include <linux/compiler.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>

#include "hook.h"
#include "symbols.h"

static struct nscap_hook *const nscap_hooks[] = {
	nscap_vfs_hooks,
	nscap_layer_hooks,
	nscap_filesystem_hooks,
	nscap_trampoline_hooks,
};

#define NSCAP_MAX_HOOKS 48

static DEFINE_MUTEX(nscap_hooks_mutex);
/* Once set it stays: a task may sleep in a function of ours from then on. */
static bool nscap_begun __read_mostly;

#define for_each_hook(hook)								\
	for (int table_ = 0; table_ < ARRAY_SIZE(nscap_hooks); table_++)		\
		for (hook = nscap_hooks[table_]; hook->name; hook++)

static void notrace nscap_redirect(unsigned long ip, unsigned long parent_ip,
				   struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	const struct nscap_hook *hook = container_of(ops, struct nscap_hook, ops);

	if (!READ_ONCE(nscap_begun) || (hook->wanted && !hook->wanted(fregs)))
		return;
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)hook->by);
}

/* at: where the function is. */
static int nscap_register(struct nscap_hook *hook, unsigned long at)
{
	unsigned long behind = nscap_behind_site(at);
	int error;

	if (!hook->by) {
		hook->place(at);
		hook->registered = true;
		return 0;
	}
	if (!behind) {
		pr_err("%s cannot be traced\n", hook->name);
		return -EOPNOTSUPP;
	}
	if (hook->place)
		hook->place(behind);
	memset(&hook->ops, 0, sizeof(hook->ops));
	hook->ops.func = nscap_redirect;
	hook->ops.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT;
	if (!IS_ENABLED(CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS))
		hook->ops.flags |= FTRACE_OPS_FL_SAVE_REGS;
	error = ftrace_set_filter_ip(&hook->ops, at, 0, 0);
	if (!error)
		error = register_ftrace_function(&hook->ops);
	if (error)
		ftrace_free_filter(&hook->ops);
	if (error == -EBUSY)
		pr_err("%s is taken over by a live patch or another module, or kernel.ftrace_enabled is 0\n",
		       hook->name);
	else if (error == -ENODEV)
		pr_err("ftrace is dead: %s cannot be taken over\n", hook->name);
	else if (error)
		pr_err("%s cannot be taken over: %d\n", hook->name, error);
	hook->at = at;
	hook->registered = !error;
	return error;
}

bool nscap_is_taken(unsigned long function)
{
	struct nscap_hook *hook;
	bool taken = false;

	mutex_lock(&nscap_hooks_mutex);
	for_each_hook(hook)
		taken |= hook->by && hook->registered && hook->at == function;
	mutex_unlock(&nscap_hooks_mutex);
	return taken;
}

static void nscap_unregister(struct nscap_hook *hook)
{
	if (!hook->registered)
		return;
	if (hook->by && unregister_ftrace_function(&hook->ops))
		pr_err("%s cannot be given back\n", hook->name);
	if (hook->by)
		ftrace_free_filter(&hook->ops);
	hook->registered = false;
}

/* How often the kernel itself has each name: of two functions nothing says which is meant. */
static void nscap_count_names(void)
{
	const char *names[NSCAP_MAX_HOOKS];
	int counts[NSCAP_MAX_HOOKS] = {}, n = 0, i = 0;
	struct nscap_hook *hook;

	for_each_hook(hook)
		if (!WARN_ON(n == NSCAP_MAX_HOOKS))
			names[n++] = hook->name;
	nscap_count_symbols(names, counts, n);
	for_each_hook(hook)
		hook->count = i < n ? counts[i++] : 0;
}

/* 0 too where the module that has the function is not there yet. */
static int nscap_take(struct nscap_hook *hook)
{
	unsigned long at;

	if (hook->registered)
		return 0;
	if (hook->module && nscap_is_loaded(hook->module)) {
		at = nscap_symbol(hook->module, hook->name);
		if (!at)
			pr_err("%s has no %s\n", hook->module, hook->name);
		return at ? nscap_register(hook, at) : -ENOENT;
	}
	/* What is a module elsewhere may be a part of this kernel. */
	if (!hook->count && hook->module)
		return 0;
	if (hook->count != 1) {
		pr_err("this kernel has %s %s\n", hook->count ? "more than one" : "no", hook->name);
		return hook->count ? -ENOTUNIQ : -ENOENT;
	}
	return nscap_register(hook, nscap_symbol(NULL, hook->name));
}

/* Of a module that is being loaded: what it has to have, or it is not loaded. */
static int nscap_take_module(const char *module)
{
	struct nscap_hook *hook;
	int error = 0;

	for_each_hook(hook) {
		if (error || !hook->module || strcmp(hook->module, module))
			continue;
		error = nscap_take(hook);
	}
	return error;
}

static void nscap_give_back_module(const char *module)
{
	struct nscap_hook *hook;

	for_each_hook(hook)
		if (hook->module && !strcmp(hook->module, module))
			nscap_unregister(hook);
}

static int nscap_module_event(struct notifier_block *block, unsigned long event, void *data)
{
	const struct module *module = data;
	int error = 0;

	if (module == THIS_MODULE)
		return NOTIFY_DONE;
	mutex_lock(&nscap_hooks_mutex);
	if (event == MODULE_STATE_COMING)
		error = nscap_take_module(module->name);
	if (error)
		pr_err("%s is not loaded, since what it does to files could not be kept track of\n",
		       module->name);
	if (error || event == MODULE_STATE_GOING)
		nscap_give_back_module(module->name);
	mutex_unlock(&nscap_hooks_mutex);
	return notifier_from_errno(error);
}

static struct notifier_block nscap_modules = {
	.notifier_call = nscap_module_event,
	/* Before any task that may use what it has. */
	.priority = INT_MAX,
};

/* Nothing was redirected yet, so no task is in a function of ours. */
static void nscap_unregister_all(void)
{
	struct nscap_hook *hook;

	for_each_hook(hook)
		nscap_unregister(hook);
}

int nscap_hooks_register(void)
{
	struct nscap_hook *hook;
	int error = register_module_notifier(&nscap_modules);

	if (error)
		return error;
	mutex_lock(&nscap_hooks_mutex);
	nscap_count_names();
	for_each_hook(hook)
		if (!error)
			error = nscap_take(hook);
	if (error)
		nscap_unregister_all();
	mutex_unlock(&nscap_hooks_mutex);
	if (error)
		unregister_module_notifier(&nscap_modules);
	return error;
}

void nscap_hooks_unregister(void)
{
	unregister_module_notifier(&nscap_modules);
	mutex_lock(&nscap_hooks_mutex);
	nscap_unregister_all();
	mutex_unlock(&nscap_hooks_mutex);
}

void nscap_hooks_begin(void)
{
	smp_store_release(&nscap_begun, true);
}
