// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees, layers and images as `nscap diff` and `nscap save` take them: the files that have
//! capabilities.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nscap_core::translate::ArchiveGrant;
use nscap_core::{HostValue, Uid};
use nscap_image::layer::{CapableFile, CapableFiles, Image, Layout};
use nscap_linux::CapFile;
use nscap_linux::walk::{Event, Walk};
use sha2::{Digest as _, Sha256};

use crate::failure::{EINVAL, EIO, Failure, call};
use crate::layer::Input;
use crate::out;
use crate::system::System;

/// One image of an argument, or a tree.
pub(crate) struct Side {
    /// `os/architecture[/variant]`, where there is more than one image.
    pub(crate) platform: Option<String>,
    pub(crate) files: Vec<CapableFile>,
}

/// Whether an argument is a directory with files, and neither an OCI layout nor a `dir:` of skopeo.
pub(crate) fn is_tree(path: &Path) -> bool {
    let has = |name| path.join(name).exists();
    path.is_dir() && !has("oci-layout") && !(has("version") && has("manifest.json"))
}

/// All of an argument.
pub(crate) fn sides(
    argument: &OsStr,
    platform: Option<&str>,
    hashes: bool,
) -> Result<Vec<Side>, Failure> {
    let path = Path::new(argument);
    if is_tree(path) {
        let files = tree(path, hashes)?;
        return Ok(vec![Side { platform: None, files }]);
    }
    let layout = match Input::open(Some(argument), platform)? {
        Input::Image(layout) => layout,
        Input::File(file) => Box::new(Layout::alone(file)),
        Input::Stream(stream) => {
            let mut files = CapableFiles::new(hashes);
            files.add(stream)?;
            return Ok(vec![Side { platform: None, files: files.finish() }]);
        }
    };
    // Attestations have no layers.
    let images: Vec<Image> =
        layout.images()?.into_iter().filter(|image| !image.layers.is_empty()).collect();
    let several = images.len() > 1;
    let mut all = Vec::new();
    for image in images {
        let files = layout.capable(&image, hashes)?;
        let platform = image.platform.unwrap_or(image.manifest);
        all.push(Side { platform: several.then_some(platform), files });
    }
    Ok(all)
}

/// The one image of an argument.
pub(crate) fn one(
    argument: &OsStr,
    platform: Option<&str>,
    hashes: bool,
) -> Result<Vec<CapableFile>, Failure> {
    let mut all = sides(argument, platform, hashes)?;
    match (all.pop(), all.is_empty()) {
        (Some(side), true) => Ok(side.files),
        (None, _) => Ok(Vec::new()),
        (Some(_), false) => {
            let problem =
                "has several images: name one with PATH:REFERENCE or --platform".to_owned();
            Err(Failure::Input { what: out::path(Path::new(argument)), problem, errno: EINVAL })
        }
    }
}

/// The files of a tree, by their names below it.
fn tree(top: &Path, hashes: bool) -> Result<Vec<CapableFile>, Failure> {
    let mut system = System::new()?;
    let mut found: BTreeMap<Vec<u8>, CapableFile> = BTreeMap::new();
    let mut failed: Option<Failure> = None;
    Walk::new().run([top], |event| {
        let taken = match event {
            Event::Found(file) => of_tree(top, &file, hashes, &mut system).map(|file| {
                if let Some(file) = file {
                    found.insert(file.name.clone(), file);
                }
            }),
            Event::Failed(error) => Err(error.into()),
            _ => Ok(()),
        };
        match taken {
            Ok(()) => ControlFlow::Continue(()),
            // A part that was not seen could have anything.
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    });
    match failed {
        Some(failure) => Err(failure),
        None => Ok(found.into_values().collect()),
    }
}

fn of_tree(
    top: &Path,
    file: &CapFile,
    hashes: bool,
    system: &mut System,
) -> Result<Option<CapableFile>, Failure> {
    let path = file.path();
    let state = system.read(file)?;
    let (stored, _) = state.stored(&system.namespaces);
    if state.hidden.is_some() || stored.host == HostValue::Malformed {
        let problem =
            "has capabilities that cannot be read from here, or that are malformed".to_owned();
        return Err(Failure::Input { what: out::path(path), problem, errno: EINVAL });
    }
    if stored.is_empty() {
        return Ok(None);
    }
    let host = stored.granted_to(Uid::ROOT).map(|caps| ArchiveGrant { id: Some(Uid::ROOT), caps });
    let entries = stored.entries.iter().map(|(id, caps)| ArchiveGrant { id: Some(id), caps });
    let grants = host.into_iter().chain(entries).collect();
    let inode = state.inode;
    let stat = rustix::fs::fstat(file.as_fd()).map_err(|errno| call(path, "fstat", errno))?;
    let name = path.strip_prefix(top).unwrap_or(path).as_os_str().as_bytes().to_vec();
    Ok(Some(CapableFile {
        name,
        grants: Ok(grants),
        size: inode.size,
        owner: (inode.uid, inode.gid),
        mode: inode.mode & 0o7777,
        sha256: hashes.then(|| hash(file)).transpose()?,
        place: (usize::try_from(stat.st_dev).unwrap_or_default(), stat.st_ino),
    }))
}

/// The SHA-256 of a file's content.
fn hash(file: &CapFile) -> Result<[u8; 32], Failure> {
    let opened = nscap_linux::opath::reopen_regular(file, file.path())?;
    hash_of(opened, file.path())
}

/// The same of a descriptor that is open for reading, from where it is.
pub(crate) fn hash_of(mut content: impl std::io::Read, path: &Path) -> Result<[u8; 32], Failure> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(got) => hash.update(&buffer[..got]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(EIO);
                let what = out::path(path);
                return Err(Failure::Input { what, problem: "read".to_owned(), errno });
            }
        }
    }
}
