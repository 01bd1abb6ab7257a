// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways that a task has to change a file which it may write (K): each opens what there is to
//! open, and strikes when it is told to.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, OFlags};

use crate::ground::{Kind, open};
use crate::live::sys::{self, Mapping};

/// What changes the file, when it is told to.
pub(super) type Strike = Box<dyn FnOnce() -> io::Result<()>>;

pub(super) struct Weapon {
    pub(super) name: &'static str,
    /// Whether it has the file open for reading and writing: then a grant may be refused (ETXTBSY).
    pub(super) reads_too: bool,
    /// Whether FUSE has no such operation (EOPNOTSUPP), so that only a bare kernel is tried.
    pub(super) bare_only: bool,
    pub(super) only: Option<Kind>,
    /// Opens what there is to open of the file; the other path is a file with the same content.
    pub(super) prepare: fn(&Path, &Path) -> io::Result<Strike>,
}

/// Where every file has nothing but padding: what is changed there can still be executed.
const PADDING: u64 = 4096;

const fn weapon(name: &'static str, prepare: fn(&Path, &Path) -> io::Result<Strike>) -> Weapon {
    Weapon { name, reads_too: false, bare_only: false, only: None, prepare }
}

const fn mapped(name: &'static str, prepare: fn(&Path, &Path) -> io::Result<Strike>) -> Weapon {
    Weapon { reads_too: true, ..weapon(name, prepare) }
}

pub(super) fn tail(fd: impl AsFd) -> io::Result<u64> {
    let size = u64::try_from(rustix::fs::fstat(fd)?.st_size).map_err(io::Error::other)?;
    Ok(size / PADDING * PADDING - PADDING)
}

fn to_write(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlags::WRONLY)
}

fn strike(work: impl FnOnce() -> io::Result<()> + 'static) -> io::Result<Strike> {
    Ok(Box::new(work))
}

/// A strike that needs a descriptor for writing, and where the padding is.
macro_rules! by_descriptor {
    ($($flag:ident)?, |$fd:ident, $at:ident| $work:expr) => {
        |path, _| {
            let $fd = open(path, OFlags::WRONLY $(| OFlags::$flag)?)?;
            let $at = tail(&$fd)?;
            strike(move || {
                $work?;
                Ok(())
            })
        }
    };
}

