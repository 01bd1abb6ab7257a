// SPDX-License-Identifier: MIT OR Apache-2.0
//! TARGET keeps the restrictions of SOURCE. Covers M and X for the file system as a whole: nosuid,
//! nodev, noexec, ro and nosymfollow of the mount that SOURCE is on; and nosuid and nodev where
//! another user namespace may own SOURCE's superblock, since outside that namespace the kernel
//! ignores set-id bits, capabilities and devices there.

use std::os::fd::BorrowedFd;

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;

use crate::options::Flags;

/// ST_NOSYMFOLLOW, Linux 5.10.
const NOSYMFOLLOW: StatVfsMountFlags = StatVfsMountFlags::from_bits_retain(0x2000);

/// Why a mount has a flag that its options did not ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Because {
    /// The source's own mount has it.
    SourceMount,
    /// Another user namespace, not above the server's, may own the superblock of the source.
    SourceOwner,
}

/// A flag that a mount has because of its source.
///
/// ```no_run
/// use nscap_fuse::{Because, Mount, Options};
/// let mount = Mount::new("/media/stick".as_ref(), "/mnt".as_ref(), &Options::default())?;
/// for kept in mount.kept().iter().filter(|kept| kept.because == Because::SourceMount) {
///     println!("/media/stick is mounted {}, so /mnt is too", kept.flag);
/// }
/// # Ok::<(), nscap_fuse::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Kept {
    /// As mount(8) names it: `nosuid`, `nodev`, `noexec`, `ro` or `nosymfollow`.
    pub flag: &'static str,
    /// Why the mount has the flag.
    pub because: Because,
}

/// Sets a flag, in the flags of a mount or in whether it is read-only.
type SetFlag = fn(&mut Flags, &mut bool);

const OF_A_MOUNT: [(StatVfsMountFlags, &str, SetFlag); 5] = [
    (StatVfsMountFlags::NOSUID, "nosuid", |flags, _| flags.nosuid = true),
    (StatVfsMountFlags::NODEV, "nodev", |flags, _| flags.nodev = true),
    (StatVfsMountFlags::NOEXEC, "noexec", |flags, _| flags.noexec = true),
    (StatVfsMountFlags::RDONLY, "ro", |_, read_only| *read_only = true),
    (NOSYMFOLLOW, "nosymfollow", |flags, _| flags.nosymfollow = true),
];

/// The first ones also depend on the superblock's owner: nosuid and nodev.
const OF_AN_OWNER: usize = 2;

/// Adds the restrictions of the source to the flags of a mount. Returns those that the options did
/// not ask for, without nodev in a user namespace, which every mount has there.
///
/// `initial`: whether the server is in the initial user namespace.
///
/// # Errors
/// statvfs(3)'s.
pub(crate) fn keep(
    source: BorrowedFd<'_>,
    (initial, may_be_anothers): (bool, bool),
    flags: &mut Flags,
    read_only: &mut bool,
) -> Result<Vec<Kept>, Errno> {
    let of_source = fstatvfs(source)?.f_flag;
    let mut kept = Vec::new();
    for (number, (bit, flag, set)) in OF_A_MOUNT.into_iter().enumerate() {
        let because = if of_source.contains(bit) {
            Because::SourceMount
        } else if may_be_anothers && number < OF_AN_OWNER {
            Because::SourceOwner
        } else {
            continue;
        };
        let before = (*flags, *read_only);
        set(flags, read_only);
        if (*flags, *read_only) != before && (initial || flag != "nodev") {
            kept.push(Kept { flag, because });
        }
    }
    Ok(kept)
}
