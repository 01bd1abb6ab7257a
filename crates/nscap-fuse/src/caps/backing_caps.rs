// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a backing file holds, in the terms of the mount. Covers M on both sides: the mount's owner
//! namespace is the server's own, the backing file system's is that one or above it.
//!
//! A server in the initial namespace finds the two the same. In a user namespace the host value of
//! the mount is, beneath, the entry of that namespace's root.

use nscap_core::storage::{self, Seal};
use nscap_core::{Entries, HostValue, InodeView, RECORD_LEN, Stored, Uid};
use nscap_linux::{CapFile, FileState, LiveNs, Mount, Namespaces};

type Records = Vec<[u8; RECORD_LEN]>;

/// A file and what it held when it was read.
#[derive(Debug)]
pub(super) struct BackingCaps<'c> {
    own: &'c Namespaces,
    file: CapFile,
    state: FileState,
    /// What the mount shows of it, where that is not what is stored.
    shown: Option<(HostValue, Records)>,
}

impl<'c> BackingCaps<'c> {
    pub(super) fn read(
        file: CapFile,
        mount: &Mount,
        own: &'c Namespaces,
    ) -> nscap_linux::Result<BackingCaps<'c>> {
        let state = file.read_through(mount.clone(), own)?;
        let shown = (!own.own_ns().is_initial()).then(|| {
            let (stored, _) = state.stored(own);
            upwards(&stored, &state.view(own), own.own_ns())
        });
        Ok(BackingCaps { own, file, state, shown })
    }

    /// The file as a caller reaches it; `namespaces` are the caller's lineage.
    pub(super) fn view<'n>(&self, namespaces: &'n Namespaces) -> InodeView<LiveNs<'n>> {
        InodeView { sb_ns: namespaces.own_ns(), idmap: None, ..self.state.view(namespaces) }
    }

    /// What the file holds.
    pub(super) fn stored(&self) -> Stored<'_> {
        match &self.shown {
            None => self.state.stored(self.own).0,
            Some((host, records)) => Stored {
                host: *host,
                // They are in order, so this does not fail.
                entries: Entries::decode(records).unwrap_or(Entries::NONE),
            },
        }
    }

    /// Whether it may be half of a change that is under way: a companion and a table that do not
    /// belong together.
    pub(super) fn is_half_seen(&self) -> bool {
        let tripwire = || self.state.capability.as_deref().is_some_and(storage::is_tripwire);
        match self.state.stored(self.own).1 {
            Seal::Sealed => false,
            Seal::None => tripwire(),
            Seal::Void(_) => true,
        }
    }

    /// Writes this to the file, if no other writer has changed it since.
    pub(super) fn write(&self, next: &Stored<'_>) -> nscap_linux::Result<()> {
        let Some(_) = &self.shown else {
            return self.file.write(&self.state, next, self.own);
        };
        let (host, records) = downwards(next, &self.state.view(self.own), self.own.own_ns());
        let entries = Entries::decode(&records).unwrap_or(Entries::NONE);
        self.file.write(&self.state, &Stored { host, entries }, self.own)
    }
}

impl PartialEq for BackingCaps<'_> {
    fn eq(&self, other: &BackingCaps<'_>) -> bool {
        self.state == other.state
    }
}

/// Translates from ids of the backing file system to ids of the mount. An entry whose root has no
/// id in our namespace does not appear on this mount.
fn upwards(
    stored: &Stored<'_>,
    beneath: &InodeView<LiveNs<'_>>,
    own: LiveNs<'_>,
) -> (HostValue, Records) {
    kept(stored, |rootid| beneath.uid_in(rootid, own))
}

/// The other way round. A host value alone goes as the entry of our root, which is what it is
/// beneath; beside entries it is their companion.
fn downwards(
    next: &Stored<'_>,
    beneath: &InodeView<LiveNs<'_>>,
    own: LiveNs<'_>,
) -> (HostValue, Records) {
    let stored_from = |uid| beneath.stored_from(uid, own);
    match (next.host, stored_from(Uid::ROOT)) {
        (HostValue::Present(caps), Some(root)) if next.entries.is_empty() => {
            kept(&Stored::one(root, caps), Some)
        }
        _ => kept(next, stored_from),
    }
}

/// What it holds in other terms, in memory of its own.
fn kept(stored: &Stored<'_>, id: impl Fn(Uid) -> Option<Uid>) -> (HostValue, Records) {
    let mut slots = vec![[0; RECORD_LEN]; stored.entries.len()];
    let translated = stored.translate(id, &mut slots).unwrap_or(Stored::EMPTY);
    let (host, used) = (translated.host, translated.entries.len());
    slots.truncate(used);
    (host, slots)
}
