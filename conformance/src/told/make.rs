// SPDX-License-Identifier: MIT OR Apache-2.0
//! A random case: a file, the directories on the way to it, the mount, the task, and the place that
//! the question is asked from.

use nscap_core::FileCaps;

use crate::fuzz::pick::Pick;
use crate::fuzz::sets;
use crate::fuzz::values::file_caps;
use crate::scenario::{Task, TaskSets};

/// The mount that a file is reached by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// tmpfs of the host.
    Plain,
    /// ext4.
    Disk,
    NoSuid,
    NoExec,
    ReadOnly,
    /// Id-mapped, 0 to container A's range.
    Mapped,
    Overlay,
    /// tmpfs whose superblock container A owns, mounted by the host.
    OfContainer,
    /// A mount of nscap's.
    Nscap,
    /// What only the mount namespace of the task has: of container A a tmpfs of its own, of the
    /// host's other one a tmpfs, the same id-mapped, and nscap's.
    Own,
    OwnMapped,
    OwnNscap,
}

/// The mount namespace of the task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mounts {
    Ours,
    /// Another one of the host's.
    Other,
    /// One that container A owns.
    Container,
}

/// How the question is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// By the host, in our mount namespace, about the process.
    ByHost,
    /// By root of container A, in the mount namespace of the task, about the process.
    ByContainer,
    /// By the host, in the mount namespace of the task, about a task like it.
    Supposed,
}

/// The user namespace of the task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Home {
    Host,
    A,
    B,
    /// Below A.
    Nested,
    /// One that maps no uid 0.
    Rootless,
}

/// What is in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// The program that prints its credentials.
    Probe,
    /// A script with this interpreter; `i` is a probe beside it.
    Script(&'static str),
    /// Neither a binary nor a script.
    Text(&'static str),
}

/// Owner, mode and access control list of a file or directory; ids as they are stored there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Access {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    /// A named user or group, its permissions, and those of the mask.
    pub(super) list: Option<(bool, u32, u16, u16)>,
}

/// Capabilities: a host value, and entries by their rootid.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Caps {
    pub(super) host: Option<FileCaps>,
    pub(super) entries: Vec<(u32, FileCaps)>,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) mounts: Mounts,
    pub(super) asked: Asked,
    pub(super) home: Home,
    pub(super) dirs: [Access; 2],
    pub(super) content: Content,
    pub(super) file: Access,
    pub(super) caps: Caps,
    /// The interpreter `i`.
    pub(super) interpreter: (Access, Caps),
    pub(super) task: Task,
    /// Whether the path goes by /proc/PID/root of the mount namespace that it is in.
    pub(super) by_proc: bool,
}

impl Case {
    /// About an ordinary file system, a task of which nothing is hidden, asked by the host.
    pub(super) fn is_plain(&self) -> bool {
        use Place::{Disk, NoExec, NoSuid, Plain, ReadOnly};
        matches!(self.place, Plain | Disk | NoSuid | NoExec | ReadOnly)
            && self.asked != Asked::ByContainer
            && !self.by_proc
            && (self.asked == Asked::Supposed || !self.is_root())
            && !self.task.traced
    }

    /// The securebits of a root process may decide, which the kernel shows only to that process.
    fn is_root(&self) -> bool {
        self.task.uids[..2].contains(&0)
    }
}

/// The case of this number.
pub(super) fn case(seed: u64, number: u64) -> Case {
    let mut pick = Pick::new(seed, number);
    let mounts = pick.one([Mounts::Ours, Mounts::Ours, Mounts::Other, Mounts::Container]);
    let place = place(&mut pick, mounts);
    let home = home(&mut pick, mounts);
    let supposed = home != Home::Host && pick.percent(25);
    let inside = matches!(home, Home::A | Home::Nested) && pick.percent(40);
    let asked = match (supposed, inside) {
        (true, _) => Asked::Supposed,
        (false, true) => Asked::ByContainer,
        (false, false) => Asked::ByHost,
    };
    let task = task(&mut pick, home, asked == Asked::Supposed);
    let by_proc = mounts == Mounts::Ours && place == Place::Plain && pick.percent(8);
    Case {
        number,
        place,
        mounts,
        asked,
        home,
        dirs: [directory(&mut pick, place), directory(&mut pick, place)],
        content: content(&mut pick),
        file: file(&mut pick, place),
        caps: caps(&mut pick, place, mounts),
        interpreter: (file(&mut pick, place), caps(&mut pick, place, mounts)),
        task,
        by_proc,
    }
}

fn place(pick: &mut Pick, mounts: Mounts) -> Place {
    use Place::{
        Disk, Mapped, NoExec, NoSuid, Nscap, OfContainer, Overlay, Own, OwnMapped, OwnNscap, Plain,
        ReadOnly,
    };
    if mounts == Mounts::Other && pick.percent(50) {
        return pick.one([Own, OwnMapped, OwnNscap]);
    }
    if mounts == Mounts::Container && pick.percent(30) {
        return Own;
    }
    pick.one([
        Plain,
        Plain,
        Plain,
        Disk,
        Disk,
        NoSuid,
        NoExec,
        ReadOnly,
        Mapped,
        Mapped,
        Overlay,
        OfContainer,
        Nscap,
        Nscap,
    ])
}

fn home(pick: &mut Pick, mounts: Mounts) -> Home {
    if mounts == Mounts::Container {
        return pick.one([Home::A, Home::A, Home::Nested, Home::Host]);
    }
    pick.one([Home::Host, Home::Host, Home::A, Home::A, Home::B, Home::Nested, Home::Rootless])
}

