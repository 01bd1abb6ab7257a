// SPDX-License-Identifier: MIT OR Apache-2.0
//! What signals mean to a server: SIGTERM and SIGINT unmount and end it, SIGUSR1 prints its
//! counters, SIGHUP is nothing, so that it outlives the terminal that it was started from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nscap_fuse::Stats;
use nscap_linux::MountPoint;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, UnmountFlags, fsconfig_create, fsmount, fsopen,
    unmount,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::apart::Home;
use crate::failure::{Failure, call};
use crate::{note, report, stats};

/// How long tasks that still have files open keep their server after the mount is gone from sight.
const GRACE: Duration = Duration::from_secs(3);

/// Signals that arrive from now on; none ends this process any more.
pub(super) fn catch() -> Result<Signals, Failure> {
    Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])
        .map_err(|error| call("signals".as_ref(), "sigaction", error))
}

/// What a server's signals are about.
pub(super) struct Server {
    pub(super) target: PathBuf,
    /// Where the mount is.
    pub(super) home: Home,
    /// The device number of the mount.
    pub(super) device: (u32, u32),
    pub(super) stats: Arc<Stats>,
    /// Whether the counters are printed at the end.
    pub(super) at_end: bool,
}

impl Server {
    /// Does what signals say, for as long as the process lives.
    pub(super) fn obey(self, mut signals: Signals) {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => stats::print(&self.target, &self.stats.snapshot()),
                SIGTERM | SIGINT => self.end(),
                _ => {}
            }
        }
    }

    /// Unmounts. The main thread ends the process once no task uses the file system. If a task goes
    /// on using it, this thread ends the process, and that task gets ENOTCONN.
    fn end(&self) {
        if let Err(failure) = self.unmount() {
            report(&failure);
        }
        std::thread::sleep(GRACE);
        note(&format!("{}: still in use, ended all the same", crate::out::path(&self.target)));
        if self.at_end {
            stats::print(&self.target, &self.stats.snapshot());
        }
        // A thread that waits for a lock of the source's would keep what is open.
        let (_, connection) = self.device;
        if abort(connection).is_err()
            && let Err(error) = nscap_linux::server::let_go_of_devices()
        {
            report(&call("/dev/fuse".as_ref(), "dup3", error));
        }
        std::process::exit(0);
    }

    /// From every place where the mount namespace that it was made in shows the file system.
    fn unmount(&self) -> Result<(), Failure> {
        if !self.home.enter()? {
            return Ok(());
        }
        let ours = |mount: &MountPoint| mount.device == self.device && mount.is_nscap();
        for mount in MountPoint::all()?.into_iter().rev().filter(ours) {
            unmount(&mount.point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                .map_err(|error| call(&mount.point, "umount2", error))?;
        }
        Ok(())
    }
}

/// Ends a connection by fusectl, which needs no path: tasks that wait for an answer get
/// ECONNABORTED. Only for root of the initial user namespace. While a thread of this process waits
/// in the kernel, nothing else makes io_uring release /dev/fuse.
fn abort(connection: u32) -> Result<(), Errno> {
    let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let connections = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let switch = openat(connections, format!("{connection}/abort"), flags, Mode::empty())?;
    rustix::io::write(switch, b"1").map(drop)
}
