// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a task looks files up: in directories that are there, or in an image that is not unpacked.

use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nscap_core::translate::Carried;
use nscap_image::layer::{TreeEnd, TreeFile, TreeInode};
use nscap_linux::{CapFile, Error, Inode, Passed, Start, Way, kernel_policy, opath};

use super::format::On;
use super::look::unpacked_list;
use super::start::Image;
use super::unseen::Unseen;
use crate::failure::{EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, Failure};
use crate::out;

/// Where lookups begin.
pub(crate) enum Place {
    Here(Start),
    Image(Rc<Image>, PathBuf),
}

/// A directory that has to be searched.
pub(crate) enum Dir {
    Here(Passed),
    Packed(TreeInode, PathBuf),
}

/// A regular file.
#[derive(Debug)]
pub(crate) enum Node {
    Here(CapFile),
    Packed(Packed),
}

/// A file of an image.
#[derive(Debug)]
pub(crate) struct Packed {
    image: Rc<Image>,
    pub(crate) file: TreeFile,
    path: PathBuf,
}

/// A way that was taken as far as it goes.
pub(crate) struct Trodden {
    pub(crate) passed: Vec<Dir>,
    /// Magic links that were followed.
    pub(crate) magic: Vec<PathBuf>,
    /// The path of the end.
    pub(crate) path: PathBuf,
    pub(crate) end: Result<Node, Error>,
}

impl Place {
    /// On which machine its files are to be executed.
    pub(crate) fn machine(&self) -> On {
        match self {
            Place::Here(_) => On::Here,
            Place::Image(image, _) => On::of(&image.settings().platform),
        }
    }

    /// Takes a path to a regular file.
    pub(crate) fn take(&self, path: &Path) -> Result<Trodden, Failure> {
        match self {
            Place::Here(start) => {
                let mut way = Way::take(start, path);
                let (passed, magic) = (std::mem::take(&mut way.passed), way.magic.clone());
                let path = way.path.clone();
                let passed = passed.into_iter().map(Dir::Here).collect();
                Ok(Trodden { passed, magic, path, end: way.file().map(Node::Here) })
            }
            Place::Image(image, cwd) => {
                let way = image
                    .tree
                    .take(cwd.as_os_str().as_bytes(), path.as_os_str().as_bytes())
                    .map_err(|error| image.error(error))?;
                let dir = |inode: TreeInode| {
                    let path = path_of(inode.path.clone());
                    Dir::Packed(inode, path)
                };
                let at = path_of(way.path);
                let end = ended(way.end, &at, image);
                let passed = way.passed.into_iter().map(dir).collect();
                Ok(Trodden { passed, magic: Vec::new(), path: at, end })
            }
        }
    }

    /// The text of a file, of at most `most` bytes, with U+FFFD for what is no UTF-8; `None` where there is no
    /// such file.
    pub(crate) fn text(&self, path: &Path, most: usize) -> Result<Option<String>, Failure> {
        let Ok(node) = self.take(path)?.end else { return Ok(None) };
        let content = node.content()?;
        let mut bytes = vec![0; most];
        let mut length = 0;
        while length < most {
            match content.read_at(&mut bytes[length..], length as u64) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) => {
                    let (what, problem) = (out::path(path), format!("cannot be read: {error}"));
                    let errno = error.raw_os_error().unwrap_or(crate::failure::EIO);
                    return Err(Failure::Input { what, problem, errno });
                }
            }
        }
        bytes.truncate(length);
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    std::ffi::OsString::from_vec(bytes).into()
}

/// As execve(2) says it.
fn ended(end: TreeEnd, at: &Path, image: &Rc<Image>) -> Result<Node, Error> {
    let call = |errno| Err(Error::Call { path: at.to_owned(), call: "open", errno });
    let kind = |kind, errno| Err(Error::NotRegular { path: at.to_owned(), kind, errno });
    match end {
        TreeEnd::File(file) => {
            Ok(Node::Packed(Packed { image: image.clone(), file: *file, path: at.to_owned() }))
        }
        TreeEnd::Directory => kind("is a directory", EISDIR),
        TreeEnd::Special => kind("is a device or a named pipe", EINVAL),
        TreeEnd::Missing => call(ENOENT),
        TreeEnd::NotDirectory => call(ENOTDIR),
        TreeEnd::Links => call(ELOOP),
        TreeEnd::TooLong => call(ENAMETOOLONG),
    }
}

