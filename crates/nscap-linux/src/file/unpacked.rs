// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file that an archive has, as it is once root of our namespace has unpacked it onto a file
//! system of the initial namespace: what setxattr(2) makes of the values (capabilities(7)). Covers
//! W.

use nscap_core::translate::Carried;
use nscap_core::{Entries, FileCaps, HostValue, Record, Stored, Uid, UserNs as _, VfsCaps};

use super::state::{Answers, FileState, Hidden, Inode, Shown};
use crate::enforced;
use crate::mount::Mount;
use crate::ns::Namespaces;
use crate::policy::kernel_decides;

impl FileState {
    /// The state of an unpacked file. `inode` has the ids that the file is seen with, and `carried`
    /// has both attributes in the terms of our namespace. A value that setxattr(2) refuses is not
    /// there.
    ///
    /// ```
    /// use nscap_core::{FileCaps, VfsCaps, storage::SealFacts, translate::Carried};
    /// # use nscap_linux::*;
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let value = VfsCaps::v3(100_000, ping).encode();
    /// let facts = SealFacts { size: 1, uid: 0, gid: 0 };
    /// let carried = Carried { capability: Some(value.as_bytes()), nscapability: None, facts };
    /// let inode = Inode { size: 1, uid: 0, gid: 0, mode: 0o100755, immutable: false };
    /// let namespaces = Namespaces::own()?;
    /// let state = FileState::unpacked(inode, &carried, &namespaces);
    /// if namespaces.own_ns().is_initial() {
    ///     assert_eq!(state.stored(&namespaces).0.entries.iter().count(), 1);
    /// }
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn unpacked(inode: Inode, carried: &Carried<'_>, namespaces: &Namespaces) -> FileState {
        let by_design = kernel_decides();
        let table = carried.nscapability.map(<[u8]>::to_vec);
        let capability = carried.capability.and_then(|bytes| set(bytes, namespaces));
        let mut state = FileState {
            inode,
            mount: Mount::of_unpacked(namespaces),
            shown: Shown { capability: Ok(carried.capability.map(<[u8]>::to_vec)), table: None },
            capability,
            table,
            hidden: None,
            answers: if by_design { Answers::ReferenceKernel } else { Answers::Kernel },
        };
        if by_design {
            state.decided(carried, namespaces);
        }
        state
    }

    /// A kernel that decides by the design makes entries of both values.
    fn decided(&mut self, carried: &Carried<'_>, namespaces: &Namespaces) {
        (self.capability, self.table) = (None, None);
        let Ok(grants) = carried.grants() else { return };
        let kuid = |id: Uid| namespaces.own_ns().kuid(id).map(nscap_core::Kuid::get);
        let mut host = HostValue::Absent;
        let mut records: Vec<[u8; nscap_core::RECORD_LEN]> = Vec::new();
        for grant in grants.iter() {
            match grant.id.and_then(kuid) {
                Some(0) => host = HostValue::Present(grant.caps),
                Some(root) => records.push(*Record::new(root, grant.caps).as_bytes()),
                None => self.hidden = Some(Hidden::Foreign),
            }
        }
        records.sort_unstable_by_key(|bytes| Record::from_bytes(*bytes).rootid());
        match Entries::decode(&records) {
            Ok(entries) => enforced::write_down(&Stored { host, entries }, self, namespaces),
            Err(_) => self.hidden = Some(Hidden::Malformed),
        }
    }
}

/// `security.capability` as setxattr(2) of our root stores it.
fn set(bytes: &[u8], namespaces: &Namespaces) -> Option<Vec<u8>> {
    let value = VfsCaps::settable(bytes).ok()?;
    let caps: FileCaps = value.caps();
    let root = namespaces.own_ns().kuid(value.rootid()?)?;
    let stored = match root.get() {
        0 => VfsCaps::v2(caps),
        root => VfsCaps::v3(root, caps),
    };
    Some(stored.encode().as_bytes().to_vec())
}
