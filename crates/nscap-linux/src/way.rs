// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way that a task takes to a file: each directory that it has to search, path_resolution(7).
//! Covers the lookup's part of X.
//!
//! The path is taken one part at a time, by descriptors, as a task with that root directory takes
//! it: links and `..` lead where they lead the task. The caller's own permissions limit what can be
//! looked at; whether the task may search a directory is not decided here.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, StatxFlags, openat,
    openat2, readlinkat, statx,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::file::{CapFile, Inode};

/// How many symbolic links in a path are too many (MAXSYMLINKS).
const LINKS_MAX: usize = 40;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Where lookups begin.
#[derive(Debug)]
pub struct Start {
    /// The root directory.
    pub root: OwnedFd,
    /// The working directory; `None` where it is not to be seen, so that a relative path cannot be
    /// taken.
    pub cwd: Option<OwnedFd>,
    /// The task's process and thread id, for /proc/self and /proc/thread-self; `None` for this
    /// process itself.
    pub task: Option<(u32, u32)>,
}

impl Start {
    /// Our own root and working directory.
    ///
    /// # Errors
    /// [`Error::Call`] from open(2).
    pub fn ours() -> Result<Start> {
        let open = |path: &str| {
            openat(CWD, path, DIRECTORY, Mode::empty())
                .map_err(|e| Error::call(path.as_ref(), "open", e))
        };
        Ok(Start { root: open("/")?, cwd: Some(open(".")?), task: None })
    }
}

/// A directory that has to be searched.
#[derive(Debug)]
pub struct Passed {
    /// Its path, as far as the task came by names.
    pub path: PathBuf,
    fd: OwnedFd,
}

impl Passed {
    /// Owner, mode and the rest.
    ///
    /// # Errors
    /// [`Error::Call`] from statx(2).
    pub fn inode(&self) -> Result<Inode> {
        Inode::of(&self.fd, &self.path)
    }
}

impl AsFd for Passed {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A way that was taken as far as it goes.
#[derive(Debug)]
pub struct Way {
    /// Each directory that was searched, in order; none twice in a row.
    pub passed: Vec<Passed>,
    /// The magic links (proc_pid_root(5), proc_pid_fd(5)) that were followed. Whether the task may
    /// follow them, ptrace(2) says under "Ptrace access mode checking".
    pub magic: Vec<PathBuf>,
    /// What it leads to, or where it ends before.
    pub end: Result<OwnedFd>,
    /// The path of the end.
    pub path: PathBuf,
}

impl Way {
    /// Takes a path; a symbolic link at its end is followed.
    ///
    /// ```
    /// use nscap_linux::{Start, Way};
    /// let way = Way::take(&Start::ours()?, "/usr/bin/env".as_ref());
    /// let passed: Vec<_> = way.passed.iter().map(|dir| dir.path.to_str().unwrap()).collect();
    /// assert_eq!(&passed[..3], ["/", "/usr", "/usr/bin"]);
    /// assert!(way.end.is_ok());
    /// let way = Way::take(&Start::ours()?, "/nonexistent/file".as_ref());
    /// assert_eq!(way.end.unwrap_err().errno(), 2);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn take(start: &Start, path: &Path) -> Way {
        let mut walk = Walk { start, passed: Vec::new(), magic: Vec::new(), at: PathBuf::new() };
        let end = walk.take(path);
        Way { passed: walk.passed, magic: walk.magic, end, path: walk.at }
    }

    /// The regular file at the end.
    ///
    /// # Errors
    /// Where the way ends before; [`Error::NotRegular`].
    pub fn file(self) -> Result<CapFile> {
        let path = self.path;
        self.end.and_then(|fd| CapFile::from_fd(fd, &path))
    }
}

/// What a part of a path leads to.
enum Next {
    At(OwnedFd),
    /// A symbolic link with this text.
    Link(OsString),
}

struct Walk<'s> {
    start: &'s Start,
    passed: Vec<Passed>,
    magic: Vec<PathBuf>,
    at: PathBuf,
}

