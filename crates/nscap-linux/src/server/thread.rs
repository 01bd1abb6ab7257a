// SPDX-License-Identifier: MIT OR Apache-2.0
//! Credentials of one thread: another user's fsuid and fsgid while capabilities stay, its own
//! umask, and fewer effective capabilities.
//!
//! Linux keeps these for each thread (credentials(7)). The C library's wrappers change all threads,
//! so this does not use them.

use std::cell::Cell;

use nscap_core::CapSet;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, capabilities, capabilities_secure_bits,
    set_capabilities, set_capabilities_secure_bits,
};

use crate::{places, sys};

thread_local! {
    /// The umask that this thread set last.
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Prepares the calling thread to serve. From then on its umask and its working directory,
/// /proc/self/fd, are its own (unshare(2), CLONE_FS); a change of its fsuid leaves its capabilities
/// as they are (SECBIT_NO_SETUID_FIXUP); and the capabilities `without` are not in its effective
/// set, but still permitted.
///
/// # Errors
/// EPERM without CAP_SETPCAP; open(2)'s for /proc/self/fd.
///
/// ```no_run
/// use nscap_core::{CapSet, Capability};
/// std::thread::spawn(|| nscap_linux::server::prepare_thread(CapSet::of(&[Capability::Fsetid])));
/// ```
pub fn prepare_thread(without: CapSet) -> Result<(), Errno> {
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

/// Sets the umask of a [prepared](prepare_thread) thread. `mask`: permission bits.
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

/// While this lives, files that the calling thread makes have another owner and group (setfsuid(2),
/// setfsgid(2)). Its capabilities stay, if the thread is [prepared](prepare_thread).
#[derive(Debug)]
#[must_use = "dropping it changes the ids back"]
pub struct FsIds {
    before: (u32, u32),
    /// Not `Send`: the ids belong to one thread.
    _thread: std::marker::PhantomData<*const ()>,
}

impl FsIds {
    /// Sets the ids of the calling thread, as ids of its user namespace. Dropping the value
    /// restores them; if that fails the process aborts, since the thread would go on with another
    /// user's ids.
    ///
    /// # Errors
    /// EOVERFLOW for an id that is -1; EPERM if the thread may not have the ids (its user namespace
    /// does not map them, or it has no CAP_SETUID or CAP_SETGID). The ids are unchanged then.
    ///
    /// ```
    /// use nscap_linux::server::FsIds;
    /// use rustix::process::{getegid, geteuid};
    /// let own = FsIds::take(geteuid().as_raw(), getegid().as_raw());
    /// assert!(own.is_ok());
    /// assert_eq!(FsIds::take(u32::MAX, 0).err(), Some(rustix::io::Errno::OVERFLOW));
    /// ```
    pub fn take(uid: u32, gid: u32) -> Result<FsIds, Errno> {
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::OVERFLOW);
        }
        let gid_before = sys::set_fsgid(gid);
        let before = (sys::set_fsuid(uid), gid_before);
        // The calls do not say whether they did it. Dropped, this restores what they changed.
        let taken = FsIds { before, _thread: std::marker::PhantomData };
        if are_fs_ids((uid, gid)) { Ok(taken) } else { Err(Errno::PERM) }
    }
}

impl Drop for FsIds {
    fn drop(&mut self) {
        let (uid, gid) = self.before;
        sys::set_fsuid(uid);
        sys::set_fsgid(gid);
        if !are_fs_ids(self.before) {
            std::process::abort();
        }
    }
}

fn are_fs_ids((uid, gid): (u32, u32)) -> bool {
    sys::fsuid() == uid && sys::fsgid() == gid
}

/// While this lives, the calling thread's effective set is without certain capabilities.
#[derive(Debug)]
#[must_use = "dropping it raises them again"]
pub struct Lowered {
    before: CapabilitySet,
    _thread: std::marker::PhantomData<*const ()>,
}

impl Lowered {
    /// Removes `caps` from the effective set. Dropping the value restores the set; if that fails
    /// the process aborts.
    ///
    /// # Errors
    /// capset(2)'s.
    ///
    /// ```
    /// use nscap_core::{CapSet, Capability};
    /// use nscap_linux::server::Lowered;
    /// use rustix::thread::{CapabilitySet, capabilities};
    /// let _lowered = Lowered::new(CapSet::of(&[Capability::Fsetid])).unwrap();
    /// assert!(!capabilities(None).unwrap().effective.contains(CapabilitySet::FSETID));
    /// ```
    pub fn new(caps: CapSet) -> Result<Lowered, Errno> {
        let mut sets = capabilities(None)?;
        let before = sets.effective;
        sets.effective -= bits(caps);
        set_capabilities(None, sets)?;
        Ok(Lowered { before, _thread: std::marker::PhantomData })
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        let restored = capabilities(None).and_then(|mut sets| {
            sets.effective = self.before;
            set_capabilities(None, sets)
        });
        if restored.is_err() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nscap_core::Capability;

    /// In its own thread, whose credentials end with it.
    #[test]
    fn a_prepared_thread_makes_files_as_another_user_and_keeps_its_capabilities() {
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let other = std::thread::spawn(move || {
            prepare_thread(CapSet::of(&[Capability::Fsetid])).unwrap();
            let effective = || capabilities(None).unwrap().effective;
            let own = effective();
            assert!(!own.contains(CapabilitySet::FSETID));
            set_umask(0o027);
            {
                let _as_them = FsIds::take(1000, 1001).unwrap();
                assert_eq!(effective(), own);
                std::fs::create_dir(path.join("theirs")).unwrap();
                let lowered = Lowered::new(CapSet::of(&[Capability::Chown])).unwrap();
                assert!(!effective().contains(CapabilitySet::CHOWN));
                drop(lowered);
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
