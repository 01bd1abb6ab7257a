// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap umount`: as umount(8), for mounts of nscap only, and without asking a server that may be
//! dead.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nscap_linux::{Claim, MountPoint, User};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::cli;
use crate::failure::{EINVAL, Failure, call};
use crate::{note, out};

/// How long a server usually takes to end, at most.
const MOMENT: Duration = Duration::from_millis(500);
/// How long is waited for one that takes longer, or looked for what keeps it.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn run(args: &cli::Umount) -> Result<u8, Failure> {
    let mount = nscap_mount(&args.target)?;
    let point = &mount.point;
    let lazy = if args.lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    unmount(point, lazy | UnmountFlags::NOFOLLOW).map_err(|error| match error {
        Errno::BUSY => Failure::Input {
            what: out::path(&args.target),
            problem: format!("umount2: {}", busy(&mount)),
            errno: error.raw_os_error(),
        },
        Errno::PERM => call(
            &args.target,
            "umount2 (root may, of the user namespace that owns this mount namespace)",
            error,
        ),
        error => call(&args.target, "umount2", error),
    })?;
    if !args.lazy {
        wait(&mount);
    }
    Ok(0)
}

/// What keeps the mount, and what helps.
fn busy(mount: &MountPoint) -> String {
    let lazy = format!("nscap umount --lazy {} does not wait", out::path(&mount.point));
    let all = MountPoint::all().unwrap_or_default();
    let below = |other: &&MountPoint| {
        other.id != mount.id && other.point != mount.point && other.point.starts_with(&mount.point)
    };
    if let Some(below) = all.iter().rev().find(below) {
        return format!("{} is mounted in it: unmount that first", out::path(&below.point));
    }
    match mount.users(PATIENCE).as_slice() {
        [] => format!("some task that cannot be seen from here uses it; {lazy}"),
        users => format!(
            "{} have files, a directory or a mapping there; end them, or {lazy}",
            named(users)
        ),
    }
}

/// How many processes are named.
const NAMED: usize = 8;

/// Processes in words.
fn named(users: &[User]) -> String {
    let one = |user: &User| {
        let comm = out::name(&user.comm);
        let group = user.cgroup.as_ref().map(|group| format!(", {}", out::name(group.as_bytes())));
        format!("pid {} ({comm}{})", user.pid, group.unwrap_or_default())
    };
    let mut all: Vec<String> = users.iter().take(NAMED).map(one).collect();
    if users.len() > NAMED {
        all.push(format!("{} more", users.len() - NAMED));
    }
    all.join(", ")
}

/// Waits for the server's end, or says why it does not come. The mount is gone in any case.
fn wait(mount: &MountPoint) {
    let source = Path::new(&mount.source);
    if Claim::ends(mount.device, source, MOMENT) {
        return;
    }
    let target = out::path(&mount.point);
    if let Some(other) = OtherMount::find(mount.device) {
        note(&format!("{target}: {other}, so its server goes on: {}", other.remedy()));
    } else if !Claim::ends(mount.device, source, PATIENCE) {
        note(&format!(
            "{target}: its server has not ended yet, after {} seconds",
            PATIENCE.as_secs()
        ));
    }
}

/// A mount that keeps a file system, and so its server, although another was unmounted.
pub(crate) enum OtherMount {
    /// In our mount namespace.
    Here(PathBuf),
    /// In that of these processes.
    There { point: PathBuf, users: Vec<User> },
}

impl OtherMount {
    pub(crate) fn find(device: (u32, u32)) -> Option<OtherMount> {
        let here = MountPoint::all().ok()?.into_iter().find(|mount| mount.device == device);
        if let Some(mount) = here {
            return Some(OtherMount::Here(mount.point));
        }
        let (pid, mount) = MountPoint::elsewhere(device, PATIENCE).ok().flatten()?;
        Some(OtherMount::There { point: mount.point, users: MountPoint::beside(pid) })
    }

    /// The command that takes it away.
    pub(crate) fn remedy(&self) -> String {
        match self {
            OtherMount::Here(point) => format!("nscap umount {}", out::path(point)),
            OtherMount::There { point, users } => {
                let pid =
                    users.first().map_or_else(|| "PID".to_owned(), |user| user.pid.to_string());
                format!("nsenter --target {pid} --mount umount {}, or end them", out::path(point))
            }
        }
    }
}

impl std::fmt::Display for OtherMount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OtherMount::Here(point) => write!(f, "it is mounted at {}", out::path(point)),
            OtherMount::There { point, users } => {
                write!(f, "the mount namespace of {} has it at {}", named(users), out::path(point))
            }
        }
    }
}

/// For a tree that a server has claimed, says where that is shown.
pub(crate) fn tell_where(error: &nscap_linux::Error) {
    if let nscap_linux::Error::Claimed { by, .. } = error
        && let Some(other) = by.shown_by.and_then(OtherMount::find)
    {
        let source = by.path.as_deref().map_or_else(|| "the other".to_owned(), out::path);
        note(&format!("{source}: {other}; first {}", other.remedy()));
    }
}

/// The mount of nscap that has its root there.
pub(crate) fn nscap_mount(target: &Path) -> Result<MountPoint, Failure> {
    let no = |problem: String| Failure::Input { what: out::path(target), problem, errno: EINVAL };
    match MountPoint::at(target)? {
        Some(mount) if mount.is_nscap() => Ok(mount),
        Some(mount) => {
            let fs_type = out::name(mount.fs_type.as_bytes());
            Err(no(format!("a mount of type {fs_type}, not of nscap")))
        }
        None => Err(no("nothing is mounted there".to_owned())),
    }
}
