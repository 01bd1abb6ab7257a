// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes and removals of the two attributes: R5, R7, R8, D, and K: no grant on a file that a task
//! could change unseen.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use nscap_core::{
    Checked, Decision, EntryBuffer, MAX_ENTRIES, Operation, RECORD_LEN, Request, SetFlags, Stored,
    Why,
};
use nscap_linux::{Caller, LiveNs, ReadLease};
use rustix::io::Errno;

use super::backing_caps::BackingCaps;
use super::read::errno_of;
use super::writers::{Doubt, Excluding};
use super::{Asker, CapName, Caps, TRIES, errno};

type Slots = [[u8; RECORD_LEN]];

impl Caps {
    /// setxattr(2). ETXTBSY if a task could change the content unseen (K).
    pub(crate) fn set(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        name: CapName,
        value: &[u8],
        flags: SetFlags,
        asker: Asker,
    ) -> Result<(), Errno> {
        let name = self.as_asked(name);
        let caller = self.changer(asker, name);
        let result =
            caller.and_then(|caller| self.grant(file, node, &caller, (name, value), flags));
        if result.is_ok() && name == CapName::Capability {
            self.lately.set(asker.tid, node);
        }
        match result {
            Ok(true) => self.stats.grants.add(),
            Ok(false) => {}
            Err(Errno::TXTBSY) => self.stats.busy.add(),
            Err(_) => self.stats.refused.add(),
        }
        result.map(|_| ())
    }

    fn grant(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        caller: &Caller,
        written: (CapName, &[u8]),
        flags: SetFlags,
    ) -> Result<bool, Errno> {
        let idmaps = self.idmaps.load(Ordering::Relaxed);
        let mut patience = None;
        loop {
            let awaited = Cell::new(None);
            let excluding = self.writers.exclude(node);
            let result = self.change(
                file,
                caller,
                |request, out| decide(request, written, flags, idmaps, out),
                |held, next, _| {
                    let lease = self.no_writers(file, &excluding).map_err(|doubt| {
                        awaited.set(doubt);
                        Errno::TXTBSY
                    })?;
                    held.write(next).map_err(|e| self.unwritable(&e))?;
                    if lease.held() {
                        return Ok(());
                    }
                    // A writer waited for so long that the kernel let it in.
                    self.drop_all(file)?;
                    Err(Errno::TXTBSY)
                },
            );
            // The exclusion ends while this waits: otherwise the writers could not finish.
            drop(excluding);
            let Some(doubt) = awaited.get() else {
                return result;
            };
            let patience = patience.get_or_insert_with(|| self.writers.patience());
            if !self.writers.wait(node, doubt, patience) {
                return result;
            }
        }
    }

    /// removexattr(2). D, and K if it may be the kernel's own removal before a write (V). A removal
    /// of `security.capability` by an unidentified caller can only be that one, and if it failed,
    /// the write would fail. So it removes the grants, which any task that reaches the file can
    /// also do by chown(2).
    pub(crate) fn remove(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        name: CapName,
        asker: Asker,
    ) -> Result<(), Errno> {
        let name = self.as_asked(name);
        let caller = match self.changer(asker, name) {
            Err(Errno::PERM) if name == CapName::Capability => {
                return self.changing(file, node, Operation::Write).map(drop);
            }
            caller => caller?,
        };
        let _excluding = self.writers.exclude(node);
        let removed = self.change(
            file,
            &caller,
            |request, out| match name {
                CapName::Capability => nscap_core::remove_or_strip(request, out),
                CapName::NsCapability | CapName::Unchecked => {
                    nscap_core::remove_nscapability(request, out)
                }
            },
            |held, next, why| match why {
                Why::ContentChanged => self.drop_all(file),
                _ => held.write(next).map_err(|e| self.unwritable(&e)),
            },
        );
        match removed {
            // What it set is gone already: see there.
            Err(Errno::NODATA)
                if name == CapName::Capability && self.lately.has_set(asker.tid, node) =>
            {
                Ok(())
            }
            removed => removed.map(|_| ()),
        }
    }

    /// Decides and writes; decides again if another writer was faster. Returns whether a write was
    /// needed.
    fn change<D, W>(
        &self,
        file: BorrowedFd<'_>,
        caller: &Caller,
        decide: D,
        write: W,
    ) -> Result<bool, Errno>
    where
        D: for<'o> Fn(&Request<'_, '_, LiveNs<'_>>, &'o mut Slots) -> Decision<Stored<'o>>,
        W: Fn(&BackingCaps<'_>, &Stored<'_>, Why) -> Result<(), Errno>,
    {
        let mut out: Box<EntryBuffer> = Box::new([[0; RECORD_LEN]; MAX_ENTRIES]);
        for _ in 0..TRIES {
            let held = self.held(file)?;
            let (cred, view) = (caller.cred(), held.view(caller.lineage().namespaces()));
            let stored = held.stored();
            let policy = self.policy;
            let request = Request { policy, cred: &cred, inode: &view, stored: &stored };
            let (next, why) = match decide(&request, out.as_mut_slice()) {
                Decision::Write(next, why) => (next, why),
                Decision::Keep(_) => return Ok(false),
                Decision::Deny(no, _) => return Err(errno_of(no)),
            };
            if !caller.is_there() {
                return Err(Errno::PERM);
            }
            match write(&held, &next, why) {
                Err(Errno::AGAIN) => {}
                done => return done.map(|()| true),
            }
        }
        // Lost the race every time: treated as a writer.
        Err(Errno::TXTBSY)
    }

    /// K: while the result is held, no task can change the content: the server closes its own
    /// descriptor for writing, and the kernel says that there is no other. The error is a doubt
    /// that may end in a moment, or `None` if the kernel cannot say: then the grant is refused.
    fn no_writers(
        &self,
        file: BorrowedFd<'_>,
        excluding: &Excluding<'_>,
    ) -> Result<ReadLease, Option<Doubt>> {
        if self.never_certain {
            return Err(None);
        }
        if excluding.is_mapped() {
            return Err(Some(Doubt::Open));
        }
        let hold = || rustix::io::fcntl_dupfd_cloexec(file, 0);
        excluding.give_back(hold).map_err(|_| None)?;
        match super::lease(file) {
            Ok(Some(lease)) => Ok(lease),
            Ok(None) => Err(Some(Doubt::Unclear)),
            Err(_) => Err(None),
        }
    }

    /// The errno for what could not be written: what the backing file cannot hold is ENOSPC (A).
    fn unwritable(&self, error: &nscap_linux::Error) -> Errno {
        let in_namespace = !self.is_initial();
        match errno(error) {
            Errno::OVERFLOW => Errno::NOSPC,
            // Entries of several roots need a table, which is for the owner of the file system.
            Errno::PERM if in_namespace => Errno::NOSPC,
            errno => errno,
        }
    }
}

/// What comes of a write of one of the two names.
fn decide<'o>(
    request: &Request<'_, '_, LiveNs<'_>>,
    (name, value): (CapName, &[u8]),
    flags: SetFlags,
    idmapped: bool,
    out: &'o mut Slots,
) -> Decision<Stored<'o>> {
    let name = match name {
        CapName::Capability => Checked::Capability { idmapped },
        CapName::NsCapability => Checked::NsCapability,
        CapName::Unchecked => return nscap_core::set_nscapability(request, value, flags, out),
    };
    nscap_core::set_relayed(request, name, value, flags, out)
}
