// SPDX-License-Identifier: MIT OR Apache-2.0
//! As whom the server writes: data, and the space that it takes, are the opener's, as if the opener had
//! written to the source.

use nscap_core::UserNs as _;
use nscap_linux::Caller;
use nscap_linux::server::FsIds;
use rustix::io::Errno;

use crate::proto::Header;

/// The uid and gid that a file is written as, in the server's own namespace's terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opener {
    uid: u32,
    gid: u32,
}

impl Opener {
    /// No user's: for what no task asked for, or one that cannot be identified.
    pub(crate) const UNKNOWN: Opener = Opener { uid: u32::MAX - 1, gid: u32::MAX - 1 };

    /// As a request says that makes a file.
    pub(crate) fn of_request(header: &Header) -> Opener {
        Opener { uid: header.uid, gid: header.gid }
    }

    /// The ids that a thread has for files (setfsuid(2)).
    pub(crate) fn of_caller(caller: &Caller) -> Opener {
        let (cred, own) = (caller.cred(), caller.lineage().namespaces().own_ns());
        match (own.uid(cred.fsuid), own.gid(cred.fsgid)) {
            (Some(uid), Some(gid)) => Opener { uid: uid.get(), gid: gid.get() },
            _ => Opener::UNKNOWN,
        }
    }

    /// By which its share is counted.
    pub(crate) fn uid(self) -> u32 {
        self.uid
    }

    /// While this lives the thread has these ids. In a user namespace that does not map them it goes on with
    /// its own, which are no more than that namespace's.
    pub(crate) fn take(self) -> Result<Option<FsIds>, Errno> {
        match FsIds::take(self.uid, self.gid) {
            Err(Errno::PERM) => Ok(None),
            taken => taken.map(Some),
        }
    }
}
