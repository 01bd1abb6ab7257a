// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mount: makes the file system of a source, attaches it to a target, and serves it.

use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nscap_linux::server::{FuseDevice, FuseQueue, prepare_thread};
use nscap_linux::{Claim, Purpose};
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::process::{Resource, Rlimit, getegid, geteuid, getrlimit, setrlimit};

use crate::backing::Backings;
use crate::caps::Caps;
use crate::descriptors::{self, Descriptors, Division};
use crate::error::Error;
use crate::inodes::Inodes;
use crate::kept::{Kept, keep};
use crate::options::{Atime, Options};
use crate::requests;
use crate::source::{self, Source};
use crate::stats::Stats;
use crate::tree::{Tree, WITHOUT};
use crate::{threads, worker};

/// How long to wait for another server of the same source, which is unmounted, to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest parameter of fsconfig(2), in bytes.
const PARAMETER_MAX: usize = 255;

/// A mounted tree. It must be [served](Mount::serve): until then every task that uses it waits. If
/// this value is dropped without that, these tasks get ENOTCONN.
pub struct Mount {
    _claim: Claim,
    tree: Arc<Tree>,
    device: FuseDevice,
    queues: Vec<FuseQueue>,
    target: PathBuf,
    kept: Vec<Kept>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Mount {
    /// Mounts `source` on `target`, with file system type `fuse.nscap`. The mount is in place when
    /// this returns. The kernel decides permissions, for any user (`default_permissions`,
    /// `allow_other`). Root of a user namespace can mount a tree of that namespace, without
    /// passthrough. This raises the process's limits for open files and file size (RLIMIT_NOFILE,
    /// RLIMIT_FSIZE) to the hard limits.
    ///
    /// # Errors
    /// - [`Error::NoFuse`] without /dev/fuse.
    /// - [`Error::Reachable`] if users other than root can reach the source, and the options do not
    ///   allow that.
    /// - [`Error::Place`] if source or target is not a directory, or one lies in the other.
    /// - [`Error::Descriptors`] if this process may not open enough files.
    /// - [`Error::Call`] if the kernel refuses a call; EPERM without CAP_SYS_ADMIN.
    /// - [`Error::System`] if namespaces cannot be read. With
    ///   [`Claimed`](nscap_linux::Error::Claimed) (EBUSY) if another mount shows the source, a part
    ///   of it or a directory above it, or a tool changes one of these. For a mount that ends, this
    ///   waits up to two seconds.
    pub fn new(source: &Path, target: &Path, options: &Options) -> Result<Mount, Error> {
        let (from, to) = (source::open_directory(source)?, source::open_directory(target)?);
        source::apart((from.as_fd(), source), (to.as_fd(), target))?;
        if !options.reachable_ok {
            source::unreachable(from.as_fd(), source)?;
        }
        try_to_prepare()?;
        raise_limits();
        let queues = if options.io_uring { requests::places() } else { Vec::new() };
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let threads = options.threads + queues.len();
        let needed = descriptors::least(threads);
        if descriptors < needed {
            return Err(Error::Descriptors { limit: descriptors, needed, threads });
        }
        // K: two servers of one source would not know each other's writers.
        let mut claim = Claim::take(from.as_fd(), source, Purpose::Mount, PATIENCE)?;
        let division = Division::of(descriptors, threads);
        let descriptors = Descriptors::new(division.handles);
        let stats = Arc::new(Stats::default());
        let caps = Caps::new(from.as_fd(), source, options, stats.clone())?;
        let mut options = options.clone();
        let anothers = caps.may_be_anothers() && !options.source_owner_ok;
        let place = (caps.is_initial(), anothers);
        let kept = keep(from.as_fd(), place, &mut options.flags, &mut options.read_only)
            .map_err(|errno| Error::call(source, "fstatvfs", errno))?;
        let tree = Arc::new(Tree {
            caps,
            inodes: Source::new(from.as_fd(), source).and_then(|tree| {
                tree.keep_times(&options.flags, source)?;
                Inodes::new(tree, division.recent, descriptors.clone(), stats.clone())
                    .map_err(|(call, errno)| Error::call(source, call, errno))
            })?,
            files: Default::default(),
            streams: Default::default(),
            times: Default::default(),
            backings: Backings::new(options.passthrough, options.reachable_ok),
            descriptors,
            stats: stats.clone(),
            options: options.clone(),
            extended_setxattr: AtomicBool::new(false),
        });
        let device =
            FuseDevice::open().map_err(|errno| Error::NoFuse { errno: errno.raw_os_error() })?;
        let name = options.name.clone().unwrap_or_else(|| {
            let whole = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
            whole.to_string_lossy().into_owned()
        });
        let call = |(call, errno)| Error::call(target, call, errno);
        let superblock = make(device.as_fd(), &name, &options).map_err(call)?;
        let queues = worker::agree(&tree, &device, queues).map_err(call)?;
        let mount = attributed(superblock.as_fd(), &options).map_err(call)?;
        claim.is_shown_by(device_of(mount.as_fd()).map_err(call)?)?;
        attach(mount.as_fd(), to.as_fd()).map_err(call)?;
        Ok(Mount { _claim: claim, tree, device, queues, target: target.to_owned(), kept })
    }

    /// The flags that the mount has because of its source, beyond those of its options.
    #[must_use]
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// The counters of the mount.
    ///
    /// ```no_run
    /// # use nscap_fuse::{Mount, Options};
    /// let mount = Mount::new("/srv/tree/root".as_ref(), "/mnt".as_ref(), &Options::default())?;
    /// let stats = mount.stats();
    /// std::thread::spawn(move || mount.serve());
    /// println!("{} inodes are known", stats.snapshot().inodes);
    /// # Ok::<(), nscap_fuse::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.tree.stats.clone()
    }

