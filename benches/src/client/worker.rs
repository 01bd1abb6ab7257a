// SPDX-License-Identifier: MIT OR Apache-2.0
//! One client process: gets ready, says so, waits until all are, does the operations of a row once,
//! and says how long that took.

use std::io::{self, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::fixture;
use crate::rows::{Before, ROWS, Row};

pub(crate) fn run(row: &str, dir: &Path, part: usize) -> io::Result<()> {
    let row = ROWS.iter().find(|candidate| candidate.name == row);
    let row = row.ok_or_else(|| io::Error::other("no such row"))?;
    let part = if dir.ends_with("null") { dir.to_owned() } else { fixture::part(dir, part) };
    if row.before == Before::Warm {
        (row.run)(&part)?;
        (row.after)(&part)?;
    }
    println!("ready");
    io::stdin().read_exact(&mut [0])?;
    let before = Instant::now();
    (row.run)(&part)?;
    let took = before.elapsed();
    println!("{}", took.as_nanos());
    (row.after)(&part)
}

/// Several of them, started together.
pub(crate) struct Workers(Vec<(Child, BufReader<std::process::ChildStdout>)>);

impl Workers {
    /// Starts them; each waits.
    pub(crate) fn start(row: &Row, dir: &Path, processes: usize) -> io::Result<Workers> {
        let program = std::env::current_exe()?;
        let one = |part: usize| -> io::Result<_> {
            let mut child = Command::new(&program)
                .args(["worker", row.name])
                .arg(dir)
                .arg(part.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let said = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
            let mut said = BufReader::new(said);
            line(&mut said)?;
            Ok((child, said))
        };
        Ok(Workers((0..processes).map(one).collect::<io::Result<_>>()?))
    }

    /// Lets them go; gives the mean time of one operation, in nanoseconds.
    pub(crate) fn go(mut self, operations: usize) -> io::Result<f64> {
        for (child, _) in &mut self.0 {
            if let Some(pipe) = &mut child.stdin {
                pipe.write_all(b"g")?;
            }
        }
        let mut sum = 0.0;
        let count = self.0.len() * operations;
        for (mut child, mut said) in self.0 {
            sum += line(&mut said)?.trim().parse::<f64>().map_err(io::Error::other)?;
            child.wait()?;
        }
        Ok(sum / count as f64)
    }
}

fn line(said: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = String::new();
    if said.read_line(&mut line)? == 0 {
        return Err(io::Error::other("a client failed"));
    }
    Ok(line)
}
