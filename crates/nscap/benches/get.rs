// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap get FILE` against `getcap FILE` as whole processes, in one alternating run.
//!
//! Each round runs both, the first one changing from round to round; the table shows medians, and
//! the median of the rounds' ratios. Needs root, for the file's capability. ROUNDS says how many.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let directory = tempfile::tempdir()?;
    let [host, entry] = ["host", "entry"].map(|name| directory.path().join(name));
    for (file, rootid) in [(&host, None), (&entry, Some("100000"))] {
        std::fs::copy("/bin/true", file)?;
        let mut setcap = Command::new("setcap");
        setcap
            .args(rootid.map(|id| ["-n", id]).into_iter().flatten())
            .arg("cap_net_raw=ep")
            .arg(file);
        if !setcap.status()?.success() {
            return Err("setcap failed".into());
        }
    }
    println!("| {rounds} rounds | getcap | nscap get | ratio |\n|---|---|---|---|");
    for (name, file) in [("a host value", &host), ("an entry", &entry)] {
        let mut all = Vec::new();
        for round in 0..rounds {
            all.push(pair(file, round % 2 == 0)?);
        }
        let median = |of: &dyn Fn(&(Duration, Duration)) -> f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "| {name} | {:.0} us | {:.0} us | {:.2} |",
            median(&|(getcap, _)| micros(*getcap)),
            median(&|(_, nscap)| micros(*nscap)),
            median(&|(getcap, nscap)| micros(*nscap) / micros(*getcap)),
        );
    }
    Ok(())
}

/// How long each takes, getcap first or second.
fn pair(file: &Path, getcap_first: bool) -> std::io::Result<(Duration, Duration)> {
    let getcap = || run(Command::new("getcap").arg("-n").arg(file));
    let nscap = || run(Command::new(env!("CARGO_BIN_EXE_nscap")).arg("get").arg(file));
    if getcap_first {
        let first = getcap()?;
        Ok((first, nscap()?))
    } else {
        let first = nscap()?;
        Ok((getcap()?, first))
    }
}

fn run(command: &mut Command) -> std::io::Result<Duration> {
    let before = Instant::now();
    command.stdout(Stdio::null()).status()?;
    Ok(before.elapsed())
}
