// SPDX-License-Identifier: MIT OR Apache-2.0
//! The unmodified kernel's own rules for `security.capability` and other `security.*` names
//! (Linux 5.2 and later; `security/commoncap.c`, `fs/xattr.c`), over the raw stored bytes.
//!
//! Where the design's rules say what should be, these say what the kernel beneath does: revision
//! 3, one rootid per file, EOVERFLOW and all. The live differential test holds them against the
//! kernel that it runs on.

use crate::access::check_executable;
use crate::cap::Capability;
use crate::cred::Cred;
use crate::decision::{Denied, Errno, Why};
use crate::exec::{Executed, file_caps_ignored, transform};
use crate::flags::SetFlags;
use crate::grant::Grant;
use crate::id::Uid;
use crate::inode_view::InodeView;
use crate::ns::{UserNs, rooted_at};
use crate::privilege::may_change_security;
use crate::program::{Program, System, Task};
use crate::vfscap::{Revision, VfsCaps};

/// getxattr(2) of `security.capability` by a caller in `ns`.
///
/// # Errors
/// ENODATA where there is none; EINVAL where the stored value is not revision 2 or 3; EOVERFLOW
/// where the rootid neither maps into `ns` nor is root of it or of an ancestor.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let stored = VfsCaps::v3(100_000, ping).encode();
/// let read = |ns| bare::get_capability(ns, &container.file(), Some(stored.as_bytes())).unwrap();
/// assert_eq!(read(&host), VfsCaps::v3(100_000, ping));
/// assert_eq!(read(&container), VfsCaps::v2(ping));
/// ```
pub fn get_capability<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: Option<&[u8]>,
) -> Result<VfsCaps, Denied> {
    let bytes = stored.ok_or(Denied::new(Errno::ENODATA, Why::KernelAbsent))?;
    let value =
        VfsCaps::settable(bytes).map_err(|_| Denied::new(Errno::EINVAL, Why::KernelMalformed))?;
    let kuid = value.rootid().and_then(|id| inode.kuid_of(id));
    match kuid.and_then(|kuid| ns.uid(kuid)) {
        Some(uid) if uid != Uid::ROOT => return Ok(VfsCaps::v3(uid.get(), value.caps())),
        Some(_) | None => {}
    }
    if kuid.and_then(|kuid| rooted_at(kuid, ns)).is_none() {
        return Err(Denied::new(Errno::EOVERFLOW, Why::KernelOverflow));
    }
    Ok(VfsCaps::v2(value.caps()))
}

/// setxattr(2) of `security.capability`: the value that is stored.
///
/// The kernel stores a value of length 0 for any task. No front end does that, so here such a value
/// is malformed.
///
/// # Errors
/// In the kernel's order: EROFS; EINVAL for anything but revision 2 or 3 of exact length; EPERM
/// without CAP_SETFCAP or where the file's owner or group does not map; EINVAL where the rootid
/// does not map, here or on the superblock; EPERM on an immutable file or one without valid ids;
/// EEXIST, ENODATA by the flags.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let value = VfsCaps::v2(ping).encode();
/// let (file, flags) = (container.file(), SetFlags::default());
/// let set = |cred: Cred<_>| bare::set_capability(&cred, &file, None, value.as_bytes(), flags);
/// assert_eq!(set(host.root()).unwrap(), VfsCaps::v2(ping));
/// assert_eq!(set(container.root()).unwrap(), VfsCaps::v3(100_000, ping));
/// assert_eq!(set(container.user(1000).unwrap()).unwrap_err().errno, Errno::EPERM);
/// ```
pub fn set_capability<N: UserNs>(
    cred: &Cred<N>,
    inode: &InodeView<N>,
    stored: Option<&[u8]>,
    value: &[u8],
    flags: SetFlags,
) -> Result<VfsCaps, Denied> {
    check_mounted_writable(inode)?;
    let value =
        VfsCaps::settable(value).map_err(|_| Denied::new(Errno::EINVAL, Why::KernelMalformed))?;
    let converted = convert(cred, inode, &value)?;
    inode.check_writable()?;
    check_flags(stored.is_some(), flags)?;
    Ok(converted)
}

/// `cap_convert_nscap`.
fn convert<N: UserNs>(
    cred: &Cred<N>,
    inode: &InodeView<N>,
    value: &VfsCaps,
) -> Result<VfsCaps, Denied> {
    check_setfcap(cred, inode)?;
    let plain = value.revision() == Revision::V2 && inode.idmap.is_none();
    if plain && cred.has_cap_over(Capability::Setfcap, inode.sb_ns) {
        return Ok(*value);
    }
    let stored = value.rootid().and_then(|uid| cred.ns.kuid(uid)).and_then(|k| inode.stored_of(k));
    let stored = stored.ok_or(Denied::new(Errno::EINVAL, Why::KernelRootidUnmapped))?;
    Ok(VfsCaps::v3(stored.get(), value.caps()))
}

/// `capable_wrt_inode_uidgid(CAP_SETFCAP)`.
fn check_setfcap<N: UserNs>(cred: &Cred<N>, inode: &InodeView<N>) -> Result<(), Denied> {
    let owner = inode.owner.and_then(|owner| cred.ns.uid(owner));
    let group = inode.group.and_then(|group| cred.ns.gid(group));
    if cred.has_cap(Capability::Setfcap) && owner.is_some() && group.is_some() {
        Ok(())
    } else {
        Err(Denied::new(Errno::EPERM, Why::KernelNotPrivileged))
    }
}

