// SPDX-License-Identifier: MIT OR Apache-2.0
//! A new name leads to another inode by the time that the server looks it up. Uid 1000 owns its
//! directory, and also reaches it past the mount, by a descriptor from before: one thread makes new
//! names through the mount, another moves files of root to those names and back by the other path.
//!
//! Catches a server that looks up again what it has made: the descriptor of the new file was root's
//! file, whose content was replaced through a mapping while it kept its set-user-ID bit and its
//! capabilities; and a change of the new file's mode was one of root's.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, Stat, Uid};

use crate::case::{Case, Setting, Why};
use crate::ground::{CAP, Ground, HOST, HOST_USER, Kind, open};
use crate::live::sys::Mapping;

macro_rules! attack {
    ($name:literal, $about:literal, $trick:ident) => {
        Case {
            name: $name,
            clauses: &["K"],
            about: $about,
            both_ways: true,
            play: |setting| KINDS.iter().try_for_each(|kind| play(setting, *kind, &$trick)),
        }
    };
}

pub(super) const ATTACKS: &[Case] = &[
    attack!("the-new-file-of-another", "what open(2) made is never root's file", CREATE),
    attack!("the-new-directory-of-another", "what mkdir(2) made is never root's", MKDIR),
    attack!("the-new-fifo-of-another", "what mknod(2) made is never root's FIFO", MKNOD),
    attack!("the-new-node-of-another", "a file that mknod(2) made is never root's", MKNOD_FILE),
    attack!("the-new-symlink-of-another", "what symlink(2) made is never root's", SYMLINK),
    attack!("the-new-link-of-another", "what link(2) names is what was linked", LINK),
    attack!("the-nameless-file-of-another", "a file of O_TMPFILE is never root's", NAMELESS),
    Case {
        name: "a-name-that-is-listed-as-another",
        clauses: &["K"],
        about: "what a directory says of a name is all of one inode",
        both_ways: false,
        play: listed,
    },
];

const KINDS: [Kind; 3] = [Kind::Ext4, Kind::Tmpfs, Kind::Overlay];
const TRIES: u32 = 5000;
const TIME: Duration = Duration::from_secs(2);
const UID: u32 = 1000;
/// What the attacker says when nothing came of it, before how often it made something.
const NOTHING: &str = "nothing of ";
const NEW: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::RDWR);

/// A way to make a name.
struct Trick {
    /// Which of root's things is moved onto it.
    victim: &'static str,
    /// Makes the name; says how what was made is another's.
    make: fn(&Path) -> io::Result<Option<String>>,
}

const CREATE: Trick = Trick {
    victim: "file",
    make: |name| {
        let new = open(name, NEW)?;
        is_new(&new)
    },
};

const NAMELESS: Trick = Trick {
    victim: "file",
    make: |name| {
        let new = open(".", OFlags::TMPFILE | OFlags::RDWR)?;
        let link = format!("/proc/self/fd/{}", new.as_raw_fd());
        rustix::fs::linkat(CWD, link, CWD, name, AtFlags::SYMLINK_FOLLOW)?;
        let linked = rustix::fs::lstat(name)?;
        if linked.st_ino != rustix::fs::fstat(&new)?.st_ino {
            return Ok(Some("its new name is another's".to_owned()));
        }
        is_new(&new)
    },
};

const MKDIR: Trick = Trick {
    victim: "directory",
    make: |name| {
        rustix::fs::mkdir(name, Mode::from_raw_mode(0o755))?;
        is_mine(&rustix::fs::lstat(name)?)
    },
};

