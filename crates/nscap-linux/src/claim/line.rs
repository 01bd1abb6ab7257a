// SPDX-License-Identifier: MIT OR Apache-2.0
//! The directories above a tree, as far as only this user reaches them: a shared lock on each says
//! that something below is claimed.
//!
//! Further up any task could hold a lock, and prevent all claims. No claim is needed there: a
//! claimed tree is one that other users cannot reach, because of its own mode or a closed directory
//! above it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::entry::mounted;
use super::flocked::Flocked;

/// No path of directories is longer.
const LONGEST: usize = 4096;

struct Above {
    fd: OwnedFd,
    closed: bool,
    owner: u32,
}

/// Locks them. The error is the directory that another process has locked for itself.
pub(super) fn lock(tree: &OwnedFd) -> Result<Vec<Flocked>, OwnedFd> {
    let line = climb(tree);
    let mut locked = Vec::new();
    for above in line.into_iter().skip(1) {
        let directory = mounted(above.fd.as_fd()).unwrap_or(above.fd);
        match Flocked::take(directory, FlockOperation::NonBlockingLockShared) {
            Ok(directory) => locked.push(directory),
            Err((directory, Errno::AGAIN)) => return Err(directory),
            // A file system without locks.
            Err(_) => {}
        }
    }
    Ok(locked)
}

/// The tree and what is above it, up to the last directory that can be told to be closed to others.
///
/// Root stops at the first directory that is its own: no other user's claim above that can reach
/// the tree, and root's own claims are in the registry.
fn climb(tree: &OwnedFd) -> Vec<Above> {
    let own = rustix::process::geteuid().as_raw();
    let mut line: Vec<Above> = Vec::new();
    let mut last = None;
    let mut next = look(tree, c".");
    while let Some((above, identity)) = next {
        if last == Some(identity) || line.len() == LONGEST {
            break;
        }
        last = Some(identity);
        let enough = own == 0 && above.closed && above.owner == 0;
        line.push(above);
        if enough {
            return line;
        }
        next = line.last().and_then(|above| look(&above.fd, c".."));
    }
    let counts = |above: &Above| above.closed && (own == 0 || above.owner == own);
    let keep = line.iter().rposition(counts).map_or(0, |last| last + 1);
    line.truncate(keep);
    line
}

fn look(from: impl AsFd, name: &std::ffi::CStr) -> Option<(Above, (u64, u64))> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(from, name, flags, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    // The group's bits are also the most that an access control list gives to others.
    let closed = stat.st_mode & 0o011 == 0;
    Some((Above { fd, closed, owner: stat.st_uid }, (stat.st_dev, stat.st_ino)))
}
