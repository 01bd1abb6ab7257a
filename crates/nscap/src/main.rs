// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `nscap` command: arguments in, text or JSON out. What it says is decided by `nscap_core`
//! and found by `nscap_linux`; nothing that another program might want lives here.
#![forbid(unsafe_code)]

mod attribute;
mod change;
mod check;
mod cli;
mod contents;
mod diff;
mod explain;
mod facts;
mod failure;
mod files;
mod generate;
mod get;
mod layer;
mod mount;
mod next;
mod ns;
mod out;
mod picture;
mod ranges;
mod restore;
mod save;
mod scan;
mod shift;
mod sides;
mod stats;
mod stdin;
mod system;
mod tour;
mod umount;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use failure::Failure;
use nscap_linux::pipe;
use out::Out;

fn main() -> ExitCode {
    let given = std::env::args_os();
    let arguments =
        mount::helper::arguments(given).unwrap_or_else(|| std::env::args_os().collect());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return end(usage(&error)),
    };
    let mut out = Out::new(cli.json);
    let status = run(&cli.command, &mut out).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    end(status.unwrap_or_else(|failure| report(&failure)))
}

/// Prints a usage error, the help or the version.
fn usage(error: &clap::Error) -> u8 {
    match error.print() {
        Err(failed) => Failure::Output(failed).exit_code(),
        Ok(()) => u8::try_from(error.exit_code()).unwrap_or(2),
    }
}

/// Ends as every tool ends whose reader has gone; else with this status.
fn end(status: u8) -> ExitCode {
    if status == pipe::STATUS {
        pipe::end();
    }
    ExitCode::from(status)
}

fn run(command: &Command, out: &mut Out) -> Result<u8, Failure> {
    match command {
        Command::Get(args) => get::run(args, out),
        Command::Set(args) => change::set(args, out),
        Command::Rm(args) => change::rm(args, out),
        Command::Explain(args) => explain::run(args, out),
        Command::Shift(args) => shift::run(args, out),
        Command::Ns(args) => ns::run(args, out),
        Command::Check(args) => check::run(args, out),
        Command::Mount(args) => mount::run(args, out),
        Command::Umount(args) => umount::run(args),
        Command::Stats(args) => stats::run(args, out),
        Command::Tour(args) => tour::run(args, out),
        Command::Scan(args) => scan::run(args, out),
        Command::Layer(args) => layer::run(args, out),
        Command::Diff(args) => diff::run(args, out),
        Command::Save(args) => save::run(args, out),
        Command::Restore(args) => restore::run(args, out),
        Command::Generate(args) => generate::run(args, out),
    }
}

/// Tells the user, and gives the exit status.
fn report(failure: &Failure) -> u8 {
    if !failure.is_end() {
        tell(&failure.to_string());
    }
    failure.exit_code()
}

/// A remark that is not an error.
fn note(text: &str) {
    tell(&format!("note: {text}"));
}

/// Prints one line on standard error, and ignores an error: it may be closed as well.
fn tell(text: &str) {
    let line = out::harmless(text);
    let _ = std::io::Write::write_fmt(&mut anstream::stderr(), format_args!("nscap: {line}\n"));
}

/// Does something for each file, telling about failures as they come; gives what succeeded and the
/// worst exit status of what did not, 0 for none.
fn for_each<T>(
    files: &[PathBuf],
    mut each: impl FnMut(&Path) -> Result<T, Failure>,
) -> Result<(Vec<T>, u8), Failure> {
    let mut done = Vec::new();
    let mut worst = 0;
    for file in files {
        match each(file) {
            Ok(value) => done.push(value),
            Err(failure) if failure.is_broken_pipe() => return Err(failure),
            Err(failure) => worst = worst.max(report(&failure)),
        }
    }
    Ok((done, worst))
}
