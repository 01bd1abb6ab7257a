// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server's own process: mounts, says so when the mount answers, serves until it is unmounted.

use std::ffi::CStr;
use std::path::Path;

use nscap_fuse::{Atime, Because, Error, Flags, Kept, Mount, Options};
use nscap_linux::MountPoint;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use super::options::Wanted;
use super::signals::{self, Server};
use super::{Request, apart, detach};
use crate::failure::{EIO, Failure, call};
use crate::out::Out;
use crate::{note, report, stats};

const NAME: &CStr = c"nscap";

pub(super) fn run(request: &Request, detached: bool, out: &mut Out) -> Result<u8, Failure> {
    if detached {
        // Started as /proc/self/exe, it would be called exe.
        let _ = rustix::thread::set_name(NAME);
        rustix::process::setsid().map_err(|error| call("/".as_ref(), "setsid", error))?;
    }
    let signals = signals::catch()?;
    let mount = Mount::new(&request.source, &request.target, &options(&request.wanted))
        .inspect_err(|error| {
            if let Error::System(error) = error {
                crate::umount::tell_where(error);
            }
        })?;
    tell(request, mount.kept());
    if !request.wanted.nosuid && !mount.kept().iter().any(|kept| kept.flag == "nosuid") {
        warn_of_metacopy(&request.target);
    }
    rustix::process::chdir("/").map_err(|error| call("/".as_ref(), "chdir", error))?;
    let device = device(&request.target)?;
    let target = request.target.clone();
    // It looks at the mount, so it stays where that is.
    std::thread::spawn(move || announce(&target, detached));
    let server = Server {
        target: request.target.clone(),
        home: apart::leave()?,
        device,
        stats: mount.stats(),
        at_end: request.stats,
    };
    let counters = mount.stats();
    std::thread::spawn(move || server.obey(signals));
    mount.serve()?;
    if request.stats && detached {
        stats::print(&request.target, &counters.snapshot());
    } else if request.stats {
        stats::show(&request.target, &stats::named(&counters.snapshot()), out)?;
    }
    Ok(0)
}

fn options(wanted: &Wanted) -> Options {
    let default = Options::default();
    Options {
        policy: wanted.policy,
        read_only: wanted.read_only,
        reachable_ok: wanted.reachable_ok,
        source_owner_ok: wanted.source_owner_ok,
        passthrough: !wanted.no_passthrough,
        io_uring: !wanted.no_io_uring,
        threads: wanted.threads.unwrap_or(default.threads),
        flags: Flags {
            noexec: wanted.noexec,
            nodev: wanted.nodev,
            nosuid: wanted.nosuid,
            nosymfollow: wanted.nosymfollow,
            atime: atime(wanted),
            nodiratime: wanted.nodiratime,
        },
        ..default
    }
}

/// As mount(8): strictatime counts for more than noatime, and that for more than relatime.
fn atime(wanted: &Wanted) -> Atime {
    match wanted {
        Wanted { strictatime: true, .. } => Atime::Strict,
        Wanted { noatime: true, .. } => Atime::Never,
        Wanted { relatime: true, .. } => Atime::Relative,
        _ => Atime::AsSource,
    }
}

/// The default of overlays that are made from now on: Y, N, or no such file.
const METACOPY: &str = "/sys/module/overlay/parameters/metacopy";

/// An overlay with metacopy=on copies up the attributes of a file without its content, and looks at
/// that in the lower layer ever after: what is granted in the upper one holds for whatever is
/// written below.
fn warn_of_metacopy(target: &Path) {
    if std::fs::read(METACOPY).is_ok_and(|value| value.starts_with(b"Y")) {
        note(&format!(
            "{METACOPY} is Y: an overlay over {} would keep a grant in its upper layer while the content \
             changes below; mount overlays with metacopy=off",
            crate::out::path(target)
        ));
    }
}

/// Says which flags the mount has that its options did not ask for.
fn tell(request: &Request, kept: &[Kept]) {
    let (source, target) = (crate::out::path(&request.source), crate::out::path(&request.target));
    let flags = |because: Because| {
        let of = kept.iter().filter(|kept| kept.because == because).map(|kept| kept.flag);
        of.collect::<Vec<_>>().join(",")
    };
    let (of_mount, of_owner) = (flags(Because::SourceMount), flags(Because::SourceOwner));
    if !of_mount.is_empty() {
        note(&format!("{source} is on a mount that is {of_mount}: {target} is {of_mount} as well"));
    }
    if !of_owner.is_empty() {
        note(&format!(
            "{source}: a user namespace may own its file system, so that {target} is {of_owner} and no \
             table there counts (source-owner-ok vouches for the owner)"
        ));
    }
    if kept.iter().any(|kept| kept.flag == "nosuid") {
        note(super::NOSUID);
    }
}

fn device(target: &Path) -> Result<(u32, u32), Failure> {
    MountPoint::at(target)?.map(|mount| mount.device).ok_or_else(|| Failure::Input {
        what: crate::out::path(target),
        problem: "the mount is not there any more".to_owned(),
        errno: EIO,
    })
}

/// Once the mount answers, notifies the process that waits for it: systemd, or the process that
/// started this one.
fn announce(target: &Path, detached: bool) {
    if let Err(error) = std::fs::symlink_metadata(target) {
        report(&call(target, "stat", error));
        return;
    }
    let status = format!("serving {}", crate::out::path(target));
    let states = [sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&status)];
    // Without a service manager this does nothing.
    let _ = sd_notify::notify(&states);
    if detached {
        // Without the lock of standard output, which the main thread holds. The waiting process may
        // have ended; the mount stays.
        let _ = rustix::io::write(rustix::stdio::stdout(), detach::READY);
        if let Err(error) = let_go() {
            report(&call("/dev/null".as_ref(), "dup2", error));
        }
    }
}

/// Nothing of the terminal, or of whatever else called, stays open. A journal does: what is said
/// later is for it.
fn let_go() -> Result<(), Errno> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    if is_journal() { Ok(()) } else { rustix::stdio::dup2_stderr(&null) }
}

/// systemd.exec(5), JOURNAL_STREAM: device and inode of the journal's socket.
fn is_journal() -> bool {
    let Ok(stat) = fstat(rustix::stdio::stderr()) else { return false };
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket
        && std::env::var("JOURNAL_STREAM")
            .is_ok_and(|stream| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
