// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap layer set` and `nscap layer rm`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nscap_core::translate::ArchiveGrant;
use nscap_core::{ArchiveChange, Decision, FileCaps, Uid};
use nscap_image::layer::{self, FileChange, FileChanged, ImageName, Layout};
use serde::Serialize;

use super::map::to_file;
use super::{Input, JsonGrant, input, member_path, shown, whose};
use crate::cli::{LayerHow, LayerSet};
use crate::failure::{EINVAL, Failure};
use crate::note;
use crate::out::{self, JsonPath, Out};

#[derive(Serialize)]
struct JsonChanged {
    archive: String,
    platform: Option<String>,
    #[serde(flatten)]
    path: JsonPath,
    other_names: Vec<JsonPath>,
    before: Vec<JsonGrant>,
    after: Vec<JsonGrant>,
    changed: bool,
    why: &'static str,
    clause: &'static str,
}

pub(super) fn set(args: &LayerSet, out: &mut Out) -> Result<u8, Failure> {
    let caps = args.caps.as_ref().map(|text| {
        let caps = FileCaps::from_text(text.as_bytes());
        caps.map_err(|error| Failure::Caps { text: text.clone(), error })
    });
    let (change, said) = match (caps.transpose()?, args.no_effective) {
        (Some(caps), true) => {
            let caps = FileCaps { effective: false, ..caps };
            (ArchiveChange::Set(caps), caps.to_string())
        }
        (Some(caps), false) => (ArchiveChange::Set(caps), caps.to_string()),
        (None, _) => (ArchiveChange::NoEffective, "--no-effective".to_owned()),
    };
    let status = run(("set", &said), &args.how, change, out)?;
    if args.no_effective {
        note(
            "without the effective bit execve gives the capability in the permitted set only: the program \
             must raise it itself (cap_set_proc(3)), and starts where the capability is dropped too [X]",
        );
    }
    Ok(status)
}

pub(super) fn rm(how: &LayerHow, out: &mut Out) -> Result<u8, Failure> {
    run(("rm", ""), how, ArchiveChange::Remove, out)
}

fn run(
    (command, said): (&str, &str),
    how: &LayerHow,
    change: ArchiveChange,
    out: &mut Out,
) -> Result<u8, Failure> {
    let (image, path) = (how.image.as_os_str(), how.path.as_os_str());
    let words = ["nscap layer", command, &out::path(Path::new(path)), said];
    let created_by = words.join(" ").trim_end().to_owned();
    let change = FileChange {
        path: path.as_bytes(),
        change,
        rewrite: how.rewrite,
        all_links: how.all_links,
        created_by: &created_by,
    };
    let mut told = Told { image, all_links: how.all_links, changed: false, out };
    let mut hear = |changed: &FileChanged<'_>| told.take(changed);
    let is_layer = match Input::open(Some(image), how.platform.as_deref())? {
        Input::Image(layout) => {
            match &how.output {
                Some(target) => layer::change_to(&layout, target, &change, &mut hear)?,
                None => layer::change_in_place(&layout, &change, &mut hear)?,
            }
            false
        }
        Input::File(file) => {
            let layout = Layout::alone(file);
            let name = ImageName::of(image);
            let target = how.output.as_deref().unwrap_or(&name.path);
            to_file(target, |file| Ok(layer::change_layer(&layout, file, &change, &mut hear)?))?;
            true
        }
        Input::Stream(_) => {
            let problem = "is read once, as it comes: name a file".to_owned();
            return Err(input(&out::path(Path::new(image)), problem, EINVAL));
        }
    };
    if told.changed && !is_layer {
        note("the image has another digest now: a signature of the old one does not sign it");
    }
    Ok(0)
}

/// What is said of each image.
struct Told<'a> {
    image: &'a OsStr,
    all_links: bool,
    changed: bool,
    out: &'a mut Out,
}

impl Told<'_> {
    fn take(&mut self, changed: &FileChanged<'_>) -> std::io::Result<()> {
        let wrote = matches!(changed.decision, Decision::Write(..));
        self.changed |= wrote;
        let why = changed.decision.why();
        let grants =
            |all: &[ArchiveGrant]| all.iter().map(|grant| JsonGrant::from(*grant)).collect();
        if self.out.is_json() {
            self.out.object(&JsonChanged {
                archive: self.image.to_string_lossy().into_owned(),
                platform: changed.platform.map(str::to_owned),
                path: member_path(changed.name),
                other_names: changed.others.iter().map(|name| member_path(name)).collect(),
                before: grants(changed.before),
                after: grants(changed.after),
                changed: wrote,
                why: why.text(),
                clause: why.clause(),
            })?;
        } else {
            let platform =
                changed.platform.map_or_else(String::new, |platform| format!("{platform}  "));
            let name = shown(None, changed.name);
            let (before, after) = (text(changed.before), text(changed.after));
            let line = match wrote {
                true => format!("{platform}{name}  {before} -> {after}"),
                false => format!("{platform}{name}  {after} already"),
            };
            self.out.line(&line)?;
        }
        self.remark(changed);
        Ok(())
    }

    /// What a user may not expect.
    fn remark(&self, changed: &FileChanged<'_>) {
        if let (Some(first), false) = (changed.others.first(), self.all_links) {
            let more = match changed.others.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            note(&format!(
                "{}{more} is another name of this file and stays as it is (--all-links)",
                shown(None, first)
            ));
        }
        let foreign = changed.after.iter().filter_map(|grant| grant.id).find(|id| *id != Uid::ROOT);
        if let Some(id) = foreign {
            note(&format!(
                "the entry for rootid {id} stays: where that id is not mapped, unpacking fails (nscap layer map)"
            ));
        }
    }
}

/// Grants in one word for people.
fn text(grants: &[ArchiveGrant]) -> String {
    if grants.is_empty() {
        return "nothing".to_owned();
    }
    let one = |grant: &ArchiveGrant| format!("{} {}", whose(grant.id), grant.caps);
    grants.iter().map(one).collect::<Vec<_>>().join(", ")
}
