// SPDX-License-Identifier: MIT OR Apache-2.0
//! A task that does not run yet: what a container runtime or a service manager leaves of it before
//! execve(2), by options of the command line or by the file that configures it.
//!
//! Each source gives [`Wanted`], which is what the low level is told: the sets, the user, the maps.
//! [`calls`] has what that one then does, in its order; the rule of each call is the core's.

mod calls;
mod defaults;
mod flags;
mod image;
mod kube;
mod merge;
mod oci;
mod podman;
mod rootfs;
mod runtime;
mod systemd;
mod unit;
mod words;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nscap_core::{CapSet, Cred, Extent, Gid, Kgid, Task, Uid, UserNs as _};
use nscap_linux::{Inode, LiveNs, LiveTask, Namespaces, NsIndex};

use super::place::Place;
use super::unseen::Unseen;
use crate::cli::{Explain, RootfsIds};
use crate::failure::{EINVAL, Failure};
use crate::system::System;

pub(crate) use image::{Image, opened};
pub(crate) use rootfs::Rootfs;
pub(crate) use runtime::{Engine, Runtime};
pub(crate) use words::Words;

/// The sets that the low level is told to leave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sets {
    pub(crate) bounding: CapSet,
    pub(crate) permitted: CapSet,
    pub(crate) effective: CapSet,
    pub(crate) inheritable: CapSet,
    pub(crate) ambient: CapSet,
}

/// The user namespace of the task.
#[derive(Clone, Debug, Default)]
pub(crate) enum Home {
    /// Ours.
    #[default]
    Ours,
    /// A new one with these maps, the outside in our own terms.
    New { uids: Vec<Extent>, gids: Vec<Extent> },
    /// One that is there.
    Known(NsIndex),
}

impl Home {
    fn is_ours(&self) -> bool {
        matches!(self, Home::Ours)
    }
}

/// What a task is started with.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) words: Words,
    pub(crate) runtime: Runtime,
    pub(crate) sets: Sets,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) no_new_privs: bool,
    /// Whether every file system is mounted nosuid for it.
    pub(crate) nosuid: bool,
    pub(crate) home: Home,
    /// What is added on purpose, beside what everything has.
    pub(crate) asked: CapSet,
    pub(crate) rootfs: Rootfs,
    /// The command, first its program.
    pub(crate) args: Vec<OsString>,
    /// Where a program without a slash is looked for.
    pub(crate) search: OsString,
    pub(crate) notes: Vec<(&'static str, String)>,
    pub(crate) unseen: Vec<Unseen>,
}

