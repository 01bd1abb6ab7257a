// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two attributes of a file of the tree: identifies the caller, reads the stored value, and
//! asks `nscap_core`. And K: which change of a file drops its grants, and when no grant is
//! possible.
//!
//! Every `file` given here is a descriptor of a file on the source's file system; O_PATH is enough.
//! `node` is the number of its inode, the same for as long as a handle of it is open. `tid` is what
//! FUSE says in the request's pid field: the calling thread in the mounter's pid namespace, 0 where
//! it has none there. A caller is a program's thread and decided by its own credentials; one of the
//! kernel's (io_uring, vhost, loop devices) is unidentified. Errors are what the caller of the
//! system call gets. Nothing about what a file holds is remembered: it is read at each request, so
//! that whatever the kernel strips is gone.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nscap_core::{Decision, Kuid, Operation, Policy, UserNs as _, content_change};
use nscap_linux::probe::asks_for_security_names;
use nscap_linux::server::hold_places;
use nscap_linux::{Caller, Callers, CapFile, Error, IdMap, Mount, ReadLease};
use rustix::io::Errno;

use crate::options::Options;
use crate::proto::Header;
use crate::shares::{Client, Party};
use crate::stats::Stats;

mod backing_caps;
mod change;
mod lately;
mod read;
#[cfg(test)]
mod tests;
mod writers;

use backing_caps::BackingCaps;
use lately::Lately;
use writers::Writers;
pub(crate) use writers::{Access, Append, Changing, Opened, Writer};

/// What errors call a file: they go to callers as an errno only.
const FILE: &str = "file";

/// How often something is tried again that others change at the same time.
const TRIES: usize = 16;

/// linux/magic.h.
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;

/// An attribute that is answered by the rules and not by the backing file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CapName {
    /// `security.capability`.
    Capability,
    /// `security.nscapability`.
    NsCapability,
    /// `system.nscapability`: the same, but the kernel has not checked the writer.
    Unchecked,
}

impl CapName {
    /// `None` for every other name: those are the backing file's.
    pub(crate) fn of(name: &[u8]) -> Option<CapName> {
        match name {
            b"security.capability" => Some(CapName::Capability),
            b"security.nscapability" => Some(CapName::NsCapability),
            b"system.nscapability" => Some(CapName::Unchecked),
            _ => None,
        }
    }
}

/// The caller, as the request says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    /// The calling thread, 0 where it has no id for us.
    pub(crate) tid: u32,
    /// The ids that the kernel asks with, in our own namespace's terms; -1 where it does not say.
    ids: (u32, u32),
}

impl From<&Header> for Asker {
    fn from(header: &Header) -> Asker {
        Asker { tid: header.tid, ids: (header.uid, header.gid) }
    }
}

/// What the rules know about the files of one mount.
#[derive(Debug)]
pub(crate) struct Caps {
    policy: Policy,
    callers: Callers,
    mount: Mount,
    /// Whether the kernel checks the caller before it passes on a change of a `security.*` name.
    asked: bool,
    /// Whether the kernel allows id-mapped mounts of ours, so that it may have translated a value
    /// (M).
    pub(crate) idmaps: AtomicBool,
    lately: Lately,
    writers: Arc<Writers>,
    stats: Arc<Stats>,
    /// The kernel does not see every writer: it asks about a file of overlayfs and not about the
    /// layer's file below, which is what is mapped, and tasks reach the source by another way.
    never_certain: bool,
}

impl Caps {
    /// `source`: a descriptor of the root of the source tree, `path` what errors call it.
    ///
    /// # Errors
    /// Those of [`Callers::new`] and [`Mount::of`]; [`Error::Unexpected`] where the source is on an
    /// id-mapped mount, through which no host value can be written (M).
    pub(crate) fn new(
        source: BorrowedFd<'_>,
        path: &Path,
        options: &Options,
        stats: Arc<Stats>,
    ) -> nscap_linux::Result<Caps> {
        hold_places()?;
        let callers = Callers::new()?;
        let mount = Mount::of(source, path, &mut nscap_linux::Namespaces::own()?)?;
        let mount = mount.with_proof(source)?;
        if mount.idmap != IdMap::Absent {
            let problem = "on an id-mapped mount, through which no host value can be written; \
                give the tree by a mount of it that is not id-mapped";
            return Err(Error::Unexpected { path: path.to_owned(), problem: problem.to_owned() });
        }
        let vouched =
            mount.trusted == Some(true) || mount.may_be_anothers && options.source_owner_ok;
        let mount = mount.with_trust(vouched);
        let (policy, writers) = (options.policy, Writers::new());
        let is_overlay = rustix::fs::fstatfs(source)
            .map_or(true, |kind| kind.f_type as u64 == OVERLAYFS_SUPER_MAGIC);
        let never_certain = options.reachable_ok && is_overlay;
        let asked = asks_for_security_names();
        Ok(Caps {
            policy,
            callers,
            mount,
            asked,
            idmaps: AtomicBool::new(false),
            lately: Lately::default(),
            writers,
            stats,
            never_certain,
        })
    }

    /// Whether a user namespace beside ours may own the source's superblock, where neither its
    /// set-id bits nor its capabilities hold for us.
    pub(crate) fn may_be_anothers(&self) -> bool {
        self.mount.may_be_anothers
    }

    /// A waiting thread with its credentials. EPERM if it cannot be identified; EAGAIN if the
    /// server has too few resources to identify it.
    pub(crate) fn caller(&self, tid: u32) -> Result<Caller, Errno> {
        self.callers.caller(tid).map_err(|error| self.unidentified(&error, Errno::PERM))
    }

