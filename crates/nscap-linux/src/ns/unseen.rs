// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes whose namespace we may not look at (ptrace(2), "Ptrace access mode checking"). Their
//! uid map may be read by anyone, so whose root they could be is known all the same (S).

use std::path::Path;

use nscap_core::{Kuid, Uid, UserNs as _, root_kuid};
use rustix::fd::OwnedFd;

use super::{Namespaces, maps, member};

/// What is known of these processes.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Processes, and the root kuids of their namespaces.
    roots: Vec<(u32, Kuid)>,
    /// How many have a map that cannot be read either.
    unknown: usize,
}

impl Namespaces {
    /// The processes whose namespace we may not look at and has this root kuid, ascending by id.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// let all = Namespaces::scan()?;
    /// let unseen = all.unseen_with_root(nscap_core::Kuid::ROOT).count();
    /// assert!(unseen <= all.unreadable());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn unseen_with_root(&self, kuid: Kuid) -> impl Iterator<Item = u32> {
        self.unseen.roots.iter().filter(move |(_, root)| *root == kuid).map(|(pid, _)| *pid)
    }

    /// How many processes could have any root kuid, as far as we may know.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.unseen.unknown
    }

    pub(super) fn add_unseen(&mut self, pid: u32, path: &Path, dir: &OwnedFd) {
        self.unreadable += 1;
        let Ok(shown) = member::both(path, dir) else {
            self.unseen.unknown += 1;
            return;
        };
        // A process of our own namespace shows what we read of ourselves, in our parent's terms.
        let own = self.own_ns();
        let root = if member::own_maps().is_ok_and(|ours| ours == shown) {
            root_kuid(own)
        } else {
            let map = maps::Map::new(&shown.0).ok();
            let outside = map.and_then(|map| map.ids().outside(0));
            outside.and_then(Uid::new).and_then(|uid| own.kuid(uid))
        };
        self.unseen.roots.extend(root.map(|root| (pid, root)));
    }
}