/// Whether a superblock of container A holds it, in whose terms ids then are.
pub(super) fn is_containers(place: Place, mounts: Mounts) -> bool {
    place == Place::OfContainer || (place == Place::Own && mounts == Mounts::Container)
}

/// Ids of files, as they are stored.
fn ids(pick: &mut Pick, place: Place) -> u32 {
    match place {
        // 70000 is outside of the map, and of the container.
        Place::Mapped | Place::OwnMapped => pick.one([0, 0, 7, 1000, 7, 70_000]),
        Place::OfContainer | Place::Own => pick.one([0, 0, 7, 1000]),
        _ => pick.one([0, 0, 7, 1000, 100_000, 100_007, 101_000, 200_000]),
    }
}

fn directory(pick: &mut Pick, place: Place) -> Access {
    let modes =
        [0o755, 0o755, 0o755, 0o755, 0o755, 0o755, 0o711, 0o711, 0o700, 0o750, 0o644, 0o705];
    access(pick, place, modes)
}

fn file(pick: &mut Pick, place: Place) -> Access {
    let modes = [
        0o755, 0o755, 0o755, 0o755, 0o755, 0o755, 0o755, 0o711, 0o700, 0o750, 0o644, 0o4755,
        0o2755, 0o6755, 0o111, 0o705,
    ];
    access(pick, place, modes)
}

fn access<const N: usize>(pick: &mut Pick, place: Place, modes: [u32; N]) -> Access {
    let (uid, gid, mode) = (ids(pick, place), ids(pick, place), pick.one(modes));
    let listed = !matches!(place, Place::Nscap | Place::OwnNscap) && pick.percent(8);
    let list = listed.then(|| {
        let permissions = pick.one([0, 1, 5, 7]);
        (pick.percent(60), ids(pick, place), permissions, pick.one([0, 1, 5, 7]))
    });
    Access { uid, gid, mode, list }
}

fn content(pick: &mut Pick) -> Content {
    match pick.below(20) {
        0 => Content::Script("i"),
        1 => Content::Script("./i -x"),
        2 => Content::Script("/nonexistent/program"),
        3 => Content::Text("text\n"),
        4 => Content::Text(""),
        _ => Content::Probe,
    }
}

fn caps(pick: &mut Pick, place: Place, mounts: Mounts) -> Caps {
    let mut caps = Caps::default();
    let roots: &[u32] = match place {
        // What A's root can name.
        Place::Own | Place::OfContainer => &[0, 1000],
        Place::Mapped | Place::OwnMapped => &[0, 1000, 100_000],
        _ => &[100_000, 100_000, 100_000, 200_000, 101_000, 300_005],
    };
    if matches!(place, Place::Nscap | Place::OwnNscap) {
        let mut entries = pick.some(&[100_000, 101_000, 200_000], 45);
        entries.dedup();
        caps.entries = entries.into_iter().map(|root| (root, file_caps(pick))).collect();
        caps.host = pick.percent(20).then(|| file_caps(pick));
        return caps;
    }
    if matches!(place, Place::Plain | Place::Disk | Place::Own)
        && !is_containers(place, mounts)
        && pick.percent(8)
    {
        // A table, which the kernel does not look at.
        caps.entries = [100_000, 200_000].map(|root| (root, plain(file_caps(pick)))).to_vec();
        caps.host = pick.percent(30).then(|| plain(file_caps(pick)));
        return caps;
    }
    match pick.below(10) {
        0 | 1 => {}
        2..=5 => caps.host = Some(file_caps(pick)),
        _ => {
            caps.entries = pick.of(roots).map(|root| (root, file_caps(pick))).into_iter().collect()
        }
    }
    caps
}

/// Without what no text names.
fn plain(caps: FileCaps) -> FileCaps {
    FileCaps { permitted: caps.permitted.known(), inheritable: caps.inheritable.known(), ..caps }
}

fn task(pick: &mut Pick, home: Home, supposed: bool) -> Task {
    let ids: &[u32] = match home {
        Home::Rootless => &[5, 7, 1000],
        Home::Nested => &[0, 0, 7],
        _ => &[0, 0, 7, 7, 1000],
    };
    let mut id = || pick.of(ids).unwrap_or(7);
    let (uid, gid, other, third) = (id(), id(), id(), id());
    let ns = if home == Home::Host { "init" } else { "container" }.to_owned();
    if supposed {
        let sets = if uid == 0 { "all" } else { "none" }.to_owned();
        return Task {
            uids: [uid; 3],
            gids: [gid; 3],
            groups: Vec::new(),
            sets: TaskSets {
                permitted: sets.clone(),
                effective: sets,
                inheritable: "none".to_owned(),
                ambient: "none".to_owned(),
                bounding: "all".to_owned(),
            },
            ns,
            securebits: 0,
            no_new_privs: false,
            traced: false,
            shared_fs: false,
            pid_ns: false,
        };
    }
    let euid = if pick.percent(10) { other } else { uid };
    let egid = if pick.percent(10) { third } else { gid };
    Task {
        uids: [uid, euid, euid],
        gids: [gid, egid, egid],
        groups: if pick.percent(20) { pick.some(&[5, 7], 60) } else { Vec::new() },
        sets: sets(pick, euid == 0),
        ns,
        securebits: match pick.below(20) {
            0 => 1,
            1 => 1 << 2,
            2 => 1 << 4,
            _ => 0,
        },
        no_new_privs: pick.percent(8),
        traced: pick.percent(5),
        shared_fs: pick.percent(5),
        pid_ns: false,
    }
}