impl Dir {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Dir::Here(dir) => &dir.path,
            Dir::Packed(_, path) => path,
        }
    }

    pub(crate) fn inode(&self) -> Result<Inode, Failure> {
        match self {
            Dir::Here(dir) => Ok(dir.inode()?),
            Dir::Packed(inode, _) => Ok(inode_of(inode, 0, 0o040_000)),
        }
    }
}

/// An inode with the image's ids.
fn inode_of(inode: &TreeInode, size: u64, kind: u32) -> Inode {
    let TreeInode { uid, gid, mode, .. } = *inode;
    Inode { size, uid, gid, mode: mode | kind, immutable: false }
}

impl Packed {
    /// In what programs that unpack it differ, or what they refuse.
    pub(crate) fn unseen(&self) -> Vec<Unseen> {
        let mut unseen = Vec::new();
        let name = out::path(&self.path);
        if self.file.inode.listed {
            unseen.push(unpacked_list(&self.path));
        }
        if let Some(other) = &self.file.disputed {
            let other = out::name(other);
            let text = format!(
                "{other} is a hard link to {name}, and its record says another owner, mode or \
                 capability: programs differ in which they unpack"
            );
            unseen.push(Unseen::deciding("hard link", text));
        }
        let carried = self.file.carried();
        // An unmodified kernel takes whatever root writes as security.nscapability, and looks at none.
        let by_design = kernel_policy().is_some();
        let read = if by_design { carried } else { Carried { nscapability: None, ..carried } };
        if let Err(denied) = read.grants() {
            let text = format!(
                "{name}: {} [{}]: setxattr(2) refuses it, and programs then refuse the image or \
                 leave it out",
                denied.why,
                denied.why.clause()
            );
            unseen.push(Unseen::deciding("capability", text));
        }
        if self.file.libarchive {
            let text = format!(
                "{name} has capabilities in a LIBARCHIVE.xattr record alone: bsdtar unpacks them, \
                 and no program of the containers' does"
            );
            unseen.push(Unseen::aside("capability", text));
        }
        unseen
    }

    pub(crate) fn inode(&self) -> Inode {
        inode_of(&self.file.inode, self.file.size, 0o100_000)
    }
}

impl Node {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Node::Here(file) => file.path(),
            Node::Packed(packed) => &packed.path,
        }
    }

    /// Whether access(2) gives root X_OK.
    pub(crate) fn has_execute_bit(&self) -> bool {
        let mode = match self {
            Node::Here(file) => rustix::fs::fstat(file).map_or(0, |stat| stat.st_mode),
            Node::Packed(packed) => packed.file.inode.mode,
        };
        mode & 0o111 != 0
    }

    /// Opens it for reading.
    pub(crate) fn content(&self) -> Result<Content<'_>, Error> {
        match self {
            Node::Here(file) => Ok(Content::Here(opath::reopen_regular(file, file.path())?)),
            Node::Packed(packed) => Ok(Content::Packed(packed, packed.begin())),
        }
    }
}

impl Packed {
    /// The first bytes, with which most questions are answered: each read reads a whole layer.
    fn begin(&self) -> io::Result<Vec<u8>> {
        let most = self.file.size.min(BEGIN as u64);
        let mut begin = vec![0; usize::try_from(most).unwrap_or(BEGIN)];
        let length =
            self.image.tree.read_at(&self.file, &mut begin, 0).map_err(io::Error::other)?;
        begin.truncate(length);
        Ok(begin)
    }
}

const BEGIN: usize = 1 << 16;

/// What a file has in it.
pub(crate) enum Content<'n> {
    Here(std::fs::File),
    Packed(&'n Packed, io::Result<Vec<u8>>),
}

/// What is read at places.
pub(crate) trait ReadAt {
    /// As pread(2).
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Fills the buffer.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let at = at.checked_add(done as u64).ok_or(io::ErrorKind::InvalidInput)?;
            match self.read_at(&mut buffer[done..], at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => done += more,
            }
        }
        Ok(())
    }
}

impl ReadAt for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, at)
    }
}

impl ReadAt for Content<'_> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let (packed, begin) = match self {
            Content::Here(file) => return ReadAt::read_at(file, buffer, at),
            Content::Packed(packed, begin) => (packed, begin),
        };
        let begin = begin.as_ref().map_err(|error| io::Error::other(error.to_string()))?;
        let here = usize::try_from(at).ok().and_then(|at| begin.get(at..)).unwrap_or_default();
        if here.is_empty() && at < packed.file.size {
            let read = packed.image.tree.read_at(&packed.file, buffer, at);
            return read.map_err(io::Error::other);
        }
        let length = here.len().min(buffer.len());
        buffer[..length].copy_from_slice(&here[..length]);
        Ok(length)
    }
}
