// SPDX-License-Identifier: MIT OR Apache-2.0
//! MAP, an id mapping of the command line: extents as for newuidmap(1), or a WHO, which means the
//! maps of that namespace or the range that is configured for it.
//!
//! All ids here are ids of this process's user namespace.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use nscap_core::{Extent, IdMap, MAX_EXTENTS, MapError};
use nscap_linux::Quotable as _;
use nscap_linux::{Error, Namespaces, Result, Subids, Who};

/// An id map that owns its extents. `outside` is an id on disk, as this process sees it.
///
/// ```
/// use nscap_image::map::Ids;
/// let ids: Ids = "0:100000:65536,65536:1000:1".parse().unwrap();
/// assert_eq!((ids.inside(100_007), ids.outside(65_536)), (Some(7), Some(1000)));
/// assert_eq!(ids.inside(7), None);
/// assert!("0:100000".parse::<Ids>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ids {
    by_inside: Vec<Extent>,
    by_outside: Vec<Extent>,
}

impl Ids {
    /// A map of these extents.
    ///
    /// # Errors
    /// [`MapError`] if the kernel would refuse the extents.
    ///
    /// ```
    /// use nscap_core::Extent;
    /// use nscap_image::map::Ids;
    /// let extent = Extent { inside: 0, outside: 100_000, count: 65_536 };
    /// assert_eq!(Ids::new(&[extent]).unwrap().outside(0), Some(100_000));
    /// assert!(Ids::new(&[extent, extent]).is_err());
    /// ```
    pub fn new(extents: &[Extent]) -> std::result::Result<Ids, MapError> {
        let (mut by_inside, mut by_outside) = (extents.to_vec(), extents.to_vec());
        IdMap::new(&mut by_inside, &mut by_outside)?;
        Ok(Ids { by_inside, by_outside })
    }

    /// The id inside for an id on disk.
    #[must_use]
    pub fn inside(&self, outside: u32) -> Option<u32> {
        IdMap::from_sorted(&self.by_inside, &self.by_outside).inside(outside)
    }

    /// The id on disk for an id inside.
    #[must_use]
    pub fn outside(&self, inside: u32) -> Option<u32> {
        IdMap::from_sorted(&self.by_inside, &self.by_outside).outside(inside)
    }

    /// The map, for the functions of `nscap_core`.
    #[must_use]
    pub fn map(&self) -> IdMap<'_> {
        IdMap::from_sorted(&self.by_inside, &self.by_outside)
    }

    /// The map of a namespace, with its kuids translated to ids of this process's namespace.
    fn shown(kuids: &[Extent], own: &[Extent]) -> std::result::Result<Ids, MapError> {
        let mut all = Vec::new();
        for theirs in kuids {
            all.extend(own.iter().filter_map(|ours| common(theirs, ours)));
        }
        Ids::new(&all)
    }
}

/// The kuids that an extent of another namespace and one of ours share, with their ids inside and
/// ours outside.
fn common(theirs: &Extent, ours: &Extent) -> Option<Extent> {
    let end = |e: &Extent| u64::from(e.outside) + u64::from(e.count);
    let first = theirs.outside.max(ours.outside);
    let count = end(theirs).min(end(ours)).checked_sub(first.into())?;
    Some(Extent {
        inside: theirs.inside + (first - theirs.outside),
        outside: ours.inside + (first - ours.outside),
        count: u32::try_from(count).ok().filter(|count| *count > 0)?,
    })
}

impl std::str::FromStr for Ids {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Ids, &'static str> {
        let number = |word: Option<&str>| word?.parse::<u32>().ok();
        let extent = |text: &str| {
            let mut words = text.split(':');
            let [inside, outside, count] = [words.next(), words.next(), words.next()].map(number);
            let extent = Extent { inside: inside?, outside: outside?, count: count? };
            words.next().is_none().then_some(extent)
        };
        let extents: Option<Vec<Extent>> =
            text.split(',').take(MAX_EXTENTS + 1).map(extent).collect();
        let extents = extents.ok_or("expected inside:outside:count[,...]")?;
        Ids::new(&extents).map_err(|error| match error {
            MapError::TooMany => "more than 340 extents",
            MapError::BadExtent => "an extent is empty or reaches past the last id",
            MapError::Overlap => "two extents overlap",
        })
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, e) in self.by_inside.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}:{}", e.inside, e.outside, e.count)?;
        }
        Ok(())
    }
}

/// The uid map and the gid map of one side of a move.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Side {
    /// The uid map.
    pub uids: Ids,
    /// The gid map.
    pub gids: Ids,
}

