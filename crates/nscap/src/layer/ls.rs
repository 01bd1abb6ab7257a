// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap layer ls`.

use nscap_core::{Kuid, Uid};
use nscap_image::layer::{self, ImageLayer, Listed};
use serde::Serialize;

use super::{Input, JsonGrant, Named, Place, Rows, reason, shown, whose};
use crate::failure::Failure;
use crate::out::Out;
use crate::report;
use crate::system::{Holder, System, describe};

#[derive(Serialize)]
struct Member {
    #[serde(flatten)]
    place: Place,
    grants: Vec<Shown>,
    errno: Option<&'static str>,
    why: Option<&'static str>,
    clause: Option<&'static str>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    grant: JsonGrant,
    holders: Vec<Holder>,
}

/// The holder of an id, as text.
fn holders(id: Option<Uid>, system: &mut System) -> Result<Vec<Holder>, Failure> {
    match id.filter(|id| *id != Uid::ROOT).and_then(|id| Kuid::new(id.get())) {
        Some(kuid) => system.holders(kuid),
        None => Ok(Vec::new()),
    }
}

pub(super) fn run(
    layers: &[Named<'_>],
    platform: Option<&str>,
    out: &mut Out,
) -> Result<u8, Failure> {
    let mut system = System::new()?;
    let mut status = 1;
    for named in layers {
        let listed = one((named, platform), &mut status, &mut system, out);
        match listed {
            Err(failure) if layers.len() > 1 && !failure.is_broken_pipe() => {
                status = status.max(report(&named.error(failure)));
            }
            listed => listed?,
        }
    }
    Ok(status)
}

fn one(
    (named, platform): (&Named<'_>, Option<&str>),
    status: &mut u8,
    system: &mut System,
    out: &mut Out,
) -> Result<(), Failure> {
    let (mut rows, mut failed) = (Rows::default(), None);
    let listed = Input::each(named, platform, |layer, reader| {
        layer::list(reader, &mut |listed| {
            *status = match (&listed.grants, *status) {
                (Err(_), _) | (_, 2) => 2,
                (Ok(_), _) => 0,
            };
            print((named, layer), listed, system, &mut rows, out).map_err(|failure| {
                let kind = if failure.is_broken_pipe() {
                    std::io::ErrorKind::BrokenPipe
                } else {
                    std::io::ErrorKind::Other
                };
                failed = Some(failure);
                kind.into()
            })
        })
    });
    match (failed, listed) {
        (Some(failure), _) => return Err(failure),
        (None, listed) => listed,
    }?;
    rows.flush(out)?;
    Ok(())
}

fn print(
    (named, layer): (&Named<'_>, Option<&ImageLayer>),
    listed: &Listed<'_>,
    system: &mut System,
    rows: &mut Rows,
    out: &mut Out,
) -> Result<(), Failure> {
    let place = Place::new(named, layer, listed.offset, listed.member);
    let name = format!("{}{}", named.before(), shown(place.layer.as_deref(), listed.member));
    let denied = listed.grants.as_ref().err().copied();
    let mut grants = Vec::new();
    for grant in listed.grants.iter().flatten() {
        grants.push((*grant, holders(grant.id, system)?));
    }
    if out.is_json() {
        let shown = |(grant, holders)| Shown { grant: JsonGrant::from(grant), holders };
        out.object(&Member {
            place,
            grants: grants.into_iter().map(shown).collect(),
            errno: denied.map(|denied| denied.errno.name()),
            why: denied.map(|denied| denied.why.text()),
            clause: denied.map(|denied| denied.why.clause()),
        })?;
        return Ok(());
    }
    if let Some(denied) = denied {
        rows.add([name.clone(), "-".into(), "-".into(), reason(denied)], out)?;
    }
    for (grant, holders) in grants {
        let holder = match grant.id {
            Some(Uid::ROOT) => "root where it is unpacked, and all below".to_owned(),
            Some(_) => describe(&holders),
            None => "no root".to_owned(),
        };
        rows.add([name.clone(), whose(grant.id), grant.caps.to_string(), holder], out)?;
    }
    Ok(())
}
