// SPDX-License-Identifier: GPL-2.0-only
/*
 * File capabilities that belong to a user namespace.
 *
 * What a file holds is written down in two attributes. security.capability is a value of the
 * kernel's own, or the companion of a sealed table in security.nscapability; every change of
 * content or owner drops it, as it always did, and with it the table counts for nothing. Whoever
 * changes either name is decided upon and served under the inode lock, in one go. All decisions are
 * the Rust object's; this file reads, asks, and does as it is told.
 */
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/nscap.h>
#include <linux/random.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysctl.h>
#include <linux/user_namespace.h>
#include <linux/xattr.h>

#include "nscap_rust.h"

/* Longer than any value; what is longer still is malformed all the same. */
#define CAPABILITY_ROOM 64

static int sysctl_array;
static int sysctl_same_ok;

/* The decisions' view of a namespace. */

const void *nscap_ns_parent(const void *ns)
{
	return ((const struct user_namespace *)ns)->parent;
}

u32 nscap_ns_owner(const void *ns)
{
	return __kuid_val(((const struct user_namespace *)ns)->owner);
}

u32 nscap_ns_map(const void *opaque, u32 kind, u32 id)
{
	struct user_namespace *ns = (struct user_namespace *)opaque;

	switch (kind) {
	case 0:
		return __kuid_val(make_kuid(ns, id));
	case 1:
		return from_kuid(ns, KUIDT_INIT(id));
	case 2:
		return __kgid_val(make_kgid(ns, id));
	default:
		return from_kgid(ns, KGIDT_INIT(id));
	}
}

bool nscap_decides(const char *name)
{
	return !strcmp(name, XATTR_NAME_CAPS) || !strcmp(name, XATTR_NAME_NSCAP);
}

/* A file and its two attributes as they are now. */
struct nscap_state {
	struct nscap_file file;
	u8 capability[CAPABILITY_ROOM];
	u8 *table;
};

static void nscap_describe(struct nscap_state *state, struct user_namespace *mnt_userns,
			   struct inode *inode)
{
	struct user_namespace *fs_ns = inode->i_sb->s_user_ns;
	struct nscap_file *file = &state->file;

	memset(file, 0, sizeof(*file));
	state->table = NULL;
	file->sb_ns = fs_ns;
	file->idmap = no_idmapping(mnt_userns, fs_ns) ? NULL : mnt_userns;
	file->owner = __vfsuid_val(i_uid_into_vfsuid(mnt_userns, inode));
	file->group = __vfsgid_val(i_gid_into_vfsgid(mnt_userns, inode));
	file->disk_uid = from_kuid(fs_ns, inode->i_uid);
	file->disk_gid = from_kgid(fs_ns, inode->i_gid);
	file->size = i_size_read(inode);
	file->immutable = IS_IMMUTABLE(inode) || IS_APPEND(inode);
}

static void nscap_take_capability(struct nscap_state *state, const void *value, ssize_t len)
{
	if (len == -ERANGE || len > CAPABILITY_ROOM) {
		memset(state->capability, 0, CAPABILITY_ROOM);
		len = CAPABILITY_ROOM;
	} else if (value) {
		memcpy(state->capability, value, len);
	}
	state->file.capability.data = state->capability;
	state->file.capability.len = len;
}

static int nscap_read_capability(struct nscap_state *state, struct dentry *dentry,
				 struct inode *inode)
{
	ssize_t len = __vfs_getxattr(dentry, inode, XATTR_NAME_CAPS, state->capability,
				     CAPABILITY_ROOM);

	if (len == -ENODATA || len == -EOPNOTSUPP)
		return len;
	if (len < 0 && len != -ERANGE)
		return len;
	nscap_take_capability(state, NULL, len);
	return 0;
}

/* The largest table, twice; anything longer is no table. */
static int nscap_read_table(struct nscap_state *state, struct dentry *dentry,
			    struct inode *inode)
{
	static const u8 none[1];
	ssize_t len = __vfs_getxattr(dentry, inode, XATTR_NAME_NSCAP, NULL, 0);