    /// Serves until the file system is unmounted. Call it in the process that made the mount.
    ///
    /// # Errors
    /// [`Error::Call`] if threads cannot be made, or /dev/fuse fails.
    ///
    /// ```no_run
    /// # use nscap_fuse::{Mount, Options};
    /// Mount::new("/srv/tree/root".as_ref(), "/mnt".as_ref(), &Options::default())?.serve()?;
    /// # Ok::<(), nscap_fuse::Error>(())
    /// ```
    pub fn serve(self) -> Result<(), Error> {
        threads::run(&self.tree, &self.device, self.queues)
            .map_err(|(call, errno)| Error::call(&self.target, call, errno))
    }
}

/// Tries what each serving thread does first, while an error can still be returned.
fn try_to_prepare() -> Result<(), Error> {
    let tried = std::thread::spawn(|| prepare_thread(WITHOUT)).join();
    tried
        .unwrap_or(Err(Errno::IO))
        .map_err(|errno| Error::call(Path::new("nscap"), "prctl(PR_SET_SECUREBITS)", errno))
}

/// Raises the server's own limits, which must not restrict its callers. Ignores a failure.
fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Fsize] {
        let limits = getrlimit(resource);
        let _ = setrlimit(resource, Rlimit { current: limits.maximum, ..limits });
    }
}

/// Makes the superblock.
fn make(
    device: BorrowedFd<'_>,
    name: &str,
    options: &Options,
) -> Result<OwnedFd, (&'static str, Errno)> {
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| ("fsopen", e))?;
    let set = |key: &str, value: &str| {
        fsconfig_set_string(&context, key, value).map_err(|e| ("fsconfig", e))
    };
    let name = if name.len() > PARAMETER_MAX || name.contains('\0') { "nscap" } else { name };
    set("source", name)?;
    set("subtype", "nscap")?;
    set("fd", &device.as_raw_fd().to_string())?;
    set("rootmode", "40000")?;
    set("user_id", &geteuid().as_raw().to_string())?;
    set("group_id", &getegid().as_raw().to_string())?;
    let mut flags = vec!["default_permissions", "allow_other"];
    if options.read_only {
        flags.push("ro");
    }
    for flag in flags {
        fsconfig_set_flag(&context, flag).map_err(|e| ("fsconfig", e))?;
    }
    fsconfig_create(&context).map_err(|e| ("fsconfig", e))?;
    Ok(context)
}

/// Makes a mount of the superblock, with its flags; it is not attached yet.
fn attributed(
    superblock: BorrowedFd<'_>,
    options: &Options,
) -> Result<OwnedFd, (&'static str, Errno)> {
    let mut attributes = MountAttrFlags::empty();
    let wanted = [
        (options.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (options.flags.noexec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (options.flags.nodev, MountAttrFlags::MOUNT_ATTR_NODEV),
        (options.flags.nosuid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (options.flags.nosymfollow, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
        (options.flags.atime == Atime::Never, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (options.flags.atime == Atime::Strict, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        (options.flags.nodiratime, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ];
    for (_, flag) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
        attributes |= flag;
    }
    fsmount(superblock, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(|e| ("fsmount", e))
}

/// The device number that stat(2) shows for the mount, without a request to this server.
fn device_of(mount: BorrowedFd<'_>) -> Result<(u32, u32), (&'static str, Errno)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(mount, c"", flags, StatxFlags::empty()).map_err(|e| ("statx", e))?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}

/// Attaches the mount to the target.
fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), (&'static str, Errno)> {
    let by_descriptor =
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", by_descriptor).map_err(|e| ("move_mount", e))
}
