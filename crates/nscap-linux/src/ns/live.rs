// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handle of one namespace in a snapshot.

use std::fmt;
use std::path::Path;

use nscap_core::{Extent, Gid, Kgid, Kuid, Uid, UserNs};

use super::{Namespaces, Node, NsIndex, Origin};

/// A process, by its id in our pid namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name as /proc/PID/comm has it, any bytes; empty where the process is gone.
    pub comm: Vec<u8>,
}

/// A user namespace in a [`Namespaces`]: cheap to copy, of use for as long as that lives.
#[derive(Clone, Copy)]
pub struct LiveNs<'a> {
    all: &'a Namespaces,
    n: usize,
}

impl<'a> LiveNs<'a> {
    pub(super) fn new(all: &'a Namespaces, n: usize) -> LiveNs<'a> {
        LiveNs { all, n }
    }

    fn node(self) -> &'a Node {
        self.all.node(self.n)
    }

    /// Its index, which outlives the borrow.
    #[must_use]
    pub fn index(self) -> NsIndex {
        NsIndex(self.n)
    }

    /// Whether it is a namespace of the kernel. Else it is a placeholder: the maps of a mount, or a
    /// namespace that lies outside or was not seen.
    #[must_use]
    pub fn is_namespace(self) -> bool {
        self.node().origin.is_namespace()
    }

    /// Whether it is the initial namespace, or the one that we take for it.
    #[must_use]
    pub fn is_initial(self) -> bool {
        self.node().parent.is_none()
    }

    /// The inode number that `ls -l /proc/PID/ns` and lsns(8) show. Numbers are used again after a
    /// namespace has gone; where there is no [`id`](LiveNs::id) this one not while the snapshot
    /// lives.
    #[must_use]
    pub fn inode(self) -> u64 {
        self.node().identity.inode
    }

    /// The kernel's id of it, never used again (NS_GET_ID); `None` before Linux 6.18.
    #[must_use]
    pub fn id(self) -> Option<u64> {
        self.node().identity.id
    }

    /// The kuid that made it; `None` where it has no id that we could name.
    #[must_use]
    pub fn owner_kuid(self) -> Option<Kuid> {
        self.node().owner
    }

    /// Whether its maps could be read. If not, nothing is mapped here, so nothing holds.
    #[must_use]
    pub fn maps_known(self) -> bool {
        self.node().maps_known
    }

    /// Its uid map, ascending by inside id; the outside are kuids.
    #[must_use]
    pub fn uid_map(self) -> &'a [Extent] {
        self.node().maps.uids.ids().extents()
    }

    /// Its gid map, ascending by inside id; the outside are kgids.
    #[must_use]
    pub fn gid_map(self) -> &'a [Extent] {
        self.node().maps.gids.ids().extents()
    }

    /// How it was found first.
    #[must_use]
    pub fn origin(self) -> &'a Origin {
        &self.node().origin
    }

    /// How many processes were found in it.
    #[must_use]
    pub fn process_count(self) -> usize {
        self.node().processes.len()
    }

    /// The lowest id of a process in it.
    #[must_use]
    pub fn first_pid(self) -> Option<u32> {
        self.node().processes.first().copied()
    }

    /// The process in it with the lowest id, which is mostly what people know it by.
    #[must_use]
    pub fn first_process(self) -> Option<Process> {
        let pid = self.first_pid()?;
        let mut comm = std::fs::read(Path::new("/proc").join(pid.to_string()).join("comm"))
            .unwrap_or_default();
        if comm.last() == Some(&b'\n') {
            comm.pop();
        }
        Some(Process { pid, comm })
    }

    /// The namespaces in the snapshot whose parent it is.
    pub fn children(self) -> impl Iterator<Item = LiveNs<'a>> {
        self.all.iter().filter(move |ns| ns.node().parent == Some(self.n))
    }
}

impl PartialEq for LiveNs<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.same(*other)
    }
}

impl Eq for LiveNs<'_> {}

impl fmt::Debug for LiveNs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user:[{}]", self.inode())
    }
}

impl UserNs for LiveNs<'_> {
    fn same(self, other: Self) -> bool {
        std::ptr::eq(self.all, other.all) && self.n == other.n
    }

    fn parent(self) -> Option<Self> {
        self.node().parent.map(|n| LiveNs::new(self.all, n))
    }

    fn owner(self) -> Kuid {
        // No task has the last id, so an owner that cannot be named has privilege nowhere.
        const NOBODY: Kuid = Kuid::new(u32::MAX - 1).unwrap();
        self.node().owner.unwrap_or(NOBODY)
    }

    fn kuid(self, uid: Uid) -> Option<Kuid> {
        self.node().maps.uids.ids().kuid(uid)
    }

    fn uid(self, kuid: Kuid) -> Option<Uid> {
        self.node().maps.uids.ids().uid(kuid)
    }

    fn kgid(self, gid: Gid) -> Option<Kgid> {
        self.node().maps.gids.ids().kgid(gid)
    }

    fn gid(self, kgid: Kgid) -> Option<Gid> {
        self.node().maps.gids.ids().gid(kgid)
    }
}
