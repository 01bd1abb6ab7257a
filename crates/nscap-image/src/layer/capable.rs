// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an image that have capabilities once it is unpacked: layers on top of each other, with
//! whiteouts, opaque directories and hard links. Each layer is read once.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::rc::Rc;

use nscap_core::Denied;
use nscap_core::translate::ArchiveGrant;
use sha2::{Digest as _, Sha256};

use super::attributes::Attributes;
use super::codec::Compression;
use super::error::{Problem, Result};
use super::member::{Head, Visit, walk};
use super::oci::normal;

/// The most files with capabilities in one image.
const FILES: usize = 1 << 16;

/// A file that has capabilities.
#[derive(Clone, Debug)]
pub struct CapableFile {
    /// Its name, from the root.
    pub name: Vec<u8>,
    /// The grants, with the image's ids; EINVAL where they are malformed.
    pub grants: std::result::Result<Vec<ArchiveGrant>, Denied>,
    /// The size in bytes.
    pub size: u64,
    /// The owner and group, with the image's ids.
    pub owner: (u32, u32),
    /// Permissions and set-id bits.
    pub mode: u32,
    /// The SHA-256 of the content, where it was asked for; none of a sparse file.
    pub sha256: Option<[u8; 32]>,
    /// Which of the image's files it is: equal for names of one file.
    pub place: (usize, u64),
}

/// Collects them, layer by layer.
///
/// ```
/// use nscap_image::layer::CapableFiles;
/// let mut files = CapableFiles::new(false);
/// files.add(&[0; 1024][..])?;
/// assert!(files.finish().is_empty());
/// # Ok::<(), nscap_image::layer::Error>(())
/// ```
pub struct CapableFiles {
    hashes: bool,
    layers: usize,
    files: BTreeMap<Vec<u8>, CapableFile>,
}

impl CapableFiles {
    /// None so far. `hashes` says whether contents are hashed.
    #[must_use]
    pub fn new(hashes: bool) -> CapableFiles {
        CapableFiles { hashes, layers: 0, files: BTreeMap::new() }
    }

    /// Puts a layer on top, compressed or not.
    ///
    /// # Errors
    /// [`Error::Archive`](super::Error::Archive) for an archive that is cut short or that programs read differently, or that
    /// has more than 65,536 such files; [`Error::Read`](super::Error::Read).
    pub fn add(&mut self, layer: impl Read) -> Result<()> {
        let (compression, whole) = Compression::detect(layer)?;
        let hashes = Rc::new(RefCell::new(Hashes::default()));
        let old = std::mem::take(&mut self.files);
        let mut collector = Collector {
            layer: self.layers,
            hashes: self.hashes.then(|| Rc::clone(&hashes)),
            old,
            new: BTreeMap::new(),
        };
        walk(compression.reader(whole)?, Hasher(Rc::clone(&hashes)), &mut collector)?;
        let Collector { mut old, new, .. } = collector;
        let done = std::mem::take(&mut hashes.borrow_mut().done);
        for (name, mut file) in new {
            if file.place.0 == self.layers {
                file.sha256 = done.get(&file.place.1).copied();
            }
            old.insert(name, file);
        }
        self.files = old;
        self.layers += 1;
        Ok(())
    }

    /// The files, by name.
    #[must_use]
    pub fn finish(self) -> Vec<CapableFile> {
        self.files.into_values().collect()
    }
}

/// What is hashed of a layer as it passes.
#[derive(Default)]
struct Hashes {
    at: u64,
    /// Contents that come, each with the place of its member.
    wanted: VecDeque<(Range<u64>, u64)>,
    hash: Sha256,
    done: HashMap<u64, [u8; 32]>,
}

