// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace: what the audit log says of them.
 *
 * A record for each grant that is made, taken back or dropped with its content, and for a refusal
 * for want of a privilege. Any task can bring refusals about, so of those not more than some.
 */
#include <linux/audit.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/ratelimit.h>

#include "nscap.h"

static void nscap_log(struct dentry *dentry, const char *op, const char *clause, int error,
		      gfp_t gfp)
{
	struct inode *inode = d_backing_inode(dentry);
	struct name_snapshot name;
	struct audit_buffer *ab;

	ab = audit_log_start(audit_context(), gfp, AUDIT_NSCAP);
	if (!ab)
		return;
	audit_log_format(ab, "op=%s name=", op);
	take_dentry_name_snapshot(&name, dentry);
	audit_log_untrustedstring(ab, name.name.name);
	release_dentry_name_snapshot(&name);
	audit_log_format(ab, " ino=%llu dev=", (unsigned long long)inode->i_ino);
	audit_log_untrustedstring(ab, inode->i_sb->s_id);
	audit_log_format(ab, " clause=%.2s res=%d", clause, error);
	audit_log_end(ab);
}

/* After a change, without a lock: a full backlog of records is waited for. */
void nscap_audit_change(struct dentry *dentry, enum nscap_what what,
			const struct nscap_record *record, int error)
{
	static struct ratelimit_state refusals =
		RATELIMIT_STATE_INIT_FLAGS(refusals, DEFAULT_RATELIMIT_INTERVAL,
					   DEFAULT_RATELIMIT_BURST, RATELIMIT_MSG_ON_RELEASE);

	if (!audit_enabled || record->logged == NSCAP_LOGS_NOTHING)
		return;
	if (record->logged == NSCAP_LOGS_REFUSAL && !__ratelimit(&refusals))
		return;
	nscap_log(dentry, nscap_sets(what) ? "set" : "remove", record->clause, error, GFP_KERNEL);
}

/* K: what the file grants has been dropped, with content or owner. Under the inode's lock. */
void nscap_dropped(struct dentry *dentry, int error)
{
	if (audit_enabled && error != -ENODATA && error != -EOPNOTSUPP)
		nscap_log(dentry, "drop", "K", error, GFP_NOWAIT);
}
