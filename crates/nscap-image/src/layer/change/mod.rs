// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives a file of an image capabilities, or takes them, without unpacking it: by a layer on top,
//! or in the layer that has the file. [`nscap_core::ArchiveChange`] decides what the file holds
//! then (R8, D).

mod heads;
pub(crate) mod merged;
pub(crate) mod resolve;
pub(crate) mod sure;
pub(crate) mod way;

use std::io::{self, Read, Write};
use std::path::Path;

use nscap_core::translate::{ArchiveGrant, Carried};
use nscap_core::{
    ArchiveChange, Decision, Denied, EntryBuffer, MAX_ENTRIES, RECORD_LEN, Stored, Uid,
};

use self::heads::{As, make};
use self::merged::{Kept, Layers, Name};
use self::resolve::{Target, resolve};
use super::attributes::Attributes;
use super::error::{Error, Problem, Result};
use super::member::{Head, Visit, walk};
use super::oci::work::{Added, Looked, Work};
use super::oci::write::{To, write};
use super::oci::{ImageLayer, Layout};
use super::stream;
use super::tap::Tap;
use super::values::{Reseal, Values};

/// A change of one file of an image.
#[derive(Clone, Copy, Debug)]
pub struct FileChange<'a> {
    /// The file, as a path in the image; symbolic links are followed as in the unpacked image.
    pub path: &'a [u8],
    /// What is done.
    pub change: ArchiveChange,
    /// The layer that has the file is written anew. Otherwise the image gets one more layer.
    pub rewrite: bool,
    /// Other names of the file (hard links) keep to be names of it. Otherwise, with a layer on top,
    /// they keep what they have; and with `rewrite` they are an error.
    pub all_links: bool,
    /// What history says of a layer on top.
    pub created_by: &'a str,
}

/// What became of the file in one image.
#[derive(Debug)]
pub struct FileChanged<'a> {
    /// `os/architecture[/variant]`, where the image has several.
    pub platform: Option<&'a str>,
    /// The file's name, without links on the way.
    pub name: &'a [u8],
    /// Its other names.
    pub others: &'a [Vec<u8>],
    /// The grants before, with the image's ids; none where they were malformed.
    pub before: &'a [ArchiveGrant],
    /// And after.
    pub after: &'a [ArchiveGrant],
    /// The decision.
    pub decision: Decision<()>,
}

/// Called for each image with what becomes of the file, before anything is written; an error ends
/// the work.
pub type HearChanged<'h> = dyn FnMut(&FileChanged<'_>) -> io::Result<()> + 'h;

/// Changes the file where the image is. Nothing is written where it holds that already.
///
/// # Errors
/// [`Error::Lookup`] where the path leads to no regular file, or where programs disagree about it;
/// [`Error::Denied`] where a rule refuses; [`Error::Archive`], [`Error::Image`], [`Error::Call`],
/// [`Error::Read`] and [`Error::Write`]. The image is as it was then.
pub fn change_in_place(
    layout: &Layout,
    change: &FileChange<'_>,
    hear: &mut HearChanged<'_>,
) -> Result<()> {
    write(layout, To::Place, &mut Changer { change, hear, planned: None })
}

/// Writes the changed image to `target`, which must not exist, in the form that it has.
///
/// # Errors
/// As [`change_in_place`]; there is no `target` then.
pub fn change_to(
    layout: &Layout,
    target: &Path,
    change: &FileChange<'_>,
    hear: &mut HearChanged<'_>,
) -> Result<()> {
    write(layout, To::New(target), &mut Changer { change, hear, planned: None })
}

/// Writes a changed layer, compressed as it was; the layer is one that
/// [`Layout::alone`] has.
///
/// # Errors
/// As [`change_in_place`]; output before the error has been written.
pub fn change_layer(
    layer: &Layout,
    output: impl Write,
    change: &FileChange<'_>,
    hear: &mut HearChanged<'_>,
) -> Result<()> {
    let change = FileChange { rewrite: true, ..*change };
    let layers = layer.layers()?;
    let mut changer = Changer { change: &change, hear, planned: None };
    let looked = changer.look(layer, &layers)?;
    let Some((layer_at, looked)) = layers.first().zip(looked.first()) else { return Ok(()) };
    let input = layer.raw(layer_at)?;
    stream::rewrite(input, output, |reader, writer| match looked.change {
        Some(_) => changer.rewrite(looked, reader, writer),
        None => io::copy(reader, writer).map(|_| ()).map_err(Error::Write),
    })
}

