// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of one image as a program leaves them that unpacks it, looked at without unpacking:
//! paths, owners, modes, capabilities and contents. A member's records are told as they are;
//! whether a start gains anything by them is not decided here.

mod records;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};

use nscap_core::storage::SealFacts;
use nscap_core::translate::Carried;

use super::change::InImage;
use super::change::merged::{Found, Kept, Layers, Name};
use super::change::resolve::{content_of, names};
use super::change::sure::Sure;
use super::change::way::{self, End};
use super::codec::Compression;
use super::error::{Error, Result};
use super::member::{Head, Visit, walk};
use super::oci::{ImageLayer, Layout, Settings};
use super::tap::Tap;
use records::{Records, inode_of};

/// One image, of which files are looked up.
pub struct ImageTree {
    layout: Layout,
    layers: Vec<ImageLayer>,
    settings: Option<Settings>,
    /// What has been looked up.
    known: RefCell<BTreeMap<Name, Found>>,
    heads: RefCell<Heads>,
}

/// The heads of layers that were read.
struct Heads {
    layers: Vec<Option<Vec<Kept>>>,
    /// How much more memory they may take.
    room: usize,
}

/// As much as the heads of some hundred thousand members.
const ROOM: usize = 256 << 20;

/// Where a path in an image leads.
#[derive(Debug)]
pub struct TreeWay {
    /// Each directory that was searched, in order.
    pub passed: Vec<TreeInode>,
    /// The path of the end, from the root and without links.
    pub path: Vec<u8>,
    /// What the path ends at.
    pub end: TreeEnd,
}

/// What a path in an image leads to.
#[derive(Debug)]
pub enum TreeEnd {
    /// A regular file.
    File(Box<TreeFile>),
    /// A directory.
    Directory,
    /// A device or a named pipe.
    Special,
    /// Nothing (ENOENT).
    Missing,
    /// A part of the path is no directory (ENOTDIR).
    NotDirectory,
    /// Too many symbolic links (ELOOP).
    Links,
    /// A name that is too long (ENAMETOOLONG).
    TooLong,
}

/// Owner and mode of a file or directory, with the image's ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeInode {
    /// Its path, from the root.
    pub path: Vec<u8>,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Set-id bits and permissions.
    pub mode: u32,
    /// Whether there is an access control list. Programs differ in whether they unpack one.
    pub listed: bool,
    /// Whether no member names this directory, so that the program that unpacks it chooses.
    pub implied: bool,
    /// Whether a layer above has members in this directory and none of the directory itself. Where
    /// layers are unpacked apart, as for an overlay, it is then made anew: root's, of mode 0755.
    pub passed_over: bool,
}

/// A regular file.
#[derive(Clone, Debug)]
pub struct TreeFile {
    /// Owner and mode.
    pub inode: TreeInode,
    /// Its size in bytes.
    pub size: u64,
    /// `security.capability` of the records that programs unpack.
    pub capability: Option<Vec<u8>>,
    /// `security.nscapability`, likewise.
    pub nscapability: Option<Vec<u8>>,
    /// Whether there are capabilities in records of libarchive's alone, which no program of the
    /// containers' unpacks.
    pub libarchive: bool,
    /// Another name of the file whose record gives another owner, mode or capability: programs
    /// differ in what the file has then.
    pub disputed: Option<Vec<u8>>,
    /// Where its content is.
    layer: usize,
    range: std::ops::Range<u64>,
    /// Not a sparse member, whose content has holes.
    plain: bool,
}

impl TreeFile {
    /// Both attributes, as what they are in an archive.
    #[must_use]
    pub fn carried(&self) -> Carried<'_> {
        let TreeInode { uid, gid, .. } = self.inode;
        Carried {
            capability: self.capability.as_deref(),
            nscapability: self.nscapability.as_deref(),
            facts: SealFacts { size: self.size, uid, gid },
        }
    }
}

