// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree that is measured, the same for every file system: one part for each client process.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount_remount};

/// Small files that are looked up, opened and read.
pub(crate) const FILES: usize = 1000;
/// Entries of the large directory.
pub(crate) const LARGE: usize = 20_000;
/// Length of a small file, in bytes.
pub(crate) const SMALL: usize = 2048;
/// Length of the file that is read from end to end, in MiB.
pub(crate) const DATA: usize = 256;
/// At most so many client processes.
pub(crate) const PARTS: usize = 2;
/// What is read and written at once.
pub(crate) const CHUNK: usize = 1 << 20;

pub(crate) fn part(dir: &Path, part: usize) -> PathBuf {
    dir.join(format!("part{part}"))
}

pub(crate) fn file(n: usize) -> String {
    format!("f{n}")
}

pub(crate) fn prepare(dir: &Path, program: &Path) -> io::Result<()> {
    for number in 0..PARTS {
        let part = part(dir, number);
        for name in ["files", "large", "scratch"] {
            fs::create_dir_all(part.join(name))?;
        }
        for n in 0..FILES {
            fs::write(part.join("files").join(file(n)), [b'x'; SMALL])?;
        }
        for n in 0..LARGE {
            File::create(part.join("large").join(file(n)))?;
        }
        let mut data = File::create(part.join("data"))?;
        for _ in 0..DATA {
            data.write_all(&[b'd'; CHUNK])?;
        }
        fs::copy(program, part.join("program"))?;
    }
    rustix::fs::sync();
    Ok(())
}

/// A thousand files a directory.
pub(crate) fn fill(dir: &Path, files: usize) -> io::Result<()> {
    for n in 0..files {
        let below = dir.join(format!("d{}", n / 1000));
        if n % 1000 == 0 {
            fs::create_dir(&below)?;
        }
        File::create(below.join(file(n)))?;
    }
    Ok(())
}

/// Looks at everything below a directory, once; gives how many files that were.
pub(crate) fn walk(dir: &Path) -> io::Result<usize> {
    let mut seen = 0;
    let mut next = vec![dir.to_owned()];
    while let Some(dir) = next.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if fs::symlink_metadata(&path)?.is_dir() {
                next.push(path);
            } else {
                seen += 1;
            }
        }
    }
    Ok(seen)
}

/// A remount makes the kernel drop every unused name of that file system, and of no other; a FUSE
/// inode without a name is forgotten.
pub(crate) fn forget(dir: &Path) -> io::Result<()> {
    Ok(mount_remount(dir, MountFlags::empty(), "")?)
}
