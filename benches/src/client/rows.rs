// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured: how each row prepares itself, what it does, and what it is to be at most.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Advice, AtFlags, CWD, Dir, StatxFlags, fadvise, getxattr, statat, statx};

use crate::fixture::{CHUNK, DATA, FILES, LARGE, SMALL, file};

/// What nscap's time is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The other one.
    pub(crate) than: &'static str,
    /// At most so many times its time.
    pub(crate) at_most: f64,
}

const fn at_most(at_most: f64, than: &'static str) -> Target {
    Target { than, at_most }
}

const NEVER_SLOWER: Target = at_most(1.0, "bindfs");
const HALF: Target = at_most(0.5, "bindfs");
const ROUND_TRIP: Target = at_most(1.25, "null");

/// What the kernel knows when a row begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Before {
    /// Everything: the operation has been done once.
    Warm,
    /// Whatever it does: the row makes what it works on.
    AsItIs,
    /// Nothing of the mount; of what is beneath, everything.
    Forgotten,
    /// Nothing of the mount nor of what is beneath.
    Cold,
}

/// One row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) before: Before,
    /// Whether a file system that does nothing can play it.
    pub(crate) null: bool,
    /// How many operations one run does.
    pub(crate) operations: usize,
    /// Does them, below its part of a tree.
    pub(crate) run: fn(&Path) -> io::Result<()>,
    /// One round of so many plays it: what takes long is steadier by itself.
    pub(crate) every: usize,
    /// Puts things back, untimed.
    pub(crate) after: fn(&Path) -> io::Result<()>,
    pub(crate) targets: &'static [Target],
}

const ROW: Row = Row {
    name: "",
    before: Before::Warm,
    null: false,
    operations: FILES,
    every: 1,
    run: |_| Ok(()),
    after: |_| Ok(()),
    targets: &[NEVER_SLOWER],
};

const EXECS: usize = 100;
const PAIRS: usize = 500;

pub(crate) const ROWS: [Row; 17] = [
    Row { name: "stat, cold", before: Before::Cold, run: stat_all, ..ROW },
    Row {
        name: "stat, forgotten (lookup)",
        before: Before::Forgotten,
        null: true,
        run: stat_all,
        targets: &[NEVER_SLOWER, ROUND_TRIP],
        ..ROW
    },
    Row {
        name: "stat with birth time, forgotten",
        before: Before::Forgotten,
        run: stat_all_with_birth,
        targets: &[],
        ..ROW
    },
    Row { name: "stat, warm", null: true, run: stat_all, targets: &[HALF], ..ROW },
    Row {
        name: "statx, not from the cache (getattr)",
        null: true,
        run: getattr_all,
        targets: &[NEVER_SLOWER, ROUND_TRIP],
        ..ROW
    },
    Row {
        name: "getxattr, none there",
        null: true,
        run: getxattr_all,
        targets: &[NEVER_SLOWER, ROUND_TRIP],
        ..ROW
    },
    Row { name: "open, read, close 2 kB, cold", before: Before::Cold, run: read_all, ..ROW },
    Row { name: "open, read, close 2 kB, warm", run: read_few, targets: &[HALF], ..ROW },
    Row {
        name: "readdir and stat of 20,000, cold",
        before: Before::Cold,
        operations: LARGE,
        run: list,
        targets: &[HALF],
        ..ROW
    },
    Row {
        name: "readdir and stat of 20,000, warm",
        operations: LARGE,
        run: list,
        targets: &[HALF],
        ..ROW
    },
    Row { name: "create and unlink", operations: PAIRS, run: create_unlink, ..ROW },
    Row {
        name: "untar of a source tree, all of it",
        before: Before::AsItIs,
        operations: 1,
        every: 3,
        run: untar,
        after: remove,
        ..ROW
    },
    Row {
        name: "sequential read, cold, a MiB",
        before: Before::Cold,
        operations: DATA,
        run: read_data,
        targets: &[NEVER_SLOWER, at_most(1.0 / 0.95, "native")],
        ..ROW
    },
    Row {
        name: "sequential read, warm, a MiB",
        operations: DATA * 4,
        run: |part| (0..4).try_for_each(|_| read_data(part)),
        targets: &[HALF, at_most(1.0 / 0.95, "native")],
        ..ROW
    },
    Row {
        name: "sequential write, a MiB",
        operations: DATA,
        run: write_data,
        after: remove,
        targets: &[NEVER_SLOWER, at_most(1.0 / 0.95, "native")],
        ..ROW
    },
    Row {
        name: "execve of a small program, cold",
        before: Before::Cold,
        operations: 1,
        run: exec_once,
        ..ROW
    },
    Row {
        name: "execve of a small program, warm",
        null: true,
        operations: EXECS,
        run: exec_all,
        // Making a process is most of it: native takes more than half of bindfs's time.
        targets: &[NEVER_SLOWER, at_most(1.10, "native")],
        ..ROW
    },
];

