// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap stats`, and what a server prints of its counters. They are read from the root of the
//! mount, as an attribute that root alone is shown, so that no socket and no file is needed.

use std::path::Path;

use nscap_fuse::Snapshot;
use rustix::io::Errno;
use serde::Serialize;

use crate::cli;
use crate::failure::{EIO, Failure, call};
use crate::out::{self, JsonPath, Out, Table};
use crate::umount::nscap_mount;

/// More than all counters need, in bytes.
const ROOM: usize = 65_536;

/// The counters of one mount.
#[derive(Serialize)]
struct Counters {
    #[serde(flatten)]
    path: JsonPath,
    counters: serde_json::Map<String, serde_json::Value>,
}

pub(crate) fn run(args: &cli::Stats, out: &mut Out) -> Result<u8, Failure> {
    nscap_mount(&args.target)?;
    let mut value = vec![0; ROOM];
    let name = nscap_fuse::STATS_NAME;
    let length = rustix::fs::getxattr(&args.target, name, &mut value).map_err(|error| {
        let hidden = "getxattr of the counters (they are for CAP_SYS_ADMIN where the server runs)";
        call(&args.target, if error == Errno::NODATA { hidden } else { "getxattr" }, error)
    })?;
    value.truncate(length);
    let named = parse(&value).ok_or_else(|| Failure::Input {
        what: out::path(&args.target),
        problem: "counters that this version does not understand".to_owned(),
        errno: EIO,
    })?;
    show(&args.target, &named, out)?;
    Ok(0)
}

/// Lines of a name and a number.
fn parse(value: &[u8]) -> Option<Vec<(String, u64)>> {
    let line = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    std::str::from_utf8(value).ok()?.lines().map(line).collect()
}

pub(crate) fn named(now: &Snapshot) -> Vec<(String, u64)> {
    now.iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// As the command prints them.
pub(crate) fn show(target: &Path, named: &[(String, u64)], out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        let counters = named.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
        return Ok(out.object(&Counters { path: target.into(), counters })?);
    }
    out.table(&table(named))?;
    Ok(())
}

fn table(named: &[(String, u64)]) -> Table {
    let mut table = Table::default();
    for (name, count) in named {
        table.row([name.replace('_', " "), count.to_string()]);
    }
    table
}

/// The counters as a server prints them.
pub(crate) fn print(target: &Path, now: &Snapshot) {
    let text = format!("nscap: counters of {}\n{}", out::path(target), table(&named(now)));
    let _ = std::io::Write::write_all(&mut anstream::stderr(), text.as_bytes());
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_lines_of_a_name_and_a_number() {
        let one = Some(vec![("opens".to_owned(), 3)]);
        assert_eq!(super::parse(b"opens 3\n"), one);
        assert_eq!(super::parse(b""), Some(Vec::new()));
        for bad in [&b"opens"[..], b"opens x\n", b"opens -1\n", b"\xff 1\n"] {
            assert_eq!(super::parse(bad), None);
        }
    }
}
