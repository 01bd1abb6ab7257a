// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translates a layer to other ids: the rootids of its capabilities and, if asked, the owners of
//! its members. [`nscap_core::translate`] decides what becomes of a grant; all other bytes are
//! copied.

use std::io::{self, Read, Write};

use nscap_core::translate::{ArchiveGrant, Translation};
use nscap_core::{Decision, Denied, RECORD_LEN, Uid};

use super::attributes::Attributes;
use super::error::{Error, Problem, Result};
use super::format::ImageFormat;
use super::member::{Head, Visit, walk};
use super::rewrite::{self, Owner};
use super::values::{Reseal, Values};

/// The change of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Change<'m> {
    /// For rootids, and for the owners of members if `gids` is given.
    pub uids: Translation<'m>,
    /// For the groups of members. `None`: owners and groups stay.
    pub gids: Option<Translation<'m>>,
}

/// One decision about one grant, or about a file's attributes as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// Where the member begins, in bytes of the uncompressed archive.
    pub offset: u64,
    /// The member's name.
    pub member: &'a [u8],
    /// The old grant; `None` if the attributes are malformed.
    pub grant: Option<ArchiveGrant>,
    /// Its new id, that it stays, or why it cannot move.
    pub decision: Decision<Uid>,
}

/// Called for each decision; an error ends the work.
pub type Hear<'h> = dyn FnMut(&Decided<'_>) -> io::Result<()> + 'h;

/// What was changed in a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// Members, and global headers, of which any byte changed.
    pub members: u64,
    /// Grants that were checked.
    pub grants: u64,
    /// Grants that were left out.
    pub dropped: u64,
    /// The format where the archive is an image, whose layers were not looked into.
    pub image: Option<ImageFormat>,
}

impl Changed {
    pub(crate) fn add(&mut self, other: Changed) {
        self.members += other.members;
        self.grants += other.grants;
        self.dropped += other.dropped;
    }

    /// Whether the output differs from the input.
    #[must_use]
    pub fn any(&self) -> bool {
        self.members > 0
    }
}

/// Copies an uncompressed layer with a change. Bytes that need no change stay the same.
///
/// # Errors
/// [`Error::Denied`] for a grant that the target cannot hold, [`Error::Archive`] for an archive
/// that is cut short or that programs read differently, [`Error::Read`] and [`Error::Write`].
/// Output before the error has been written.
///
/// ```
/// use nscap_core::{Extent, IdMap, translate::Translation};
/// use nscap_image::layer::{self, Change};
/// let map = [Extent { inside: 0, outside: 100_000, count: 65_536 }];
/// let map = IdMap::from_sorted(&map, &map);
/// let same = Translation { from: map, to: map, drop_unmapped: false };
/// let empty = [0; 1024];
/// let mut out = Vec::new();
/// let change = Change { uids: same, gids: None };
/// let changed = layer::map(&empty[..], &mut out, &change, &mut |_| Ok(()))?;
/// assert!(out == empty && !changed.any());
/// # Ok::<(), layer::Error>(())
/// ```
pub fn map(
    input: impl Read,
    output: impl Write,
    change: &Change<'_>,
    hear: &mut Hear<'_>,
) -> Result<Changed> {
    let mut mapper = Mapper {
        change,
        hear,
        changed: Changed::default(),
        global: false,
        index: None,
        slots: Vec::new(),
    };
    let (_, end) = walk(input, output, &mut mapper)?;
    mapper.changed.image = end.image;
    match mapper.index {
        // Its copies of the attributes would have the old ids.
        Some((offset, member)) if mapper.changed.any() => {
            Err(Error::Archive { offset, member: Some(member), problem: Problem::StargzIndex })
        }
        _ => Ok(mapper.changed),
    }
}

struct Mapper<'c, 'm, 'h, 'f> {
    change: &'c Change<'m>,
    hear: &'h mut Hear<'f>,
    changed: Changed,
    /// Whether a global header gives capabilities.
    global: bool,
    /// An eStargz table of contents.
    index: Option<(u64, Vec<u8>)>,
    slots: Vec<[u8; RECORD_LEN]>,
}

