// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root file system of a case as a layer: what a program unpacks to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::make::{BASE, Case, Home};

/// Packs the files with GNU tar, and with the ids of the image. Gives whether there is such an
/// image: an owner without an id in the container's map has none there.
pub(super) fn pack(case: &Case, rootfs: &Path, layer: &Path) -> io::Result<bool> {
    let data = std::fs::metadata(rootfs.join("d/f"))?;
    let shifted = case.home == Home::AsIs;
    // Each other case: half of the time is enough for what is the same code.
    if case.number % 2 == 1 || (shifted && (data.uid() < BASE || data.gid() < BASE)) {
        return Ok(false);
    }
    let mut command = std::process::Command::new("tar");
    command.args(["--xattrs", "--xattrs-include=security.*", "--numeric-owner", "--sort=name"]);
    let maps = [("--owner-map", "owners"), ("--group-map", "groups")];
    for (option, name) in maps.iter().filter(|_| shifted) {
        let path = layer.with_extension(name);
        let lines = [0, 7, 1000].map(|id| format!("+{} {id}:{id}\n", BASE + id));
        std::fs::write(&path, lines.concat())?;
        command.arg(format!("{option}={}", path.display()));
    }
    command.arg("-cf").arg(layer).arg("-C").arg(rootfs).arg(".");
    let output = command.output()?;
    if !output.status.success() || File::open(layer).is_err() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(true)
}
