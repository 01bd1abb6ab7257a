// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap generate`: man pages and shell completions, both from the command line's definition.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use clap::CommandFactory as _;

use crate::cli::{Cli, Generate};
use crate::failure::{EIO, Failure};
use crate::out::{self, Out};

pub(crate) fn run(args: &Generate, out: &mut Out) -> Result<u8, Failure> {
    match args {
        Generate::Man { dir } => man(dir)?,
        Generate::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "nscap", &mut script);
            out.bytes(&script)?;
        }
    }
    Ok(0)
}

/// nscap.1, and one page for each command: nscap-get.1, nscap-layer-map.1, ...
fn man(dir: &Path) -> Result<(), Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    pages(dir, "nscap", &root)
}

fn pages(dir: &Path, name: &str, command: &clap::Command) -> Result<(), Failure> {
    page(dir, name, command.clone().display_name(name.to_owned()))?;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        pages(dir, &format!("{name}-{}", below.get_name()), below)?;
    }
    Ok(())
}

fn page(dir: &Path, name: &str, command: clap::Command) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command).title(name).render(&mut text)?;
    File::create(&path).and_then(|mut file| file.write_all(&text)).map_err(|error| Failure::Input {
        what: out::path(&path),
        problem: "cannot be written".to_owned(),
        errno: error.raw_os_error().unwrap_or(EIO),
    })
}
