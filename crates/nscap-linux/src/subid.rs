// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subordinate id ranges, subuid(5): which user may map which ids, and which ranges overlap (S).

use std::path::Path;

use crate::error::{Error, Result};

/// One line of /etc/subuid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// The user's name, or the uid as text: any bytes without a colon.
    pub user: Vec<u8>,
    /// The first id of the range, in our namespace's terms.
    pub start: u32,
    /// How many ids, at least 1.
    pub count: u32,
}

impl Range {
    /// The last id of the range.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.start.saturating_add(self.count.saturating_sub(1))
    }

    /// Whether the id is in the range.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        (self.start..=self.last()).contains(&id)
    }

    /// Whether an id is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Range) -> bool {
        self.start <= other.last() && other.start <= self.last()
    }
}

/// The ranges of a file, and the numbers of its lines that are none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subids {
    /// In the order of the lines.
    pub ranges: Vec<Range>,
    /// Lines that newuidmap(1) skips as well, from 1.
    pub malformed: Vec<usize>,
}

impl Subids {
    /// The ranges that are configured here: /etc/subuid.
    ///
    /// ```
    /// use nscap_linux::Subids;
    /// assert_eq!(Subids::configured()?, Subids::read(Subids::CONFIGURED.as_ref())?);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`read`](Subids::read).
    pub fn configured() -> Result<Subids> {
        Subids::read(Path::new(Subids::CONFIGURED))
    }

    /// Where ranges are configured.
    pub const CONFIGURED: &'static str = "/etc/subuid";

    /// Reads a file such as /etc/subuid. No file is no range.
    ///
    /// # Errors
    /// [`Error::Call`] where there is a file that cannot be read.
    ///
    /// ```
    /// use nscap_linux::Subids;
    /// assert!(Subids::read("/nonexistent".as_ref())?.ranges.is_empty());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn read(path: &Path) -> Result<Subids> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Subids::parse(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Subids::default()),
            Err(error) => Err(Error::call(path, "read", error)),
        }
    }

    /// Reads lines `user:start:count`; empty ones and comments are skipped.
    ///
    /// ```
    /// let subids = nscap_linux::Subids::parse(b"alice:100000:65536\nbob:x:1\n");
    /// assert_eq!(subids.first_of(b"alice", None).unwrap().last(), 165_535);
    /// assert_eq!(subids.malformed, [2]);
    /// ```
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Subids {
        let mut subids = Subids::default();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match range(line) {
                Some(range) => subids.ranges.push(range),
                None => subids.malformed.push(number),
            }
        }
        subids
    }

    /// The first range of a user, by name or by uid.
    #[must_use]
    pub fn first_of(&self, name: &[u8], uid: Option<u32>) -> Option<&Range> {
        let uid = uid.map(|uid| uid.to_string());
        let is = |user: &[u8]| user == name || uid.as_ref().is_some_and(|u| u.as_bytes() == user);
        self.ranges.iter().find(|range| is(&range.user))
    }

    /// The users whose first range begins with this id: it is mostly root of their containers.
    pub fn first_ranges_at(&self, start: u32) -> impl Iterator<Item = &[u8]> {
        let first = |range: &&Range| {
            self.first_of(&range.user, None).is_some_and(|first| std::ptr::eq(first, *range))
        };
        let at = self.ranges.iter().filter(move |range| range.start == start);
        at.filter(first).map(|range| range.user.as_slice())
    }

    /// S: pairs of ranges that share ids.
    pub fn overlaps(&self) -> impl Iterator<Item = (&Range, &Range)> {
        let others = |n: usize| self.ranges.iter().skip(n + 1);
        self.ranges.iter().enumerate().flat_map(move |(n, one)| {
            others(n).filter(|other| one.overlaps(other)).map(move |other| (one, other))
        })
    }
}

fn range(line: &[u8]) -> Option<Range> {
    let mut fields = line.split(|byte| *byte == b':');
    let user = fields.next().filter(|user| !user.is_empty())?;
    let mut number =
        || -> Option<u32> { std::str::from_utf8(fields.next()?).ok()?.trim().parse().ok() };
    let (start, count) = (number()?, number()?);
    let fits = count > 0 && start.checked_add(count - 1).is_some_and(|last| last != u32::MAX);
    (fits && fields.next().is_none()).then(|| Range { user: user.to_vec(), start, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_range_are_counted_and_skipped() {
        let text = b"# who\n\nalice:100000:65536\nalice:1:1\n1001:165000:65536\n:1:1\nbob:1\n\
            bob:0:0\nbob:4294967295:1\nbob:1:1:1\nbob:-1:1\n\xff:7:1";
        let subids = Subids::parse(text);
        assert_eq!(subids.malformed, [6, 7, 8, 9, 10, 11]);
        assert_eq!(subids.ranges.len(), 4);
        assert_eq!(subids.first_of(b"alice", None).unwrap().start, 100_000);
        assert_eq!(subids.first_of(b"carol", Some(1001)).unwrap().start, 165_000);
        assert_eq!(subids.overlaps().count(), 1);
        assert_eq!(subids.first_ranges_at(100_000).collect::<Vec<_>>(), [b"alice"]);
        assert_eq!(subids.first_ranges_at(1).count(), 0);
    }
}