	if (len == -ENODATA || len == -EOPNOTSUPP)
		return 0;
	if (len < 0)
		return len;
	if (len == 0 || len > NSCAP_TABLES_LEN) {
		state->file.table.data = none;
		state->file.table.len = sizeof(none);
		return 0;
	}
	state->table = kvmalloc(len, GFP_KERNEL);
	if (!state->table)
		return -ENOMEM;
	len = __vfs_getxattr(dentry, inode, XATTR_NAME_NSCAP, state->table, len);
	if (len == -ENODATA || len == -ERANGE)
		return 0;	/* changed meanwhile: no companion opens what we do not have */
	if (len < 0)
		return len;
	state->file.table.data = state->table;
	state->file.table.len = len;
	return 0;
}

static int nscap_read(struct nscap_state *state, struct user_namespace *mnt_userns,
		      struct dentry *dentry, struct inode *inode)
{
	int error;

	nscap_describe(state, mnt_userns, inode);
	error = nscap_read_capability(state, dentry, inode);
	if (error && error != -ENODATA)
		return error;
	return nscap_read_table(state, dentry, inode);
}

static void nscap_release(struct nscap_state *state)
{
	kvfree(state->table);
}

/* setxattr and removexattr. */

static int nscap_step(struct user_namespace *mnt_userns, struct dentry *dentry,
		      const struct nscap_step *step, struct inode **delegated)
{
	int error;

	switch (step->op) {
	case NSCAP_SET_TABLE:
		return __vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, step->data,
					     step->len, 0, delegated);
	case NSCAP_CREATE_CAPABILITY:
		return __vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_CAPS, step->value,
					     step->len, XATTR_CREATE, delegated);
	case NSCAP_REPLACE_CAPABILITY:
		return __vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_CAPS, step->value,
					     step->len, XATTR_REPLACE, delegated);
	case NSCAP_REMOVE_TABLE:
		error = __vfs_removexattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, delegated);
		break;
	default:
		error = __vfs_removexattr_locked(mnt_userns, dentry, XATTR_NAME_CAPS, delegated);
		break;
	}
	return error == -ENODATA ? 0 : error;
}

/* Before the step that commits fails, the table is as it was again. */
static void nscap_undo(struct user_namespace *mnt_userns, struct dentry *dentry,
		       const struct nscap_state *state)
{
	struct inode *ignored = NULL;

	if (state->table)
		__vfs_setxattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, state->table,
				      state->file.table.len, 0, &ignored);
	else
		__vfs_removexattr_locked(mnt_userns, dentry, XATTR_NAME_NSCAP, &ignored);
	if (ignored)
		iput(ignored);
}

static int nscap_carry_out(struct user_namespace *mnt_userns, struct dentry *dentry,
			   const struct nscap_state *state, const struct nscap_answer *answer,
			   struct inode **delegated)
{
	bool table_touched = false;
	int i, error;

	for (i = 0; i < NSCAP_MAX_STEPS && answer->steps[i].op != NSCAP_END; i++) {
		const struct nscap_step *step = &answer->steps[i];

		error = nscap_step(mnt_userns, dentry, step, delegated);
		if (error) {
			if (table_touched)
				nscap_undo(mnt_userns, dentry, state);
			/* What a file system says of a value that does not fit. */
			return error == -E2BIG || error == -ERANGE ? -ENOSPC : error;
		}
		table_touched = step->op == NSCAP_SET_TABLE || step->op == NSCAP_REMOVE_TABLE;
	}
	return 0;
}

static void nscap_audit(struct dentry *dentry, const char *op, const struct nscap_bytes *clause,
			int error)
{
	struct audit_buffer *ab;

	ab = audit_log_start(audit_context(), GFP_KERNEL, AUDIT_KERNEL_OTHER);
	if (!ab)
		return;
	audit_log_format(ab, "nscap op=%s name=", op);
	audit_log_untrustedstring(ab, dentry->d_name.name);
	audit_log_format(ab, " ino=%lu dev=", d_backing_inode(dentry)->i_ino);
	audit_log_untrustedstring(ab, dentry->d_sb->s_id);
	audit_log_format(ab, " clause=%.*s res=%d", (int)clause->len, clause->data, error);
	audit_log_end(ab);
}