struct Hasher(Rc<RefCell<Hashes>>);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let all = &mut *self.0.borrow_mut();
        let begin = all.at;
        all.at += bytes.len() as u64;
        while let Some((range, place)) = all.wanted.front().cloned() {
            let inside = |at: u64| {
                usize::try_from(at.saturating_sub(begin)).unwrap_or(usize::MAX).min(bytes.len())
            };
            all.hash.update(&bytes[inside(range.start)..inside(range.end)]);
            if all.at < range.end {
                break;
            }
            all.wanted.pop_front();
            all.done.insert(place, all.hash.finalize_reset().into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Collector {
    layer: usize,
    hashes: Option<Rc<RefCell<Hashes>>>,
    /// Of lower layers, which whiteouts are about.
    old: BTreeMap<Vec<u8>, CapableFile>,
    new: BTreeMap<Vec<u8>, CapableFile>,
}

/// Removes what is below a directory.
fn remove_below(files: &mut BTreeMap<Vec<u8>, CapableFile>, directory: &[u8]) {
    if files.is_empty() {
        return;
    }
    if directory.is_empty() {
        files.clear();
        return;
    }
    let first = [directory, b"/"].concat();
    let below: Vec<Vec<u8>> = files
        .range(first.clone()..)
        .map(|(name, _)| name)
        .take_while(|name| name.starts_with(&first))
        .cloned()
        .collect();
    below.iter().for_each(|name| {
        files.remove(name);
    });
}

impl Visit for Collector {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        let attributes = Attributes::of(head)?;
        if head.is_global() {
            return match attributes {
                Some(_) => Err(head.error(Problem::GlobalRecords)),
                None => Ok(None),
            };
        }
        let name = normal(&head.name());
        let at = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, last) = (&name[..at.saturating_sub(1)], &name[at..]);
        if last == b".wh..wh..opq" {
            remove_below(&mut self.old, parent);
            return Ok(None);
        }
        if let Some(removed) = last.strip_prefix(b".wh.") {
            let removed = [&name[..at], removed].concat();
            self.old.remove(&removed);
            remove_below(&mut self.old, &removed);
            return Ok(None);
        }
        let kind = head.header.kind();
        // A link may be to the very name that it replaces.
        let target = (kind == b'1').then(|| normal(&head.link_name()));
        let linked = target
            .and_then(|target| self.new.get(&target).or_else(|| self.old.get(&target)).cloned());
        self.old.remove(&name);
        self.new.remove(&name);
        if kind != b'5' {
            remove_below(&mut self.old, &name);
        }
        if let Some(file) = self.file(head, &name, attributes.as_ref(), linked)? {
            if self.old.len() + self.new.len() >= FILES {
                return Err(head.error(Problem::ManyCapable));
            }
            self.new.insert(name, file);
        }
        Ok(None)
    }
}

impl Collector {
    fn file(
        &self,
        head: &Head<'_>,
        name: &[u8],
        attributes: Option<&Attributes<'_>>,
        linked: Option<CapableFile>,
    ) -> Result<Option<CapableFile>> {
        let Some(attributes) = attributes else {
            return Ok(linked.map(|file| CapableFile { name: name.to_vec(), ..file }));
        };
        let carried = attributes.carried();
        let grants = carried.and_then(|carried| Ok(carried.grants()?.iter().collect()));
        if let Some(file) = linked {
            return Ok(Some(CapableFile { name: name.to_vec(), grants, ..file }));
        }
        let number = |number: std::result::Result<u64, Problem>| {
            number.map_err(|problem| head.error(problem))
        };
        let facts = head.facts().map_err(|problem| head.error(problem))?;
        let mode = number(head.header.mode())? & 0o7777;
        let content = number(head.content())?;
        if let (Some(hashes), true) = (&self.hashes, content == facts.size) {
            let begin = head.offset + head.bytes.len() as u64;
            let range = begin..begin.saturating_add(content);
            hashes.borrow_mut().wanted.push_back((range, head.offset));
        }
        Ok(Some(CapableFile {
            name: name.to_vec(),
            grants,
            size: facts.size,
            owner: (facts.uid, facts.gid),
            mode: u32::try_from(mode).unwrap_or_default(),
            sha256: None,
            place: (self.layer, head.offset),
        }))
    }
}

impl super::Layout {
    /// The files of one of its images that have capabilities, by name.
    ///
    /// # Errors
    /// As [`CapableFiles::add`], with the digest; [`Error::Image`](super::Error::Image) where a blob is damaged.
    pub fn capable(&self, image: &super::Image, hashes: bool) -> Result<Vec<CapableFile>> {
        let mut files = CapableFiles::new(hashes);
        for layer in &image.layers {
            self.read(layer, |reader| files.add(reader))?;
        }
        Ok(files.finish())
    }
}
