// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap layer check`.

use std::ffi::OsStr;

use nscap_core::{Extent, IdMap};
use nscap_image::layer::{self, Finding, Trouble};
use serde::Serialize;

use super::{Input, JsonGrant, Named, Place, Rows, input, reason, shown, side, whose};
use crate::failure::{EINVAL, Failure};
use crate::out::Out;
use crate::report;
use crate::system::System;

#[derive(Serialize)]
struct JsonFinding {
    finding: &'static str,
    text: &'static str,
    #[serde(flatten)]
    place: Place,
    grant: Option<JsonGrant>,
    why: Option<&'static str>,
    clause: Option<&'static str>,
}

/// A container in its own terms expects what is its root's.
const OWN: [Extent; 1] = [Extent { inside: 0, outside: 0, count: 1 }];

/// What the consumer expects.
pub(super) struct Expected<'a> {
    /// Its ids.
    pub(super) consumer: Option<&'a OsStr>,
    /// Kinds of findings that are none.
    pub(super) allow: &'a [String],
}

pub(super) fn run(
    expected: &Expected<'_>,
    platform: Option<&str>,
    layers: &[Named<'_>],
    out: &mut Out,
) -> Result<u8, Failure> {
    for name in expected.allow {
        if !Trouble::ALL.iter().any(|trouble| trouble.name() == name) {
            let known: Vec<_> = Trouble::ALL.iter().map(|trouble| trouble.name()).collect();
            let problem = format!("no kind of finding; there are {}", known.join(", "));
            return Err(input(&format!("--allow {name}"), problem, EINVAL));
        }
    }
    let side = expected.consumer.map(|map| side(map, &mut System::new()?)).transpose()?;
    let map = side.as_ref().map_or(IdMap::from_sorted(&OWN, &OWN), |side| side.uids.map());
    let (mut rows, mut status) = (Rows::default(), 0);
    for named in layers {
        let checked = Input::each(named, platform, |layer, reader| {
            layer::check(reader, map, &mut |finding| {
                if expected.allow.iter().any(|name| name == finding.trouble.name()) {
                    return Ok(());
                }
                status = status.max(1);
                let place = Place::new(named, layer, finding.offset, finding.member);
                if out.is_json() {
                    json(finding, place, out)
                } else {
                    row(finding, &named.before(), &place, &mut rows, out)
                }
            })
        });
        // What was found before an error is worth knowing.
        rows.flush(out)?;
        match checked {
            Err(failure) if layers.len() > 1 && !failure.is_broken_pipe() => {
                status = status.max(report(&named.error(failure)));
            }
            checked => checked?,
        }
    }
    Ok(status)
}

fn json(finding: &Finding<'_>, place: Place, out: &mut Out) -> std::io::Result<()> {
    out.object(&JsonFinding {
        finding: finding.trouble.name(),
        text: finding.trouble.text(),
        place,
        grant: finding.grant.map(JsonGrant::from),
        why: finding.denied.map(|denied| denied.why.text()),
        clause: finding.denied.map(|denied| denied.why.clause()),
    })
}

fn row(
    finding: &Finding<'_>,
    before: &str,
    place: &Place,
    rows: &mut Rows,
    out: &mut Out,
) -> std::io::Result<()> {
    let name = if finding.member.is_empty() {
        "(the archive)".to_owned()
    } else {
        shown(place.layer.as_deref(), finding.member)
    };
    let grant = finding
        .grant
        .map_or_else(|| "-".to_owned(), |grant| format!("{} {}", whose(grant.id), grant.caps));
    let text = match finding.denied {
        Some(denied) => reason(denied),
        None => finding.trouble.text().to_owned(),
    };
    let name = format!("{before}{name}");
    rows.add([name, finding.trouble.name().to_owned(), grant, text], out)
}