pub(super) const WEAPONS: &[Weapon] = &[
    weapon("write", by_descriptor!(, |fd, _at| rustix::io::write(fd, b"\x7f"))),
    weapon("append", by_descriptor!(APPEND, |fd, _at| rustix::io::write(fd, b"x"))),
    weapon("pwrite", by_descriptor!(, |fd, at| rustix::io::pwrite(fd, b"x", at))),
    weapon(
        "pwritev2",
        by_descriptor!(, |fd, at| {
            let slices = [io::IoSlice::new(b"xy")];
            rustix::io::pwritev2(fd, &slices, at, rustix::io::ReadWriteFlags::DSYNC)
        }),
    ),
    weapon("direct-write", |path, _| {
        let fd = open(path, OFlags::WRONLY | OFlags::DIRECT)?;
        let at = tail(&fd)?;
        strike(move || sys::write_aligned(fd, at))
    }),
    weapon("io_uring", |path, _| {
        let fd = to_write(path)?;
        let at = tail(&fd)?;
        strike(move || sys::write_by_ring(fd, at))
    }),
    weapon("truncate", |path, _| {
        let path = path.to_owned();
        strike(move || {
            let size = std::fs::metadata(&path)?.len();
            sys::truncate(&path, size + 1)
        })
    }),
    weapon("ftruncate", by_descriptor!(, |fd, at| rustix::fs::ftruncate(fd, at + PADDING + 1))),
    weapon("open-with-truncation", |path, _| {
        let path = path.to_owned();
        strike(move || open(&path, OFlags::WRONLY | OFlags::TRUNC).map(drop))
    }),
    weapon(
        "fallocate",
        by_descriptor!(, |fd, at| {
            rustix::fs::fallocate(fd, FallocateFlags::empty(), at, 2 * PADDING)
        }),
    ),
    weapon(
        "punch-a-hole",
        by_descriptor!(, |fd, at| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(fd, flags, at, PADDING)
        }),
    ),
    Weapon {
        only: Some(Kind::Ext4),
        ..weapon(
            "zero-a-range",
            by_descriptor!(, |fd, at| {
                rustix::fs::fallocate(fd, FallocateFlags::ZERO_RANGE, at, PADDING)
            }),
        )
    },
    Weapon {
        only: Some(Kind::Ext4),
        bare_only: true,
        ..weapon(
            "collapse-a-range",
            by_descriptor!(, |fd, at| {
                rustix::fs::fallocate(fd, FallocateFlags::COLLAPSE_RANGE, at - PADDING, PADDING)
            }),
        )
    },
    mapped("mapping", |path, _| {
        let fd = open(path, OFlags::RDWR)?;
        let mut mapping = Mapping::shared(&fd, tail(&fd)?, true)?;
        strike(move || {
            mapping.store(b'x');
            drop(fd);
            Ok(())
        })
    }),
    mapped("mapping-without-its-descriptor", |path, _| {
        let fd = open(path, OFlags::RDWR)?;
        let mut mapping = Mapping::shared(&fd, tail(&fd)?, true)?;
        drop(fd);
        strike(move || {
            mapping.store(b'x');
            Ok(())
        })
    }),
    mapped("mapping-made-writable-later", |path, _| {
        let fd = open(path, OFlags::RDWR)?;
        let mut mapping = Mapping::shared(&fd, tail(&fd)?, false)?;
        drop(fd);
        strike(move || {
            mapping.make_writable()?;
            mapping.store(b'x');
            Ok(())
        })
    }),
    mapped("mapping-of-a-descriptor-that-was-open", |path, _| {
        let fd = open(path, OFlags::RDWR)?;
        let at = tail(&fd)?;
        strike(move || {
            Mapping::shared(&fd, at, true)?.store(b'x');
            Ok(())
        })
    }),
    mapped("write-on-a-descriptor-for-both", |path, _| {
        let fd = open(path, OFlags::RDWR)?;
        strike(move || Ok(rustix::io::write(fd, b"\x7f").map(drop)?))
    }),
    weapon("splice", |path, _| {
        let fd = to_write(path)?;
        let at = tail(&fd)?;
        let (read, write) = rustix::pipe::pipe()?;
        strike(move || {
            rustix::io::write(write, b"x")?;
            let flags = rustix::pipe::SpliceFlags::empty();
            let mut at = at;
            Ok(rustix::pipe::splice(read, None, fd, Some(&mut at), 1, flags).map(drop)?)
        })
    }),
    weapon("sendfile", |path, from| {
        let (fd, from) = (to_write(path)?, open(from, OFlags::RDONLY)?);
        strike(move || Ok(rustix::fs::sendfile(fd, from, None, 1).map(drop)?))
    }),
    weapon("copy_file_range", |path, from| {
        let (fd, from) = (to_write(path)?, open(from, OFlags::RDONLY)?);
        strike(move || Ok(rustix::fs::copy_file_range(from, None, fd, None, 1).map(drop)?))
    }),
    weapon("copy_file_range-of-everything", |path, from| {
        let (fd, from) = (to_write(path)?, open(from, OFlags::RDONLY)?);
        let all = usize::try_from(rustix::fs::fstat(&from)?.st_size).map_err(io::Error::other)?;
        strike(move || Ok(rustix::fs::copy_file_range(from, None, fd, None, all).map(drop)?))
    }),
    Weapon {
        only: Some(Kind::Btrfs),
        bare_only: true,
        ..weapon("reflink", |path, from| {
            let (fd, from) = (to_write(path)?, open(from, OFlags::RDONLY)?);
            strike(move || Ok(rustix::fs::ioctl_ficlone(fd, from)?))
        })
    },
    weapon("another-name", |path, _| {
        let name = path.with_extension("link");
        let _ = rustix::fs::unlink(&name);
        rustix::fs::link(path, &name)?;
        let fd = to_write(&name)?;
        strike(move || Ok(rustix::io::write(fd, b"\x7f").map(drop)?))
    }),
    weapon("reopened-by-proc", |path, _| {
        let fd = open(path, OFlags::RDONLY)?;
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        strike(move || {
            let again = to_write(again.as_ref())?;
            drop(fd);
            Ok(rustix::io::write(again, b"\x7f").map(drop)?)
        })
    }),
    weapon("a-child's-descriptor", |path, _| {
        let fd = to_write(path)?;
        strike(move || {
            let child = sys::fork(|| u8::from(rustix::io::write(&fd, b"\x7f").is_err()))?;
            let status = crate::live::peer::wait(child)?;
            if status.exit_status() == Some(0) { Ok(()) } else { Err(io::Error::other("no write")) }
        })
    }),
    weapon("chown", |path, _| {
        let path = path.to_owned();
        let group = Some(Gid::from_raw(7));
        strike(move || Ok(rustix::fs::chownat(CWD, &path, None, group, AtFlags::empty())?))
    }),
    weapon("chown-of-nothing", |path, _| {
        let path = path.to_owned();
        strike(move || Ok(rustix::fs::chownat(CWD, &path, None, None, AtFlags::empty())?))
    }),
    weapon(
        "fchown",
        by_descriptor!(, |fd, _at| rustix::fs::fchown(fd, None, Some(Gid::from_raw(7)))),
    ),
];