static bool nscap_sets(u32 what)
{
	return what == NSCAP_SET_CAPABILITY || what == NSCAP_SET_NSCAPABILITY;
}

/* What the rules allow may still be refused: by a security module, or for a mapping. */
static int nscap_refuse(struct dentry *dentry, u32 what, const struct nscap_answer *answer)
{
	if (answer->steps[0].op == NSCAP_END)
		return 0;
	if (!ns_capable(current_user_ns(), CAP_SETFCAP) &&
	    !ns_capable(dentry->d_sb->s_user_ns, CAP_SETFCAP))
		return -EPERM;
	/* Whoever maps the content could change it unseen; overlayfs maps the layer's. */
	if (nscap_sets(what) && mapping_writably_mapped(d_real_inode(dentry)->i_mapping))
		return -ETXTBSY;
	return 0;
}

/* Under the inode's lock. */
static int nscap_change(struct user_namespace *mnt_userns, struct dentry *dentry, u32 what,
			u32 policy, const void *value, size_t size, int flags,
			struct inode **delegated)
{
	struct inode *inode = d_inode(dentry);
	const struct cred *cred = current_cred();
	struct nscap_caller caller = {
		.ns = cred->user_ns,
		.euid = __kuid_val(cred->euid),
		.policy = policy,
	};
	struct nscap_bytes bytes = { .data = value, .len = value ? size : 0 };
	struct nscap_state *state;
	struct nscap_answer *answer;
	struct nscap_room room = {};
	int error = -ENOMEM;

	caller.effective = cred->cap_effective.cap[0] |
			   ((u64)cred->cap_effective.cap[1] << 32);
	state = kzalloc(sizeof(*state), GFP_KERNEL);
	answer = kzalloc(sizeof(*answer), GFP_KERNEL);
	room.entries_len = NSCAP_MAX_ENTRIES;
	room.entries = kvmalloc_array(NSCAP_MAX_ENTRIES, NSCAP_RECORD_LEN, GFP_KERNEL);
	room.tables_len = NSCAP_TABLES_LEN;
	room.tables = kvmalloc(NSCAP_TABLES_LEN, GFP_KERNEL);
	room.random = get_random_u64();
	if (!state || !answer || !room.entries || !room.tables)
		goto out;
	error = nscap_read(state, mnt_userns, dentry, inode);
	if (error)
		goto out;
	error = nscap_decide_change(what, &caller, &state->file, bytes, flags, &room, answer);
	if (!error)
		error = nscap_refuse(dentry, what, answer);
	if (!error)
		error = nscap_carry_out(mnt_userns, dentry, state, answer, delegated);
	nscap_audit(dentry, nscap_sets(what) ? "set" : "remove", &answer->clause, error);
out:
	if (state)
		nscap_release(state);
	kfree(state);
	kfree(answer);
	kvfree(room.entries);
	kvfree(room.tables);
	return error;
}

static u32 nscap_policy(void)
{
	return (READ_ONCE(sysctl_array) ? NSCAP_POLICY_ARRAY : 0) |
	       (READ_ONCE(sysctl_same_ok) ? NSCAP_POLICY_SAME_OK : 0);
}

int nscap_setxattr_locked(struct user_namespace *mnt_userns, struct dentry *dentry,
			  const char *name, const void *value, size_t size, int flags,
			  struct inode **delegated_inode)
{
	u32 what = strcmp(name, XATTR_NAME_CAPS) ? NSCAP_SET_NSCAPABILITY : NSCAP_SET_CAPABILITY;

	return nscap_change(mnt_userns, dentry, what, nscap_policy(), value, size, flags,
			    delegated_inode);
}

