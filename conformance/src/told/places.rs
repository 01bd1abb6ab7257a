// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mounts and namespaces that all cases use. Everything is in mount namespaces of our own or of
//! processes that go with us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nscap_core::{Extent, Policy};
use rustix::fs::Mode;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::make::{Home, Mounts, Place, is_containers};
use crate::live::peer::{Peer, say, until_end};
use crate::live::sys::{self, MountFlags};
use crate::live::{disk, fuse, image, userns};
use crate::scenario::Maps;

pub(super) struct Places {
    base: PathBuf,
    /// The command, where every task can execute it.
    pub(super) nscap: PathBuf,
    a: OwnedFd,
    b: OwnedFd,
    nested: OwnedFd,
    rootless: OwnedFd,
    other: MountNs,
    container: MountNs,
    _server: Peer,
}

/// A mount namespace, and the process that keeps it.
struct MountNs {
    keeper: Peer,
    ns: OwnedFd,
}

impl Places {
    pub(super) fn new(nscap: &Path) -> io::Result<Places> {
        let program = std::fs::read(nscap)?;
        let base = std::env::temp_dir();
        disk::attach(disk::tmpfs(None)?, &base)?;
        rustix::fs::chmod(&base, Mode::from_raw_mode(0o755))?;
        let a = userns::make(None, (1000, 1000), &range(0, 100_000, 65_536))?;
        let b = userns::make(None, (1001, 1001), &range(0, 200_000, 65_536))?;
        let nested = userns::make(Some(a.as_fd()), (0, 0), &range(0, 1000, 1000))?;
        let rootless = userns::make(None, (1000, 1000), &range(5, 300_005, 2000))?;
        let map = userns::make(None, (0, 0), &range(0, 100_000, 65_536))?;
        let nscap = base.join("nscap");
        std::fs::write(&nscap, program)?;
        rustix::fs::chmod(&nscap, Mode::from_raw_mode(0o755))?;
        let server = shared(&base, a.as_fd(), map.as_fd())?;
        let other = MountNs::start(|_| {
            let at = directory(&base, "own")?;
            disk::attach(disk::tmpfs(None)?, &at)?;
            let mapped = directory(&base, "own-mapped")?;
            again(&at, &mapped, MountFlags { idmap: Some(map.as_fd()), ..MountFlags::default() })?;
            let served = directory(&base, "own-nscap")?;
            serve(&served).map(Some)
        })?;
        let container = MountNs::start(|_| {
            let at = directory(&base, "own")?;
            userns::enter_with_caps(Some(a.as_fd()))?;
            userns::set_ids([0; 3], [0; 3])?;
            userns::stay_visible()?;
            // Whose mount namespace it is, is decided by the user namespace that makes it.
            sys::unshare(UnshareFlags::NEWNS)?;
            disk::attach(disk::tmpfs(None)?, &at)?;
            Ok(None)
        })?;
        Ok(Places { base, nscap, a, b, nested, rootless, other, container, _server: server })
    }

    pub(super) fn home(&self, home: Home) -> Option<BorrowedFd<'_>> {
        match home {
            Home::Host => None,
            Home::A => Some(self.a.as_fd()),
            Home::B => Some(self.b.as_fd()),
            Home::Nested => Some(self.nested.as_fd()),
            Home::Rootless => Some(self.rootless.as_fd()),
        }
    }

    /// The directory that the files of a place are reached by.
    pub(super) fn at(&self, place: Place) -> PathBuf {
        self.base.join(match place {
            Place::Plain => "plain",
            Place::Disk => "disk",
            Place::NoSuid => "nosuid",
            Place::NoExec => "noexec",
            Place::ReadOnly => "readonly",
            Place::Mapped => "mapped",
            Place::Overlay => "overlay",
            Place::OfContainer => "container",
            Place::Nscap => "served",
            Place::Own => "own",
            Place::OwnMapped => "own-mapped",
            Place::OwnNscap => "own-nscap",
        })
    }

    /// The directory that its files are made in.
    pub(super) fn source(&self, place: Place) -> PathBuf {
        match place {
            Place::NoSuid | Place::NoExec | Place::ReadOnly | Place::Mapped => self.at(Place::Disk),
            Place::OwnMapped => self.at(Place::Own),
            place => self.at(place),
        }
    }

    /// Enters a mount namespace, and with `owner` the user namespace that owns the superblock.
    pub(super) fn enter(&self, mounts: Mounts) -> io::Result<()> {
        let ns = match mounts {
            Mounts::Ours => return Ok(()),
            Mounts::Other => &self.other.ns,
            Mounts::Container => &self.container.ns,
        };
        Ok(rustix::thread::move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Mount))?)
    }

    /// Becomes root of the namespace that owns the place's superblock.
    pub(super) fn own(&self, place: Place, mounts: Mounts) -> io::Result<()> {
        if is_containers(place, mounts) {
            userns::enter_with_caps(Some(self.a.as_fd()))?;
            userns::set_ids([0; 3], [0; 3])?;
        }
        Ok(())
    }

    /// A path as seen from our mount namespace, by a process whose root directory is ours.
    pub(super) fn by_proc(&self, path: &Path) -> PathBuf {
        let pid = self.other.keeper.pid.as_raw_nonzero();
        let rest = path.strip_prefix("/").unwrap_or(path);
        PathBuf::from(format!("/proc/{pid}/root")).join(rest)
    }
}