/// Where a program is looked for if nothing says where.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Wanted {
    /// Nothing yet, for one runtime.
    fn new(words: Words, runtime: Runtime, rootfs: Rootfs) -> Wanted {
        Wanted {
            words,
            runtime,
            sets: Sets::default(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            no_new_privs: false,
            nosuid: false,
            home: Home::Ours,
            asked: CapSet::EMPTY,
            rootfs,
            args: Vec::new(),
            search: SEARCH.into(),
            notes: Vec::new(),
            unseen: Vec::new(),
        }
    }

    /// Takes what an image's configuration says: PATH, and the entrypoint as the command's beginning.
    /// Gives its user.
    fn take_image(&mut self) -> Option<String> {
        let text = self.rootfs.image()?.text();
        self.notes.push(("image", text));
        let settings = self.rootfs.settings();
        let path = rootfs::variable(settings.env.iter().map(String::as_str), "PATH");
        self.search = path.unwrap_or(std::mem::take(&mut self.search));
        self.args = settings.entrypoint.into_iter().map(OsString::from).collect();
        Some(settings.user).filter(|user| !user.is_empty())
    }

    /// What the options ask about, `None` where they name a task that runs or a supposed one.
    pub(crate) fn find(args: &Explain, system: &mut System) -> Result<Option<Wanted>, Failure> {
        let machine = Machine::of(system)?;
        if let Some(path) = &args.oci {
            return oci::read(path, args, &machine, system).map(Some);
        }
        if let Some(words) = &args.podman {
            return podman::read(words, Engine::Podman, args, &machine, system).map(Some);
        }
        if let Some(words) = &args.docker {
            return podman::read(words, Engine::Docker, args, &machine, system).map(Some);
        }
        if let Some(words) = &args.kube {
            return kube::read(words, args, &machine).map(Some);
        }
        if let Some(unit) = &args.systemd {
            return systemd::read(unit, args, &machine).map(Some);
        }
        if args.by_flags() {
            return flags::read(args, &machine, system).map(Some);
        }
        Ok(None)
    }

    /// The programs that are executed, one after the other: the entrypoint first, and last the one
    /// that is asked about.
    pub(crate) fn programs(&self, args: &Explain) -> Result<Vec<PathBuf>, Failure> {
        let mut programs: Vec<PathBuf> = args.through.clone();
        let first = self.args.first().map(|name| self.rootfs.search(name, &self.search));
        match (&args.file, first.transpose()?) {
            (Some(file), first) => {
                if programs.is_empty() {
                    programs.extend(first.filter(|first| !self.rootfs.is_same(first, file)));
                }
                programs.push(file.clone());
            }
            (None, Some(first)) => programs.push(first),
            (None, None) => {
                return Err(Failure::Input {
                    what: "FILE".to_owned(),
                    problem: format!("{} names no program: name one", self.words.name()),
                    errno: EINVAL,
                });
            }
        }
        Ok(programs)
    }

    /// Which readings of the root file system are possible: shown with the ids that it has, or
    /// through an id-mapped mount.
    pub(crate) fn readings(&self, args: &Explain) -> Vec<bool> {
        match args.rootfs_ids {
            _ if self.home.is_ours() || !self.rootfs.is_a_containers() => vec![false],
            Some(RootfsIds::AsIs) => vec![false],
            Some(RootfsIds::Mapped) => vec![true],
            None => vec![false, true],
        }
    }
}

/// What the machine gives: `ALL` is its set and no other.
pub(crate) struct Machine {
    /// What a process here can have.
    pub(crate) all: CapSet,
    /// What the kernel knows: the bounding set of the first task of a new user namespace.
    pub(crate) known: CapSet,
}

impl Machine {
    fn of(system: &mut System) -> Result<Machine, Failure> {
        let own = LiveTask::read(std::process::id(), &mut system.namespaces)?;
        let cred = own.cred(&system.namespaces);
        // A runtime that root starts has this process's bounding set, and one in a user namespace
        // begins with all.
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
        let last = last.and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(40);
        let known = CapSet::KNOWN.iter().filter(|cap| cap.number() <= last);
        let known = known.fold(CapSet::EMPTY, CapSet::with);
        Ok(Machine { all: cred.bounding.known(), known })
    }

    /// What a task there can have.
    pub(crate) fn set(&self, home: &Home) -> CapSet {
        match home {
            Home::Ours => self.all,
            Home::New { .. } | Home::Known(_) => self.known,
        }
    }
}

/// A task as it is before the execve(2) that is asked about.
pub(crate) struct Described {
    ns: NsIndex,
    cred: Cred<NsIndex>,
    groups: Vec<Kgid>,
    pub(crate) wanted: Wanted,
    /// Whether the root file system is seen through an id-mapped mount.
    pub(crate) through_map: bool,
    pub(crate) notes: Vec<(&'static str, String)>,
}

impl Described {
    pub(crate) fn new(
        wanted: Wanted,
        through_map: bool,
        system: &mut System,
    ) -> Result<Described, Failure> {
        let ns = home(&wanted.home, &mut system.namespaces)?;
        let live = system.namespaces.get(ns);
        let cred = calls::start(live, &wanted)?.with_ns(ns);
        let kgid = |gid: &u32| Gid::new(*gid).and_then(|gid| live.kgid(gid));
        let groups = wanted.groups.iter().filter_map(kgid).collect();
        let notes = wanted.notes.clone();
        Ok(Described { ns, cred, groups, wanted, through_map, notes })
    }

    pub(crate) fn ns(&self) -> NsIndex {
        self.ns
    }

    pub(crate) fn task<'n>(&'n self, namespaces: &'n Namespaces) -> Task<'n, LiveNs<'n>> {
        Task {
            groups: &self.groups,
            no_new_privs: self.wanted.no_new_privs,
            ..Task::of(self.cred.with_ns(namespaces.get(self.ns)))
        }
    }