impl Side {
    /// Reads MAP. Extents are used for uids and gids alike. A WHO means the maps of its namespace;
    /// a kuid means 65,536 ids from there; `user:NAME` means the first range of that user in
    /// /etc/subuid and, for gids, in /etc/subgid if it has such a line.
    ///
    /// # Errors
    /// [`Error::Who`] if it is neither a map nor a WHO, or if this process's namespace maps none of
    /// its ids.
    ///
    /// ```
    /// use nscap_image::map::Side;
    /// let mut namespaces = nscap_linux::Namespaces::own()?;
    /// let side = Side::parse("0:100000:65536".as_ref(), &mut namespaces)?;
    /// assert_eq!(side, Side::parse("100000".as_ref(), &mut namespaces)?);
    /// assert!(Side::parse("0:1:".as_ref(), &mut namespaces).is_err());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn parse(text: &OsStr, namespaces: &mut Namespaces) -> Result<Side> {
        let problem = |problem: &str| map_error(text, problem);
        if let Some(text) = text.to_str().filter(|text| looks_like_a_map(text)) {
            let ids: Ids = text.parse().map_err(problem)?;
            let own = namespaces.own_ns();
            return Side::shown(
                &ids.by_inside,
                &ids.by_inside,
                &as_shown(own.uid_map()),
                &as_shown(own.gid_map()),
            )
            .map_err(problem);
        }
        let who = Who::parse(text).map_err(|_| {
            problem(&format!("expected inside:outside:count[,...], or {}", Who::FORMS))
        })?;
        let target = who.resolve(namespaces)?;
        let ns = target.namespace(namespaces)?;
        let (theirs, own) = (namespaces.get(ns), namespaces.own_ns());
        let gids = match &who {
            Who::User(name) => subgids(name, Path::new("/etc/subgid"))?,
            _ => None,
        };
        let gids = gids.as_deref().unwrap_or(theirs.gid_map());
        Side::shown(theirs.uid_map(), gids, own.uid_map(), own.gid_map()).map_err(problem)
    }

    /// From maps to kuids; leaves out ids that this process's namespace does not map.
    fn shown(
        uids: &[Extent],
        gids: &[Extent],
        own_uids: &[Extent],
        own_gids: &[Extent],
    ) -> std::result::Result<Side, &'static str> {
        let ids = |theirs, own| {
            let ids = Ids::shown(theirs, own).map_err(|_| "two extents overlap")?;
            let none = ids.by_inside.is_empty();
            if none { Err("none of its ids has one in this user namespace") } else { Ok(ids) }
        };
        Ok(Side { uids: ids(uids, own_uids)?, gids: ids(gids, own_gids)? })
    }
}

/// The ids of a namespace, each mapped to itself.
fn as_shown(own: &[Extent]) -> Vec<Extent> {
    own.iter().map(|e| Extent { outside: e.inside, ..*e }).collect()
}

/// Whether the text is meant to be extents: digits, then a colon.
fn looks_like_a_map(text: &str) -> bool {
    text.contains(':') && text.starts_with(|first: char| first.is_ascii_digit())
}

/// The first gid range of a user; `None` if none is configured.
fn subgids(name: &str, path: &Path) -> Result<Option<Vec<Extent>>> {
    let subids = Subids::read(path)?;
    Ok(subids
        .first_of(name.as_bytes(), None)
        .map(|range| vec![Extent { inside: 0, outside: range.start, count: range.count }]))
}

fn map_error(text: &OsStr, problem: &str) -> Error {
    Error::Who { who: text.maybe_quote().to_string(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_map_is_said_so() {
        for bad in ["", ":", "0:1", "0:1:2:3", "0:1:0", "0:1:2,", "0:0:5,4:9:1", "0:-1:1", "a:1:1"]
        {
            assert!(bad.parse::<Ids>().is_err(), "{bad}");
        }
        let long = vec!["0:0:1"; 400].join(",");
        assert_eq!(long.parse::<Ids>(), Err("more than 340 extents"));
        let text = "0:100000:10,10:5:1";
        assert_eq!(text.parse::<Ids>().unwrap().to_string(), text);
    }

    #[test]
    fn a_namespaces_map_is_turned_into_what_we_are_shown() {
        let extent = |inside, outside, count| Extent { inside, outside, count };
        // We are in a namespace with two ranges; theirs reaches across the first one's end.
        let own = [extent(0, 100_000, 1000), extent(1000, 500_000, 1000)];
        let theirs = [extent(0, 100_900, 200), extent(200, 500_000, 10), extent(300, 7, 1)];
        let shown = Ids::shown(&theirs, &own).unwrap();
        assert_eq!(shown.to_string(), "0:900:100,200:1000:10");
        let all = [extent(0, 0, u32::MAX)];
        assert_eq!(Ids::shown(&all, &all).unwrap().to_string(), "0:0:4294967295");
    }

    #[test]
    fn no_text_panics() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Some(ids) = std::str::from_utf8(bytes).ok().and_then(|t| t.parse::<Ids>().ok()) {
                assert_eq!(ids.to_string().parse::<Ids>(), Ok(ids));
            }
        });
    }
}