int nscap_removexattr_locked(struct user_namespace *mnt_userns, struct dentry *dentry,
			     const char *name, struct inode **delegated_inode)
{
	u32 what = strcmp(name, XATTR_NAME_CAPS) ? NSCAP_REMOVE_NSCAPABILITY :
						   NSCAP_REMOVE_CAPABILITY_NAME;

	return nscap_change(mnt_userns, dentry, what, nscap_policy(), NULL, 0, 0,
			    delegated_inode);
}

/* getxattr and listxattr. */

int nscap_inode_getsecurity(struct user_namespace *mnt_userns, struct inode *inode,
			    const char *name, void **buffer, bool alloc)
{
	struct nscap_state state;
	struct dentry *dentry;
	u32 what;
	ssize_t len;

	if (!strcmp(name, "capability"))
		what = 0;
	else if (!strcmp(name, "nscapability"))
		what = 1;
	else
		return -EOPNOTSUPP;
	dentry = d_find_any_alias(inode);
	if (!dentry)
		return -EINVAL;
	len = nscap_read(&state, mnt_userns, dentry, inode);
	dput(dentry);
	if (len)
		goto out;
	len = nscap_decide_get(what, current_user_ns(), &state.file, NULL, 0);
	if (len > 0 && alloc) {
		*buffer = kmalloc(len, GFP_KERNEL);
		len = *buffer ? nscap_decide_get(what, current_user_ns(), &state.file, *buffer,
						 len) : -ENOMEM;
	}
out:
	nscap_release(&state);
	return len;
}

/* Adds a name to the list of `len` bytes; -ERANGE where it does not fit. */
static ssize_t nscap_list_add(char *list, size_t size, ssize_t len, const char *name)
{
	size_t name_len = strlen(name) + 1;

	if (len < 0 || size - len < name_len)
		return -ERANGE;
	memcpy(list + len, name, name_len);
	return len + name_len;
}

/* Takes both names out of the list; its new length. */
static ssize_t nscap_list_strip(char *list, ssize_t listed)
{
	char *at = list, *end = list + listed;

	while (at < end) {
		size_t len = strlen(at) + 1;

		if (nscap_decides(at)) {
			memmove(at, at + len, end - at - len);
			end -= len;
		} else {
			at += len;
		}
	}
	return end - list;
}

/*
 * Where the raw list names either attribute, what the caller is to see of them (L). Asked for the
 * length alone, an upper bound: what is stored under the shorter name may be listed by the longer.
 */
ssize_t nscap_listxattr(struct user_namespace *mnt_userns, struct dentry *dentry, char *list,
			size_t size, ssize_t listed)
{
	struct inode *inode = d_inode(dentry);
	struct nscap_state state;
	ssize_t len;
	u32 names;

	if (listed < (ssize_t)sizeof(XATTR_NAME_CAPS))
		return listed;
	if (!list || !size)
		return __vfs_getxattr(dentry, inode, XATTR_NAME_CAPS, NULL, 0) > 0 ?
		       listed + sizeof(XATTR_NAME_NSCAP) : listed;
	len = nscap_list_strip(list, listed);
	if (len == listed)
		return listed;
	listed = nscap_read(&state, mnt_userns, dentry, inode);
	names = listed ? 0 : nscap_decide_list(current_user_ns(), &state.file);
	nscap_release(&state);
	if (listed)
		return listed;
	if (names & 1)
		len = nscap_list_add(list, size, len, XATTR_NAME_CAPS);
	if (names & 2)
		len = nscap_list_add(list, size, len, XATTR_NAME_NSCAP);
	return len;
}

/* execve. */

