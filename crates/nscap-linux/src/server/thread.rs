// SPDX-License-Identifier: MIT OR Apache-2.0
//! Credentials of one thread: file system ids of somebody else while capabilities stay, a umask of
//! its own, and capabilities that it goes without.
//!
//! Linux keeps these for each thread (credentials(7)); the C library's wrappers that change all
//! threads are not used.

use std::cell::Cell;

use nscap_core::CapSet;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    set_capabilities, set_capabilities_secure_bits,
};

use crate::{places, sys};

thread_local! {
    /// What this thread last set.
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Prepares the calling thread: its umask and working directory are its own from now on
/// (unshare(2), CLONE_FS), the latter /proc/self/fd, changing file system ids leaves its capabilities alone
/// (SECBIT_NO_SETUID_FIXUP), and the capabilities `without` leave its effective set; they stay
/// permitted, for [`Raised`].
///
/// # Errors
/// EPERM without CAP_SETPCAP; open(2)'s for /proc/self/fd.
///
/// ```no_run
/// use nscap_core::{CapSet, Capability};
/// std::thread::spawn(|| nscap_linux::server::settle(CapSet::of(&[Capability::Fsetid])));
/// ```
pub fn settle(without: CapSet) -> Result<(), Errno> {
    sys::unshare_fs()?;
    places::enter_links()?;
    UMASK.set(None);
    let secure = capabilities_secure_bits()? | CapabilitiesSecureBits::NO_SETUID_FIXUP;
    set_capabilities_secure_bits(secure)?;
    let mut sets = capabilities(None)?;
    sets.effective -= bits(without);
    set_capabilities(None, sets)
}

fn bits(caps: CapSet) -> CapabilitySet {
    CapabilitySet::from_bits_retain(caps.bits())
}

/// Sets the umask of a [settled](settle) thread.
///
/// ```no_run
/// nscap_linux::server::set_umask(0o027);
/// ```
pub fn set_umask(mask: u32) {
    let mask = mask & 0o777;
    if UMASK.get() != Some(mask) {
        rustix::process::umask(Mode::from_raw_mode(mask));
        UMASK.set(Some(mask));
    }
}

/// While this lives, the calling thread makes files as somebody else: their owner and group
/// (setfsuid(2), setfsgid(2)). Capabilities stay, if the thread is [settled](settle).
#[derive(Debug)]
#[must_use = "dropping it changes the ids back"]
pub struct FsIds {
    before: Option<(u32, u32)>,
    /// The ids are a thread's.
    _thread: std::marker::PhantomData<*const ()>,
}

impl FsIds {
    /// Takes the ids. When the value is dropped, the thread has its own again; where that fails
    /// the process ends, since it would go on as somebody else.
    ///
    /// # Errors
    /// EOVERFLOW for an id that is -1; EPERM where the ids may not be taken (not mapped in our
    /// user namespace, or no CAP_SETUID or CAP_SETGID). Nothing has changed then.
    ///
    /// ```
    /// use nscap_linux::server::FsIds;
    /// let own = FsIds::take(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    /// assert!(own.is_ok());
    /// assert!(FsIds::take(u32::MAX, 0).is_err());
    /// ```
    pub fn take(uid: u32, gid: u32) -> Result<FsIds, Errno> {
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::OVERFLOW);
        }
        let before = (sys::fsuid(), sys::fsgid());
        if before == (uid, gid) {
            return Ok(FsIds { before: None, _thread: std::marker::PhantomData });
        }
        let taken = FsIds { before: Some(before), _thread: std::marker::PhantomData };
        if sys::set_fsgid(gid) && sys::set_fsuid(uid) { Ok(taken) } else { Err(Errno::PERM) }
    }
}

impl Drop for FsIds {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.before
            && !(sys::set_fsuid(uid) && sys::set_fsgid(gid))
        {
            std::process::abort();
        }
    }
}

/// While this lives, the calling thread has capabilities in its effective set that it otherwise
/// goes without.
#[derive(Debug)]
#[must_use = "dropping it lowers them again"]
pub struct Raised {
    before: CapabilitySet,
    _thread: std::marker::PhantomData<*const ()>,
}

impl Raised {
    /// Raises what of `caps` is permitted. When the value is dropped they are lowered again; where
    /// that fails the process ends.
    ///
    /// # Errors
    /// capset(2)'s.
    ///
    /// ```
    /// use nscap_core::{CapSet, Capability};
    /// use nscap_linux::server::Raised;
    /// assert!(Raised::raise(CapSet::of(&[Capability::Fsetid])).is_ok());
    /// ```
    pub fn raise(caps: CapSet) -> Result<Raised, Errno> {
        Raised::change(|sets| sets.effective | sets.permitted & bits(caps))
    }

    /// Lowers `caps`. When the value is dropped those that were there are raised again; where that
    /// fails the process ends.
    ///
    /// # Errors
    /// capset(2)'s.
    ///
    /// ```
    /// use nscap_core::{CapSet, Capability};
    /// use nscap_linux::server::Raised;
    /// assert!(Raised::lower(CapSet::of(&[Capability::Fsetid])).is_ok());
    /// ```
    pub fn lower(caps: CapSet) -> Result<Raised, Errno> {
        Raised::change(|sets| sets.effective - bits(caps))
    }

    fn change(effective: impl FnOnce(&CapabilitySets) -> CapabilitySet) -> Result<Raised, Errno> {
        let mut sets = capabilities(None)?;
        let before = sets.effective;
        sets.effective = effective(&sets);
        set_capabilities(None, sets)?;
        Ok(Raised { before, _thread: std::marker::PhantomData })
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        let lowered = capabilities(None).and_then(|mut sets| {
            sets.effective = self.before;
            set_capabilities(None, sets)
        });
        if lowered.is_err() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nscap_core::Capability;

    /// In a thread of its own, so that nothing of it stays.
    #[test]
    fn a_settled_thread_makes_files_as_somebody_else_and_keeps_its_capabilities() {
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let other = std::thread::spawn(move || {
            settle(CapSet::of(&[Capability::Fsetid])).unwrap();
            let effective = || capabilities(None).unwrap().effective;
            let own = effective();
            assert!(!own.contains(CapabilitySet::FSETID));
            set_umask(0o027);
            {
                let _as_them = FsIds::take(1000, 1001).unwrap();
                assert_eq!(effective(), own);
                std::fs::create_dir(path.join("theirs")).unwrap();
                let raised = Raised::raise(CapSet::of(&[Capability::Fsetid])).unwrap();
                assert!(effective().contains(CapabilitySet::FSETID));
                drop(raised);
                assert_eq!(effective(), own);
            }
            std::fs::create_dir(path.join("ours")).unwrap();
            assert_eq!(effective(), own);
        });
        other.join().unwrap();
        use std::os::unix::fs::MetadataExt as _;
        let theirs = std::fs::metadata(directory.path().join("theirs")).unwrap();
        assert_eq!((theirs.uid(), theirs.gid(), theirs.mode() & 0o777), (1000, 1001, 0o750));
        let ours = std::fs::metadata(directory.path().join("ours")).unwrap();
        assert_eq!((ours.uid(), ours.gid()), (0, 0));
    }
}
