// SPDX-License-Identifier: MIT OR Apache-2.0
//! A start by options of this command: `--drop`, `--add`, `--user`, `--userns`,
//! `--no-new-privileges`.

use std::ffi::OsStr;

use nscap_core::Extent;
use nscap_linux::Who;

use super::merge::{Change, Names};
use super::{Engine, Home, Machine, Rootfs, Runtime, Wanted, Words, input, no_map};
use crate::cli::Explain;
use crate::failure::Failure;
use crate::system::System;

pub(super) fn read(
    args: &Explain,
    machine: &Machine,
    system: &mut System,
) -> Result<Wanted, Failure> {
    let runtime = args.runtime.unwrap_or(Runtime::today(Engine::Podman));
    let rootfs = Rootfs::of(args, args.rootfs.clone());
    let mut wanted = Wanted::new(Words::Options(runtime.engine), runtime, rootfs);
    let own = wanted.take_image();
    let user = args.user.clone().or(own);
    if args.file.is_none() {
        wanted.args.extend(wanted.rootfs.settings().cmd.into_iter().map(Into::into));
    }
    if let Some(user) = &user {
        let user = wanted.rootfs.user(user)?;
        (wanted.uid, wanted.gid, wanted.groups) = (user.uid, user.gid, user.groups);
    }
    let change = Change {
        base: runtime.engine.defaults(),
        add: Names::read(args.add.iter().map(String::as_str))?,
        drop: Names::read(args.drop.iter().map(String::as_str))?,
        privileged: false,
    };
    wanted.sets = change.sets(runtime, is_root(user.as_deref(), wanted.uid, runtime), machine)?;
    wanted.asked = change.add.caps;
    if runtime.engine == Engine::Systemd {
        // A service has what is added as ambient.
        wanted.sets.ambient = change.add.caps;
        wanted.sets.inheritable = change.add.caps;
    }
    wanted.no_new_privs = args.no_new_privileges;
    if let Some(map) = &args.userns {
        wanted.home = home(map, system)?;
    }
    if args.runtime.is_none() {
        wanted.notes.push(("runtime", "podman, as nothing else is said (--runtime)".to_owned()));
    }
    Ok(wanted)
}

/// Whether the engine takes the user for root: podman looks at the text, the others at the uid.
pub(super) fn is_root(user: Option<&str>, uid: u32, runtime: Runtime) -> bool {
    match runtime.engine {
        Engine::Podman => {
            let name = user.and_then(|user| user.split(':').next()).unwrap_or_default();
            ["", "root", "0"].contains(&name)
        }
        _ => uid == 0,
    }
}

/// MAP: extents `inside:outside:count`, or WHO.
pub(super) fn home(map: &OsStr, system: &mut System) -> Result<Home, Failure> {
    let text = map.to_str().unwrap_or_default();
    if text == "host" {
        return Ok(Home::Ours);
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) && text.contains(':') {
        let extents = extents(text.split(','))?;
        return Ok(Home::New { uids: extents.clone(), gids: extents });
    }
    match Who::parse(map)? {
        Who::Kuid(_) | Who::User(_) => {
            let target = system.resolve(map)?;
            Ok(Home::Known(target.namespace(&mut system.namespaces)?))
        }
        _ => Ok(Home::Known(super::super::subject::namespace(map, system)?)),
    }
}

/// Each `inside:outside:count`.
pub(super) fn extents<'t>(
    texts: impl IntoIterator<Item = &'t str>,
) -> Result<Vec<Extent>, Failure> {
    let extent = |text: &str| {
        let mut numbers = text.split(':').map(|number| number.parse::<u32>().ok());
        let mut next = || numbers.next().flatten();
        let extent = (next()?, next()?, next()?);
        numbers.next().is_none().then_some(extent)
    };
    let bad =
        |text: &str| input(crate::out::name(text.as_bytes()), "expected inside:outside:count");
    let all = texts.into_iter().map(|text| {
        let (inside, outside, count) = extent(text).ok_or_else(|| bad(text))?;
        Ok(Extent { inside, outside, count })
    });
    let all = all.collect::<Result<Vec<_>, Failure>>()?;
    checked(all)
}

/// Extents that the kernel takes for a map.
pub(super) fn checked(extents: Vec<Extent>) -> Result<Vec<Extent>, Failure> {
    let problem = |error: nscap_core::MapError| no_map(&error.to_string());
    nscap_image::map::Ids::new(&extents).map_err(problem)?;
    Ok(extents)
}
