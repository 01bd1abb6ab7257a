// SPDX-License-Identifier: MIT OR Apache-2.0
//! binfmt_misc: which registered handler execve(2) gives a file to
//! (linux/Documentation/admin-guide/ binfmt-misc.rst). Since Linux 6.7 a user namespace may have
//! handlers of its own.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

const MAGIC: u64 = 0x4249_4e4d;
const AT: &str = "proc/sys/fs/binfmt_misc";

/// A registered handler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Handler {
    /// Its name in binfmt_misc.
    pub(crate) name: String,
    pub(crate) interpreter: PathBuf,
    /// C: the binary's credentials count, not the interpreter's. It implies O.
    pub(crate) credentials: bool,
    /// O: the interpreter gets a descriptor of the binary.
    pub(crate) open: bool,
    /// F: the interpreter was opened when the handler was registered.
    pub(crate) fixed: bool,
    /// The flags as they are written.
    pub(crate) flags: String,
    matches: Matches,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Matches {
    Extension(Vec<u8>),
    Magic { offset: usize, magic: Vec<u8>, mask: Option<Vec<u8>> },
}

/// The handlers for a task with this root directory, the first to be asked first; none where
/// binfmt_misc is mounted nowhere that we may look. `is_root`: we are root of the initial user
/// namespace, and may look where it is not mounted.
pub(crate) fn handlers(root: impl AsFd, is_root: bool) -> Vec<Handler> {
    let found = mounted(root.as_fd(), AT).or_else(|| mounted(CWD, &format!("/{AT}")));
    let Some(dir) = found.or_else(|| is_root.then(unmounted).flatten()) else { return Vec::new() };
    if read(&dir, "status").as_deref() == Some("disabled\n") {
        return Vec::new();
    }
    let Ok(entries) = Dir::read_from(&dir) else { return Vec::new() };
    let names =
        entries.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    let names = names.filter(|name| !matches!(name.as_str(), "." | ".." | "register" | "status"));
    names.filter_map(|name| parse(&name, &read(&dir, &name)?)).collect()
}

fn mounted(at: BorrowedFd<'_>, path: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(at, path, flags, Mode::empty()).ok()?;
    (rustix::fs::fstatfs(&dir).ok()?.f_type as u64 == MAGIC).then_some(dir)
}

/// A mount that no other process sees. In the initial user namespace there is one file system of
/// the kind, so that nothing is made.
fn unmounted() -> Option<OwnedFd> {
    let known = std::fs::read_to_string("/proc/filesystems").ok()?;
    known.lines().find(|line| line.ends_with("\tbinfmt_misc"))?;
    let context = fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_create(&context).ok()?;
    let mount =
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY).ok()?;
    openat(&mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn read(dir: &OwnedFd, name: &str) -> Option<String> {
    let fd = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = Vec::new();
    File::from(fd).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn parse(name: &str, text: &str) -> Option<Handler> {
    let mut lines = text.lines();
    if lines.next() != Some("enabled") {
        return None;
    }
    let field = |key: &str| lines.clone().find_map(|line| line.strip_prefix(key));
    let interpreter = PathBuf::from(field("interpreter ")?);
    let flags = field("flags:")?.trim().to_owned();
    let matches = match field("extension .") {
        Some(extension) => Matches::Extension(extension.as_bytes().to_vec()),
        None => Matches::Magic {
            offset: field("offset ")?.parse().ok()?,
            magic: bytes(field("magic ")?)?,
            mask: field("mask ").and_then(bytes),
        },
    };
    let has = |flag: char| flags.contains(flag);
    let (credentials, fixed) = (has('C'), has('F'));
    let open = credentials || has('O');
    Some(Handler { name: name.to_owned(), interpreter, credentials, open, fixed, flags, matches })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.trim().as_bytes().chunks_exact(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

impl Handler {
    /// Whether the file is its: by its first bytes, or by the end of the path that it is executed
    /// by.
    pub(crate) fn takes(&self, head: &[u8], path: &Path) -> bool {
        match &self.matches {
            Matches::Extension(extension) => {
                let path = path.as_os_str().as_bytes();
                path.rsplit(|byte| *byte == b'.').next() == Some(extension) && path.contains(&b'.')
            }
            Matches::Magic { offset, magic, mask } => {
                let Some(there) = head.get(*offset..*offset + magic.len()) else { return false };
                let mask = mask.iter().flatten().copied().chain(std::iter::repeat(0xff));
                magic
                    .iter()
                    .zip(there)
                    .zip(mask)
                    .all(|((one, other), mask)| (one ^ other) & mask == 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_read_as_the_kernel_shows_it() {
        let text = "enabled\ninterpreter /usr/bin/run me\nflags: OCF\noffset 1\nmagic 4142ff\nmask ffff00\n";
        let handler = parse("run", text).unwrap();
        assert_eq!(handler.interpreter, Path::new("/usr/bin/run me"));
        assert!(handler.credentials && handler.fixed && handler.open);
        assert!(handler.takes(b"xABx", Path::new("/a")));
        assert!(!handler.takes(b"ABx", Path::new("/a")) && !handler.takes(b"xA", Path::new("/a")));
        let by_name = parse("e", "enabled\ninterpreter /i\nflags: \nextension .exe\n").unwrap();
        assert!(!by_name.open && by_name.takes(b"", Path::new("/x/a.b.exe")));
        assert!(
            !by_name.takes(b"", Path::new("/x/exe"))
                && !by_name.takes(b"", Path::new("/x/a.exe.b"))
        );
        assert_eq!(parse("off", "disabled\ninterpreter /i\nflags: \nextension .exe\n"), None);
        assert_eq!(parse("odd", "enabled\n"), None);
    }
}