    /// Where it looks paths up.
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        self.wanted.rootfs.place()
    }

    /// After an execve(2).
    pub(crate) fn becomes(&mut self, cred: Cred<NsIndex>, program: &Path) {
        let sets = |cred: &Cred<NsIndex>| {
            let text = |name, set| format!("{name} {}", super::tell::short(set));
            [text("permitted", cred.permitted), text("ambient", cred.ambient)].join(", ")
        };
        let text = format!("{} is executed first: {} then", crate::out::path(program), sets(&cred));
        self.notes.push(("before it", text));
        self.cred = cred;
    }

    /// An inode as this task's file system shows it: through an id-mapped mount with other ids. What is
    /// unpacked of an image has its namespace's ids either way.
    pub(crate) fn shown(&self, inode: Inode, namespaces: &Namespaces) -> Inode {
        let unpacked = self.wanted.rootfs.image().is_some() && !self.wanted.home.is_ours();
        if !(self.through_map || unpacked) {
            return inode;
        }
        let map = namespaces.get(self.ns);
        let uid = Uid::new(inode.uid).and_then(|uid| map.kuid(uid));
        let gid = Gid::new(inode.gid).and_then(|gid| map.kgid(gid));
        Inode {
            uid: uid.map_or(u32::MAX, nscap_core::Kuid::get),
            gid: gid.map_or(u32::MAX, Kgid::get),
            ..inode
        }
    }

    /// The root directory, for the path of a file on the host.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.wanted.rootfs.path()
    }
}

/// The namespace; a new one is below ours.
fn home(home: &Home, namespaces: &mut Namespaces) -> Result<NsIndex, Failure> {
    match home {
        Home::Ours => Ok(namespaces.own_ns().index()),
        Home::Known(ns) => Ok(*ns),
        Home::New { uids, gids } => {
            let uids = lifted(uids, |id| namespaces.shown_uid(id).map(nscap_core::Kuid::get))?;
            let gids = lifted(gids, |id| namespaces.shown_gid(id).map(Kgid::get))?;
            namespaces.add_idmap(&uids, &gids).map_err(|error| no_map(&error.to_string()))
        }
    }
}

/// Extents with the outside in the initial namespace's terms. The kernel takes an extent only where
/// one of ours holds it whole.
fn lifted(extents: &[Extent], to: impl Fn(u32) -> Option<u32>) -> Result<Vec<Extent>, Failure> {
    let lift = |extent: &Extent| {
        let last = extent.outside.checked_add(extent.count.checked_sub(1)?)?;
        let (first, last) = (to(extent.outside)?, to(last)?);
        let whole = last.checked_sub(first)? == extent.count - 1;
        whole.then_some(Extent { outside: first, ..*extent })
    };
    let none = |extent: &Extent| {
        let Extent { inside, outside, count } = extent;
        no_map(&format!("{inside}:{outside}:{count} is not mapped here"))
    };
    extents.iter().map(|extent| lift(extent).ok_or_else(|| none(extent))).collect()
}

fn no_map(problem: &str) -> Failure {
    input("the map of the user namespace", problem)
}

/// What was there is not any more.
pub(crate) fn gone() -> Failure {
    input("the description of the task", "changed meanwhile")
}

/// An error about the input itself.
fn input(what: impl Into<String>, problem: impl Into<String>) -> Failure {
    Failure::Input { what: what.into(), problem: problem.into(), errno: EINVAL }
}

/// A file's text, of at most 16 MiB.
fn text_of(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    const MAX: u64 = 16 << 20;
    let open = |e: std::io::Error| crate::failure::call(path, "open", e);
    let file = std::fs::File::open(path).map_err(open)?;
    let mut bytes = Vec::new();
    file.take(MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| crate::failure::call(path, "read", e))?;
    let what = crate::out::path(path);
    if bytes.len() as u64 > MAX {
        return Err(input(what, "longer than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| input(what, "not UTF-8"))
}

/// A directory by descriptor.
fn directory(path: &Path) -> Result<OwnedFd, Failure> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| crate::failure::call(path, "open", e))
}
