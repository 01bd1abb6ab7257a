//! What a process takes on for itself before it starts others: namespaces of its own, and no
//! descriptors that it only inherited. For front ends that stage or serve something.

use std::path::Path;

use crate::error::{Error, Result};
use crate::sys;

/// A kind of namespace that [`unshare`] makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// user_namespaces(7): this process has every capability in the new one, and no id is mapped
    /// until somebody writes its maps.
    User,
    /// mount_namespaces(7).
    Mount,
    /// pid_namespaces(7): for this process's children; the first of them is its init.
    Pid,
}

impl Kind {
    fn flag(self) -> rustix::thread::UnshareFlags {
        match self {
            Kind::User => rustix::thread::UnshareFlags::NEWUSER,
            Kind::Mount => rustix::thread::UnshareFlags::NEWNS,
            Kind::Pid => rustix::thread::UnshareFlags::NEWPID,
        }
    }
}

/// Moves this process into new namespaces of these kinds, as unshare(2) does in one call.
///
/// # Errors
/// [`Error::Call`] with unshare(2)'s errno: EPERM without CAP_SYS_ADMIN (for
/// [`Kind::User`]: where the machine does not let this user have one), EINVAL for [`Kind::User`] in
/// a process with several threads or where the kernel has no such namespaces, ENOSPC or EUSERS
/// beyond a limit.
///
/// ```no_run
/// use nscap_linux::isolate::{Kind, unshare};
/// unshare(&[Kind::User, Kind::Mount])?;
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn unshare(kinds: &[Kind]) -> Result<()> {
    let flags = kinds.iter().map(|kind| kind.flag()).collect();
    sys::unshare(flags).map_err(|e| Error::call(Path::new("new namespaces"), "unshare", e))
}

/// Sees to it that no descriptor but standard input, output and error is passed on to programs
/// that this process executes from now on (FD_CLOEXEC). What a careless caller left open, such as a
/// lock, would otherwise stay open as long as a server that it started.
///
/// # Errors
/// [`Error::Call`] with close_range(2)'s errno: ENOSYS before Linux 5.9, EINVAL before 5.11.
///
/// ```
/// nscap_linux::isolate::pass_on_no_descriptors()?;
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn pass_on_no_descriptors() -> Result<()> {
    sys::close_on_exec_from(3)
        .map_err(|e| Error::call(Path::new("descriptors from 3"), "close_range", e))
}
