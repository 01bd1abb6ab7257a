// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a file has one of the two attributes, in as few calls as its file system allows.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{lgetxattr, llistxattr, llistxattr_query};
use rustix::io::Errno;

use crate::names::{CAPABILITY, TABLE};
use crate::sys::{self, LastLink};

/// `f_type` of the file systems on which listxattr(2) names `security.capability` and
/// `security.nscapability` exactly where getxattr(2) finds them, for any caller. statfs(2) gives
/// the type of the file system itself, which no server or layer can choose. The tests compare both
/// calls on each.
const LISTS_WHAT_IT_GIVES: [u64; 4] = [
    // ext2, ext3, ext4: lists the entries of the inode's body and block that getting searches, and
    // leaves out only those whose handler says so; the one for `security.` has no say.
    0xef53,
    // xfs: lists every attribute of the name space that getting `security.` looks in.
    0x5846_5342,
    // btrfs: lists the name of every XATTR_ITEM; getting looks the same item up by its name.
    0x9123_683e,
    // tmpfs: lists the tree that getting searches; only `trusted.` is left out for some callers.
    0x0102_1994,
];

/// What the type of a file system says about the files on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kind(u64);

/// `f_type` of the kernel's own file systems, from which no program is executed: proc, sysfs and
/// both of cgroup.
const NO_PROGRAMS: [u64; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];

impl Kind {
    /// Of the file system that this file is in.
    pub(super) fn of(file: impl AsFd) -> Kind {
        #[allow(clippy::unnecessary_cast, reason = "its type depends on the architecture")]
        let kind = rustix::fs::fstatfs(file).map(|stat| stat.f_type as u64);
        Kind(kind.unwrap_or_default())
    }

    /// Whether listing is enough there.
    pub(super) fn lists_what_it_gives(self) -> bool {
        LISTS_WHAT_IT_GIVES.contains(&self.0)
    }

    /// Whether there is nothing to look for.
    pub(super) fn has_no_programs(self) -> bool {
        NO_PROGRAMS.contains(&self.0)
    }
}

/// How the calls name a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Calls {
    /// By a directory's descriptor and a name (the *xattrat calls).
    At,
    /// By a name in the thread's current directory.
    Current,
}

/// A call that failed.
pub(super) type Failed = (&'static str, Errno);

const GET: &str = "getxattr";
const LIST: &str = "listxattr";

/// One thread's way of looking.
#[derive(Debug)]
pub(super) struct Look {
    calls: Calls,
    list: Vec<u8>,
    /// Whether the last file had attributes: then the next one mostly has as well.
    had: bool,
}

/// Room for the names of the attributes that files mostly have.
const LIST_LEN: usize = 512;

impl Look {
    pub(super) fn new(calls: Calls) -> Look {
        Look { calls, list: vec![0; LIST_LEN], had: false }
    }

    pub(super) fn calls(&self) -> Calls {
        self.calls
    }

    /// Whether a file has one of the attributes or, where it may not be told (EOVERFLOW, EINVAL),
    /// has bytes in one. A name that is gone has none.
    pub(super) fn has_any(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        listing: bool,
    ) -> Result<bool, Failed> {
        let has = if listing { self.by_list(dir, name) } else { self.by_get(dir, name) };
        match has {
            Err((_, Errno::NOENT)) => Ok(false),
            has => has,
        }
    }

    /// Asks for the length of the list alone where there probably is none: that costs the kernel
    /// no copy.
    fn by_list(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<bool, Failed> {
        if !self.had {
            match list(self.calls, dir, name, &mut []) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(errno) => return no_attributes(errno, LIST),
            }
        }
        match list(self.calls, dir, name, &mut self.list) {
            Ok(length) => {
                self.had = length > 0;
                let mut names = self.list[..length].split(|byte| *byte == 0);
                Ok(names.any(|name| name == CAPABILITY.to_bytes() || name == TABLE.to_bytes()))
            }
            // More names than there is room for.
            Err(Errno::RANGE) => self.by_get(dir, name),
            Err(errno) => no_attributes(errno, LIST),
        }
    }

    fn by_get(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<bool, Failed> {
        let mut has = false;
        for attribute in [CAPABILITY, TABLE] {
            has |= match get(self.calls, dir, name, attribute) {
                Ok(_) | Err(Errno::OVERFLOW | Errno::INVAL | Errno::RANGE) => true,
                Err(Errno::NODATA) => false,
                Err(errno) => return no_attributes(errno, GET),
            };
            if has {
                break;
            }
        }
        Ok(has)
    }
}

fn no_attributes(errno: Errno, call: &'static str) -> Result<bool, Failed> {
    if errno == Errno::OPNOTSUPP { Ok(false) } else { Err((call, errno)) }
}

fn list(calls: Calls, dir: BorrowedFd<'_>, name: &CStr, names: &mut [u8]) -> Result<usize, Errno> {
    match calls {
        Calls::At => sys::listxattrat(dir, name, LastLink::Itself, names),
        Calls::Current if names.is_empty() => llistxattr_query(name),
        Calls::Current => llistxattr(name, names),
    }
}

/// The length of a value in bytes.
fn get(calls: Calls, dir: BorrowedFd<'_>, name: &CStr, attribute: &CStr) -> Result<usize, Errno> {
    match calls {
        Calls::At => sys::getxattrat(dir, name, LastLink::Itself, attribute, &mut []),
        Calls::Current => {
            let no_room: &mut [u8] = &mut [];
            lgetxattr(name, attribute, no_room)
        }
    }
}