const MKNOD: Trick = Trick {
    victim: "fifo",
    make: |name| {
        rustix::fs::mknodat(CWD, name, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
        is_mine(&rustix::fs::lstat(name)?)
    },
};

const MKNOD_FILE: Trick = Trick {
    victim: "file",
    make: |name| {
        rustix::fs::mknodat(CWD, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
        is_mine(&rustix::fs::lstat(name)?)
    },
};

const SYMLINK: Trick = Trick {
    victim: "symlink",
    make: |name| {
        rustix::fs::symlink("target", name)?;
        is_mine(&rustix::fs::lstat(name)?)
    },
};

const LINK: Trick = Trick {
    victim: "file",
    make: |name| {
        rustix::fs::link("mine", name)?;
        let (linked, mine) = (rustix::fs::lstat(name)?, rustix::fs::lstat("mine")?);
        if linked.st_ino != mine.st_ino {
            return Ok(Some("the new name is another's".to_owned()));
        }
        is_mine(&linked)
    },
};

/// What the kernel was told of the name when it was made.
fn is_mine(stat: &Stat) -> io::Result<Option<String>> {
    Ok((stat.st_uid != UID).then(|| format!("what was made is uid {}'s", stat.st_uid)))
}

/// The descriptor of a new file: it is empty, and whatever is done by it is done to nothing else.
fn is_new(new: &OwnedFd) -> io::Result<Option<String>> {
    let stat = rustix::fs::fstat(new)?;
    if stat.st_uid != UID || stat.st_size != 0 || rustix::io::pread(new, &mut [0], 0)? != 0 {
        return Ok(Some(format!("the new file has content, and uid {}", stat.st_uid)));
    }
    rustix::fs::fchmod(new, Mode::from_raw_mode(0o666))?;
    rustix::fs::ftruncate(new, 4096)?;
    Mapping::shared(new, 0, true)?.store(b'x');
    Ok(None)
}

/// All of root's file that must not change.
#[derive(PartialEq, Eq, Debug)]
struct Untouched {
    content: Vec<u8>,
    mode: u32,
    ids: (u32, u32),
    caps: Vec<u8>,
}

impl Untouched {
    fn of(directory: &OwnedFd) -> io::Result<Untouched> {
        let file = rustix::fs::openat(directory, "file", OFlags::RDONLY, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let mut caps = vec![0; 64];
        let length = rustix::fs::fgetxattr(&file, CAP, &mut caps[..]).unwrap_or(0);
        caps.truncate(length);
        let mut content = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(file), &mut content)?;
        Ok(Untouched { content, mode: stat.st_mode, ids: (stat.st_uid, stat.st_gid), caps })
    }
}

/// A directory of uid 1000's with things of root's in it; what leads to it by the other way.
fn place(ground: &Ground) -> Result<OwnedFd, Why> {
    let directory = ground.path("d");
    rustix::fs::mkdir(&directory, Mode::from_raw_mode(0o755))?;
    let at = |name: &str| directory.join(name);
    ground.file("d/file", 0)?;
    rustix::fs::chmod(at("file"), Mode::from_raw_mode(0o4755))?;
    ground.set(HOST, &at("file"), CAP, "v2 cap_sys_admin=ep")?;
    ground.file("d/mine", UID)?;
    rustix::fs::mkdir(at("directory"), Mode::from_raw_mode(0o755))?;
    rustix::fs::symlink("target", at("symlink"))?;
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
    let (uid, gid) = (Some(Uid::from_raw(UID)), Some(Gid::from_raw(UID)));
    rustix::fs::chown(&directory, uid, gid)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(ground.beneath(), "d", flags, Mode::empty())?)
}

fn play(setting: Setting, kind: Kind, trick: &Trick) -> Result<(), Why> {
    let ground = Ground::new(setting, kind)?;
    let other_way = place(&ground)?;
    let before = Untouched::of(&other_way)?;
    let said = ground.ask(HOST_USER, || {
        rustix::process::chdir("d")?;
        let (number, over) = (AtomicU32::new(0), AtomicBool::new(false));
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| move_there_and_back(&other_way, trick.victim, &number, &over));
            let ended = make_many(trick, &number);
            over.store(true, Ordering::Relaxed);
            ended
        })?;
        Ok(ended)
    })?;
    let told = format!("{kind:?}: {said}");
    if Untouched::of(&other_way)? != before {
        return Err(Why::Through(format!("{told}; root's file is not what it was")));
    }
    match said.strip_prefix(NOTHING) {
        Some("0") => Err(Why::Broken(format!("{told}: nothing was tried"))),
        Some(_) => Ok(()),
        None => Err(Why::Through(told)),
    }
}

fn make_many(trick: &Trick, number: &AtomicU32) -> io::Result<String> {
    let began = Instant::now();
    let mut made = 0;
    for n in 1..=TRIES {
        number.store(n, Ordering::Relaxed);
        match (trick.make)(Path::new(&format!("x{n}"))) {
            Ok(None) => made += 1,
            Ok(Some(how)) => return Ok(format!("try {n}: {how}")),
            // Root's file was there first, or has the name by now.
            Err(_) => {}
        }
        // Beside other work the mover may win each time for long.
        let time = if made == 0 { 20 * TIME } else { TIME };
        if began.elapsed() > time {
            break;
        }
    }
    Ok(format!("{NOTHING}{made}"))
}

/// Moves root's thing onto each new name as soon as it is there. The thing ends where it began.
fn move_there_and_back(directory: &OwnedFd, victim: &str, number: &AtomicU32, over: &AtomicBool) {
    let mut last = 0;
    while !over.load(Ordering::Relaxed) {
        let n = number.load(Ordering::Relaxed);
        let name = format!("x{n}");
        let is_there =
            || rustix::fs::statat(directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        while n != last && !is_there() && number.load(Ordering::Relaxed) == n {
            std::hint::spin_loop();
        }
        last = n;
        if rustix::fs::renameat(directory, victim, directory, name.as_str()).is_ok() {
            while rustix::fs::renameat(directory, name.as_str(), directory, victim).is_err() {
                std::thread::yield_now();
            }
        }
    }
}

/// Catches a listing that has the number of one inode and the kind of another.
fn listed(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    let other_way = place(&ground)?;
    let number = |name: &str| -> io::Result<u64> {
        Ok(rustix::fs::statat(&other_way, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino)
    };
    let kinds =
        [(number("file")?, FileType::RegularFile), (number("directory")?, FileType::Directory)];
    let said = ground.ask(HOST_USER, || {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let way = other_way.as_fd();
                    let flags = RenameFlags::EXCHANGE;
                    let _ = rustix::fs::renameat_with(way, "file", way, "directory", flags);
                }
            });
            let listed = list_many(&kinds);
            over.store(true, Ordering::Relaxed);
            listed
        })
    })?;
    if said.is_empty() { Ok(()) } else { Err(Why::Through(said)) }
}

fn list_many(kinds: &[(u64, FileType)]) -> io::Result<String> {
    let began = Instant::now();
    for n in 0..TRIES {
        // The kernel keeps a listing of a directory that does not change.
        let names = if n % 2 == 0 { ["d/mine", "d/yours"] } else { ["d/yours", "d/mine"] };
        rustix::fs::rename(names[0], names[1])?;
        let directory = open("d", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut room = Vec::with_capacity(8192);
        let mut entries = RawDir::new(&directory, room.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let wrong =
                |(ino, kind): &&(u64, FileType)| *ino == entry.ino() && *kind != entry.file_type();
            if let Some((ino, kind)) = kinds.iter().find(wrong) {
                let shown = entry.file_type();
                return Ok(format!("list {n}: inode {ino} is {kind:?}, shown as {shown:?}"));
            }
        }
        if began.elapsed() > TIME {
            break;
        }
    }
    Ok(String::new())
}
