// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a changed image where it is or anew, in the form that it has: all of it, or nothing.

use std::io::Write as _;
use std::path::Path;

use super::archive::Members;
use super::blobs::text;
use super::dir::Dir;
use super::docker::beside;
use super::edit::Editor;
use super::layout::{Layout, Root, own_path};
use super::part::Part;
use super::store::{Store, member_of};
use super::work::Work;
use crate::layer::error::{Error, Result};

/// Where the changed image goes.
#[derive(Clone, Copy)]
pub(crate) enum To<'a> {
    /// In place of the old one: blobs that are new are written first, then the document that names all
    /// is replaced. In a directory blobs without a name stay, as with other tools.
    Place,
    /// A new directory or file.
    New(&'a Path),
}

/// Writes the image as `work` changes it. On an error all is as it was.
pub(crate) fn write(layout: &Layout, to: To<'_>, work: &mut dyn Work) -> Result<()> {
    match (&layout.store, to) {
        (Store::Layer(_), _) => Err(Error::image(&layout.shown, "no image")),
        (Store::Archive(_), To::Place) => archive(layout, own_path(layout)?, true, work),
        (Store::Archive(_), To::New(target)) => archive(layout, target, false, work),
        (Store::Dir(blobs), To::Place) => dir_in_place(layout, blobs, work),
        (Store::Dir(_), To::New(target)) => dir_anew(layout, target, work),
    }
}

fn own_dir(layout: &Layout) -> Result<&Dir> {
    layout.dir.as_ref().ok_or_else(|| Error::image(&layout.shown, "no directory"))
}

fn dir_in_place(layout: &Layout, blobs: &Dir, work: &mut dyn Work) -> Result<()> {
    let dir = own_dir(layout)?;
    let mut editor = Editor::new(layout, work, blobs, false);
    let done = editor.root().and_then(|root| {
        let docker = match &layout.root {
            Root::Index(_, Some(docker)) => Some((docker, beside(&editor, docker)?)),
            _ => None,
        };
        blobs.sync()?;
        if let Some((_, new)) = docker.filter(|(old, new)| old.as_bytes() != &new[..]) {
            replace(dir, "manifest.json", &new)?;
        }
        if root != layout.root.text().as_bytes() {
            replace(dir, layout.root.name(), &root)?;
        }
        Ok(())
    });
    if done.is_err() {
        editor.written.iter().for_each(|name| blobs.remove(name));
    }
    done
}

fn dir_anew(layout: &Layout, target: &Path, work: &mut dyn Work) -> Result<()> {
    let (parent, name) = parent_of(target)?;
    if parent.has(&name) {
        return Err(Error::call(&name, "rename", rustix::io::Errno::EXIST.into()));
    }
    let working = format!(".{name}.nscap-{}", std::process::id());
    let dir = parent.create_sub(&working)?;
    let done = write_dir(layout, &dir, work).and_then(|()| {
        parent.rename_new(&working, &name)?;
        parent.sync()
    });
    if done.is_err() {
        parent.remove_dir(&working);
    }
    done
}

fn write_dir(layout: &Layout, dir: &Dir, work: &mut dyn Work) -> Result<()> {
    let skopeo = matches!(layout.root, Root::Manifest(_));
    let sub;
    let blobs = match skopeo {
        true => dir,
        false => {
            sub = dir.create_sub("blobs")?.create_sub("sha256")?;
            &sub
        }
    };
    let mut editor = Editor::new(layout, work, blobs, true);
    let version = if skopeo { "version" } else { "oci-layout" };
    let mut documents = vec![version, layout.root.name()];
    let done = editor.root().and_then(|root| {
        blobs.sync()?;
        let old = own_dir(layout)?;
        replace(dir, version, text(old.file(version)?, version)?.as_bytes())?;
        if let Root::Index(_, Some(docker)) = &layout.root {
            documents.push("manifest.json");
            replace(dir, "manifest.json", &beside(&editor, docker)?)?;
        }
        replace(dir, layout.root.name(), &root)
    });
    if done.is_err() {
        editor.written.iter().for_each(|name| blobs.remove(name));
        documents.iter().for_each(|name| dir.remove(name));
        if !skopeo {
            dir.sub("blobs")?.remove_dir("sha256");
            dir.remove_dir("blobs");
        }
    }
    done
}

fn archive(layout: &Layout, target: &Path, over: bool, work: &mut dyn Work) -> Result<()> {
    let Store::Archive(old) = &layout.store else {
        return Err(Error::image(&layout.shown, "no archive"));
    };
    let (parent, name) = parent_of(target)?;
    if !over && parent.has(&name) {
        return Err(Error::call(&name, "rename", rustix::io::Errno::EXIST.into()));
    }
    // New blobs first stand beside the archive: how long they are is known at their end.
    let working = format!(".{name}.nscap-{}", std::process::id());
    let stage = parent.create_sub(&working)?;
    let mut editor = Editor::new(layout, work, &stage, false);
    let written = editor.root().and_then(|root| {
        let (mut file, working) = parent.create()?;
        let done = assemble(&editor, &root, &stage, |members| old.write(&mut file, members))
            .and_then(|()| file.sync_all().map_err(Error::Write))
            .and_then(|()| match over {
                true => parent.replace(&working, &name),
                false => parent.rename_new(&working, &name),
            });
        if done.is_err() {
            parent.remove(&working);
        }
        done
    });
    editor.written.iter().for_each(|name| stage.remove(name));
    parent.remove_dir(&working);
    written?;
    parent.sync()
}

/// What becomes of the members of an archive.
fn assemble(
    editor: &Editor<'_, '_>,
    root: &[u8],
    stage: &Dir,
    write: impl FnOnce(&Members<'_>) -> Result<()>,
) -> Result<()> {
    let layout = editor.layout;
    let docker = match &layout.root {
        Root::Index(_, Some(docker)) => Some(beside(editor, docker)?),
        _ => None,
    };
    let mut members = Members::default();
    let changed = root != layout.root.text().as_bytes();
    if changed {
        members.documents.insert(layout.root.name().into(), root);
        if let Some(docker) = &docker {
            members.documents.insert(b"manifest.json".to_vec(), docker);
        }
    }
    for name in &editor.written {
        let failed = |error| Error::call(name, "fstat", error);
        let part = Part::whole(stage.file(name)?).map_err(failed)?;
        let digest = format!("sha256:{name}");
        let member = match &layout.root {
            Root::Docker(_) => docker_member(&part, name),
            _ => member_of(&digest)?,
        };
        members.added.push((member, part));
    }
    if !matches!(layout.root, Root::Docker(_)) {
        for digest in editor.superseded() {
            members.dropped.insert(member_of(digest)?);
        }
    }
    write(&members)
}

/// In an old archive of docker's a document is `<digest>.json`, a layer `<digest>.tar`.
fn docker_member(part: &Part, name: &str) -> Vec<u8> {
    use std::io::Read as _;
    let mut first = [0; 1];
    let is_document = part.clone().read(&mut first).is_ok_and(|got| got == 1) && first == *b"{";
    format!("{name}.{}", if is_document { "json" } else { "tar" }).into_bytes()
}

pub(crate) fn parent_of(target: &Path) -> Result<(Dir, String)> {
    let shown = target.display().to_string();
    let name = target.file_name().and_then(std::ffi::OsStr::to_str);
    let name =
        name.ok_or_else(|| Error::image(&shown, "not the name of a new file or directory"))?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((Dir::open(parent.unwrap_or(Path::new(".")))?, name.to_owned()))
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
