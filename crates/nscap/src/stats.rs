// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap stats`, and what a server prints of its counters. They are read from the root of the
//! mount, as an attribute that root alone is shown, so that no socket and no file is needed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nscap_fuse::Snapshot;
use rustix::io::Errno;
use serde::Serialize;

use crate::cli;
use crate::failure::{EIO, Failure, call};
use crate::out::{self, Fit, JsonPath, Out, Table};
use crate::umount::nscap_mount;
use crate::watch::{Frame, watch};

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
    if let Some(every) = args.watch.every {
        let mut seen = Seen { target: args.target.clone(), last: None, ended: false };
        let title = format!("nscap stats {}", out::path(&args.target));
        return watch(&title, every, move || seen.frame(), out);
    }
    show(&args.target, &read(&args.target)?, out)?;
    Ok(0)
}

/// The counters of a mount.
fn read(target: &Path) -> Result<Vec<(String, u64)>, Failure> {
    nscap_mount(target)?;
    let mut value = vec![0; ROOM];
    let name = nscap_fuse::STATS_NAME;
    let length = rustix::fs::getxattr(target, name, &mut value).map_err(|error| {
        let hidden = "getxattr of the counters (they are for CAP_SYS_ADMIN where the server runs)";
        call(target, if error == Errno::NODATA { hidden } else { "getxattr" }, error)
    })?;
    value.truncate(length);
    parse(&value).ok_or_else(|| Failure::Input {
        what: out::path(target),
        problem: "counters that this version does not understand".to_owned(),
        errno: EIO,
    })
}

/// What was seen of a mount that is watched.
struct Seen {
    target: PathBuf,
    last: Option<(Instant, Vec<(String, u64)>)>,
    ended: bool,
}

impl Seen {
    /// The counters, and how fast they grow. A mount that has ended is said to have, beside what it had
    /// last; one that is there again is watched on.
    fn frame(&mut self) -> Result<Frame, Failure> {
        let (before, named) = match (read(&self.target), self.last.take()) {
            (Ok(named), before) => (before.filter(|_| !self.ended), named),
            (Err(failure), None) => return Err(failure),
            (Err(failure), Some((at, named))) => {
                self.ended = true;
                let notes = vec![format!("has ended: {failure}; its last counters:")];
                let frame = Frame { table: grown(&named, None), notes };
                self.last = Some((at, named));
                return Ok(frame);
            }
        };
        self.ended = false;
        let now = Instant::now();
        let table = grown(&named, before.map(|(at, old)| (now - at, old)));
        self.last = Some((now, named));
        Ok(Frame { table, notes: Vec::new() })
    }
}

/// The counters with what each grew by in a second; `-` where that is not known, as of a new server.
fn grown(named: &[(String, u64)], before: Option<(Duration, Vec<(String, u64)>)>) -> Table {
    let mut table = Table::with_head(&[
        ("COUNTER", Fit::Whole),
        ("COUNT", Fit::Whole),
        ("PER SECOND", Fit::Whole),
    ]);
    for (name, count) in named {
        let rate = before.as_ref().and_then(|(time, before)| {
            let old = before.iter().find(|(old, _)| old == name)?.1;
            // A number of requests is far below what a double holds.
            let more = count.checked_sub(old)? as f64;
            (time.as_secs_f64() > 0.0).then(|| more / time.as_secs_f64())
        });
        let rate = rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        table.row([name.replace('_', " "), count.to_string(), rate]);
    }
    table
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
    fn what_grew_is_told_by_the_second() {
        let counters =
            |opens, reads| vec![("opens".to_owned(), opens), ("reads".to_owned(), reads)];
        let before = Some((std::time::Duration::from_secs(2), counters(10, 50)));
        let rows = super::grown(&counters(13, 7), before).lines_for(None).1;
        // Fewer than before: another server.
        assert_eq!(rows, ["opens    13     1.5", "reads    7      -"]);
    }

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