impl MountNs {
    fn start(set_up: impl FnOnce(&Path) -> io::Result<Option<Peer>>) -> io::Result<MountNs> {
        let mut keeper = Peer::start(|line| {
            sys::unshare(UnshareFlags::NEWNS)?;
            let server = set_up(Path::new("/"))?;
            say(line, "up")?;
            until_end(line);
            drop(server);
            Ok(())
        })?;
        keeper.hear()?;
        let link = format!("/proc/{}/ns/mnt", keeper.pid.as_raw_nonzero());
        Ok(MountNs { ns: std::fs::File::open(link)?.into(), keeper })
    }
}

fn range(inside: u32, outside: u32, count: u32) -> Maps {
    let map = vec![Extent { inside, outside, count }];
    Maps { uids: map.clone(), gids: map }
}

fn directory(base: &Path, name: &str) -> io::Result<PathBuf> {
    let path = base.join(name);
    if !path.exists() {
        std::fs::create_dir(&path)?;
    }
    rustix::fs::chmod(&path, Mode::from_raw_mode(0o755))?;
    Ok(path)
}

/// The mounts that every mount namespace has; gives the server of nscap's.
fn shared(base: &Path, a: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<Peer> {
    let dir = |name: &str| directory(base, name);
    dir("plain")?;
    let disk = dir("disk")?;
    let image = base.join("image");
    std::fs::File::create(&image)?.set_len(64 << 20)?;
    let failed = |why: crate::live::Failure| io::Error::other(why.to_string());
    image::tool("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()]).map_err(failed)?;
    let arguments = ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), disk.as_os_str()];
    image::tool("mount", &arguments).map_err(failed)?;
    rustix::fs::chmod(&disk, Mode::from_raw_mode(0o755))?;
    let none = MountFlags::default();
    again(&disk, &dir("nosuid")?, MountFlags { nosuid: true, ..none })?;
    again(&disk, &dir("noexec")?, MountFlags { noexec: true, ..none })?;
    again(&disk, &dir("readonly")?, MountFlags { read_only: true, ..none })?;
    again(&disk, &dir("mapped")?, MountFlags { idmap: Some(map), ..none })?;
    let overlay = dir("overlay")?;
    let [lower, upper, work] = [dir("lower")?, dir("upper")?, dir("work")?];
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let arguments = ["-t", "overlay", "overlay", "-o", &options].map(std::ffi::OsStr::new);
    image::tool("mount", &[&arguments[..], &[overlay.as_os_str()]].concat()).map_err(failed)?;
    disk::attach(disk::tmpfs(Some((a, 0, 0)))?, &dir("container")?)?;
    serve(&dir("served")?)
}

/// The same directory mounted once more, with these flags.
fn again(of: &Path, at: &Path, flags: MountFlags<'_>) -> io::Result<()> {
    let mount = disk::detached(rustix::fs::CWD, of)?;
    sys::set_mount(&mount, flags)?;
    disk::attach(mount, at)
}

/// A mount of nscap's there.
fn serve(at: &Path) -> io::Result<Peer> {
    let options = nscap_fuse::Options { policy: Policy::ARRAYS, ..nscap_fuse::Options::default() };
    let files = disk::tmpfs(None)?;
    let (server, shown) = fuse::serve(&files, fuse::Home::default(), &options)?;
    disk::attach(shown, at)?;
    rustix::fs::chmod(at, Mode::from_raw_mode(0o755))?;
    Ok(server)
}