/// Null has its files in its one directory.
fn files(part: &Path) -> std::path::PathBuf {
    let below = part.join("files");
    if part.ends_with("null") { part.to_owned() } else { below }
}

fn each(part: &Path, one: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let dir = files(part);
    (0..FILES).try_for_each(|n| one(&dir.join(file(n))))
}

fn stat_all(part: &Path) -> io::Result<()> {
    each(part, |path| Ok(statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map(drop)?))
}

/// As the standard library of Rust, and stat(1): with the birth time, which FUSE has in no answer
/// but one of its own.
fn stat_all_with_birth(part: &Path) -> io::Result<()> {
    each(part, |path| fs::symlink_metadata(path).map(drop))
}

/// As many operations as there are files, on a tenth of them: what is used is used more than once.
fn each_of_few(part: &Path, one: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let dir = files(part);
    (0..FILES).try_for_each(|n| one(&dir.join(file(n % (FILES / 10)))))
}

fn getattr_all(part: &Path) -> io::Result<()> {
    each_of_few(part, |path| {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
        Ok(statx(CWD, path, flags, StatxFlags::BASIC_STATS).map(drop)?)
    })
}

fn getxattr_all(part: &Path) -> io::Result<()> {
    each_of_few(part, |path| match getxattr(path, "security.capability", &mut [0; 32]) {
        Ok(_) | Err(rustix::io::Errno::NODATA) => Ok(()),
        Err(error) => Err(error.into()),
    })
}

fn read_all(part: &Path) -> io::Result<()> {
    each(part, read_small)
}

fn read_few(part: &Path) -> io::Result<()> {
    each_of_few(part, read_small)
}

fn read_small(path: &Path) -> io::Result<()> {
    File::open(path)?.read(&mut [0; 2 * SMALL]).map(drop)
}

fn list(part: &Path) -> io::Result<()> {
    let dir = File::open(part.join("large"))?;
    // As find -ls: relative to the directory, and without the birth time.
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

fn create_unlink(part: &Path) -> io::Result<()> {
    let dir = part.join("scratch");
    (0..PAIRS).try_for_each(|n| {
        let path = dir.join(file(n));
        File::create(&path)?;
        fs::remove_file(&path)
    })
}

/// The archive is beside the trees.
fn untar(part: &Path) -> io::Result<()> {
    let archive = std::env::var("ARCHIVE").map_err(io::Error::other)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(part.join("scratch")).stdin(Stdio::null());
    check(tar.status()?.success(), "tar")
}

fn remove(part: &Path) -> io::Result<()> {
    for entry in fs::read_dir(part.join("scratch"))? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

fn read_data(part: &Path) -> io::Result<()> {
    let mut file = File::open(part.join("data"))?;
    let mut buffer = vec![0; CHUNK];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn write_data(part: &Path) -> io::Result<()> {
    let mut file = File::create(part.join("scratch").join("data"))?;
    let buffer = vec![b'w'; CHUNK];
    (0..DATA).try_for_each(|_| file.write_all(&buffer))
}

fn exec_once(part: &Path) -> io::Result<()> {
    check(Command::new(part.join("program")).stdin(Stdio::null()).status()?.success(), "program")
}

fn exec_all(part: &Path) -> io::Result<()> {
    (0..EXECS).try_for_each(|_| exec_once(part))
}

fn check(ok: bool, what: &str) -> io::Result<()> {
    if ok { Ok(()) } else { Err(io::Error::other(format!("{what} failed"))) }
}

/// Drops what the page cache has of the files of a part.
pub(crate) fn drop_pages(part: &Path) -> io::Result<()> {
    let drop = |path: &Path| Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?);
    drop(&part.join("data"))?;
    drop(&part.join("program"))?;
    each(part, drop)
}