impl ImageTree {
    /// The one image that a layout has, or that its reference and platform choose.
    ///
    /// # Errors
    /// [`Error::Image`] where there are several or none; [`Layout::images`]'s.
    ///
    /// ```
    /// use nscap_image::layer::{ImageTree, Layout, TreeEnd};
    /// let mut layer = tar::Builder::new(tempfile::tempfile().unwrap());
    /// let mut header = tar::Header::new_ustar();
    /// header.set_size(3);
    /// layer.append_data(&mut header, "bin/program", &b"#!x"[..]).unwrap();
    /// let tree = ImageTree::of(Layout::alone(layer.into_inner().unwrap()))?;
    /// let way = tree.take(b"", b"/bin/program")?;
    /// let TreeEnd::File(file) = way.end else { panic!() };
    /// assert_eq!((way.passed.len(), file.size, file.capability), (2, 3, None));
    /// # Ok::<(), nscap_image::layer::Error>(())
    /// ```
    pub fn of(layout: Layout) -> Result<ImageTree> {
        let images = layout.images()?;
        // An attestation has no layers.
        let is_one = |image: &&super::Image| !image.layers.is_empty();
        let mut all = images.iter().filter(is_one);
        let image = match (all.next(), all.next()) {
            (Some(image), None) => image.clone(),
            (None, _) => return Err(Error::image(layout.shown, "has no image with layers")),
            (Some(_), Some(_)) => {
                let shown = layout.shown.clone();
                return Err(Error::image(shown, several(images.iter().filter(is_one))));
            }
        };
        let settings = layout.settings(&image)?;
        let known = RefCell::new(BTreeMap::new());
        let none = image.layers.iter().map(|_| None).collect();
        let heads = RefCell::new(Heads { layers: none, room: ROOM });
        Ok(ImageTree { layers: image.layers, settings, known, heads, layout })
    }

    /// What its configuration says of a start; `None` of a layer alone.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// What kind of image it is, for people.
    #[must_use]
    pub fn format(&self) -> &'static str {
        self.layout.format()
    }

    /// Takes a path; a relative one from the directory `cwd`, a path without links. A symbolic link
    /// at its end is followed.
    ///
    /// # Errors
    /// [`Error::Lookup`] where programs disagree about what is unpacked; [`Error::Archive`],
    /// [`Error::Image`], [`Error::Call`] and [`Error::Read`].
    pub fn take(&self, cwd: &[u8], path: &[u8]) -> Result<TreeWay> {
        let taken = {
            let cwd = super::oci::normal(cwd);
            way::take(self, &mut self.known.borrow_mut(), &cwd, path)?
        };
        let known = self.known.borrow();
        let directory = |name: &Name| match known.get(name) {
            Some(Found::Member(member)) => inode_of(&member.head(), name)
                .map(|inode| TreeInode { passed_over: member.passed_over, ..inode }),
            _ => Ok(TreeInode::implied(name)),
        };
        let passed = taken.passed.iter().map(directory).collect::<Result<_>>()?;
        drop(known);
        let path = absolute(&taken.name);
        let end = match taken.end {
            End::Member(member) => match member.kind() {
                b'0' | b'\0' | b'1' => self.file(&taken.name, *member)?,
                _ => TreeEnd::Special,
            },
            End::Directory => TreeEnd::Directory,
            End::Missing => TreeEnd::Missing,
            End::NotDirectory => TreeEnd::NotDirectory,
            End::Links => TreeEnd::Links,
            End::TooLong => TreeEnd::TooLong,
        };
        Ok(TreeWay { passed, path, end })
    }

    fn file(&self, name: &Name, member: Kept) -> Result<TreeEnd> {
        let content = content_of(self, member)?;
        let head = content.head();
        let failed = |problem| head.error(problem);
        let inode = inode_of(&head, name)?;
        let own = Records::of(&head)?;
        let facts = |inode: &TreeInode| (inode.uid, inode.gid, inode.mode);
        let mut disputed = None;
        for (other, member) in names(self, name, &content)? {
            disputed = disputed.or(self.disputes(&other, &member, &inode, &own, facts)?);
        }
        if let Some(Found::Member(member)) = self.known.borrow().get(name) {
            let name = member.clone();
            disputed = disputed.or(self.disputes(&inode.path, &name, &inode, &own, facts)?);
        }
        let begin = head.offset + head.bytes.len() as u64;
        Ok(TreeEnd::File(Box::new(TreeFile {
            size: head.facts().map_err(failed)?.size,
            capability: own.capability,
            nscapability: own.nscapability,
            libarchive: own.libarchive,
            disputed,
            layer: content.place().0,
            range: begin..begin.saturating_add(head.content().map_err(failed)?),
            plain: !head.is_sparse(),
            inode,
        })))
    }

    /// Whether the record of a hard link says something else than that of the content.
    fn disputes(
        &self,
        name: &[u8],
        link: &Kept,
        inode: &TreeInode,
        own: &Records,
        facts: impl Fn(&TreeInode) -> (u32, u32, u32),
    ) -> Result<Option<Vec<u8>>> {
        if link.kind() != b'1' {
            return Ok(None);
        }
        let head = link.head();
        let (other, records) = (inode_of(&head, name)?, Records::of(&head)?);
        let none = records.capability.is_none() && records.nscapability.is_none();
        let same = none
            || (&records.capability, &records.nscapability) == (&own.capability, &own.nscapability);
        Ok((!same || facts(&other) != facts(inode)).then(|| name.to_vec()))
    }

    /// Reads a part of a file; gives how much there is, as read(2) does.
    ///
    /// # Errors
    /// [`Error::Image`] where the blob is damaged; [`Error::Lookup`] for a sparse member;
    /// [`Error::Read`].
    pub fn read_at(&self, file: &TreeFile, buffer: &mut [u8], at: u64) -> Result<usize> {
        if !file.plain {
            return Err(Error::lookup(&file.inode.path, "a sparse member, which is not read"));
        }
        let begin = file.range.start.saturating_add(at).min(file.range.end);
        let end = begin.saturating_add(buffer.len() as u64).min(file.range.end);
        if begin == end {
            return Ok(0);
        }
        let Some(layer) = self.layers.get(file.layer) else { return Ok(0) };
        // It was verified when its heads were read, and is not read to its end again.
        let (compression, whole) = Compression::detect(self.layout.raw(layer)?)?;
        let mut tap = Tap::new(begin..end, Vec::new());
        let mut plain = compression.reader(whole)?.take(end);
        io::copy(&mut plain, &mut tap).map_err(Error::Read)?;
        let bytes = tap.finish()?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Layers for ImageTree {
    fn count(&self) -> usize {
        self.layers.len()
    }

    fn read(&self, layer: usize, each: &mut dyn FnMut(&mut dyn Read) -> Result<()>) -> Result<()> {
        InImage { layout: &self.layout, layers: &self.layers }.read(layer, each)
    }

    fn heads(&self, layer: usize, visit: &mut dyn Visit) -> Result<()> {
        if let Some(Some(kept)) = self.heads.borrow().layers.get(layer) {
            return kept.iter().try_for_each(|kept| visit.head(&kept.head()).map(|_| ()));
        }
        let room = self.heads.borrow().room;
        let mut keeper = Keeper { layer, visit, kept: Some(Vec::new()), room };
        let mut sure = Sure::new(&mut keeper);
        self.read(layer, &mut |reader| walk(reader, io::sink(), &mut sure).map(|_| ()))?;
        let (kept, room) = (keeper.kept, keeper.room);
        let mut heads = self.heads.borrow_mut();
        if let (Some(slot), Some(kept)) = (heads.layers.get_mut(layer), kept) {
            *slot = Some(kept);
            heads.room = room;
        }
        Ok(())
    }
}

/// Keeps the heads that another visitor sees, as long as there is room.
struct Keeper<'v> {
    layer: usize,
    visit: &'v mut dyn Visit,
    kept: Option<Vec<Kept>>,
    room: usize,
}

