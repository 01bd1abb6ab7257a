//! Reading and listing: R4, R6 and L.

use crate::cap::FileCaps;
use crate::decision::{Denied, Errno, Why};
use crate::id::{Uid, id_or_minus_one};
use crate::ns::UserNs;
use crate::nscaps::NsCaps;
use crate::place::Place;
use crate::stored::{Host, SeenEntry, Stored};
use crate::vfscap::VfsCaps;
use crate::wire::Record;

/// R4: what getxattr(2) of `security.capability` gives a caller in `ns`, always revision 2, with
/// the reason.
///
/// # Errors
/// ENODATA where there is neither a host value nor an entry that applies; EINVAL where the stored
/// value is malformed, as the kernel answers. Never EOVERFLOW.
pub fn get_capability<N: UserNs>(
    ns: N,
    place: &Place<N>,
    stored: &Stored<'_>,
) -> Result<(VfsCaps, Why), Denied> {
    let (caps, why) = applicable(ns, place, stored)?;
    Ok((VfsCaps::v2(caps), why))
}

fn applicable<N: UserNs>(
    ns: N,
    place: &Place<N>,
    stored: &Stored<'_>,
) -> Result<(FileCaps, Why), Denied> {
    let seen = stored.seen_from(ns, place);
    match seen.host() {
        Host::Value(caps) => Ok((caps, Why::HostValueRead)),
        Host::Malformed => Err(Denied::new(Errno::EINVAL, Why::StoredMalformed)),
        Host::Absent => match seen.nearest(ns) {
            Some((entry, _)) => Ok((entry.caps, Why::EntryRead)),
            None => Err(Denied::new(Errno::ENODATA, Why::NothingToRead)),
        },
    }
}

/// R6: writes what getxattr(2) of `security.nscapability` gives a caller in `ns` to the front of
/// `out`, and gives its length in bytes. Rootids that have no mapping there are -1, at the end.
///
/// # Errors
/// ENODATA where the file has no entry; ERANGE where `out` is shorter than
/// [`nscapability_len`].
pub fn get_nscapability<N: UserNs>(
    ns: N,
    place: &Place<N>,
    stored: &Stored<'_>,
    out: &mut [u8],
) -> Result<usize, Denied> {
    let seen = stored.seen_from(ns, place);
    if !seen.has_entries() {
        return Err(Denied::new(Errno::ENODATA, Why::NoEntries));
    }
    let shown = seen
        .entries()
        .map(|entry| Record::new(id_or_minus_one(shown_as(ns, &entry).map(Uid::get)), entry.caps));
    NsCaps::encode(shown, out).ok_or(Denied::new(Errno::ERANGE, Why::NoRoom))
}

/// The length of the value that [`get_nscapability`] gives, in bytes: what a probe of size 0
/// returns.
///
/// # Errors
/// ENODATA where the file has no entry.
pub fn nscapability_len<N: UserNs>(
    ns: N,
    place: &Place<N>,
    stored: &Stored<'_>,
) -> Result<usize, Denied> {
    match stored.seen_from(ns, place).entries().count() {
        0 => Err(Denied::new(Errno::ENODATA, Why::NoEntries)),
        count => Ok(NsCaps::encoded_len(count)),
    }
}

/// Which of the two names listxattr(2) gives a caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listed {
    /// `security.capability`.
    pub capability: bool,
    /// `security.nscapability`.
    pub nscapability: bool,
}

/// L: which names listxattr(2) gives a caller in `ns`, so that a tool that copies what is listed
/// copies each grant once.
pub fn list<N: UserNs>(ns: N, place: &Place<N>, stored: &Stored<'_>) -> Listed {
    let seen = stored.seen_from(ns, place);
    if ns.same(place.sb_ns) {
        return Listed {
            capability: seen.host() != Host::Absent,
            nscapability: seen.has_entries(),
        };
    }
    let capability = match applicable(ns, place, stored) {
        Ok(_) => true,
        // A malformed value is listed, as the kernel lists it: what is broken must be findable.
        Err(no) => no.errno == Errno::EINVAL,
    };
    let all_map = seen.entries().all(|entry| shown_as(ns, &entry).is_some());
    Listed { capability, nscapability: !capability && seen.has_entries() && all_map }
}

fn shown_as<N: UserNs>(ns: N, entry: &SeenEntry) -> Option<Uid> {
    ns.uid(entry.kuid?)
}
