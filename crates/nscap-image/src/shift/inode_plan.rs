// SPDX-License-Identifier: MIT OR Apache-2.0
//! The plan for one inode: owner, group, set-id bits, access control lists, capabilities.

use std::ffi::OsStr;

use nscap_core::{Kgid, Kuid, MAX_ENTRIES, RECORD_LEN};
use nscap_linux::{Answers, FileState, Hidden, Namespaces};
use rustix::fs::FileType;

use super::acl::{Acl, AclStays};
use super::ids::Mover;
use super::inode::{Attributes, SET_GROUP, SET_USER};
use super::record::{Change, GrantChange, Grants, Identity, Meta, Pair};
use super::tree::{InodeStat, Tree};
use super::watch::Problem;

/// The planned change of one inode, and the problems with it.
pub(super) struct InodePlan {
    pub(super) change: Change,
    pub(super) problems: Vec<Problem>,
    pub(super) grants_differ: bool,
    pub(super) dropped: u64,
}

impl InodePlan {
    pub(super) fn new(name: &OsStr, seen: &InodeStat, tree: &Tree) -> InodePlan {
        let meta = Meta { uid: seen.uid, gid: seen.gid, mode: seen.mode };
        let change = Change {
            name: name.to_owned(),
            identity: Identity::of(seen, tree),
            changed: seen.changed,
            before: meta,
            after: meta,
            ..Change::default()
        };
        InodePlan { change, problems: Vec::new(), grants_differ: false, dropped: 0 }
    }

    pub(super) fn moves(&self) -> bool {
        let owner = |meta: &Meta| (meta.uid, meta.gid);
        owner(&self.change.before) != owner(&self.change.after)
    }

    pub(super) fn differs(&self) -> bool {
        let change = &self.change;
        change.before != change.after
            || change.access.is_some()
            || change.default.is_some()
            || self.grants_differ
    }

    /// Plans owner and group. Set-id bits are dropped if they would work for another user or group
    /// than before.
    pub(super) fn owner(&mut self, mover: &Mover) {
        let Meta { uid, gid, mode } = self.change.before;
        let directory = FileType::from_raw_mode(mode) == FileType::Directory;
        let mut lose = |bit: u32| {
            if !directory && self.change.after.mode & bit != 0 {
                self.change.after.mode &= !bit;
                self.dropped += 1;
            }
        };
        match mover.uid(uid) {
            Some(moved) => {
                if moved.given {
                    lose(SET_USER);
                }
                self.change.after.uid = moved.id;
            }
            None => self.problems.push(Problem::Owner(uid)),
        }
        match mover.gid(gid) {
            Some(moved) => {
                if moved.given {
                    lose(SET_GROUP);
                }
                self.change.after.gid = moved.id;
            }
            None => self.problems.push(Problem::Group(gid)),
        }
    }

    /// Refuses a set-id file that would become the host's root's: a container's users could use it
    /// until now, and every user of the host could then.
    pub(super) fn set_id_of_host(&mut self, namespaces: &Namespaces, allowed: bool) {
        let (before, after) = (self.change.before, self.change.after);
        let user = |id| namespaces.shown_uid(id) == Some(Kuid::ROOT);
        let group = |id| namespaces.shown_gid(id) == Some(Kgid::ROOT);
        let becomes = after.mode & SET_USER != 0 && user(after.uid) && !user(before.uid)
            || after.mode & SET_GROUP != 0 && group(after.gid) && !group(before.gid);
        if becomes && FileType::from_raw_mode(after.mode) == FileType::RegularFile && !allowed {
            self.problems.push(Problem::SetIdHost);
        }
    }

    pub(super) fn acls(&mut self, mover: &Mover, attributes: &Attributes) {
        self.change.access = self.acl(mover, attributes.access.as_deref());
        self.change.default = self.acl(mover, attributes.default.as_deref());
    }

    /// The list before and after; `None` if it stays.
    fn acl(&mut self, mover: &Mover, value: Option<&[u8]>) -> Option<Pair> {
        let before = value?;
        let moved = match Acl::decode(before) {
            Ok(acl) => acl.moved(mover),
            Err(error) => {
                self.problems.push(Problem::AclMalformed(error));
                return None;
            }
        };
        match moved {
            Ok(acl) => {
                let after = acl.encode();
                (after != before).then(|| Pair { before: before.to_vec(), after })
            }
            Err(AclStays::Unmapped(tag)) => {
                self.problems.push(Problem::AclUnmapped(tag));
                None
            }
            Err(AclStays::Twice(tag)) => {
                self.problems.push(Problem::AclTwice(tag));
                None
            }
        }
    }

    /// Plans the host value and the entries. A void table is dropped.
    pub(super) fn capabilities(
        &mut self,
        state: &FileState,
        mover: &Mover,
        to_host: bool,
        namespaces: &Namespaces,
    ) {
        let unclear = match state.hidden {
            Some(Hidden::Foreign | Hidden::Malformed | Hidden::HostOrAbove | Hidden::Table) => true,
            Some(Hidden::HostOrOwn) | None => false,
        };
        // What a server below an overlayfs answers is not in the copy that a change makes.
        if unclear || state.answers == Answers::ServerBelow {
            self.problems.push(Problem::GrantHidden);
            return;
        }
        let (own, view) = (namespaces.own_ns(), state.view(namespaces));
        let shown = |rootid| view.uid_in(rootid, own).map(nscap_core::Uid::get);
        let stored = |id| view.stored_of(namespaces.shown_uid(id)?);
        let host = shown(nscap_core::Uid::ROOT);
        let before = state.stored(namespaces).0;
        let mut slots = Box::new([[0; RECORD_LEN]; MAX_ENTRIES]);
        let how = mover.roots(host, to_host, shown, stored);
        let moved = match nscap_core::shift(&before, &how, slots.as_mut_slice()) {
            Ok(moved) => moved,
            Err(denied) => {
                self.problems.push(Problem::Grant(denied));
                return;
            }
        };
        if state.table.is_some() && !own.is_initial() {
            self.problems.push(Problem::GrantTable);
            return;
        }
        let Some(after) = Grants::of(&moved.stored) else {
            self.problems.push(Problem::GrantHidden);
            return;
        };
        self.grants_differ = moved.stored != before;
        self.dropped += moved.dropped as u64;
        self.change.grants = Some(GrantChange {
            capability: state.capability.clone(),
            table: state.table.clone(),
            after,
        });
    }
}
