// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap layer map`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use nscap_core::translate::Translation;
use nscap_core::{Decision, Uid};
use nscap_image::layer::{self, Change, Decided, Layout};
use serde::Serialize;

use super::{Input, JsonGrant, Named, Place, input, member_path, not_an_image, shown, side, whose};
use crate::cli::{LayerMap, UnmappedArg};
use crate::failure::{EINVAL, EIO, Failure};
use crate::out::{self, Out};
use crate::system::System;

#[derive(Serialize)]
struct JsonDecided {
    #[serde(flatten)]
    place: Place,
    /// What there was.
    grant: Option<JsonGrant>,
    /// The rootid that it has now; `None` where it is left out or refused.
    becomes: Option<u32>,
    changed: bool,
    why: &'static str,
    clause: &'static str,
}

/// What was done to an image.
#[derive(Serialize)]
struct JsonDone {
    layers: u64,
    layers_changed: u64,
    grants: u64,
    dropped: u64,
}

pub(super) fn run(args: &LayerMap, out: &mut Out) -> Result<u8, Failure> {
    let mut system = System::new()?;
    let (from, to) = (side(&args.from, &mut system)?, side(&args.to, &mut system)?);
    let gids = args.gid_from.as_deref().zip(args.gid_to.as_deref());
    let gids =
        gids.map(|(from, to)| Ok::<_, Failure>((side(from, &mut system)?, side(to, &mut system)?)));
    let gids = gids.transpose()?;
    let (gid_from, gid_to) = gids.as_ref().map_or((&from, &to), |(from, to)| (from, to));
    let drop_unmapped = args.unmapped == UnmappedArg::Drop;
    let translation = |from, to| Translation { from, to, drop_unmapped };
    let change = Change {
        uids: translation(from.uids.map(), to.uids.map()),
        gids: args.owners.then(|| translation(gid_from.gids.map(), gid_to.gids.map())),
    };
    match Input::open(args.layer.as_deref(), args.platform.as_deref())? {
        Input::File(_) | Input::Stream(_) if args.in_place => {
            Err(input("--in-place", "is for images; use --output".into(), EINVAL))
        }
        Input::File(mut file) => {
            // It may have the form of an image all the same, which nothing may be written of.
            stream(args, out.is_json(), |output, hear| {
                layer::map_file(&mut file, output, &change, hear)
            })
        }
        Input::Stream(mut piped) => stream(args, out.is_json(), |output, hear| {
            layer::map_stream(&mut piped, output, &change, hear)
        }),
        Input::Image(layout) => image(args, &layout, &change, out),
    }
}

/// Whether a decision is told: with --explain each, otherwise what is lost.
fn is_told(args: &LayerMap, decided: &Decided<'_>) -> bool {
    args.explain || matches!(decided.decision, Decision::Deny(..))
}

fn stream(
    args: &LayerMap,
    json: bool,
    mut map: impl FnMut(&mut File, &mut layer::Hear<'_>) -> layer::Result<layer::Changed>,
) -> Result<u8, Failure> {
    let mut hear = |decided: &Decided<'_>| {
        if !is_told(args, decided) {
            return Ok(());
        }
        let line = line(args, None, decided, json);
        writeln!(anstream::stderr(), "{line}")
    };
    let named = Named::of(args);
    let mut convert = |output: &mut File| -> Result<(), Failure> {
        not_an_image(map(output, &mut hear)?.image, named.text())
    };
    match &args.output {
        Some(path) => to_file(path, convert)?,
        None if io::stdout().is_terminal() => {
            return Err(input("standard output", "is a terminal; use --output".into(), EINVAL));
        }
        None => {
            let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            convert(&mut stdout)?;
        }
    }
    Ok(0)
}

/// The whole file or none.
pub(super) fn to_file(
    path: &Path,
    convert: impl FnOnce(&mut File) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let errno = error.raw_os_error().unwrap_or(EIO);
        input(&out::path(path), "cannot be written".into(), errno)
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".nscap-").permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(parent.unwrap_or(Path::new("."))).map_err(failed)?;
    convert(file.as_file_mut())?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error)).map(|_| ())
}

fn image(
    args: &LayerMap,
    layout: &Layout,
    change: &Change<'_>,
    out: &mut Out,
) -> Result<u8, Failure> {
    let json = out.is_json();
    let mut hear = |digest: &str, decided: &Decided<'_>| {
        if !is_told(args, decided) {
            return Ok(());
        }
        out.line(&line(args, Some(digest), decided, json))
    };
    let changed = match (&args.output, args.in_place) {
        (Some(target), _) => layer::map_to(layout, target, change, &mut hear)?,
        (None, true) => layer::map_in_place(layout, change, &mut hear)?,
        (None, false) => {
            return Err(input("an image", "needs --output or --in-place".into(), EINVAL));
        }
    };
    if json {
        out.object(&JsonDone {
            layers: changed.layers,
            layers_changed: changed.changed,
            grants: changed.total.grants,
            dropped: changed.total.dropped,
        })?;
    } else {
        out.line(&format!("{} of {} layers changed", changed.changed, changed.layers))?;
    }
    Ok(0)
}

/// What became of one grant, in one line.
fn line(args: &LayerMap, layer: Option<&str>, decided: &Decided<'_>, json: bool) -> String {
    let (becomes, changed) = match decided.decision {
        Decision::Write(id, _) => (Some(id), true),
        Decision::Keep(_) => (decided.grant.and_then(|grant| grant.id), false),
        Decision::Deny(..) => (None, true),
    };
    let why = decided.decision.why();
    if json {
        let place = Place {
            archive: Named::of(args).name.map(|name| name.to_string_lossy().into_owned()),
            layer: layer.map(str::to_owned),
            platform: None,
            offset: decided.offset,
            path: member_path(decided.member),
        };
        let object = JsonDecided {
            place,
            grant: decided.grant.map(JsonGrant::from),
            becomes: becomes.map(Uid::get),
            changed,
            why: why.text(),
            clause: why.clause(),
        };
        // Numbers, strings and lists of them are always JSON.
        return out::json::line(&object).unwrap_or_default();
    }
    let grant = match decided.grant {
        Some(grant) => format!("{} {}", whose(grant.id), grant.caps),
        None => "a value".to_owned(),
    };
    let new = match (becomes, changed) {
        (None, _) => "nothing".to_owned(),
        (Some(_), false) => "the same".to_owned(),
        (Some(id), true) => whose(Some(id)),
    };
    let name = shown(layer, decided.member);
    format!("{name}: {grant} -> {new}: {why} [{}]", why.clause())
}

impl<'a> Named<'a> {
    fn of(args: &'a LayerMap) -> Named<'a> {
        Named { name: args.layer.as_deref().filter(|name| *name != "-"), shown: false }
    }
}