impl Visit for Keeper<'_> {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        if let Some(all) = &mut self.kept {
            let kept = Kept::of(self.layer, head);
            match self.room.checked_sub(kept.size()) {
                Some(room) => {
                    self.room = room;
                    all.push(kept);
                }
                None => self.kept = None,
            }
        }
        self.visit.head(head)
    }
}

/// What a choice is between.
fn several<'i>(images: impl Iterator<Item = &'i super::Image>) -> String {
    const SHOWN: usize = 8;
    let mut platforms: Vec<&str> = images.filter_map(|image| image.platform.as_deref()).collect();
    platforms.sort_unstable();
    platforms.dedup();
    match platforms.len() {
        0 | 1 => "has several images: name one, IMAGE:TAG".to_owned(),
        count => {
            platforms.truncate(SHOWN);
            let more = if count > SHOWN { " and others" } else { "" };
            let all: Vec<String> =
                platforms.iter().map(|name| super::error::quoted(name.as_bytes())).collect();
            format!("has images of several platforms: {}{more} (--platform)", all.join(", "))
        }
    }
}

fn absolute(name: &[u8]) -> Vec<u8> {
    [b"/", name].concat()
}

impl TreeInode {
    /// A directory that only names in it tell of: programs make it root's.
    fn implied(name: &[u8]) -> TreeInode {
        TreeInode {
            path: absolute(name),
            uid: 0,
            gid: 0,
            mode: 0o755,
            listed: false,
            implied: true,
            passed_over: false,
        }
    }
}
