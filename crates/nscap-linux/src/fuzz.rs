// SPDX-License-Identifier: MIT OR Apache-2.0
//! No bytes from the system or the command line panic (docs/fuzzing.md).

use std::os::unix::ffi::OsStrExt as _;

use bolero::check;

use crate::ns::maps;
use crate::{Subids, Who, statmount, status};

#[test]
fn texts_of_proc_and_etc() {
    check!().for_each(|bytes: &[u8]| {
        let _ = status::parse(bytes);
        let subids = Subids::parse(bytes);
        assert!(subids.ranges.iter().all(|range| range.last() >= range.start));
        assert!(subids.overlaps().all(|(one, other)| one.overlaps(other)));
        if let Some(shown) = std::str::from_utf8(bytes).ok().and_then(maps::parse) {
            let _ = maps::Maps::identity().lift(&shown, &shown);
        }
    });
}

#[test]
fn who() {
    const PREFIXES: [&[u8]; 5] = [b"", b"pid:", b"ns:", b"user:", b"host"];
    check!().with_type::<(u8, Vec<u8>)>().for_each(|(prefix, rest)| {
        let text = [PREFIXES[*prefix as usize % PREFIXES.len()], rest].concat();
        if let Err(error) = Who::parse(std::ffi::OsStr::from_bytes(&text)) {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{message:?} can forge a line");
        }
    });
}

#[test]
fn answers_of_statmount() {
    check!().for_each(|bytes: &[u8]| {
        let _ = statmount::map_at(bytes, 0);
    });
}
