// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `nscap-conformance`.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use nscap_conformance::live::version;

/// The scenario table of nscap, and what plays it.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Plays scenarios. Exit status 0: all passed; 1: some failed; 2: they could not be played
    Run(Run),
    /// Plays random worlds on this machine's kernel and holds it against the prediction. Exit
    /// status 0: no difference; 1: some; 2: they could not be played
    Fuzz(Fuzz),
    /// Holds what `nscap explain` says against what execve does, in random cases. Exit status 0: no
    /// difference, and of plain cases not two in a hundred could not be told; 1: otherwise; 2: they
    /// could not be played
    ExplainDiff(Told),
    /// Holds what `nscap explain --oci` says against what crun and runc start, in random
    /// containers. Exit status 0: no difference, and not two in a hundred could not be told; 1:
    /// otherwise; 2: they could not be started
    ExplainStarts(Told),
    /// Plays attacks that no table of steps can say. Exit status 0: none got through; 1: some did;
    /// 2: they could not be played
    Attack(Cases),
    /// Plays unmodified programs on a mount: setcap, getfattr, tar, cp, rsync and their like. Exit
    /// status as for attack
    Tools(Cases),
    /// Writes the table as JSON for programs in other languages (vectors/README.md). Exit status 0:
    /// written, or with --check as they would be written; 1: with --check, not so; 2: it could not
    /// be
    Vectors(Vectors),
}

#[derive(clap::Args)]
pub(crate) struct Vectors {
    /// Where the files are
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))]
    pub(crate) dir: PathBuf,
    /// Write nothing; name the files that are not up to date
    #[arg(long)]
    pub(crate) check: bool,
    /// Where the scenario files are
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"))]
    pub(crate) scenarios: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Cases {
    /// What is attacked; on a bare kernel some get through, and nothing counts as failed
    #[arg(long, value_enum, default_value = "fuse")]
    pub(crate) runner: Attacked,
    /// Only those with this in their name
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Print the names instead of playing
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attacked {
    /// A FUSE mount
    Fuse,
    /// This machine's kernel
    Kernel,
}

#[derive(clap::Args)]
pub(crate) struct Fuzz {
    /// How many operations, at least
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) ops: usize,
    /// What everything is made from [default: the time]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Only the world of this number
    #[arg(long, value_name = "N", requires = "seed")]
    pub(crate) world: Option<u64>,
    /// The kernel decides by the design: hold it against that
    #[arg(long)]
    pub(crate) linux: bool,
    /// Print the world instead of playing it
    #[arg(long, requires = "world")]
    pub(crate) print: bool,
}

#[derive(clap::Args)]
pub(crate) struct Told {
    /// How many cases
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) cases: u64,
    /// What everything is made from [default: the time]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Only the case of this number
    #[arg(long, value_name = "N", requires = "seed")]
    pub(crate) only: Option<u64>,
    /// The command [default: nscap beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) nscap: Option<PathBuf>,
    /// Print every case, not only those that differ
    #[arg(long)]
    pub(crate) verbose: bool,
}

#[derive(clap::Args)]
pub(crate) struct Run {
    /// What plays them
    #[arg(long, value_enum)]
    pub(crate) runner: Which,
    /// Only scenarios with this in their name, or citing exactly this clause
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Print the names instead of playing
    #[arg(long)]
    pub(crate) list: bool,
    /// Print what every step gave
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Where the scenario files are
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"))]
    pub(crate) scenarios: PathBuf,
    /// For kernel: the column that it is held against, to see what an unmodified kernel lacks
    #[arg(long, value_enum)]
    pub(crate) column: Option<Against>,
    /// For model and bare: the version of the kernel that is modelled [default: this machine's]
    #[arg(long, value_parser = |text: &str| version(text).ok_or("not a version like 6.1"))]
    pub(crate) kernel: Option<(u16, u16)>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// The rules, against the design column
    Model,
    /// What the library predicts of an unmodified kernel, against the kernel column
    Bare,
    /// This machine's kernel, against the kernel column
    Kernel,
    /// This machine's kernel, where it is the reference, against the design column
    Linux,
    /// A FUSE mount in front of real files, against the design column and what V lets it differ in
    Fuse,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Against {
    Design,
    Kernel,
}
