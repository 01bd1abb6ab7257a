//! What a caller is shown: R4 and W, R6, L.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use nscap_core::{Host, Listed, NsCaps, UserNs as _};
use nscap_linux::{CapFile, Lineage};
use rustix::io::Errno;

use super::held::Held;
use super::{CapName, Caps, FILE, errno};

const CAPABILITY: &[u8] = b"security.capability";
const NSCAPABILITY: &[u8] = b"security.nscapability";

impl Caps {
    /// getxattr(2): the whole value, whatever size was asked for. R4 and W, R6.
    pub(crate) fn get(
        &self,
        file: BorrowedFd<'_>,
        name: CapName,
        tid: u32,
    ) -> Result<Vec<u8>, Errno> {
        if !CapFile::has_capability(file, FILE.as_ref()).map_err(|e| errno(&e))? {
            return Err(Errno::NODATA);
        }
        let held = self.read(file)?;
        let reader =
            self.reader(tid, name == CapName::Capability && held.stored().host != Host::Absent)?;
        let ns = reader.ns();
        let (place, stored) = (held.place(reader.namespaces()), held.stored());
        let denied = |no: nscap_core::Denied| errno_of(no.errno);
        let value = match name {
            CapName::Capability => {
                let (value, _) =
                    nscap_core::handed_to_kernel(ns, &place, &stored).map_err(denied)?;
                value.encode().as_bytes().to_vec()
            }
            CapName::NsCapability => {
                let entries = stored.entries.len() + 1;
                let mut value = vec![0; NsCaps::encoded_len(entries)];
                let length = nscap_core::get_nscapability(ns, &place, &stored, &mut value)
                    .map_err(denied)?;
                value.truncate(length);
                value
            }
        };
        self.stats.shown.add();
        Ok(value)
    }

    /// listxattr(2): of the names that the backing file has, each ended by NUL, those that this
    /// caller sees. L.
    pub(crate) fn list(
        &self,
        file: BorrowedFd<'_>,
        raw: &[u8],
        tid: u32,
    ) -> Result<Vec<u8>, Errno> {
        let names = || raw.split_inclusive(|byte| *byte == 0);
        let bare = |name: &[u8]| name.strip_suffix(&[0]).unwrap_or(name).to_vec();
        if !names().any(|name| CapName::of(&bare(name)).is_some()) {
            return Ok(raw.to_vec());
        }
        let others = names().filter(|name| CapName::of(&bare(name)).is_none());
        let mut shown: Vec<u8> = others.flatten().copied().collect();
        let listed = self.listed(file, tid)?;
        for (name, there) in [(CAPABILITY, listed.capability), (NSCAPABILITY, listed.nscapability)]
        {
            if there {
                shown.extend_from_slice(name);
                shown.push(0);
            }
        }
        Ok(shown)
    }

    fn listed(&self, file: BorrowedFd<'_>, tid: u32) -> Result<Listed, Errno> {
        let nothing = Listed { capability: false, nscapability: false };
        if !CapFile::has_capability(file, FILE.as_ref()).map_err(|e| errno(&e))? {
            return Ok(nothing);
        }
        let held = self.read(file)?;
        let Ok(reader) = self.reader(tid, false) else {
            return Ok(nothing);
        };
        let place = held.place(reader.namespaces());
        Ok(nscap_core::list(reader.ns(), &place, &held.stored()))
    }

    /// The namespace of who reads. A host value of the initial namespace's is everybody's (R4), so
    /// that who asks need not be known more closely: `for_all`.
    fn reader(&self, tid: u32, for_all: bool) -> Result<Arc<Lineage>, Errno> {
        if tid != 0 && for_all && self.callers.own().ns().parent().is_none() {
            return Ok(Arc::clone(self.callers.own()));
        }
        self.callers.lineage(tid).map_err(|_| {
            self.stats.unknown_callers.add();
            Errno::NODATA
        })
    }

    /// What the file holds: once more, where a change under way may have shown us half of it.
    fn read(&self, file: BorrowedFd<'_>) -> Result<Held<'_>, Errno> {
        let mut held = self.held(file)?;
        for _ in 0..super::TRIES {
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

pub(super) fn errno_of(no: nscap_core::Errno) -> Errno {
    Errno::from_raw_os_error(no.raw())
}
