// SPDX-License-Identifier: MIT OR Apache-2.0
//! The privilege to grant: the conditions (a) to (d) of R5, which R7 and D use too, and the
//! condition of R8. Covers R5, P, U, the part of R8 and M about the writer of a host value, and the
//! kernel's rule for other attributes of security modules.

use crate::cap::Capability;
use crate::cred::Cred;
use crate::decision::{Denied, Errno, Why};
use crate::id::Kuid;
use crate::inode_view::InodeView;
use crate::ns::{UserNs, root_kuid, root_of_ancestor};

/// Whether the caller may write an entry for `kuid` on the file: R5 (a) to (d) for the kuid that R7
/// names. R5 itself uses the caller's own root kuid.
///
/// # Errors
/// EPERM, with the first condition that fails, in this order: (a) CAP_SETFCAP in the caller's own
/// namespace; (b) the namespace has a root kuid, and `kuid` maps into it; (c) the file's owner and
/// group map into it; (d) `kuid` is not the root kuid of a strict ancestor.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let (file, own) = (container.file(), Kuid::new(100_000).unwrap());
/// assert_eq!(may_grant(&container.root(), &file, own), Ok(()));
/// assert_eq!(may_grant(&host.root(), &file, own), Ok(()));
/// let user = container.user(1000).unwrap();
/// assert_eq!(may_grant(&user, &file, own).unwrap_err().why, Why::NoSetfcap);
/// let denied = may_grant(&container.root(), &file, Kuid::ROOT).unwrap_err();
/// assert_eq!(denied.why, Why::KuidNotOurs);
/// ```
pub fn may_grant<N: UserNs>(
    cred: &Cred<N>,
    inode: &InodeView<N>,
    kuid: Kuid,
) -> Result<(), Denied> {
    let eperm = |why| Err(Denied::new(Errno::EPERM, why));
    if !cred.has_cap(Capability::Setfcap) {
        return eperm(Why::NoSetfcap);
    }
    if root_kuid(cred.ns).is_none() {
        return eperm(Why::NoRootKuid);
    }
    if cred.ns.uid(kuid).is_none() {
        return eperm(Why::KuidNotOurs);
    }
    if inode.owner.and_then(|owner| cred.ns.uid(owner)).is_none() {
        return eperm(Why::OwnerUnmapped);
    }
    if inode.group.and_then(|group| cred.ns.gid(group)).is_none() {
        return eperm(Why::GroupUnmapped);
    }
    if root_of_ancestor(kuid, cred.ns).is_some() {
        return eperm(Why::RootOfAncestor);
    }
    Ok(())
}

/// R8 and M: whether a revision 2 that the caller writes is a host value. It is with CAP_SETFCAP
/// over the superblock's owner namespace, by `cap_capable`, on a mount that is not id-mapped.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// assert!(writes_host_value(&host.root(), &container.file()));
/// assert!(!writes_host_value(&container.root(), &container.file()));
/// ```
pub fn writes_host_value<N: UserNs>(cred: &Cred<N>, inode: &InodeView<N>) -> bool {
    inode.idmap.is_none() && cred.has_cap_over(Capability::Setfcap, inode.sb_ns)
}

/// Whether the caller may set and remove names of `security.*` other than `security.capability`:
/// the kernel's own rule (capabilities(7), CAP_SYS_ADMIN; xattr(7)), for a front end on a kernel
/// that does not check it itself. `sb_ns` is the superblock's owner namespace.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN over `sb_ns`, by `cap_capable`.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// assert_eq!(may_change_security(&host.root(), &host), Ok(()));
/// let denied = may_change_security(&container.root(), &host).unwrap_err();
/// assert_eq!(denied.why, Why::KernelSysAdmin);
/// ```
pub fn may_change_security<N: UserNs>(cred: &Cred<N>, sb_ns: N) -> Result<(), Denied> {
    if cred.has_cap_over(Capability::SysAdmin, sb_ns) {
        Ok(())
    } else {
        Err(Denied::new(Errno::EPERM, Why::KernelSysAdmin))
    }
}
