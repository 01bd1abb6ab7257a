//! K: the content is another than the one that was granted for. Every way that a task has to change
//! a file which it may write, each with its descriptors and mappings made before the grant, and
//! after; each against every form of Storage.
//!
//! Catches a server that forgets an operation, that trusts its own bookkeeping where the kernel
//! writes past it (passthrough, mappings), or that strips after the change.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, OFlags};

use crate::case::{Case, Setting, Why};
use crate::ground::{Grant, Ground, Kind, OWNER, OWNER_A, Who, open};
use crate::live::Front;
use crate::live::peer::{Peer, hear, say, until_end};
use crate::live::sys::{self, Mapping};

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "content-on-tmpfs",
        clauses: &["K"],
        about: "the owner changes what was granted for, in each way that there is",
        both_ways: true,
        play: |setting| play(setting, Kind::Tmpfs),
    },
    Case {
        name: "content-on-ext4",
        clauses: &["K"],
        about: "the same on a file system with blocks",
        both_ways: true,
        play: |setting| play(setting, Kind::Ext4),
    },
    Case {
        name: "content-on-btrfs",
        clauses: &["K"],
        about: "the same where files share blocks",
        both_ways: true,
        play: |setting| play(setting, Kind::Btrfs),
    },
    Case {
        name: "content-after-a-restart",
        clauses: &["K"],
        about: "a mapping that outlives the server still writes: no grant while it is there",
        both_ways: true,
        play: after_a_restart,
    },
];

/// What changes the file, when it is told to.
type Strike = Box<dyn FnOnce() -> io::Result<()>>;

pub(super) struct Weapon {
    pub(super) name: &'static str,
    /// Whether it has the file open for reading and writing: then a grant may be refused (ETXTBSY).
    reads_too: bool,
    /// Whether FUSE has no such operation (EOPNOTSUPP), so that only a bare kernel is tried.
    bare_only: bool,
    pub(super) only: Option<Kind>,
    /// Opens what there is to open of the file; the other path is a file with the same content.
    prepare: fn(&Path, &Path) -> io::Result<Strike>,
}

/// Where every file has nothing but padding: what is changed there can still be executed.
const PADDING: u64 = 4096;

const fn weapon(name: &'static str, prepare: fn(&Path, &Path) -> io::Result<Strike>) -> Weapon {
    Weapon { name, reads_too: false, bare_only: false, only: None, prepare }
}

const fn mapped(name: &'static str, prepare: fn(&Path, &Path) -> io::Result<Strike>) -> Weapon {
    Weapon { reads_too: true, ..weapon(name, prepare) }
}

fn tail(fd: impl AsFd) -> io::Result<u64> {
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

/// When the descriptors are opened and the mappings made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Opened {
    BeforeTheGrant,
    AfterTheGrant,
}

fn play(setting: Setting, kind: Kind) -> Result<(), Why> {
    let ground = Ground::new(setting, kind)?;
    let mut through = Vec::new();
    for weapon in WEAPONS.iter().filter(|w| w.only.is_none_or(|only| only == kind)) {
        for grant in [Grant::Entry, Grant::Entries, Grant::HostAndEntry] {
            for opened in [Opened::BeforeTheGrant, Opened::AfterTheGrant] {
                if setting.front == Front::Bare && grant != Grant::Entry {
                    continue;
                }
                let what = format!("{} ({opened:?}, {grant:?})", weapon.name);
                match wield(&ground, weapon, grant, opened, &what) {
                    Err(Why::Through(how)) => through.push(how),
                    Err(Why::Broken(problem)) => {
                        return Err(Why::Broken(format!("{what}: {problem}")));
                    }
                    other => other?,
                }
            }
        }
    }
    if through.is_empty() { Ok(()) } else { Err(Why::Through(through.join("\n  "))) }
}

