// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translates ids from one mapping to the other. The caller chooses what happens to an id without
//! an image.

use nscap_core::{Shift, Uid};

use crate::map::Side;

/// What to do with an id that has no image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unmapped {
    /// Refuse the whole shift.
    #[default]
    Fail,
    /// Keep the id.
    Skip,
    /// Owners, groups and ids in access control lists become this one, an id of this process's
    /// namespace. An entry must not apply to another root than before: it is dropped, and so are
    /// set-id bits of an owner or a group without an image.
    Id(u32),
}

/// An id after the move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moved {
    pub(crate) id: u32,
    /// Whether it is the id of [`Unmapped::Id`], and so another user's or group's than before.
    pub(crate) given: bool,
}

/// The two sides of a move.
#[derive(Clone, Debug)]
pub(crate) struct Mover {
    pub(crate) from: Side,
    pub(crate) to: Side,
    pub(crate) unmapped: Unmapped,
}

impl Mover {
    /// A uid after the move; `None` if it has no image and that is an error.
    pub(crate) fn uid(&self, id: u32) -> Option<Moved> {
        self.otherwise(self.image_of_uid(id), id)
    }

    fn image_of_uid(&self, id: u32) -> Option<u32> {
        self.to.uids.outside(self.from.uids.inside(id)?)
    }

    /// A gid after the move; `None` if it has no image and that is an error.
    pub(crate) fn gid(&self, id: u32) -> Option<Moved> {
        let image = self.from.gids.inside(id).and_then(|id| self.to.gids.outside(id));
        self.otherwise(image, id)
    }

    fn otherwise(&self, image: Option<u32>, id: u32) -> Option<Moved> {
        match (image, self.unmapped) {
            (Some(id), _) => Some(Moved { id, given: false }),
            (None, Unmapped::Fail) => None,
            (None, Unmapped::Skip) => Some(Moved { id, given: false }),
            (None, Unmapped::Id(id)) => Some(Moved { id, given: true }),
        }
    }

    /// How rootids move. `shown` translates a rootid on disk into an id of this process's
    /// namespace, `stored` back. `host` is the id of the superblock owner's root in this namespace.
    pub(crate) fn roots(
        &self,
        host: Option<u32>,
        to_host: bool,
        shown: impl Fn(Uid) -> Option<u32>,
        stored: impl Fn(u32) -> Option<Uid>,
    ) -> Shift<impl Fn(Uid) -> Option<Uid>> {
        let image = move |id: Uid| stored(self.image_of_uid(shown(id)?)?);
        Shift {
            image,
            from_host: host.is_some_and(|host| self.from.uids.inside(host) == Some(0)),
            to_host,
            unmapped: match self.unmapped {
                Unmapped::Fail => nscap_core::Unmapped::Refuse,
                Unmapped::Skip => nscap_core::Unmapped::Keep,
                Unmapped::Id(_) => nscap_core::Unmapped::Drop,
            },
        }
    }
}
