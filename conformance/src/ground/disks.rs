// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file systems of a ground.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::Mode;

use super::Kind;
use crate::case::Why;
use crate::live::{disk, image};

/// Mounts a new file system.
pub(super) fn mount(kind: Kind, private: &Path, at: &Path) -> Result<(), Why> {
    let (program, options): (&str, &[&str]) = match kind {
        Kind::Tmpfs => return Ok(disk::attach(disk::tmpfs(None)?, at)?),
        Kind::Overlay => return overlay(private, at),
        Kind::Ext4 => ("mkfs.ext4", &["-q", "-F"]),
        Kind::Btrfs => ("mkfs.btrfs", &["-q"]),
    };
    let image = private.join("image");
    std::fs::File::create(&image)?.set_len(768 << 20)?;
    let run =
        |program: &str, arguments: &[&OsStr]| image::tool(program, arguments).map_err(Why::from);
    let mut arguments: Vec<&OsStr> = options.iter().map(AsRef::as_ref).collect();
    arguments.push(image.as_ref());
    run(program, &arguments)?;
    let mounted = run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at.as_ref()]);
    mounted.map_err(|why| match why {
        // mount(8)'s word for a kernel without it.
        Why::Broken(said) if said.contains("unknown filesystem type") => Why::Skipped(said),
        why => why,
    })
}

fn overlay(private: &Path, at: &Path) -> Result<(), Why> {
    let layers = ["lower", "upper", "work"].map(|name| private.join(name));
    for layer in &layers {
        rustix::fs::mkdir(layer, Mode::from_raw_mode(0o755))?;
    }
    let [lower, upper, work] = layers.each_ref().map(|layer| layer.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let arguments = ["-t", "overlay", "overlay", "-o", &options].map(OsStr::new);
    Ok(image::tool("mount", &[&arguments[..], &[at.as_ref()]].concat()).map(drop)?)
}
