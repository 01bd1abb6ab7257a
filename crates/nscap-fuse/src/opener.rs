// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ids that the server writes with: those of the task that opened the handle, as if that task
//! had written to the source. So its quota and its limits count.

use nscap_core::UserNs as _;
use nscap_linux::Caller;
use nscap_linux::server::FsIds;
use rustix::io::Errno;

use crate::proto::Header;

/// The uid and gid that the server writes a file with, as ids of the server's own namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opener {
    uid: u32,
    gid: u32,
}

impl Opener {
    /// Ids of no user: for writes without a task, or of a task that cannot be identified.
    pub(crate) const UNKNOWN: Opener = Opener { uid: u32::MAX - 1, gid: u32::MAX - 1 };

    /// The ids of a request that makes a file.
    pub(crate) fn of_request(header: &Header) -> Opener {
        Opener { uid: header.uid, gid: header.gid }
    }

    /// The fsuid and fsgid of a thread (setfsuid(2)).
    pub(crate) fn of_caller(caller: &Caller) -> Opener {
        let (cred, own) = (caller.cred(), caller.lineage().namespaces().own_ns());
        match (own.uid(cred.fsuid), own.gid(cred.fsgid)) {
            (Some(uid), Some(gid)) => Opener { uid: uid.get(), gid: gid.get() },
            _ => Opener::UNKNOWN,
        }
    }

    /// The uid that its descriptors count for.
    pub(crate) fn uid(self) -> u32 {
        self.uid
    }

    /// While the result lives, the calling thread has these ids. If the server's namespace does not
    /// map them, the thread keeps its own, which have no privilege outside that namespace.
    pub(crate) fn take(self) -> Result<Option<FsIds>, Errno> {
        match FsIds::take(self.uid, self.gid) {
            Err(Errno::PERM) => Ok(None),
            taken => taken.map(Some),
        }
    }
}