int nscap_exec_caps(struct user_namespace *mnt_userns, struct dentry *dentry,
		    const void *capability, int size, struct cpu_vfs_cap_data *cpu_caps)
{
	struct inode *inode = d_backing_inode(dentry);
	struct nscap_state state;
	struct nscap_grant grant;
	int found;

	if (size < 0 && size != -ERANGE)
		return size;
	nscap_describe(&state, mnt_userns, inode);
	nscap_take_capability(&state, capability, size);
	if (nscap_is_tripwire(state.file.capability)) {
		found = nscap_read_table(&state, dentry, inode);
		if (found)
			goto out;
	}
	found = nscap_decide_exec(current_user_ns(), &state.file, &grant);
	if (found == 0)
		found = -ENODATA;
	if (found < 0)
		goto out;
	cpu_caps->magic_etc = VFS_CAP_REVISION_2 |
			      (grant.effective ? VFS_CAP_FLAGS_EFFECTIVE : 0);
	cpu_caps->permitted.cap[0] = grant.permitted;
	cpu_caps->permitted.cap[1] = (grant.permitted >> 32) & CAP_LAST_U32_VALID_MASK;
	cpu_caps->inheritable.cap[0] = grant.inheritable;
	cpu_caps->inheritable.cap[1] = (grant.inheritable >> 32) & CAP_LAST_U32_VALID_MASK;
	cpu_caps->rootid = KUIDT_INIT(grant.rootid);
	found = 0;
out:
	nscap_release(&state);
	return found;
}

/* K: what the file grants has been dropped with its content or its owner. */
void nscap_dropped(struct dentry *dentry, int error)
{
	static const struct nscap_bytes clause = { .data = "K", .len = 1 };

	if (error != -ENODATA && error != -EOPNOTSUPP)
		nscap_audit(dentry, "drop", &clause, error);
}

/* A mapping through which content can change unseen drops what the file grants. */

int nscap_mmap_file(struct file *file, unsigned long flags)
{
	unsigned long type = flags & MAP_TYPE;
	struct dentry *dentry;
	struct inode *inode;
	int error = 0;

	if (!file || (type != MAP_SHARED && type != MAP_SHARED_VALIDATE) ||
	    !(file->f_mode & FMODE_WRITE))
		return 0;
	dentry = file_dentry(file);
	inode = d_backing_inode(dentry);
	if (!S_ISREG(inode->i_mode) || !(inode->i_opflags & IOP_XATTR))
		return 0;
	inode_lock(inode);
	if (security_inode_need_killpriv(dentry) > 0)
		error = security_inode_killpriv(file_mnt_user_ns(file), dentry);
	inode_unlock(inode);
	return error == -ENODATA ? 0 : error;
}

/* W: overlayfs. Its mounter's credentials are in force in all of these. */

/* Whether what a layer stores means the same, byte for byte, on the superblock above it. */
static bool nscap_same_terms(struct super_block *above, struct user_namespace *mnt_userns,
			     struct dentry *layer)
{
	struct user_namespace *ns = layer->d_sb->s_user_ns;

	return ns == above->s_user_ns && no_idmapping(mnt_userns, ns);
}

/* The one entry of a layer, in the terms of the superblock above; -ENODATA where it has no other. */
static ssize_t nscap_layer_entry(struct super_block *above, struct user_namespace *mnt_userns,
				 struct dentry *layer, void *value, size_t size)
{
	struct user_namespace *ns = layer->d_sb->s_user_ns;
	struct vfs_ns_cap_data entry;
	ssize_t len;
	uid_t rootid;
	vfsuid_t root;

	len = __vfs_getxattr(layer, d_inode(layer), XATTR_NAME_CAPS, &entry, sizeof(entry));
	if (len != sizeof(entry) ||
	    (le32_to_cpu(entry.magic_etc) & VFS_CAP_REVISION_MASK) != VFS_CAP_REVISION_3)
		return -ENODATA;
	root = make_vfsuid(mnt_userns, ns, make_kuid(ns, le32_to_cpu(entry.rootid)));
	rootid = vfsuid_valid(root) ? from_kuid(above->s_user_ns, vfsuid_into_kuid(root)) : -1;
	if (rootid == (uid_t)-1)
		return -ENODATA;
	entry.rootid = cpu_to_le32(rootid);
	if (value && size < sizeof(entry))
		return -ERANGE;
	if (value)
		memcpy(value, &entry, sizeof(entry));
	return sizeof(entry);
}

