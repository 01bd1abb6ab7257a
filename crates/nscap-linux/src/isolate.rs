// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process takes on for itself before it starts others: namespaces of its own, and no
//! descriptors that it only inherited. For front ends that stage or serve something.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sys;

/// A kind of namespace that [`unshare`] makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// user_namespaces(7): this process has every capability in the new namespace, which maps no id
    /// until a process writes its maps.
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

/// Moves this thread, and no other, into a mount namespace, as setns(2) does; its root and current
/// directory are that namespace's root.
///
/// # Errors
/// [`Error::Call`] with setns(2)'s errno: EPERM without CAP_SYS_ADMIN in both namespaces' owners
/// and CAP_SYS_CHROOT, EINVAL where the descriptor is of something else.
///
/// ```no_run
/// let namespace = std::fs::File::open("/proc/1/ns/mnt").unwrap();
/// nscap_linux::isolate::enter_mounts(&namespace)?;
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn enter_mounts(namespace: impl AsFd) -> Result<()> {
    let failed = |call| move |e: Errno| Error::call(Path::new("a mount namespace"), call, e);
    sys::unshare_fs().map_err(failed("unshare"))?;
    rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Mount),
    )
    .map_err(failed("setns"))
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

/// Does work in a process of its own, and returns its exit status. The caller comes back when the
/// work is done, even if the process cannot end: no signal ends a task that waits for the server of
/// a FUSE file system which has read its request. The process closes standard input, output and
/// error first.
///
/// # Errors
/// [`Error::Call`] from fork(2) or pipe(2), or EINTR where a signal has ended the process.
///
/// ```no_run
/// let status = nscap_linux::isolate::apart(|| 3)?;
/// assert_eq!(status, 3);
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn apart(work: impl FnOnce() -> u8) -> Result<u8> {
    let failed = |error: std::io::Error| Error::call(Path::new("a process"), "fork", error);
    let (mut done, mut says) = std::io::pipe().map_err(failed)?;
    match sys::fork_with_parent().map_err(|e| Error::call(Path::new("a process"), "fork", e))? {
        None => {
            drop(done);
            let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let status = status.unwrap_or(101);
            sys::let_go_of_stdio();
            let _ = says.write_all(&[status]);
            drop(says);
            sys::exit_now(status);
        }
        Some(child) => {
            drop(says);
            let mut status = [0];
            let came = done.read_exact(&mut status);
            // Mostly it ends at once; if not it is left to the reaper of orphans.
            if came.is_err() {
                let _ =
                    rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
                return Err(Error::call(Path::new("a process"), "wait", Errno::INTR));
            }
            for _ in 0..20 {
                let wait =
                    rustix::process::waitpid(Some(child), rustix::process::WaitOptions::NOHANG);
                if !matches!(wait, Ok(None)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(status[0])
        }
    }
}
