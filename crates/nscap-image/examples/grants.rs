// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a layer grants, and the same layer in a container's own terms.
//! `cargo run -p nscap-image --example grants -- packed.tar 0:100000:65536 >own.tar`
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};

use nscap_core::translate::Translation;
use nscap_image::layer::{Change, map};
use nscap_image::map::Ids;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (path, ids) = args.next().zip(args.next()).ok_or("FILE and inside:outside:count")?;
    let (from, to): (Ids, Ids) = (ids.parse()?, "0:0:4294967295".parse()?);
    let uids = Translation { from: from.map(), to: to.map(), drop_unmapped: true };
    let change = Change { uids, gids: None };
    let mut own = BufWriter::new(std::io::stdout().lock());
    let input = BufReader::new(File::open(&path)?);
    let changed = map(input, &mut own, &change, &mut |decided| {
        let member = String::from_utf8_lossy(decided.member);
        let grant = decided.grant.map(|grant| grant.caps.to_string()).unwrap_or_default();
        writeln!(std::io::stderr(), "{member:?} {grant}: {:?}", decided.decision)
    })?;
    own.flush()?;
    eprintln!("{} grant(s), {} left out", changed.grants, changed.dropped);
    Ok(())
}