/// The layers of one image of a layout.
pub(crate) struct InImage<'l> {
    pub(crate) layout: &'l Layout,
    pub(crate) layers: &'l [ImageLayer],
}

impl Layers for InImage<'_> {
    fn count(&self) -> usize {
        self.layers.len()
    }

    fn read(&self, layer: usize, each: &mut dyn FnMut(&mut dyn Read) -> Result<()>) -> Result<()> {
        match self.layers.get(layer) {
            Some(layer) => self.layout.read(layer, each),
            None => Ok(()),
        }
    }
}

/// What is to be done to the image looked at last.
struct Planned {
    layers: Vec<ImageLayer>,
    target: Target,
    directories: Vec<Kept>,
    values: Values,
    /// The uncompressed digest of the layer that has the content.
    diff_id: String,
}

struct Changer<'c, 'h, 'f> {
    change: &'c FileChange<'c>,
    hear: &'h mut HearChanged<'f>,
    planned: Option<Planned>,
}

impl Work for Changer<'_, '_, '_> {
    fn look(&mut self, layout: &Layout, layers: &[ImageLayer]) -> Result<Vec<Looked>> {
        let image = InImage { layout, layers };
        let mut all = Vec::new();
        for layer in layers {
            let seen = layout
                .look(layer, |reader| io::copy(reader, &mut io::sink()).map_err(Error::Read))?;
            all.push(Looked { diff_id: seen.diff_id, compression: seen.compression, change: None });
        }
        self.planned = None;
        if layers.is_empty() {
            // An attestation.
            return Ok(all);
        }
        let target = resolve(&image, self.change.path)?;
        let Some(values) = self.decide(&target, layers)? else { return Ok(all) };
        let (layer, offset) = target.content.place();
        let mut directories = Vec::new();
        if self.change.rewrite {
            self.check_links(&target)?;
            check_index(&image, layer)?;
            if let Some(looked) = all.get_mut(layer) {
                looked.change = Some(offset);
            }
        } else {
            let mut names = vec![target.name.clone()];
            if self.change.all_links {
                names.extend_from_slice(&target.others);
            }
            directories = target.directories(&image, &names)?;
        }
        let diff_id = all.get(layer).map_or_else(String::new, |looked| looked.diff_id.clone());
        self.planned =
            Some(Planned { layers: layers.to_vec(), target, directories, values, diff_id });
        Ok(all)
    }

    fn rewrite(
        &mut self,
        looked: &Looked,
        input: &mut dyn Read,
        output: &mut dyn Write,
    ) -> Result<()> {
        let (Some(planned), Some(offset)) = (&self.planned, looked.change) else { return Ok(()) };
        let head = planned.target.content.head();
        let new =
            make(&head, &As::Itself, &planned.values).map_err(|problem| head.error(problem))?;
        let mut one = OneHead { offset, new: Some(new) };
        walk(input, output, &mut one)?;
        Ok(())
    }

    fn added(&mut self, layout: &Layout) -> Option<Added<'_>> {
        if self.change.rewrite {
            return None;
        }
        let planned = self.planned.take()?;
        let all_links = self.change.all_links;
        // The layout lives longer than this work, and its parts share its file.
        let open = layout.raw(planned.layers.get(planned.target.content.layer)?);
        Some(Added {
            created_by: self.change.created_by.to_owned(),
            write: Box::new(move |output| planned.write_layer(open?, all_links, output)),
        })
    }
}

