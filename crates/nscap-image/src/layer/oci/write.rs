// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a changed image into its own layout or a new one: all of it, or nothing.

use std::io::{self, Write as _};
use std::path::Path;

use super::dir::Dir;
use super::layout::Layout;
use super::map::{HearLayer, ImageChanged, Mapper};
use crate::layer::error::{Error, Result};
use crate::layer::map::Change;

/// Changes the layout, or its one reference, in place: writes new blobs first, then replaces
/// index.json. Blobs without a name stay, as with other tools for layouts.
///
/// # Errors
/// As [`layer::map`](crate::layer::map()) for each layer, with its digest; [`Error::Image`] for an
/// image that is damaged, that programs read differently, or of a kind that is not known;
/// [`Error::Call`]. The image is as it was then.
pub fn map_in_place(
    layout: &Layout,
    change: &Change<'_>,
    hear: &mut HearLayer<'_>,
) -> Result<ImageChanged> {
    if layout.dir.has("manifest.json") {
        let problem = "has docker's manifest.json, which names the old blobs: write a new layout";
        return Err(Error::image(&layout.shown, problem));
    }
    let mut mapper = Mapper::new(layout, change, hear, &layout.blobs, false);
    let done = mapper.index().and_then(|index| {
        layout.blobs.sync()?;
        if index != layout.index.as_bytes() {
            replace(&layout.dir, "index.json", &index)?;
        }
        Ok(mapper.changed)
    });
    if done.is_err() {
        mapper.written.iter().for_each(|name| layout.blobs.remove(name));
    }
    done
}

/// Writes the changed layout to `target`, which must not exist. With a reference, that image is
/// changed and the others are the same.
///
/// # Errors
/// As [`map_in_place`]; there is no `target` then.
pub fn map_to(
    layout: &Layout,
    target: &Path,
    change: &Change<'_>,
    hear: &mut HearLayer<'_>,
) -> Result<ImageChanged> {
    let (parent, name) = parent_of(target)?;
    if parent.has(&name) {
        return Err(Error::call(&name, "rename", io::ErrorKind::AlreadyExists.into()));
    }
    let working = format!(".{name}.nscap-{}", std::process::id());
    let dir = parent.create_sub(&working)?;
    let done = write_layout(layout, &dir, change, hear).and_then(|changed| {
        parent.rename_new(&working, &name)?;
        parent.sync()?;
        Ok(changed)
    });
    if done.is_err() {
        parent.remove_dir(&working);
    }
    done
}

fn parent_of(target: &Path) -> Result<(Dir, String)> {
    let shown = target.display().to_string();
    let name = target.file_name().and_then(std::ffi::OsStr::to_str);
    let name = name.ok_or_else(|| Error::image(&shown, "not the name of a new directory"))?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((Dir::open(parent.unwrap_or(Path::new(".")))?, name.to_owned()))
}

fn write_layout(
    layout: &Layout,
    dir: &Dir,
    change: &Change<'_>,
    hear: &mut HearLayer<'_>,
) -> Result<ImageChanged> {
    let blobs = dir.create_sub("blobs")?.create_sub("sha256")?;
    let mut mapper = Mapper::new(layout, change, hear, &blobs, true);
    let done = mapper.index().and_then(|index| {
        blobs.sync()?;
        let version = super::blobs::text(layout.dir.file("oci-layout")?, "oci-layout")?;
        replace(dir, "oci-layout", version.as_bytes())?;
        replace(dir, "index.json", &index)?;
        Ok(mapper.changed)
    });
    if done.is_err() {
        mapper.written.iter().for_each(|name| blobs.remove(name));
        ["index.json", "oci-layout"].iter().for_each(|name| dir.remove(name));
        dir.sub("blobs")?.remove_dir("sha256");
        dir.remove_dir("blobs");
    }
    done
}

/// A whole small file, at once.
fn replace(dir: &Dir, name: &str, content: &[u8]) -> Result<()> {
    let (mut file, working) = dir.create()?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let written = written.map_err(|error| Error::call(name, "write", error));
    let done = written.and_then(|()| dir.rename(&working, name));
    if done.is_err() {
        dir.remove(&working);
    }
    done
}