impl Walk<'_> {
    fn take(&mut self, path: &Path) -> Result<OwnedFd> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Err(Error::call(path, "open", Errno::NOENT));
        }
        let mut here = self.begin(bytes, path)?;
        // What is left, the next part last.
        let mut left = parts(bytes);
        let mut links = 0;
        while let Some(name) = left.pop() {
            let last = left.is_empty();
            match self.step(&mut here, &name)? {
                Next::At(next) => {
                    here = next;
                    self.come_to(&name);
                    if !last {
                        self.check_directory(&here)?;
                    }
                }
                Next::Link(text) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::call(&self.at.join(name), "open", Errno::LOOP));
                    }
                    if text.as_bytes().starts_with(b"/") {
                        here = self.begin(text.as_bytes(), path)?;
                    }
                    left.extend(parts(text.as_bytes()));
                }
            }
        }
        Ok(here)
    }

    /// Where a path begins.
    fn begin(&mut self, path: &[u8], of: &Path) -> Result<OwnedFd> {
        let absolute = path.starts_with(b"/");
        let from = if absolute { Some(&self.start.root) } else { self.start.cwd.as_ref() };
        self.at = PathBuf::from(if absolute { "/" } else { "" });
        let from = from.ok_or_else(|| {
            Error::unexpected(of, "relative, and the working directory is not to be seen")
        })?;
        from.try_clone().map_err(|e| Error::call(&self.at, "fcntl", e))
    }

    /// Looks a name up in the directory `here`.
    fn step(&mut self, here: &mut OwnedFd, name: &OsStr) -> Result<Next> {
        let path = self.at.join(name);
        let failed = |call| move |e: Errno| Error::call(&path, call, e);
        self.pass(here)?;
        if name == "." || (name == ".." && same(&*here, &self.start.root)) {
            let again = here.try_clone().map_err(|e| Error::call(&self.at, "fcntl", e))?;
            return Ok(Next::At(again));
        }
        if let Some(text) = self.own_number(here, name) {
            return Ok(Next::Link(text));
        }
        let found =
            openat(&*here, name, DIRECTORY, Mode::empty()).map_err(failed.clone()("open"))?;
        let mode = rustix::fs::fstat(&found).map_err(failed.clone()("fstat"))?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Symlink {
            return Ok(Next::At(found));
        }
        if self.is_magic(here, name) {
            self.magic.push(self.at.join(name));
            let followed = openat(&*here, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            return followed.map(Next::At).map_err(failed("open"));
        }
        let text = readlinkat(&found, "", Vec::new()).map_err(failed("readlink"))?;
        Ok(Next::Link(OsString::from_vec(text.into_bytes())))
    }

    /// Remembers that a directory has to be searched.
    fn pass(&mut self, here: &OwnedFd) -> Result<()> {
        if self.passed.last().is_some_and(|last| last.path == self.at && same(&last.fd, here)) {
            return Ok(());
        }
        let fd = here.try_clone().map_err(|e| Error::call(&self.at, "fcntl", e))?;
        self.passed.push(Passed { path: self.at.clone(), fd });
        Ok(())
    }

    fn come_to(&mut self, name: &OsStr) {
        if name == ".." {
            if !self.at.pop() && !self.at.has_root() {
                self.at.push("..");
            }
        } else if name != "." {
            self.at.push(name);
        }
    }

    fn check_directory(&self, here: &OwnedFd) -> Result<()> {
        let stat = rustix::fs::fstat(here).map_err(|e| Error::call(&self.at, "fstat", e))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            Ok(())
        } else {
            Err(Error::call(&self.at, "open", Errno::NOTDIR))
        }
    }

    /// What /proc/self and /proc/thread-self say to the task, by our numbers.
    fn own_number(&self, here: &OwnedFd, name: &OsStr) -> Option<OsString> {
        let (process, thread) = self.start.task?;
        let number = match name.as_bytes() {
            b"self" => process.to_string(),
            b"thread-self" => format!("{process}/task/{thread}"),
            _ => return None,
        };
        // Only where that /proc numbers processes as we do: it names us by our own number.
        let ours = readlinkat(here, "self", Vec::new()).ok()?;
        let is_ours = ours.to_bytes() == std::process::id().to_string().as_bytes();
        (is_proc(here) && is_ours).then(|| number.into())
    }

    fn is_magic(&self, here: &OwnedFd, name: &OsStr) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        is_proc(here)
            && openat2(here, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).err()
                == Some(Errno::LOOP)
    }
}

