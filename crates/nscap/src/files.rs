// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that a command is about: as arguments, or from `--files0-from`; looked up as they are,
//! or below `--root`.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use nscap_linux::{CapFile, Links};
use rustix::fs::{Mode, OFlags};

use crate::cli::FileArgs;
use crate::failure::{EINVAL, Failure, call};
use crate::{out, report};

/// How the files of one command are found.
pub(crate) struct Files {
    root: Option<(PathBuf, OwnedFd)>,
}

impl Files {
    pub(crate) fn new(args: &FileArgs) -> Result<Files, Failure> {
        let Some(path) = &args.root else { return Ok(Files { root: None }) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| call(path, "open", error))?;
        Ok(Files { root: Some((path.clone(), root)) })
    }

    /// Opens one as setcap(8) does: a link in the place of the file itself is an error. Below a
    /// root neither links nor `..` lead out of it.
    pub(crate) fn open(&self, path: &Path) -> Result<CapFile, Failure> {
        Ok(match &self.root {
            None => CapFile::open(path, Links::Refuse)?,
            Some((_, root)) => CapFile::open_below(root, path, Links::Refuse, &self.shown(path))?,
        })
    }

    /// What a file is called.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        match &self.root {
            None => path.to_owned(),
            Some((root, _)) => root.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }

    /// Where a directory on the way is a link to an absolute path: that directory, and what the
    /// path leads to. In a container's tree such a link means a place of the container's, and leads
    /// to one of the host's.
    pub(crate) fn leads_away(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        if self.root.is_some() {
            return None;
        }
        let mut parts: Vec<Component<'_>> = path.parent()?.components().collect();
        while !parts.is_empty() {
            let directory: PathBuf = parts.iter().collect();
            let target = std::fs::read_link(&directory).ok();
            if target.is_some_and(|target| target.is_absolute()) {
                return Some((directory, std::fs::canonicalize(path).ok()?));
            }
            parts.pop();
        }
        None
    }
}

/// All of them. What `--files0-from` holds in place of a name is told, and gives the status 2.
pub(crate) fn named(args: &FileArgs) -> Result<(Vec<PathBuf>, u8), Failure> {
    let Some(list) = &args.files0_from else { return Ok((args.files.clone(), 0)) };
    let (mut names, mut worst) = (Vec::new(), 0);
    let bytes = if list.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(list)
    };
    let bytes = bytes.map_err(|error| call(list, "read", error))?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let all = (!bytes.is_empty()).then(|| bytes.split(|byte| *byte == 0));
    for (number, name) in all.into_iter().flatten().enumerate() {
        if name.is_empty() {
            // As wc(1) says it.
            let what = format!("{}:{}", out::path(list), number + 1);
            let problem = "invalid zero-length file name".to_owned();
            worst = report(&Failure::Input { what, problem, errno: EINVAL });
        } else {
            names.push(OsString::from_vec(name.to_vec()).into());
        }
    }
    Ok((names, worst))
}

/// Whether execve(2) takes a file for a script; unknown for a file that we may not read.
pub(crate) fn is_script(file: &CapFile) -> bool {
    let mut head = [0; 2];
    nscap_linux::opath::reopen_regular(file, file.path())
        .is_ok_and(|mut file| file.read_exact(&mut head).is_ok() && head.as_slice() == b"#!")
}