    /// The caller that changes this name. For the other names the VFS checks the credentials of the
    /// request, which need not be the thread's own (overlayfs uses its mounter's). For a name that
    /// the VFS does not check, the request must have the thread's own ids.
    fn changer(&self, asker: Asker, name: CapName) -> Result<Caller, Errno> {
        let caller = self.caller(asker.tid)?;
        let (uid, gid) = asker.ids;
        // -1: a kernel that allows id-mapped mounts sends ids only with requests that make a file.
        let told = (uid, gid) != (u32::MAX, u32::MAX);
        if name == CapName::Unchecked && told && !caller.asks_as(uid, gid) {
            self.stats.unknown_callers.add();
            return Err(Errno::PERM);
        }
        Ok(caller)
    }

    /// Whether a change of another `security.*` name may be passed on to the source, which would
    /// trust the server. EPERM if the caller cannot be identified.
    ///
    /// A kernel that checks has done so, with the credentials of the request: those of a task, or
    /// of an overlayfs that copies a file up for it. On another kernel the server checks, by the
    /// same rule.
    pub(crate) fn may_change_security(&self, asker: Asker) -> Result<(), Errno> {
        let caller = self.caller(asker.tid)?;
        let owner = caller.lineage().namespaces().own_ns();
        match nscap_core::may_change_security(&caller.cred(), owner) {
            Err(no) if !self.asked => Err(read::errno_of(no.errno)),
            _ => Ok(()),
        }
    }

    /// The name, as unchecked on a kernel that does not check changes of `security.*`.
    fn as_asked(&self, name: CapName) -> CapName {
        match name {
            CapName::NsCapability if !self.asked => CapName::Unchecked,
            name => name,
        }
    }

    fn unidentified(&self, error: &Error, answer: Errno) -> Errno {
        if error.is_shortage() {
            return Errno::AGAIN;
        }
        self.stats.unknown_callers.add();
        answer
    }

    /// The parties that a waiting thread's request counts for: its kuid; and, in a container, the
    /// user that made the outermost namespace, or that namespace itself if root made it.
    pub(crate) fn client(&self, tid: u32) -> Client {
        let Ok(caller) = self.callers.caller(tid) else {
            return Client::one(Party::Unknown);
        };
        let own = Party::Uid(caller.cred().fsuid.get());
        let above = nscap_core::path_to_initial(caller.lineage().ns());
        let outermost = above.take_while(|ns| !ns.is_initial()).last();
        let whole = outermost.map_or(own, |ns| match ns.owner() {
            Kuid::ROOT => Party::Namespace(ns.inode()),
            owner => Party::Uid(owner.get()),
        });
        Client { own, whole }
    }

    /// K for an open for writing, before it is replied to. What it gives is kept with the handle
    /// and dropped at RELEASE. An open that can be mapped shared and writable drops what the file
    /// holds, once the server has it open by `open`, and nothing can be granted while it lasts.
    /// What is `fresh`, made by this request, holds nothing. The descriptor is
    /// [`Changing::writer`]'s.
    pub(crate) fn opening(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        (access, fresh): (Access, bool),
        append: Append,
        open: impl FnOnce() -> Result<Writer, Errno>,
    ) -> Result<Opened, Errno> {
        let changing = self.begin(node);
        let opened = changing.open(access);
        changing.writer(append, open)?;
        if access == Access::Mapped && !fresh {
            self.apply(file, Operation::SharedWritableMap)?;
        }
        Ok(opened)
    }

    /// Whether anything has a file open for writing, or mapped so, by a descriptor of it that is
    /// open for reading; `true` where that cannot be known without waiting.
    pub(crate) fn is_written(&self, node: u64, file: &File) -> bool {
        let excluding = self.writers.try_exclude(node);
        excluding.is_none_or(|_excluding| nscap_linux::is_written(file))
    }

    /// Holds off grants; what is changed then is to be [applied](Caps::apply) first.
    pub(crate) fn begin(&self, node: u64) -> Changing {
        self.writers.change(node)
    }

    /// While the result lives, no change and no grant is under way. A caller that holds a change
    /// must not call this.
    pub(crate) fn by_itself(&self, node: u64) -> impl Sized + use<'_> {
        self.writers.exclude(node)
    }

    /// To be called before a change reaches the backing file; what it gives is dropped when the
    /// change is done. K: drops what the file holds, if this operation does, and holds off grants.
    pub(crate) fn changing(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        operation: Operation,
    ) -> Result<Changing, Errno> {
        let changing = self.begin(node);
        self.apply(file, operation)?;
        Ok(changing)
    }

    /// K for one operation, of a change that has [begun](Caps::begin).
    pub(crate) fn apply(&self, file: BorrowedFd<'_>, operation: Operation) -> Result<(), Errno> {
        match content_change(operation) {
            Decision::Write(_, _) => self.drop_all(file),
            Decision::Keep(_) => Ok(()),
            Decision::Deny(no, _) => Err(read::errno_of(no)),
        }
    }

    fn drop_all(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        if CapFile::drop_all(file, FILE.as_ref()).map_err(|e| errno(&e))? {
            self.stats.dropped.add();
        }
        Ok(())
    }

    fn held(&self, file: BorrowedFd<'_>) -> Result<BackingCaps<'_>, Errno> {
        let file = rustix::io::fcntl_dupfd_cloexec(file, 0)?;
        let held = CapFile::from_fd(file, FILE.as_ref())
            .and_then(|file| BackingCaps::read(file, &self.mount, self.callers.own().namespaces()));
        held.map_err(|e| errno(&e))
    }
}

/// A lease: the kernel says that no task writes.
fn lease(file: BorrowedFd<'_>) -> nscap_linux::Result<Option<ReadLease>> {
    ReadLease::take(file, FILE.as_ref())
}

fn errno(error: &Error) -> Errno {
    Errno::from_raw_os_error(error.errno())
}
