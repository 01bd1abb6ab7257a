// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of a file's capabilities apply to a task: R8, R3, A.

use crate::cap::FileCaps;
use crate::decision::{Denied, Errno, Why};
use crate::id::Kuid;
use crate::inode_view::InodeView;
use crate::ns::{UserNs, root_kuid};
use crate::stored::{HostValue, Stored};

/// Where the file's part in the new credentials comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant<N> {
    /// Nothing, for this reason.
    Nothing(Why),
    /// The host value.
    Host(FileCaps),
    /// An entry.
    Entry {
        /// Its root kuid.
        kuid: Kuid,
        /// The namespace whose root that is, the task's or an ancestor.
        at: N,
        /// Its capabilities.
        caps: FileCaps,
    },
}

impl<N> Grant<N> {
    /// The capabilities, where there are any.
    #[must_use]
    pub fn caps(&self) -> Option<FileCaps> {
        match self {
            Grant::Nothing(_) => None,
            Grant::Host(caps) | Grant::Entry { caps, .. } => Some(*caps),
        }
    }

    /// The clause that chose it.
    #[must_use]
    pub fn why(&self) -> Why {
        match self {
            Grant::Nothing(why) => *why,
            Grant::Host(_) => Why::HostOverrides,
            Grant::Entry { .. } => Why::EntryApplies,
        }
    }
}

/// R8, R3, A: which of a file's capabilities a task in `ns` gets, mount flags aside.
///
/// # Errors
/// EINVAL where the stored value is malformed.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let grant = |ns| file_grant(ns, &container.file(), &stored).unwrap();
/// assert_eq!(grant(&container).caps(), Some(ping));
/// assert_eq!(grant(&host), Grant::Nothing(Why::NoEntryApplies));
/// ```
pub fn file_grant<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: &Stored<'_>,
) -> Result<Grant<N>, Denied> {
    if stored.is_empty() {
        return Ok(Grant::Nothing(Why::NoCapsOnFile));
    }
    let seen = stored.seen_from(ns, inode);
    match seen.host() {
        HostValue::Malformed => return Err(Denied::new(Errno::EINVAL, Why::StoredMalformed)),
        HostValue::Present(_) if root_kuid(inode.sb_ns).is_none() => {
            return Ok(Grant::Nothing(Why::HostNotRooted));
        }
        HostValue::Present(caps) => return Ok(Grant::Host(caps)),
        HostValue::Absent => {}
    }
    Ok(match seen.nearest(ns) {
        Some((entry, at)) => match entry.kuid {
            Some(kuid) => Grant::Entry { kuid, at, caps: entry.caps },
            None => Grant::Nothing(Why::NoEntryApplies),
        },
        None => Grant::Nothing(Why::NoEntryApplies),
    })
}
