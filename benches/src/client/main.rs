// SPDX-License-Identifier: MIT OR Apache-2.0
//! Times operations of file systems that show the same tree, from inside one process, so that no
//! start of a program drowns them; in alternating rounds, so that whatever else the machine does
//! meets all of them.
//!
//! ```text
//! bench-client prepare DIR PROGRAM      makes the tree to measure in DIR, with a small program
//! bench-client fill DIR FILES           makes that many empty files
//! bench-client walk DIR                 looks at every file
//! bench-client forget DIR               has the kernel forget the inodes of a mount
//! bench-client lookups DIR PREFIX       the median of lookups of such names, in microseconds
//! bench-client rows NAME=DIR...          the table; ROUNDS, PROCESSES and ONLY in the environment
//! ```
#![forbid(unsafe_code)]

mod fixture;
mod lookups;
mod rows;
mod table;
mod worker;

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["prepare", dir, program] => fixture::prepare(Path::new(dir), Path::new(program)),
        ["fill", dir, files] => fixture::fill(Path::new(dir), number(files)?),
        ["walk", dir] => {
            println!("{}", fixture::walk(Path::new(dir))?);
            Ok(())
        }
        ["forget", dir] => fixture::forget(Path::new(dir)),
        ["lookups", dir, prefix] => {
            println!("{:.1}", lookups::median(Path::new(dir), prefix)?);
            Ok(())
        }
        ["worker", row, dir, part] => worker::run(row, Path::new(dir), number(part)?),
        ["rows", mounts @ ..] => table::print(mounts),
        _ => Err(io::Error::other("usage: bench-client prepare|fill|walk|forget|lookups|rows ...")),
    }
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(io::Error::other)
}
