// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: the kernel's symbols, by their names.
 */
#define pr_fmt(fmt) "nscap: " fmt
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/static_call.h>

#include "nscap.h"
#include "symbols.h"

typedef unsigned long nscap_lookup_t(const char *name);
typedef unsigned long nscap_location_t(unsigned long ip);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
typedef int nscap_each_t(int (*fn)(void *data, const char *name, struct module *mod,
				   unsigned long at), void *data);
#define NSCAP_EACH "kallsyms_on_each_symbol"
#else
typedef int nscap_each_t(int (*fn)(void *data, unsigned long at), const char *name, void *data);
#define NSCAP_EACH "kallsyms_on_each_match_symbol"
#endif

DEFINE_STATIC_CALL_NULL(nscap_lookup, nscap_lookup_t);
DEFINE_STATIC_CALL_NULL(nscap_location, nscap_location_t);
DEFINE_STATIC_CALL_NULL(nscap_each, nscap_each_t);

#define NSCAP_DEFINE(name) DEFINE_STATIC_CALL_NULL(nscap_##name, name);
NSCAP_FUNCTIONS(NSCAP_DEFINE)

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
const struct address_space_operations *nscap_shmem_aops;
#endif

/*
 * The one function that names lead to is found as a probe's address. That may be behind the landing
 * pad of the function, by as much as its own name then says.
 */
static unsigned long __init nscap_find_lookup(void)
{
	/* Not armed: what was, may not be given back where memory is short, and nothing says so. */
	struct kprobe probe = {
		.symbol_name = "kallsyms_lookup_name",
		.flags = KPROBE_FLAG_DISABLED,
	};
	char name[KSYM_SYMBOL_LEN];
	unsigned long at, offset = 0;
	const char *plus;

	if (register_kprobe(&probe))
		return 0;
	at = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	sprint_symbol(name, at);
	plus = strchr(name, '+');
	if (!plus || sscanf(plus, "+0x%lx/", &offset) != 1)
		return 0;
	return at - offset;
}

unsigned long nscap_symbol(const char *module, const char *name)
{
	char qualified[KSYM_NAME_LEN];

	if (!module)
		return static_call(nscap_lookup)(name);
	snprintf(qualified, sizeof(qualified), "%s:%s", module, name);
	return static_call(nscap_lookup)(qualified);
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
struct nscap_counting {
	const char *const *names;
	int *counts;
	int n;
};

static int nscap_count(void *data, const char *name, struct module *mod, unsigned long at)
{
	const struct nscap_counting *counting = data;
	int i;

	for (i = 0; !mod && i < counting->n; i++)
		counting->counts[i] += !strcmp(name, counting->names[i]);
	return 0;
}

void nscap_count_symbols(const char *const *names, int *counts, int n)
{
	struct nscap_counting counting = { names, counts, n };

	static_call(nscap_each)(nscap_count, &counting);
}
#else
static int nscap_count(void *data, unsigned long at)
{
	++*(int *)data;
	return 0;
}

void nscap_count_symbols(const char *const *names, int *counts, int n)
{
	int i;

	for (i = 0; i < n; i++)
		static_call(nscap_each)(nscap_count, names[i], &counts[i]);
}
#endif

bool nscap_is_loaded(const char *module)
{
	bool loaded;

	rcu_read_lock_sched();
	loaded = find_module(module);
	rcu_read_unlock_sched();
	return loaded;
}

unsigned long nscap_behind_site(unsigned long function)
{
	unsigned long site = static_call(nscap_location)(function);

	return site ? site + MCOUNT_INSN_SIZE : 0;
}

static unsigned long __init nscap_need(const char *name)
{
	unsigned long at = nscap_symbol(NULL, name);

	if (!at)
		pr_err("this kernel has no symbol %s; not loaded\n", name);
	return at;
}

int __init nscap_find_symbols(void)
{
	unsigned long at = nscap_find_lookup();

	if (!at) {
		pr_err("this kernel has no kallsyms_lookup_name, or no kprobes; not loaded\n");
		return -ENOENT;
	}
	static_call_update(nscap_lookup, (nscap_lookup_t *)at);
#define NSCAP_FIND(key, name)							\
	do {									\
		at = nscap_need(name);						\
		if (!at)							\
			return -ENOENT;						\
		static_call_update(key, (typeof(&STATIC_CALL_TRAMP(key)))at);	\
	} while (0)
#define NSCAP_FIND_BY_NAME(name) NSCAP_FIND(nscap_##name, #name);
	NSCAP_FIND(nscap_location, "ftrace_location");
	NSCAP_FIND(nscap_each, NSCAP_EACH);
	NSCAP_FUNCTIONS(NSCAP_FIND_BY_NAME)
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	nscap_shmem_aops = (void *)nscap_need("shmem_aops");
	if (!nscap_shmem_aops)
		return -ENOENT;
#endif
	return 0;
}
