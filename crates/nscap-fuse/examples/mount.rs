// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts a tree in the foreground, until it is unmounted: `mount SOURCE TARGET [OPTION...]`, the
//! options being `ro`, `reachable`, `plain` (no passthrough) and `threads=N`.

use std::path::Path;
use std::process::ExitCode;

use nscap_fuse::{Error, Mount, Options};

fn run(source: &Path, target: &Path, options: &Options) -> Result<(), Error> {
    let mount = Mount::new(source, target, options)?;
    let stats = mount.stats();
    mount.serve()?;
    for (name, count) in stats.snapshot().iter().filter(|(_, count)| *count > 0) {
        println!("{name:<18} {count}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, words @ ..] = arguments.as_slice() else {
        eprintln!("usage: mount SOURCE TARGET [ro] [reachable] [plain] [threads=N]");
        return ExitCode::from(2);
    };
    let mut options = Options::default();
    for word in words {
        match (word.as_str(), word.strip_prefix("threads=").map(str::parse)) {
            ("ro", _) => options.read_only = true,
            ("reachable", _) => options.reachable_ok = true,
            ("plain", _) => options.passthrough = false,
            (_, Some(Ok(threads))) => options.threads = threads,
            _ => {
                eprintln!("{word}: no such option");
                return ExitCode::from(2);
            }
        }
    }
    match run(source.as_ref(), target.as_ref(), &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
