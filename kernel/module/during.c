// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: what a task is in the middle of.
 */
#include <linux/atomic.h>
#include <linux/hash.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "during.h"

#define NSCAP_DURING_BITS 6

/* A task looks for its own alone; the lock is for those that share a list with it. */
static struct nscap_tasks {
	spinlock_t lock;
	struct hlist_head list;
} nscap_tasks[1 << NSCAP_DURING_BITS] = {
	[0 ... (1 << NSCAP_DURING_BITS) - 1] = {
		.lock = __SPIN_LOCK_UNLOCKED(nscap_tasks.lock),
	},
};
static atomic_t nscap_durings = ATOMIC_INIT(0);

static struct nscap_tasks *nscap_tasks_here(void)
{
	return &nscap_tasks[hash_ptr(current, NSCAP_DURING_BITS)];
}

void nscap_begin_during(struct nscap_during *during, enum nscap_doing doing)
{
	struct nscap_tasks *tasks = nscap_tasks_here();

	memset(during, 0, sizeof(*during));
	during->task = current;
	during->doing = doing;
	atomic_inc(&nscap_durings);
	spin_lock(&tasks->lock);
	hlist_add_head(&during->node, &tasks->list);
	spin_unlock(&tasks->lock);
}

void nscap_end_during(struct nscap_during *during)
{
	struct nscap_tasks *tasks = nscap_tasks_here();

	spin_lock(&tasks->lock);
	hlist_del(&during->node);
	spin_unlock(&tasks->lock);
	atomic_dec(&nscap_durings);
}

struct nscap_during *nscap_during(enum nscap_doing doing)
{
	struct nscap_tasks *tasks = nscap_tasks_here();
	struct nscap_during *during, *newest = NULL;

	if (!nscap_any_during())
		return NULL;
	spin_lock(&tasks->lock);
	hlist_for_each_entry(during, &tasks->list, node) {
		if (during->task != current)
			continue;
		newest = during;
		break;
	}
	spin_unlock(&tasks->lock);
	return newest && newest->doing == doing ? newest : NULL;
}

/* What a task put there itself it sees, however stale the rest is. */
bool notrace nscap_any_during(void)
{
	return atomic_read(&nscap_durings) > 0;
}

bool notrace nscap_during_wants(struct ftrace_regs *fregs)
{
	return nscap_any_during();
}
