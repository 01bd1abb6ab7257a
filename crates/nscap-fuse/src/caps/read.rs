// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a caller is shown: R4 and W, R6, L.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use nscap_core::storage;
use nscap_core::{Denied, HostValue, InodeView, Kgid, Kuid, Listed, Stored};
use nscap_linux::{CapFile, Lineage, LiveNs, Shown};
use rustix::io::Errno;

use super::backing_caps::BackingCaps;
use super::{CapName, Caps, FILE, TRIES, errno};

const CAPABILITY: &[u8] = b"security.capability\0";
const NSCAPABILITY: &[u8] = b"security.nscapability\0";

impl Caps {
    /// getxattr(2): the whole value, whatever size was asked for. R4 and W, R6.
    pub(crate) fn get(
        &self,
        file: BorrowedFd<'_>,
        name: CapName,
        tid: u32,
    ) -> Result<Vec<u8>, Errno> {
        let value = match name {
            CapName::Capability => self.capability(file, tid)?,
            CapName::NsCapability | CapName::Unchecked => self.nscapability(file, tid)?,
        };
        self.stats.shown.add();
        Ok(value)
    }

    /// R4 and W. Every execve asks this, so what the answer does not depend on is not read.
    fn capability(&self, file: BorrowedFd<'_>, tid: u32) -> Result<Vec<u8>, Errno> {
        let shown = self.shown(file)?;
        // In our own namespace's terms, which are the file's only in the initial namespace.
        let alone = match shown {
            Shown::Value(value) if self.is_initial() => storage::alone(value.encode().as_bytes()),
            Shown::Value(_) | Shown::Unclear | Shown::Absent => None,
        };
        if let Some(stored) = alone {
            let reader = self.reader(tid, &stored)?;
            let own = reader.namespaces().own_ns();
            let view = InodeView::plain(own, Kuid::ROOT, Kgid::ROOT);
            return handed(reader.ns(), &view, &stored);
        }
        let held = self.read(file)?;
        let stored = held.stored();
        let reader = self.reader(tid, &stored)?;
        handed(reader.ns(), &held.view(reader.namespaces()), &stored)
    }

    /// R6.
    fn nscapability(&self, file: BorrowedFd<'_>, tid: u32) -> Result<Vec<u8>, Errno> {
        self.shown(file)?;
        let held = self.read(file)?;
        let (stored, reader) = (held.stored(), self.identify(tid)?);
        let (ns, view) = (reader.ns(), held.view(reader.namespaces()));
        let length = nscap_core::nscapability_len(ns, &view, &stored).map_err(denied)?;
        let mut value = vec![0; length];
        nscap_core::get_nscapability(ns, &view, &stored, &mut value).map_err(denied)?;
        Ok(value)
    }

    /// ENODATA for a file without `security.capability`: it holds nothing, for any caller.
    fn shown(&self, file: BorrowedFd<'_>) -> Result<Shown, Errno> {
        match CapFile::capability(file, FILE.as_ref()).map_err(|e| errno(&e))? {
            Shown::Absent => Err(Errno::NODATA),
            shown => Ok(shown),
        }
    }

    /// Whether the server's namespace, which owns the mount, is the initial one: every task is in
    /// it or below.
    pub(crate) fn is_initial(&self) -> bool {
        self.callers.own().ns().is_initial()
    }

    /// listxattr(2): of the names that the backing file has, each ended by NUL, those that this
    /// caller sees. L.
    pub(crate) fn list(
        &self,
        file: BorrowedFd<'_>,
        raw: &[u8],
        tid: u32,
    ) -> Result<Vec<u8>, Errno> {
        let ours = |name: &[u8]| CapName::of(name.strip_suffix(&[0]).unwrap_or(name)).is_some();
        let names = || raw.split_inclusive(|byte| *byte == 0);
        if !names().any(ours) {
            return Ok(raw.to_vec());
        }
        let listed = self.listed(file, tid)?;
        let mut shown: Vec<u8> = names().filter(|name| !ours(name)).flatten().copied().collect();
        if listed.capability {
            shown.extend_from_slice(CAPABILITY);
        }
        if listed.nscapability {
            shown.extend_from_slice(NSCAPABILITY);
        }
        Ok(shown)
    }

    fn listed(&self, file: BorrowedFd<'_>, tid: u32) -> Result<Listed, Errno> {
        let nothing = Listed { capability: false, nscapability: false };
        match self.shown(file) {
            Ok(_) => {}
            Err(Errno::NODATA) => return Ok(nothing),
            Err(errno) => return Err(errno),
        }
        let held = self.read(file)?;
        let reader = match self.identify(tid) {
            Err(Errno::NODATA) => return Ok(nothing),
            reader => reader?,
        };
        let view = held.view(reader.namespaces());
        Ok(nscap_core::list(reader.ns(), &view, &held.stored()))
    }

    /// The caller's namespace, for R4. A host value of the initial namespace applies to all, so its
    /// reader need not be identified.
    fn reader(&self, tid: u32, stored: &Stored<'_>) -> Result<Arc<Lineage>, Errno> {
        if self.is_initial() && matches!(stored.host, HostValue::Present(_)) {
            return match self.callers.is_of_a_program(tid) {
                Ok(()) => Ok(Arc::clone(self.callers.own())),
                Err(error) => Err(self.unidentified(&error, Errno::NODATA)),
            };
        }
        self.identify(tid)
    }

    /// ENODATA for a caller that cannot be identified; EAGAIN if the server has too few resources
    /// to identify it.
    fn identify(&self, tid: u32) -> Result<Arc<Lineage>, Errno> {
        self.callers.lineage(tid).map_err(|error| self.unidentified(&error, Errno::NODATA))
    }

    /// What the file holds: once more, where a change under way may have shown us half of it.
    fn read(&self, file: BorrowedFd<'_>) -> Result<BackingCaps<'_>, Errno> {
        let mut held = self.held(file)?;
        for _ in 0..TRIES {
            if !held.is_half_seen() {
                break;
            }
            let again = self.held(file)?;
            if again == held {
                break;
            }
            held = again;
        }
        Ok(held)
    }
}

fn handed(
    ns: LiveNs<'_>,
    view: &InodeView<LiveNs<'_>>,
    stored: &Stored<'_>,
) -> Result<Vec<u8>, Errno> {
    let (value, _) = nscap_core::handed_to_kernel(ns, view, stored).map_err(denied)?;
    Ok(value.encode().as_bytes().to_vec())
}

fn denied(no: Denied) -> Errno {
    errno_of(no.errno)
}

pub(super) fn errno_of(no: nscap_core::Errno) -> Errno {
    Errno::from_raw_os_error(no.raw())
}
