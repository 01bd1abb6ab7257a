// SPDX-License-Identifier: MIT OR Apache-2.0
//! What statmount(2) says of a mount, Linux 6.8: the same facts as a line of mountinfo without
//! reading the lines of all mounts, and from Linux 6.15 the maps of an id-mapped one.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nscap_core::Extent;
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;

use crate::ns::maps::parse;
use crate::sys;

/// STATX_MNT_ID_UNIQUE, Linux 6.8.
const MNT_ID_UNIQUE: u32 = 0x4000;

/// What is asked for: STATMOUNT_SB_BASIC, _MNT_BASIC, _MNT_POINT, _FS_TYPE, _FS_SUBTYPE,
/// _MNT_UIDMAP and _MNT_GIDMAP. A kernel that does not know one leaves it out.
const ASKED: u64 = 0x1 | 0x2 | 0x10 | 0x20 | 0x100 | MAPS;
const MAPS: u64 = 0x2000 | 0x4000;
const SUBTYPE: u64 = 0x100;
/// MOUNT_ATTR_IDMAP.
const IDMAP: u64 = 0x0010_0000;

/// `struct statmount`: where its fields begin. A string and a map begin where theirs says, counted
/// from STRINGS.
const AT_MASK: usize = 8;
const AT_DEVICE: usize = 16;
const AT_FS_TYPE: usize = 36;
const AT_ATTR: usize = 64;
const AT_POINT: usize = 108;
const AT_SUBTYPE: usize = 120;
const AT_UID_MAP: usize = 152;
const AT_GID_MAP: usize = 160;
const STRINGS: usize = 512;

/// As much as a path and two maps of 340 lines need.
const ROOM: usize = STRINGS + 4096 + 2 * 340 * 36;

/// The id of the mount that a descriptor was opened through, which no later mount has.
///
/// # Errors
/// ENOSYS before Linux 6.8.
pub(crate) fn unique_id(file: impl AsFd) -> Result<u64, Errno> {
    let flags = StatxFlags::from_bits_retain(MNT_ID_UNIQUE);
    // A server need not be asked.
    let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(file, "", how, flags)?;
    if stat.stx_mask & MNT_ID_UNIQUE == 0 {
        return Err(Errno::NOSYS);
    }
    Ok(stat.stx_mnt_id)
}

/// An answer of the kernel's.
pub(crate) struct Statmount(Vec<u8>);

impl Statmount {
    /// The mount with this id, which no other has had. No server is asked.
    ///
    /// # Errors
    /// ENOSYS before Linux 6.8; ENOENT where it is not in our mount namespace; EPERM where it is
    /// out of our root's reach, or a seccomp filter refuses the call.
    pub(crate) fn of_id(id: u64) -> Result<Statmount, Errno> {
        Statmount::ask(id, None)
    }

    /// The same where the mount is in the mount namespace with this id.
    ///
    /// # Errors
    /// ENOSYS before Linux 6.8, EINVAL before 6.11; ENOENT where it is not in that namespace, or
    /// that is not for us to look at (CAP_SYS_ADMIN over its owner).
    pub(crate) fn of_id_in(id: u64, namespace: u64) -> Result<Statmount, Errno> {
        Statmount::ask(id, Some(namespace))
    }

    fn ask(id: u64, namespace: Option<u64>) -> Result<Statmount, Errno> {
        let mut answer = vec![0; ROOM];
        sys::statmount(id, namespace, ASKED, &mut answer)?;
        Ok(Statmount(answer))
    }

    /// Major and minor number of the file system's device, as mountinfo has it.
    pub(crate) fn device(&self) -> Option<(u32, u32)> {
        Some((half(&self.0, AT_DEVICE)?, half(&self.0, AT_DEVICE + 4)?))
    }

    /// As mountinfo has it: `"ext4"`, `"fuse.nscap"`.
    pub(crate) fn fs_type(&self) -> Option<String> {
        let text = |at| Some(String::from_utf8_lossy(self.string(at)?).into_owned());
        let base = text(AT_FS_TYPE)?;
        let subtype = if self.mask() & SUBTYPE == 0 { None } else { text(AT_SUBTYPE) };
        Some(match subtype {
            Some(subtype) if !subtype.is_empty() => format!("{base}.{subtype}"),
            _ => base,
        })
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> Option<PathBuf> {
        self.string(AT_POINT).map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)))
    }

    pub(crate) fn is_idmapped(&self) -> bool {
        self.word(AT_ATTR).is_some_and(|attr| attr & IDMAP != 0)
    }

    /// The uid map and the gid map of an id-mapped mount, the outside in our own namespace's terms;
    /// `None` before Linux 6.15.
    pub(crate) fn maps(&self) -> Option<(Vec<Extent>, Vec<Extent>)> {
        if self.mask() & MAPS != MAPS {
            return None;
        }
        Some((map_at(&self.0, AT_UID_MAP)?, map_at(&self.0, AT_GID_MAP)?))
    }

    fn mask(&self) -> u64 {
        self.word(AT_MASK).unwrap_or(0)
    }

    fn word(&self, at: usize) -> Option<u64> {
        self.0.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes)
    }

    fn string(&self, at: usize) -> Option<&[u8]> {
        let start = usize::try_from(half(&self.0, at)?).ok()?;
        self.0.get(STRINGS..)?.get(start..)?.split(|byte| *byte == 0).next()
    }
}

fn half(answer: &[u8], at: usize) -> Option<u32> {
    answer.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
}

/// The map whose number of lines is at `at`, followed by the offset of its first line.
pub(crate) fn map_at(answer: &[u8], at: usize) -> Option<Vec<Extent>> {
    let (count, start) = (half(answer, at)?, half(answer, at + 4)?);
    let strings = answer.get(STRINGS..)?.get(usize::try_from(start).ok()?..)?;
    let lines = strings.split(|byte| *byte == 0).take(usize::try_from(count).ok()?);
    let text: Vec<&str> =
        lines.map(std::str::from_utf8).collect::<std::result::Result<_, _>>().ok()?;
    parse(&text.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_mountinfo_says() {
        for path in ["/", "/proc", "/dev", "/tmp"] {
            let file = std::fs::File::open(path).unwrap();
            let Ok(said) = unique_id(&file).and_then(Statmount::of_id) else { continue };
            let point = said.point().unwrap().display().to_string();
            let fs_type = said.fs_type().unwrap();
            let (major, minor) = said.device().unwrap();
            let device = format!("{major}:{minor}");
            let lines = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let is = |line: &&str| {
                line.split(' ').nth(2) == Some(&device)
                    && line.split(' ').nth(4) == Some(&point)
                    && line.contains(&format!(" - {fs_type} "))
            };
            assert!(lines.lines().any(|line| is(&line)), "{point} {fs_type}: {lines}");
            assert!(!said.is_idmapped());
        }
    }
}
