// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capabilities of a layer's members.

use std::io::{self, Read};

use nscap_core::Denied;
use nscap_core::translate::ArchiveGrant;

use super::attributes::Attributes;
use super::error::{Error, Result};
use super::format::ImageFormat;
use super::member::{Head, Visit, walk};

/// A member with capabilities.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    /// Where it begins, in bytes of the uncompressed archive.
    pub offset: u64,
    /// Its name.
    pub member: &'a [u8],
    /// The grants, with the layer's ids: id 0 is a host value. EINVAL if the attributes are
    /// malformed or contradict each other.
    pub grants: std::result::Result<Vec<ArchiveGrant>, Denied>,
}

/// Calls `hear` for each member of an uncompressed layer that has capabilities; an error of `hear`
/// ends the work. Returns the format if the archive is an image, whose layers are members of it and
/// were not read.
///
/// # Errors
/// [`Error::Archive`] for an archive that is cut short or that programs read differently;
/// [`Error::Read`]; [`Error::Write`] with the error of `hear`.
///
/// ```
/// use nscap_image::layer;
/// let mut members = 0;
/// layer::list(&[0; 1024][..], &mut |_| { members += 1; Ok(()) })?;
/// assert_eq!(members, 0);
/// let cut = layer::list(&[1; 600][..], &mut |_| Ok(()));
/// assert!(matches!(cut, Err(layer::Error::Archive { offset: 0, .. })));
/// # Ok::<(), layer::Error>(())
/// ```
pub fn list(
    input: impl Read,
    hear: &mut dyn FnMut(&Listed<'_>) -> io::Result<()>,
) -> Result<Option<ImageFormat>> {
    walk(input, io::sink(), &mut Lister { hear }).map(|(_, end)| end.image)
}

struct Lister<'h, 'f> {
    hear: &'h mut (dyn FnMut(&Listed<'_>) -> io::Result<()> + 'f),
}

impl Visit for Lister<'_, '_> {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        let Some(attributes) = Attributes::of(head)? else {
            return Ok(None);
        };
        let carried = attributes.carried();
        let grants = carried.and_then(|carried| Ok(carried.grants()?.iter().collect()));
        let listed = Listed { offset: head.offset, member: &head.name(), grants };
        (self.hear)(&listed).map_err(Error::Write)?;
        Ok(None)
    }
}