impl Changer<'_, '_, '_> {
    /// The new values, `None` where they stay; tells what is decided.
    fn decide(&mut self, target: &Target, layers: &[ImageLayer]) -> Result<Option<Values>> {
        let head = target.content.head();
        let attributes = Attributes::of(&head)?;
        let facts = head.facts().map_err(|problem| head.error(problem))?;
        let carried = match &attributes {
            None => Ok(Carried { capability: None, nscapability: None, facts }),
            Some(attributes) => attributes.carried(),
        };
        let refused = |denied: Denied| Error::Denied {
            offset: head.offset,
            member: target.name.clone(),
            denied,
        };
        let removed = self.change.change == ArchiveChange::Remove;
        let carried = match carried {
            Ok(carried) => carried,
            // Values that contradict each other can go.
            Err(_) if removed => Carried { capability: Some(b"?"), nscapability: None, facts },
            Err(denied) => return Err(refused(denied)),
        };
        let grants = carried.grants().ok();
        let before: Vec<ArchiveGrant> =
            grants.as_ref().map_or_else(Vec::new, |grants| grants.iter().collect());
        let mut room: Box<EntryBuffer> = Box::new([[0; RECORD_LEN]; MAX_ENTRIES]);
        let decision = self.change.change.decide(&carried, room.as_mut_slice());
        let sealed = grants.as_ref().is_some_and(|grants| grants.is_sealed());
        let seal = sealed.then_some(Reseal { facts, companion: carried.capability });
        let (values, after, decision) = match decision {
            Decision::Keep(why) => (None, before.clone(), Decision::Keep(why)),
            Decision::Write(stored, why) => {
                (Some(Values::of(&stored, seal)), granted(&stored), Decision::Write((), why))
            }
            Decision::Deny(errno, why) => return Err(refused(Denied::new(errno, why))),
        };
        let (name, others) = (&target.name[..], &target.others[..]);
        let platform = layers.first().and_then(|layer| layer.platform.as_deref());
        let (before, after) = (&before[..], &after[..]);
        let changed = FileChanged { platform, name, others, before, after, decision };
        (self.hear)(&changed).map_err(Error::Write)?;
        Ok(values)
    }

    /// In the layer itself all names of the file are changed.
    fn check_links(&self, target: &Target) -> Result<()> {
        match target.others.first() {
            Some(other) if !self.change.all_links => {
                let other = super::error::quoted(other);
                let problem =
                    format!("{other} is the same file and would change too (--all-links)");
                Err(Error::Lookup { path: target.name.clone(), problem })
            }
            _ => Ok(()),
        }
    }
}

/// What a file holds, as grants of an archive.
fn granted(stored: &Stored<'_>) -> Vec<ArchiveGrant> {
    let host = stored.granted_to(Uid::ROOT).map(|caps| ArchiveGrant { id: Some(Uid::ROOT), caps });
    let entries = stored.entries.iter().map(|(id, caps)| ArchiveGrant { id: Some(id), caps });
    host.into_iter().chain(entries).collect()
}

/// An eStargz layer repeats the attributes in its table of contents.
fn check_index(image: &InImage<'_>, layer: usize) -> Result<()> {
    struct Index;
    impl Visit for Index {
        fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
            match &*head.name() == b"stargz.index.json" {
                true => Err(head.error(Problem::StargzIndex)),
                false => Ok(None),
            }
        }
    }
    image.read(layer, &mut |reader| walk(reader, io::sink(), &mut Index).map(|_| ()))
}

/// Replaces the head at one place.
struct OneHead {
    offset: u64,
    new: Option<Vec<u8>>,
}

impl Visit for OneHead {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        Ok(if head.offset == self.offset { self.new.take() } else { None })
    }
}

impl Planned {
    /// One layer: the directories above the file as they are, the file whole, and its other names.
    fn write_layer(
        self,
        open: super::oci::RawLayer,
        all_links: bool,
        output: &mut dyn Write,
    ) -> Result<()> {
        let put =
            |output: &mut dyn Write, bytes: &[u8]| output.write_all(bytes).map_err(Error::Write);
        for directory in &self.directories {
            put(output, directory.head().bytes)?;
        }
        let head = self.target.content.head();
        let failed = |problem| head.error(problem);
        let name: &Name = &self.target.name;
        let own = super::oci::normal(&head.name()) == *name;
        let to = if own { As::Itself } else { As::File(name) };
        put(output, &make(&head, &to, &self.values).map_err(failed)?)?;
        let size = head.content().map_err(failed)?;
        let begin = head.offset + head.bytes.len() as u64;
        let range = begin..begin + size.next_multiple_of(512);
        let (compression, whole) = super::codec::Compression::detect(open)?;
        let mut tap = Tap::new(range, output);
        let mut plain = super::oci::Hashed::new(compression.reader(whole)?);
        io::copy(&mut plain, &mut tap).map_err(Error::Read)?;
        let output = tap.finish()?;
        if plain.finish().1 != self.diff_id {
            return Err(Error::image("the layer", "has changed meanwhile"));
        }
        if all_links {
            for other in &self.target.others {
                put(output, &make(&head, &As::Link(other, name), &self.values).map_err(failed)?)?;
            }
        }
        put(output, &[0; 1024])
    }
}
