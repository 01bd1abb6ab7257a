// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: BPF programs on a function that is taken over.
 *
 * A program before or behind a function (fentry, fexit, fmod_ret) is called by a trampoline, which then calls the
 * function itself: the original, unless it was told that the function is taken over. ftrace tells it when the
 * first program comes. Where others follow, not each kernel before 6.18 does that well. So there each trampoline
 * on a function of ours is told before a program is attached.
 */
#include <linux/bpf.h>
#include <linux/compiler.h>
#include <linux/version.h>

#include "hook.h"

#if defined(CONFIG_BPF_JIT) && defined(CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS) &&	\
	LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define NSCAP_TELLS_TRAMPOLINES
#endif

#ifdef NSCAP_TELLS_TRAMPOLINES
/* Some versions have no target; an argument more than a function has is none. */
static int nscap_in_bpf_trampoline_link_prog(void *link, struct bpf_trampoline *trampoline,
					     void *target);
NSCAP_ORIGINAL(bpf_trampoline_link_prog)
static int nscap_in_bpf_trampoline_link_prog(void *link, struct bpf_trampoline *trampoline,
					     void *target)
{
	if (nscap_is_taken((unsigned long)trampoline->func.addr)) {
		mutex_lock(&trampoline->mutex);
		trampoline->flags |= BPF_TRAMP_F_SHARE_IPMODIFY;
		mutex_unlock(&trampoline->mutex);
	}
	return original(bpf_trampoline_link_prog)(link, trampoline, target);
}
#endif

struct nscap_hook nscap_trampoline_hooks[] = {
#ifdef NSCAP_TELLS_TRAMPOLINES
	NSCAP_HOOK(NULL, bpf_trampoline_link_prog, NULL),
#endif
	{ }
};
