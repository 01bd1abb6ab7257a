/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File capabilities that belong to a user namespace: functions of the kernel that are taken over.
 *
 * A caller of such a function comes to ours, which has the same arguments. Ours may call original(name), which
 * begins behind the place where it was taken over: so it does not come back, however it is called.
 */
#ifndef _NSCAP_HOOK_H
#define _NSCAP_HOOK_H

#include <linux/ftrace.h>
#include <linux/static_call.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define ftrace_regs_set_instruction_pointer ftrace_instruction_pointer_set
#define ftrace_regs_get_argument(fregs, n) regs_get_kernel_argument(&(fregs)->regs, n)
#endif

struct nscap_hook {
	/* NULL where it is the kernel's own. */
	const char *module;
	const char *name;
	void *by;
	/* Gets where the original begins. */
	void (*place)(unsigned long at);
	/*
	 * If given, and it says no, the original runs as if it had not been taken over. It is called
	 * with the arguments in their registers, and cannot be traced.
	 */
	bool (*wanted)(struct ftrace_regs *fregs);
	/* How often the kernel itself has the name. */
	int count;
	bool registered;
	/* Where it is, if it is registered. */
	unsigned long at;
	struct ftrace_ops ops;
};

/* name is taken over by nscap_in_name, which is declared before this. */
#define NSCAP_ORIGINAL(name)							\
	DEFINE_STATIC_CALL_NULL(nscap_original_##name, nscap_in_##name);	\
	static void nscap_place_##name(unsigned long at)			\
	{									\
		static_call_update(nscap_original_##name,			\
				   (typeof(nscap_in_##name) *)at);		\
	}
#define original(name) static_call(nscap_original_##name)

#define NSCAP_HOOK(of_module, of_name, when)					\
	{									\
		.module = of_module,						\
		.name = #of_name,						\
		.by = nscap_in_##of_name,					\
		.place = nscap_place_##of_name,					\
		.wanted = when,							\
	}

/* Where nothing of the original is left, or it is called by another name. */
#define NSCAP_WHOLE(of_module, of_name)						\
	{									\
		.module = of_module,						\
		.name = #of_name,						\
		.by = nscap_in_##of_name,					\
	}

/* Is called only, as it is. */
#define NSCAP_CALLED(of_module, of_name)					\
	{									\
		.module = of_module,						\
		.name = #of_name,						\
		.place = nscap_place_##of_name,					\
	}

/* Ends with an empty one each. */
extern struct nscap_hook nscap_vfs_hooks[];
extern struct nscap_hook nscap_layer_hooks[];
extern struct nscap_hook nscap_filesystem_hooks[];
extern struct nscap_hook nscap_trampoline_hooks[];

/*
 * Takes over what is loaded already, and from then on whatever module is loaded that has such a function.
 * Nothing is redirected before nscap_hooks_begin(), so that all can be taken back till then.
 */
int nscap_hooks_register(void);
void nscap_hooks_unregister(void);
void nscap_hooks_begin(void);

/* Whether the function that begins there is one that is taken over. Sleeps. */
bool nscap_is_taken(unsigned long function);

#endif
