// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap umount`: as umount(8), for mounts of nscap only, and without asking a server that may be
//! dead.

use std::path::Path;
use std::time::Duration;

use nscap_linux::{Claim, MountPoint};
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
    unmount(point, lazy | UnmountFlags::NOFOLLOW).map_err(|error| {
        let busy = "umount2 (some task has a file or its directory there; --lazy does not wait)";
        call(&args.target, if error == Errno::BUSY { busy } else { "umount2" }, error)
    })?;
    if !args.lazy {
        wait(&mount);
    }
    Ok(0)
}

/// Waits for the server's end, or says why it does not come: what is unmounted is so in any case.
fn wait(mount: &MountPoint) {
    let source = Path::new(&mount.source);
    if Claim::ends(mount.device, source, MOMENT) {
        return;
    }
    let target = out::path(&mount.point);
    if let Some(held) = held(mount.device) {
        note(&format!("{target}: {held}, so that its server goes on"));
    } else if !Claim::ends(mount.device, source, PATIENCE) {
        note(&format!(
            "{target}: its server has not ended yet, after {} seconds",
            PATIENCE.as_secs()
        ));
    }
}

/// Which mount of a file system there is still, in words.
pub(crate) fn held(device: (u32, u32)) -> Option<String> {
    let here = MountPoint::all().ok()?.into_iter().find(|mount| mount.device == device);
    if let Some(mount) = here {
        return Some(format!("it is mounted at {} as well", out::path(&mount.point)));
    }
    let (pid, mount) = MountPoint::elsewhere(device, PATIENCE).ok().flatten()?;
    let comm = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = out::name(comm.strip_suffix(b"\n").unwrap_or(&comm));
    let point = out::path(&mount.point);
    Some(format!("the mount namespace of process {pid} ({name}) has it at {point}"))
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
