// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user namespaces in which execve(2) takes a file's capabilities, on the running system.
//! `cargo run -p nscap-linux --example holders -- /usr/bin/ping`
#![forbid(unsafe_code)]

use std::path::Path;

use nscap_core::{HostValue, root_kuid};
use nscap_linux::{CapFile, Links, Namespaces};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).unwrap_or_else(|| "/usr/bin/ping".into());
    let mut namespaces = Namespaces::own()?;
    namespaces.complete()?;
    let state = CapFile::open(Path::new(&path), Links::Follow)?.read(&mut namespaces)?;
    let (stored, _) = state.stored(&namespaces);
    let view = state.view(&namespaces);
    for ns in namespaces.iter() {
        let seen = stored.seen_from(ns, &view);
        let root = root_kuid(ns).map_or("none".to_owned(), |kuid| kuid.to_string());
        let caps = match (seen.host(), seen.nearest(ns)) {
            (HostValue::Present(caps), _) => format!("the host value, {caps}"),
            (_, Some((entry, _))) => entry.caps.to_string(),
            _ => "nothing".to_owned(),
        };
        println!("namespace {} with root kuid {root}: {caps}", ns.inode());
    }
    Ok(())
}
