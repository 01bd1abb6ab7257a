// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table: for each row and number of client processes the median time on each file system, and
//! whether nscap keeps to its targets, by the median of the rounds' ratios.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::fixture;
use crate::rows::{self, Before, ROWS, Row, Target};
use crate::worker::Workers;

struct Mount {
    name: String,
    dir: PathBuf,
}

const NATIVE: &str = "native";
const NULL: &str = "null";
const OURS: &str = "nscap";
/// Longer than bindfs and fuse-overlayfs let the kernel keep what they said, which is a second: a
/// warm row is about files that were used before, not just now.
const SETTLE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(1100);

pub(crate) fn print(mounts: &[&str]) -> io::Result<()> {
    let mounts: Vec<Mount> = mounts
        .iter()
        .filter_map(|text| text.split_once('='))
        .map(|(name, dir)| Mount { name: name.to_owned(), dir: dir.into() })
        .collect();
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|n| n.parse::<usize>().ok()).unwrap_or(default)
    };
    let (rounds, processes) = (number("ROUNDS", 9), number("PROCESSES", fixture::PARTS));
    let only = std::env::var("ONLY").unwrap_or_default();
    let names: Vec<&str> = mounts.iter().map(|mount| mount.name.as_str()).collect();
    println!("| us an operation, {rounds} rounds | clients | {} | targets |", names.join(" | "));
    println!("|---|---|{}---|", "---|".repeat(names.len()));
    let mut missed = 0;
    for row in ROWS.iter().filter(|row| row.name.contains(&only)) {
        for clients in 1..=processes.min(fixture::PARTS) {
            missed += line(row, &mounts, clients, rounds)?;
        }
    }
    println!("\n{missed} targets missed");
    Ok(())
}

/// One line; gives how many targets are missed.
fn line(row: &Row, mounts: &[Mount], clients: usize, rounds: usize) -> io::Result<usize> {
    let plays: Vec<&Mount> = mounts.iter().filter(|mount| row.null || mount.name != NULL).collect();
    let mut all: Vec<Vec<f64>> = vec![Vec::new(); plays.len()];
    for round in 0..rounds.div_ceil(row.every) {
        // Each begins in turn.
        let turn: Vec<usize> = (0..plays.len()).map(|n| (n + round) % plays.len()).collect();
        let mut ready: Vec<Option<Workers>> = Vec::new();
        for _ in &plays {
            ready.push(None);
        }
        for n in &turn {
            if let (Some(mount), Some(ready)) = (plays.get(*n), ready.get_mut(*n)) {
                *ready = Some(Workers::start(row, &mount.dir, clients)?);
            }
        }
        if row.before == Before::Warm {
            std::thread::sleep(PAUSE);
        }
        for n in turn {
            if let (Some(mount), Some(times)) = (plays.get(n), all.get_mut(n))
                && let Some(workers) = ready.get_mut(n).and_then(Option::take)
            {
                forget(row, mount, mounts, clients)?;
                times.push(workers.go(row.operations)?);
            }
        }
    }
    let of = |name: &str| plays.iter().position(|mount| mount.name == name);
    let cell = |mount: &Mount| match of(&mount.name).and_then(|n| all.get(n)) {
        Some(times) => format!("{:.2}", median(times) / 1000.0),
        None => "-".to_owned(),
    };
    let cells: Vec<String> = mounts.iter().map(cell).collect();
    let mut missed = 0;
    let mut verdict = |target: &Target| {
        let times = |name: &str| of(name).and_then(|n| all.get(n));
        let (Some(ours), Some(other)) = (times(OURS), times(target.than)) else {
            return format!("{}: not there", target.than);
        };
        let ratios: Vec<f64> = ours.iter().zip(other).map(|(one, two)| one / two).collect();
        let ratio = median(&ratios);
        let kept = ratio <= target.at_most;
        missed += usize::from(!kept);
        let mark = if kept { "kept" } else { "**missed**" };
        format!("{ratio:.2} of {} (at most {:.2}): {mark}", target.than, target.at_most)
    };
    let verdicts: Vec<String> = row.targets.iter().map(&mut verdict).collect();
    println!("| {} | {clients} | {} | {} |", row.name, cells.join(" | "), verdicts.join("; "));
    Ok(missed)
}

/// For a row that is not warm the kernel must know nothing of the mount, and of what is beneath
/// either everything or nothing.
fn forget(row: &Row, mount: &Mount, all: &[Mount], clients: usize) -> io::Result<()> {
    if matches!(row.before, Before::Warm | Before::AsItIs) {
        return Ok(());
    }
    let native = all.iter().find(|mount| mount.name == NATIVE);
    if let Some(native) = native.filter(|_| row.before == Before::Cold) {
        for part in 0..clients {
            rows::drop_pages(&fixture::part(&native.dir, part))?;
        }
        fixture::forget(&native.dir)?;
    }
    if mount.name != NATIVE {
        fixture::forget(&mount.dir)?;
    }
    // The kernel tells a server later.
    std::thread::sleep(SETTLE);
    if let Some(native) = native.filter(|_| row.before == Before::Forgotten) {
        for part in 0..clients {
            (row.run)(&fixture::part(&native.dir, part))?;
        }
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