fn wield(
    ground: &Ground,
    weapon: &Weapon,
    grant: Grant,
    opened: Opened,
    what: &str,
) -> Result<(), Why> {
    let path = ground.file("f", OWNER)?;
    let from = ground.file("from", OWNER)?;
    let granted = |ground: &Ground| match ground.grant(&path, grant) {
        Err(error) if weapon.reads_too && error.raw_os_error() == Some(libc::ETXTBSY) => Ok(()),
        other => other,
    };
    if opened == Opened::AfterTheGrant {
        ground.grant(&path, grant)?;
        if grant == Grant::Entry {
            ground.grants("f", what)?;
        }
    }
    let mut attacker = attacker(ground, OWNER_A, weapon, &path, &from)?;
    if opened == Opened::BeforeTheGrant {
        granted(ground)?;
    }
    attacker.line.write_all(b"strike\n")?;
    let errno: i32 = attacker.hear()?.parse().map_err(io::Error::other)?;
    if weapon.bare_only && ground.is_fuse() {
        if errno != libc::EOPNOTSUPP {
            return Err(Why::Broken(format!("FUSE has it now: errno {errno}")));
        }
        return Ok(());
    }
    if errno != 0 {
        return Err(Why::Broken(format!(
            "the change fails: {}",
            io::Error::from_raw_os_error(errno)
        )));
    }
    // A mapping is still there.
    ground.grants_nothing("f", what)?;
    drop(attacker);
    ground.grants_nothing("f", &format!("{what}, and the attacker has left"))?;
    grant_again(ground, &path)
}

/// Opens, says so, waits, strikes, says what came, and keeps its mappings until it is let go.
pub(super) fn attacker(
    ground: &Ground,
    who: Who,
    weapon: &Weapon,
    path: &Path,
    from: &Path,
) -> io::Result<Peer> {
    let mut attacker = ground.start(who, |line| {
        let strike = (weapon.prepare)(path, from)?;
        say(line, "ready")?;
        hear(line)?;
        let errno = strike().err().map(|error| error.raw_os_error().unwrap_or(libc::EIO));
        say(line, &errno.unwrap_or(0).to_string())?;
        until_end(line);
        Ok(())
    })?;
    attacker.hear()?;
    Ok(attacker)
}

/// When nobody has the file open any more, it can be granted for again. The kernel tells a server
/// of a close when it likes.
fn grant_again(ground: &Ground, path: &Path) -> Result<(), Why> {
    for _try in 0..100 {
        match ground.grant(path, Grant::Entry) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Why::Broken("nobody has the file open, and still a grant is ETXTBSY".to_owned()))
}

/// Catches a server that knows of mappings only what it saw itself.
fn after_a_restart(setting: Setting) -> Result<(), Why> {
    let mut ground = Ground::new(setting, Kind::Ext4)?;
    for weapon in WEAPONS.iter().filter(|weapon| weapon.reads_too) {
        let path = ground.file("f", OWNER)?;
        let from = ground.file("from", OWNER)?;
        let mut attacker = attacker(&ground, OWNER_A, weapon, &path, &from)?;
        ground.kill()?;
        ground.show()?;
        let what = format!("{} from before a restart", weapon.name);
        let granted = ground.grant(&path, Grant::Entry);
        attacker.line.write_all(b"strike\n")?;
        let struck: i32 = attacker.hear()?.parse().map_err(io::Error::other)?;
        // Without passthrough such a mapping is the dead mount's own, and the file stays as it is.
        let read = open(&path, OFlags::RDONLY)?;
        let mut byte = [0];
        rustix::io::pread(&read, &mut byte, tail(&read)?)?;
        if byte == *b"x" || granted.is_err() {
            ground.grants_nothing("f", &what)?;
        } else if struck == 0 && setting.passthrough {
            return Err(Why::Broken(format!("{what}: the change is nowhere")));
        }
        match granted {
            Err(error) if error.raw_os_error() != Some(libc::ETXTBSY) => return Err(error.into()),
            _ => {}
        }
        drop(attacker);
        if path.exists() {
            rustix::fs::unlink(&path)?;
        }
    }
    Ok(())
}
