// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap generate`: manual pages and shell completions, both from the command line's definition.

mod complete;
mod json_page;
mod man;
mod pages;
mod roff;

use crate::cli::Generate;
use crate::failure::Failure;
use crate::out::Out;

pub(crate) fn run(args: &Generate, out: &mut Out) -> Result<u8, Failure> {
    match args {
        Generate::Man { dir } => man::write(dir)?,
        Generate::Completions { shell } => out.bytes(complete::script(*shell).as_bytes())?,
        Generate::Who { process, word } => complete::who(*process, word, out)?,
    }
    Ok(0)
}
