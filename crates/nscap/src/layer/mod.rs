// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap layer`: capabilities in tar archives and images. What is in them is read and written by
//! `nscap_image::layer`.

mod check;
mod filesystem;
mod ls;
mod map;
mod set;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::Path;

use nscap_core::translate::ArchiveGrant;
use nscap_core::{Denied, Uid};
use nscap_image::layer::{self, Compression, ImageFormat, ImageLayer, ImageName, Layout, Opened};
use nscap_image::map::{Ids, Side};
use nscap_linux::{Links, opath};
use serde::Serialize;

use crate::cli::Layer;
use crate::contents::JsonCaps;
use crate::failure::{EINVAL, EIO, Failure};
use crate::out::{self, JsonPath, Out, Table};
use crate::system::System;

pub(crate) fn run(args: &Layer, out: &mut Out) -> Result<u8, Failure> {
    match args {
        Layer::Ls { platform, layers } => ls::run(&Named::all(layers), platform.as_deref(), out),
        Layer::Set(args) => set::set(args, out),
        Layer::Rm(args) => set::rm(args, out),
        Layer::Map(args) => map::run(args, out),
        Layer::Check { consumer, allow, platform, layers } => {
            let expected = check::Expected { consumer: consumer.as_deref(), allow };
            check::run(&expected, platform.as_deref(), &Named::all(layers), out)
        }
    }
}

/// A layer or image as the command line names it.
struct Named<'a> {
    /// `None` for standard input.
    name: Option<&'a OsStr>,
    /// Whether rows need the name, since there are others.
    shown: bool,
}

impl<'a> Named<'a> {
    fn all(names: &'a [std::ffi::OsString]) -> Vec<Named<'a>> {
        if names.is_empty() {
            return vec![Named { name: None, shown: false }];
        }
        let shown = names.len() > 1;
        let one = |name: &'a std::ffi::OsString| Named {
            name: Some(name.as_os_str()).filter(|name| *name != "-"),
            shown,
        };
        names.iter().map(one).collect()
    }

    /// For people.
    fn text(&self) -> String {
        self.name.map_or_else(|| "standard input".to_owned(), |name| out::path(name.as_ref()))
    }

    /// The text before a member's name.
    fn before(&self) -> String {
        if self.shown { format!("{}: ", self.text()) } else { String::new() }
    }

    /// An error that says which of several it is about.
    fn error(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Layer(error) if self.shown && error.io().is_none() => {
                Failure::Layer(layer::Error::Image {
                    what: self.text(),
                    problem: error.to_string(),
                })
            }
            failure => failure,
        }
    }
}

/// An archive that is an image and could not be read as one: its layers are members of it, and it has no
/// capabilities of its own.
fn not_an_image(image: Option<ImageFormat>, what: String) -> Result<(), Failure> {
    let Some(format) = image else { return Ok(()) };
    let problem = format!(
        "a {} that cannot be read so: its documents are links, or come late in a pipe (name a file)",
        format.name()
    );
    Err(Failure::Input { what, problem, errno: EINVAL })
}

/// What LAYER names.
pub(crate) enum Input {
    /// One layer, from a regular file.
    File(File),
    /// One layer, as it comes.
    Stream(Box<dyn Read>),
    Image(Box<Layout>),
}

impl Input {
    pub(crate) fn open(layer: Option<&OsStr>, platform: Option<&str>) -> Result<Input, Failure> {
        let image = |layout: Layout| Ok(Input::Image(Box::new(layout.with_platform(platform)?)));
        let Some(argument) = layer.filter(|name| *name != "-") else {
            if io::stdin().is_terminal() {
                return Err(input("standard input", "is a terminal; name a layer".into(), EINVAL));
            }
            let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            let name = ImageName { path: "standard input".into(), reference: None };
            return Input::of(stdin, &name, platform);
        };
        if let Some(layout) = Layout::find(argument)? {
            return image(layout);
        }
        let name = ImageName::of(argument);
        let file = open(&name.path)?;
        if let Some(tar) = filesystem::as_tar(&file, &name.path)? {
            return Ok(Input::Stream(tar));
        }
        Input::of(file, &name, platform)
    }

    fn of(mut file: File, name: &ImageName, platform: Option<&str>) -> Result<Input, Failure> {
        let regular = file.metadata().is_ok_and(|meta| meta.is_file());
        let begin = if regular { file.stream_position().map_err(layer::Error::Read)? } else { 0 };
        let (looks, whole) =
            layer::looks_like_image(file.try_clone().map_err(layer::Error::Read)?)?;
        let clone = |file: &File| file.try_clone().map_err(layer::Error::Read);
        // Of a file what has been read is read again.
        let whole: Box<dyn Read> = match regular {
            true => {
                file.seek(SeekFrom::Start(begin)).map_err(layer::Error::Read)?;
                Box::new(clone(&file)?)
            }
            false => Box::new(whole),
        };
        let plain = (regular && begin == 0).then(|| clone(&file)).transpose()?;
        // A reference or a platform is an image's.
        if looks || name.reference.is_some() || platform.is_some() {
            return match Layout::in_archive(whole, plain, name)? {
                Opened::Image(layout) => {
                    Ok(Input::Image(Box::new(layout.with_platform(platform)?)))
                }
                Opened::Layer(_) if name.reference.is_some() || platform.is_some() => {
                    let problem = "a layer, which has no references and no platforms";
                    Err(input(&out::path(&name.path), problem.into(), EINVAL))
                }
                Opened::Layer(file) => Ok(Input::File(file)),
            };
        }
        Ok(if regular { Input::File(file) } else { Input::Stream(whole) })
    }