/*
 * What a layer stores, as the superblock above has it. Where their terms differ there are no
 * tables: one entry, else what the mounter reads, which is never more than the layer grants.
 */
ssize_t nscap_layer_getxattr(struct super_block *above, const struct path *layer,
			     const char *name, void *value, size_t size)
{
	struct user_namespace *mnt_userns = mnt_user_ns(layer->mnt);
	ssize_t len;

	if (nscap_same_terms(above, mnt_userns, layer->dentry))
		return __vfs_getxattr(layer->dentry, d_inode(layer->dentry), name, value, size);
	if (strcmp(name, XATTR_NAME_CAPS))
		return -ENODATA;
	len = nscap_layer_entry(above, mnt_userns, layer->dentry, value, size);
	if (len == -ENODATA)
		len = vfs_getxattr(mnt_userns, layer->dentry, name, value, size);
	return len;
}
EXPORT_SYMBOL_GPL(nscap_layer_getxattr);

/* Stores a value as it is, NULL removes: what has been decided upon above, or was there before. */
int nscap_layer_store(struct user_namespace *mnt_userns, struct dentry *layer, const char *name,
		      const void *value, size_t size, int flags)
{
	struct inode *inode = d_inode(layer);
	struct inode *delegated = NULL;
	int error;

	do {
		inode_lock(inode);
		error = value ? __vfs_setxattr_locked(mnt_userns, layer, name, value, size, flags,
						      &delegated) :
				__vfs_removexattr_locked(mnt_userns, layer, name, &delegated);
		inode_unlock(inode);
		if (!delegated)
			return error;
		error = break_deleg_wait(&delegated);
	} while (!error);
	return error;
}
EXPORT_SYMBOL_GPL(nscap_layer_store);

/* Where the terms differ, the mounter removes what nscap_layer_getxattr() shows, as anyone would. */
static int nscap_layer_remove(struct super_block *above, struct user_namespace *mnt_userns,
			      struct dentry *layer)
{
	bool entry = nscap_layer_entry(above, mnt_userns, layer, NULL, 0) > 0;

	return vfs_removexattr(mnt_userns, layer, entry ? XATTR_NAME_NSCAP : XATTR_NAME_CAPS);
}

/*
 * Changes what a layer stores, NULL removes. Where the terms are the same it is stored as it is, if
 * the mounter may grant there; else the mounter asks for it.
 */
int nscap_layer_setxattr(struct super_block *above, struct user_namespace *mnt_userns,
			 struct dentry *layer, const char *name, const void *value, size_t size,
			 int flags)
{
	int error = 0;

	if (nscap_same_terms(above, mnt_userns, layer)) {
		if (value && !ns_capable(layer->d_sb->s_user_ns, CAP_SETFCAP))
			return -EPERM;
		return nscap_layer_store(mnt_userns, layer, name, value, size, flags);
	}
	if (strcmp(name, XATTR_NAME_CAPS))
		return value ? -EOPNOTSUPP : -ENODATA;
	if (!value || flags & XATTR_REPLACE)
		error = nscap_layer_remove(above, mnt_userns, layer);
	if (value && !error)
		error = vfs_setxattr(mnt_userns, layer, name, value, size, 0);
	return error;
}
EXPORT_SYMBOL_GPL(nscap_layer_setxattr);

/* One grant of a copy; what the mounter could not have written stays behind, which is no error. */
static int nscap_copy_grant(struct user_namespace *mnt_userns, struct dentry *to, u32 what,
			    const void *value, size_t size)
{
	struct inode *delegated = NULL;
	int error;

	inode_lock(d_inode(to));
	error = nscap_change(mnt_userns, to, what, NSCAP_POLICY_ARRAY, value, size, 0, &delegated);
	inode_unlock(d_inode(to));
	/* Nobody else has the copy yet. */
	if (WARN_ON_ONCE(delegated))
		iput(delegated);
	return error == -EPERM || error == -EINVAL || error == -EBUSY ? 0 : error;
}