impl Visit for Mapper<'_, '_, '_, '_> {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        let attributes = Attributes::of(head)?;
        if attributes.is_some() {
            if self.global {
                return Err(head.error(Problem::GlobalAndOwn));
            }
            self.global = head.is_global();
        }
        let owner = self.owner(head)?;
        let values = match &attributes {
            Some(attributes) => self.values(head, attributes, owner.as_ref())?,
            None => None,
        };
        if head.header.kind() == b'0' && &*head.name() == b"stargz.index.json" {
            self.index = Some((head.offset, head.name().into_owned()));
        }
        if values.is_none() && owner.is_none_or(|owner| !owner.changes()) {
            return Ok(None);
        }
        self.changed.members += 1;
        let codings = attributes.as_ref().map_or(&[][..], |attributes| &attributes.codings);
        let new = rewrite::head(head, codings, values.as_ref(), owner.as_ref());
        new.map(Some).map_err(|problem| head.error(problem))
    }
}

impl Mapper<'_, '_, '_, '_> {
    /// The owner and group, if they change.
    fn owner(&self, head: &Head<'_>) -> Result<Option<Owner>> {
        let Some(gids) = self.change.gids else {
            return Ok(None);
        };
        if head.records().flatten().any(|record| super::attr::is_acl(record.key)) {
            return Err(head.error(Problem::Acl));
        }
        let new = |old: std::result::Result<u64, Problem>, ids: &Translation<'_>, name| {
            let old = old.map_err(|problem| head.error(problem))?;
            let id = u32::try_from(old).map_err(|_| head.error(Problem::Number(name)))?;
            ids.id(id).map(|new| (id, new)).map_err(|denied| refused(head, denied))
        };
        if head.is_global() {
            let of = |key: &[u8]| head.records().flatten().any(|record| record.key == key);
            let global = of(b"uid") || of(b"gid") || of(b"uname") || of(b"gname");
            return if global { Err(head.error(Problem::GlobalOwner)) } else { Ok(None) };
        }
        let uid = new(head.uid(), &self.change.uids, "uid")?;
        Ok(Some(Owner { uid, gid: new(head.gid(), &gids, "gid")? }))
    }

    /// The new attributes, `None` if they stay.
    fn values(
        &mut self,
        head: &Head<'_>,
        attributes: &Attributes<'_>,
        owner: Option<&Owner>,
    ) -> Result<Option<Values>> {
        let translation = self.change.uids;
        let carried = attributes.carried();
        let grants = carried.and_then(|carried| carried.grants().map(|grants| (carried, grants)));
        let (carried, grants) = match grants {
            Ok(both) => both,
            Err(denied) => {
                self.hear(head, None, denied.into())?;
                if !translation.drop_unmapped {
                    return Err(refused(head, denied));
                }
                return Ok(Some(Values::default()));
            }
        };
        for grant in grants.iter() {
            self.hear(head, Some(grant), translation.rootid(grant.id))?;
        }
        self.slots.resize(grants.iter().count(), [0; RECORD_LEN]);
        let facts = owner.map_or(carried.facts, |owner| owner.facts(carried.facts));
        let seal = grants.is_sealed().then_some(Reseal { facts, companion: carried.capability });
        match translation.stored(&grants, &mut self.slots) {
            Decision::Keep(_) if seal.is_none() || facts == carried.facts => Ok(None),
            // The same entries, under a seal that fits the new owner.
            Decision::Keep(_) => {
                let stored =
                    grants.stored(&mut self.slots).map_err(|denied| refused(head, denied))?;
                Ok(Some(Values::of(&stored, seal)))
            }
            Decision::Write(stored, _) => Ok(Some(Values::of(&stored, seal))),
            Decision::Deny(errno, why) => Err(refused(head, Denied::new(errno, why))),
        }
    }

    fn hear(
        &mut self,
        head: &Head<'_>,
        grant: Option<ArchiveGrant>,
        decision: Decision<Uid>,
    ) -> Result<()> {
        self.changed.grants += u64::from(grant.is_some());
        self.changed.dropped += u64::from(matches!(decision, Decision::Deny(..)));
        let decided = Decided { offset: head.offset, member: &head.name(), grant, decision };
        (self.hear)(&decided).map_err(Error::Write)
    }
}

fn refused(head: &Head<'_>, denied: Denied) -> Error {
    Error::Denied { offset: head.offset, member: head.name().into_owned(), denied }
}