/// removexattr(2) of `security.capability`.
///
/// # Errors
/// EROFS; EPERM on an immutable file or one without valid ids, without CAP_SETFCAP, or where the
/// file's owner or group does not map; ENODATA where there is none.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let (root, file) = (container.root(), container.file());
/// assert_eq!(bare::remove_capability(&root, &file, Some(b"any bytes")), Ok(()));
/// assert_eq!(bare::remove_capability(&root, &file, None).unwrap_err().errno, Errno::ENODATA);
/// ```
pub fn remove_capability<N: UserNs>(
    cred: &Cred<N>,
    inode: &InodeView<N>,
    stored: Option<&[u8]>,
) -> Result<(), Denied> {
    inode.check_writable()?;
    check_setfcap(cred, inode)?;
    check_there(stored.is_some())
}

/// setxattr(2) of a `security.*` name that the kernel knows nothing about, such as
/// `security.nscapability`: the bytes are stored as they are.
///
/// # Errors
/// EROFS; EPERM on an immutable file or one without valid ids, or without CAP_SYS_ADMIN over the
/// superblock's owner namespace; EEXIST, ENODATA by the flags.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let file = container.file();
/// let set = |cred: Cred<_>| bare::set_other(&cred, &file, false, SetFlags::default());
/// assert!(set(host.root()).is_ok());
/// assert_eq!(set(container.root()).unwrap_err().why, Why::KernelSysAdmin);
/// ```
pub fn set_other<N: UserNs>(
    cred: &Cred<N>,
    inode: &InodeView<N>,
    exists: bool,
    flags: SetFlags,
) -> Result<(), Denied> {
    check_other(cred, inode)?;
    check_flags(exists, flags)
}

/// removexattr(2) of such a name.
///
/// # Errors
/// As [`set_other`], and ENODATA where there is none.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let file = container.file();
/// let remove = |cred: Cred<_>, exists| bare::remove_other(&cred, &file, exists);
/// assert!(remove(host.root(), true).is_ok());
/// assert_eq!(remove(host.root(), false).unwrap_err().errno, Errno::ENODATA);
/// assert_eq!(remove(container.root(), true).unwrap_err().errno, Errno::EPERM);
/// ```
pub fn remove_other<N: UserNs>(
    cred: &Cred<N>,
    inode: &InodeView<N>,
    exists: bool,
) -> Result<(), Denied> {
    check_other(cred, inode)?;
    check_there(exists)
}

fn check_other<N: UserNs>(cred: &Cred<N>, inode: &InodeView<N>) -> Result<(), Denied> {
    inode.check_writable()?;
    may_change_security(cred, inode.sb_ns)
}

fn check_mounted_writable<N>(inode: &InodeView<N>) -> Result<(), Denied> {
    if inode.read_only { Err(Denied::new(Errno::EROFS, Why::ReadOnly)) } else { Ok(()) }
}

fn check_flags(exists: bool, flags: SetFlags) -> Result<(), Denied> {
    if exists && flags.create {
        return Err(Denied::new(Errno::EEXIST, Why::KernelExists));
    }
    if !exists && flags.replace { check_there(false) } else { Ok(()) }
}

fn check_there(exists: bool) -> Result<(), Denied> {
    if exists { Ok(()) } else { Err(Denied::new(Errno::ENODATA, Why::KernelAbsent)) }
}

/// execve(2), with the raw stored `security.capability`.
///
/// # Errors
/// As [`exec`](crate::exec()); and ERANGE where the stored value is longer than revision 3.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let stored = VfsCaps::v3(100_000, ping).encode();
/// let program = Program::plain(container.file(), 0o755);
/// let exec = |cred| {
///     let task = Task::of(cred);
///     let got = bare::exec(System::kernel(6, 1), &task, &program, Some(stored.as_bytes()));
///     got.unwrap().cred.effective.has(Capability::NetRaw)
/// };
/// assert!(exec(container.user(1000).unwrap()));
/// assert!(!exec(host.user(1000).unwrap()));
/// ```
pub fn exec<N: UserNs>(
    system: System,
    task: &Task<'_, N>,
    program: &Program<N>,
    stored: Option<&[u8]>,
) -> Result<Executed<N>, Denied> {
    check_executable(task, program)?;
    let grant = match file_caps_ignored(system, task, program) {
        Some(why) => Grant::Nothing(why),
        None => file_grant(task.cred.ns, &program.inode, stored)?,
    };
    transform(system, task, program, grant)
}

/// `get_vfs_caps_from_disk`.
fn file_grant<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: Option<&[u8]>,
) -> Result<Grant<N>, Denied> {
    let Some(bytes) = stored else {
        return Ok(Grant::Nothing(Why::NoCapsOnFile));
    };
    if bytes.len() > 24 {
        return Err(Denied::new(Errno::ERANGE, Why::KernelUnreadable));
    }
    let value =
        VfsCaps::decode(bytes).map_err(|_| Denied::new(Errno::EINVAL, Why::StoredMalformed))?;
    let kuid = value.rootid().and_then(|id| inode.kuid_of(id));
    let Some((kuid, at)) = kuid.and_then(|kuid| Some((kuid, rooted_at(kuid, ns)?))) else {
        return Ok(Grant::Nothing(Why::NoEntryApplies));
    };
    Ok(match value.revision() {
        Revision::V3 { .. } => Grant::Entry { kuid, at, caps: value.caps() },
        Revision::V1 | Revision::V2 => Grant::Host(value.caps()),
    })
}
