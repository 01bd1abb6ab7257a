// SPDX-License-Identifier: MIT OR Apache-2.0
//! A container's image that is not unpacked: which one is named, and what a start takes from its
//! configuration. Its files are looked up in [`Place`](super::super::place::Place).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nscap_image::layer::{self, ImageName, ImageTree, Layout, Settings};

use super::input;
use crate::cli::Explain;
use crate::failure::Failure;
use crate::layer::Input;
use crate::out;

/// An image, as the command line names it.
pub(crate) struct Image {
    pub(crate) tree: ImageTree,
    /// As `nscap layer` takes it.
    pub(crate) name: OsString,
    /// The platform that was asked for.
    pub(crate) platform: Option<String>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name.fmt(f)
    }
}

/// The arguments with the image that they name opened, and FILE as a path in it.
///
/// # Errors
/// Where it is no image, has several, or cannot be read; EINVAL where the task is one that has no
/// image.
pub(crate) fn opened(args: &Explain) -> Result<Explain, Failure> {
    let mut args = args.clone();
    let name = match (&args.image, &args.file) {
        (Some(image), _) => image.clone(),
        (None, Some(file)) => match divided(&args, file) {
            Some((image, path)) => {
                args.file = Some(path);
                image
            }
            None => return without(args),
        },
        (None, None) => return without(args),
    };
    let refuse = |problem: &str| Err(input(out::path(Path::new(&name)), problem));
    if args.pid.is_some() || args.seen_by.is_some() {
        return refuse("an image: its task does not run yet, say how it starts (--drop, --user)");
    }
    if args.rootfs.is_some() {
        return refuse("an image, which is no root directory: no --root");
    }
    let layout = match Input::open(Some(&name), args.platform.as_deref())? {
        Input::Image(layout) => *layout,
        Input::File(file) => Layout::alone(file),
        Input::Stream(mut stream) => {
            let kept = tempfile::tempfile().and_then(|mut kept| {
                io::copy(&mut stream, &mut kept)?;
                io::Seek::rewind(&mut kept)?;
                Ok::<File, io::Error>(kept)
            });
            let failed = |e| crate::failure::call(Path::new(&name), "read", e);
            Layout::alone(kept.map_err(failed)?)
        }
    };
    let tree = ImageTree::of(layout).map_err(|error| about(&name, error))?;
    args.opened = Some(Rc::new(Image { tree, name, platform: args.platform.clone() }));
    Ok(args)
}

/// An error that says which image it is about.
fn about(name: &OsStr, error: layer::Error) -> Failure {
    let what = out::path(Path::new(name));
    let text = error.to_string();
    let path = out::path(&ImageName::of(name).path);
    Failure::Layer(match error.io() {
        None if !text.starts_with(&path) => layer::Error::Image { what, problem: text },
        _ => error,
    })
}

fn without(args: Explain) -> Result<Explain, Failure> {
    match args.platform {
        Some(_) => Err(input("--platform", "is an image's, and none is named (IMAGE:/path)")),
        None => Ok(args),
    }
}

/// `IMAGE:/path`. A file that has the whole name is that file.
fn divided(args: &Explain, file: &Path) -> Option<(OsString, PathBuf)> {
    let bytes = file.as_os_str().as_bytes();
    let root = args.rootfs.clone().unwrap_or_default();
    let whole =
        root.join(file.strip_prefix("/").ok().filter(|_| args.rootfs.is_some()).unwrap_or(file));
    if args.pid.is_some() || args.seen_by.is_some() || whole.symlink_metadata().is_ok() {
        return None;
    }
    let colons = bytes.windows(2).enumerate().filter(|(_, two)| two == b":/").map(|(at, _)| at);
    colons.filter(|at| *at > 0).find_map(|at| {
        let (image, path) = (OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..]));
        ImageName::of(image).path.exists().then(|| (image.to_owned(), path.into()))
    })
}

impl Image {
    /// An error about it, as one of this command.
    pub(crate) fn error(&self, error: layer::Error) -> Failure {
        about(&self.name, error)
    }

    /// What its configuration says; nothing of a layer alone.
    pub(crate) fn settings(&self) -> Settings {
        self.tree.settings().cloned().unwrap_or_default()
    }

    /// What it is, in a sentence.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}, {}", out::path(Path::new(&self.name)), self.tree.format());
        let Some(settings) = self.tree.settings() else { return text + ", without configuration" };
        let word = |name: &str, value: &str| {
            if value.is_empty() { String::new() } else { format!(", {name} {value}") }
        };
        let quoted = |text: &str| match text {
            "" => String::new(),
            text => out::name(text.as_bytes()),
        };
        let list = |words: &[String]| {
            words.iter().map(|word| out::name(word.as_bytes())).collect::<Vec<_>>().join(" ")
        };
        text.push_str(&word("of", &quoted(&settings.platform)));
        text.push_str(&word("user", &quoted(&settings.user)));
        text.push_str(&word("entrypoint", &list(&settings.entrypoint)));
        text.push_str(&word("command", &list(&settings.cmd)));
        text
    }

    /// A command of this tool's on a file of it, which writes a new image.
    pub(crate) fn command(&self, what: &str, path: &Path, caps: &str) -> String {
        use nscap_linux::Quotable as _;
        let mut new = ImageName::of(&self.name).path.into_os_string();
        new.push(".new");
        let mut words = vec![format!("nscap layer {what} -o {}", Path::new(&new).maybe_quote())];
        words.extend(self.platform.iter().map(|name| format!("--platform {}", name.maybe_quote())));
        words.push(Path::new(&self.name).maybe_quote().to_string());
        words.push(path.maybe_quote().to_string());
        words.push(caps.to_owned());
        words.join(" ").trim_end().to_owned()
    }
}