static bool nscap_has_host_value(const struct nscap_state *state)
{
	return nscap_decide_list(state->file.sb_ns, &state->file) & 1;
}

/* The entries, each as if it stood alone, as the mounter sees them. */
static int nscap_copy_entries(const struct nscap_state *state, struct user_namespace *mnt_userns,
			      struct dentry *to)
{
	const u32 unmapped = cpu_to_le32(-1);
	ssize_t len = nscap_decide_get(1, current_user_ns(), &state->file, NULL, 0);
	u8 one[8 + NSCAP_RECORD_LEN], *all, *at;
	int error = 0;

	if (len < 0)
		return len == -ENODATA ? 0 : len;
	all = kvmalloc(len, GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	len = nscap_decide_get(1, current_user_ns(), &state->file, all, len);
	memcpy(one, all, 4);
	memcpy(one + 4, &(__le32){ cpu_to_le32(1) }, 4);
	for (at = all + 8; !error && at < all + len; at += NSCAP_RECORD_LEN) {
		memcpy(one + 8, at, NSCAP_RECORD_LEN);
		if (memcmp(at, &unmapped, 4))
			error = nscap_copy_grant(mnt_userns, to, NSCAP_SET_NSCAPABILITY, one,
						 sizeof(one));
	}
	kvfree(all);
	return error;
}

/* 1 where the copy has the host value as one, 0 where it cannot, or an error. */
static int nscap_copy_host_value(const struct nscap_state *state,
				 struct user_namespace *mnt_userns, struct dentry *to)
{
	u8 value[CAPABILITY_ROOM];
	ssize_t len = nscap_decide_get(0, current_user_ns(), &state->file, value, sizeof(value));
	struct nscap_state copy;
	int error;

	if (len < 0)
		return len == -ENODATA || len == -EINVAL ? 0 : len;
	error = nscap_copy_grant(mnt_userns, to, NSCAP_SET_CAPABILITY, value, len);
	if (error)
		return error;
	error = nscap_read(&copy, mnt_userns, to, d_inode(to));
	if (!error)
		error = nscap_has_host_value(&copy);
	nscap_release(&copy);
	return error;
}

/*
 * Copies the grants of a layer to a new file of another, whose content, size and owner are final.
 * Entries wait behind a host value; where that cannot be kept as one, they stay behind with it.
 */
int nscap_copy_up(const struct path *from, struct user_namespace *mnt_userns, struct dentry *to)
{
	struct inode *inode = d_inode(from->dentry);
	struct nscap_state state;
	int error;

	if (!S_ISREG(inode->i_mode))
		return 0;
	error = nscap_read(&state, mnt_user_ns(from->mnt), from->dentry, inode);
	if (!error) {
		int kept = nscap_has_host_value(&state) ?
			   nscap_copy_host_value(&state, mnt_userns, to) : 1;

		error = kept > 0 ? nscap_copy_entries(&state, mnt_userns, to) : kept;
	}
	nscap_release(&state);
	/* A file system without attributes has nothing to copy. */
	return error == -EOPNOTSUPP && !state.file.capability.data ? 0 : error;
}
EXPORT_SYMBOL_GPL(nscap_copy_up);

static struct ctl_table nscap_table[] = {
	{
		.procname = "nscap_array",
		.data = &sysctl_array,
		.maxlen = sizeof(int),
		.mode = 0644,
		.proc_handler = proc_dointvec_minmax,
		.extra1 = SYSCTL_ZERO,
		.extra2 = SYSCTL_ONE,
	},
	{
		.procname = "nscap_same_ok",
		.data = &sysctl_same_ok,
		.maxlen = sizeof(int),
		.mode = 0644,
		.proc_handler = proc_dointvec_minmax,
		.extra1 = SYSCTL_ZERO,
		.extra2 = SYSCTL_ONE,
	},
	{ }
};

static int __init nscap_init(void)
{
	register_sysctl("kernel", nscap_table);
	return 0;
}
device_initcall(nscap_init);