    /// Reads each layer, uncompressed.
    fn each(
        named: &Named<'_>,
        platform: Option<&str>,
        mut each: impl FnMut(Option<&ImageLayer>, &mut dyn Read) -> layer::Result<Option<ImageFormat>>,
    ) -> Result<(), Failure> {
        let mut alone = |reader: &mut dyn Read| {
            let (compression, whole) = Compression::detect(reader)?;
            each(None, &mut compression.reader(whole)?)
        };
        let layout = match Input::open(named.name, platform)? {
            Input::File(mut file) => {
                let image = alone(&mut file)?;
                if image.is_none() {
                    return Ok(());
                }
                // An image whose first members did not tell.
                file.rewind().map_err(layer::Error::Read)?;
                let plain = file.try_clone().map_err(layer::Error::Read)?;
                let name = ImageName::of(named.name.unwrap_or_default());
                match Layout::in_archive(&mut file, Some(plain), &name)? {
                    Opened::Image(layout) => layout,
                    Opened::Layer(_) => return not_an_image(image, named.text()),
                }
            }
            Input::Stream(mut stream) => return not_an_image(alone(&mut stream)?, named.text()),
            Input::Image(layout) => layout,
        };
        for layer in layout.layers()? {
            // What an image calls a layer is one.
            layout.read(&layer, |reader| each(Some(&layer), reader).map(|_| ()))?;
        }
        Ok(())
    }
}

/// Opens a layer by its path: a regular file without waiting for the holder of a lease; anything
/// else, such as the pipe of a process substitution, as usual.
fn open(path: &Path) -> Result<File, Failure> {
    match opath::open_regular(path, Links::Follow) {
        Err(nscap_linux::Error::NotRegular { .. }) => File::open(path).map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(EIO);
            input(&out::path(path), "cannot be opened".into(), errno)
        }),
        opened => opened
            .map_err(|error| input(&out::path(path), "cannot be opened".into(), error.errno())),
    }
}

fn input(what: &str, problem: String, errno: i32) -> Failure {
    Failure::Input { what: what.to_owned(), problem, errno }
}

/// The numbers of a map that is written out are the layer's, wherever this runs.
pub(crate) fn side(text: &OsStr, system: &mut System) -> Result<Side, Failure> {
    match text.to_str().map(str::parse::<Ids>) {
        Some(Ok(ids)) => Ok(Side { uids: ids.clone(), gids: ids }),
        _ => Ok(Side::parse(text, &mut system.namespaces)?),
    }
}

/// Where something is, as JSON has it.
#[derive(Serialize)]
struct Place {
    /// The archive or image as it was named; `None` for standard input.
    archive: Option<String>,
    /// The digest of the layer; `None` where there is only one.
    layer: Option<String>,
    platform: Option<String>,
    offset: u64,
    #[serde(flatten)]
    path: JsonPath,
}

impl Place {
    fn new(named: &Named<'_>, layer: Option<&ImageLayer>, offset: u64, member: &[u8]) -> Place {
        Place {
            archive: named.name.map(|name| name.to_string_lossy().into_owned()),
            layer: layer.map(|layer| layer.digest.clone()),
            platform: layer.and_then(|layer| layer.platform.clone()),
            offset,
            path: member_path(member),
        }
    }
}

pub(crate) fn member_path(member: &[u8]) -> JsonPath {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(OsStr::from_bytes(member)).into()
}

/// A grant, as JSON has it.
#[derive(Serialize)]
struct JsonGrant {
    /// 0 for a host value, `None` for -1.
    rootid: Option<u32>,
    #[serde(flatten)]
    caps: JsonCaps,
}

impl From<ArchiveGrant> for JsonGrant {
    fn from(grant: ArchiveGrant) -> JsonGrant {
        JsonGrant { rootid: grant.id.map(Uid::get), caps: grant.caps.into() }
    }
}

/// An id of a grant, for people.
pub(crate) fn whose(id: Option<Uid>) -> String {
    match id {
        None => "rootid -1".to_owned(),
        Some(Uid::ROOT) => "host".to_owned(),
        Some(id) => format!("rootid {id}"),
    }
}

/// A member for people, with the beginning of its layer's digest in an image.
fn shown(layer: Option<&str>, member: &[u8]) -> String {
    let digest = layer.and_then(|digest| digest.get(7..19));
    // Nothing unpacks a longer name, and each grant of the member has a row with it.
    let name = match member.get(..SHOWN) {
        Some(begin) => format!("{}... ({} bytes)", out::name(begin), member.len()),
        None => out::name(member),
    };
    digest.map_or_else(|| name.clone(), |digest| format!("{digest}  {name}"))
}

/// How much of a name is shown: the longest path that the kernel takes.
const SHOWN: usize = 4096;

fn reason(denied: Denied) -> String {
    format!("{} [{}]", denied.why, denied.why.clause())
}

/// Rows that are printed before there is too much to hold: how many there are, and how long they
/// are, a layer says.
#[derive(Default)]
struct Rows {
    table: Table,
    rows: usize,
    bytes: usize,
}

const ROWS: usize = 1000;
const BYTES: usize = 256 << 10;

impl Rows {
    fn add(&mut self, row: [String; 4], out: &mut Out) -> io::Result<()> {
        self.bytes += row.iter().map(String::len).sum::<usize>();
        self.rows += 1;
        self.table.row(row);
        if self.rows >= ROWS || self.bytes >= BYTES { self.flush(out) } else { Ok(()) }
    }

    fn flush(&mut self, out: &mut Out) -> io::Result<()> {
        out.table(&self.table)?;
        *self = Rows::default();
        Ok(())
    }
}