/// The parts of a path, the first one last. A slash at the end asks for a directory.
fn parts(path: &[u8]) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .map(|part| OsStr::from_bytes(part).to_owned())
        .collect();
    if path.ends_with(b"/") {
        parts.push(".".into());
    }
    parts.reverse();
    parts
}

fn is_proc(here: &OwnedFd) -> bool {
    rustix::fs::fstatfs(here).is_ok_and(|fs| fs.f_type == PROC_SUPER_MAGIC)
}

/// Whether both are the same directory on the same mount.
fn same(one: impl AsFd, other: impl AsFd) -> bool {
    let key = |fd: &dyn AsFd| {
        let mask = StatxFlags::INO | StatxFlags::MNT_ID;
        let stat = statx(fd.as_fd(), "", AtFlags::EMPTY_PATH, mask).ok()?;
        Some((stat.stx_mnt_id, stat.stx_ino, stat.stx_dev_major, stat.stx_dev_minor))
    };
    key(&one).is_some_and(|one| Some(one) == key(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(way: &Way) -> Vec<&str> {
        way.passed.iter().map(|dir| dir.path.to_str().unwrap()).collect()
    }

    fn tree() -> (tempfile::TempDir, Start) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a/b", "c"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        std::fs::write(directory.path().join("a/b/file"), "x").unwrap();
        let link = |text: &str, name: &str| {
            std::os::unix::fs::symlink(text, directory.path().join(name)).unwrap();
        };
        link("/a/b", "c/absolute");
        link("../a/b/file", "c/relative");
        link("round", "round");
        let open = |name: &str| {
            openat(CWD, directory.path().join(name), DIRECTORY, Mode::empty()).unwrap()
        };
        let start = Start { root: open("."), cwd: Some(open("c")), task: None };
        (directory, start)
    }

    #[test]
    fn links_and_dots_lead_where_they_lead_the_task() {
        let (_directory, start) = tree();
        let take = |path: &str| Way::take(&start, path.as_ref());
        let way = take("/../../a/./b/../b/file");
        assert_eq!(passed(&way), ["/", "/a", "/a/b", "/a", "/a/b"]);
        assert!(way.file().is_ok());
        let way = take("/c/absolute/file");
        assert_eq!(passed(&way), ["/", "/c", "/", "/a", "/a/b"]);
        assert_eq!(way.file().unwrap().path(), Path::new("/a/b/file"));
        let way = take("relative");
        assert_eq!(passed(&way), ["", "..", "../a", "../a/b"]);
        assert!(way.file().is_ok());
    }

    #[test]
    fn where_it_ends_is_named() {
        let (_directory, start) = tree();
        for (path, errno, at) in [
            ("/a/none/file", libc::ENOENT, "/a/none"),
            ("/a/b/file/more", libc::ENOTDIR, "/a/b/file"),
            ("/a/b/file/", libc::ENOTDIR, "/a/b/file"),
            ("/round", libc::ELOOP, "/round"),
            ("", libc::ENOENT, ""),
        ] {
            let error = Way::take(&start, path.as_ref()).end.unwrap_err();
            assert_eq!(error.errno(), errno, "{path}");
            assert!(
                error
                    .to_string()
                    .starts_with(&crate::Quotable::maybe_quote(Path::new(at)).to_string()),
                "{error}"
            );
        }
        let error = Way::take(&start, "/a/b".as_ref()).file().unwrap_err();
        assert!(matches!(error, Error::NotRegular { .. }), "{error}");
        let nowhere = Start { cwd: None, ..tree().1 };
        assert!(Way::take(&nowhere, "x".as_ref()).end.is_err());
    }

    #[test]
    fn proc_self_is_the_task() {
        let mut start = Start::ours().unwrap();
        let way = Way::take(&start, "/proc/self/root/etc".as_ref());
        assert_eq!(way.magic, [PathBuf::from(format!("/proc/{}/root", std::process::id()))]);
        start.task = Some((1, 1));
        let way = Way::take(&start, "/proc/self/status".as_ref());
        assert_eq!(way.path, Path::new("/proc/1/status"));
        let way = Way::take(&start, "/proc/thread-self/status".as_ref());
        assert_eq!(way.path, Path::new("/proc/1/task/1/status"));
    }
}
