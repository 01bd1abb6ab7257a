// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which ids the people of a tour have: what its own user namespace maps decides that. With enough
//! ids there are two disjoint ranges and an owner that both map; with one id there is one root.

use std::path::{Path, PathBuf};
use std::process::Command;

use nscap_linux::Subids;

use super::find;
use crate::failure::{EIO, Failure, call};
use crate::out;

/// How many ids each of the two namespaces has, beside the owner of the tree.
pub(super) const COUNT: u32 = 10_000;
/// An ordinary user.
pub(super) const PLAIN: u32 = 7;
/// Root of the namespace below, as the one above it counts.
pub(super) const BELOW: u32 = 1000;

/// The ids of the containers, as ids of the tour's own namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ids {
    /// Roots of A and B, and the owner of the tree, which both map behind their own range.
    Two {
        /// A's uid 0.
        a: u32,
        /// B's uid 0.
        b: u32,
        /// The owner of the tree.
        owner: u32,
    },
    /// The one id that there is, which is A's uid 0.
    One {
        /// It.
        a: u32,
    },
}

impl Ids {
    /// What this process's own maps allow.
    pub(super) fn here() -> Result<Ids, Failure> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|error| call(path.as_ref(), "read", error))
        };
        let (uids, gids) = (read("/proc/self/uid_map")?, read("/proc/self/gid_map")?);
        Ok(Ids::of(&uids, &gids))
    }

    fn of(uids: &str, gids: &str) -> Ids {
        let holds = |map: &str, id: u32| {
            extents(map).any(|(first, count)| id >= first && id - first < count)
        };
        let fits = |step: &u32| {
            let all = [
                0,
                PLAIN,
                2 * step,
                2 * step + COUNT - 1,
                3 * step,
                3 * step + COUNT - 1,
                5 * step,
            ];
            all.iter().all(|id| holds(uids, *id) && holds(gids, *id))
        };
        match [100_000, 10_000].into_iter().find(fits) {
            Some(step) => Ids::Two { a: 2 * step, b: 3 * step, owner: 5 * step },
            None => Ids::One { a: extents(uids).next().map_or(0, |(first, _)| first) },
        }
    }

    /// A's uid 0.
    pub(super) fn a(self) -> u32 {
        match self {
            Ids::Two { a, .. } | Ids::One { a } => a,
        }
    }

    /// Root of the tour's own namespace, or the user that runs it.
    pub(super) fn host(self) -> u32 {
        match self {
            Ids::Two { .. } => 0,
            Ids::One { a } => a,
        }
    }

    pub(super) fn is_one(self) -> bool {
        matches!(self, Ids::One { .. })
    }

    /// The owner of the tree.
    pub(super) fn owner(self) -> u32 {
        match self {
            Ids::Two { owner, .. } => owner,
            Ids::One { a } => a,
        }
    }
}

fn extents(map: &str) -> impl Iterator<Item = (u32, u32)> {
    map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (first, _, count) = (numbers.next()?.ok()?, numbers.next()?, numbers.next()?.ok()?);
        Some((first, count))
    })
}

/// The name of the one id where there is only one. It must not be 0: an entry for its root would
/// be the tree's own host value.
const ONLY: u32 = 1;

/// Maps the ids of a user, and all subordinate ones, for a process that is in a new user namespace.
/// Gives what is missing for all of the tour, if something is.
pub(super) fn map(pid: u32, uid: u32, gid: u32) -> Result<Option<String>, Failure> {
    let Some(why) = map_all(pid, uid, gid)? else { return Ok(None) };
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{ONLY} {uid} 1\n")),
        ("gid_map", format!("{ONLY} {gid} 1\n")),
    ] {
        let path = PathBuf::from(format!("/proc/{pid}/{file}"));
        std::fs::write(&path, text).map_err(|error| call(&path, "write", error))?;
    }
    Ok(Some(format!(
        "{why}, so there is one id and not all can be played: for the rest be root, or install \
         uidmap and have a range in /etc/subuid and /etc/subgid (usermod --add-subuids \
         100000-165535 --add-subgids 100000-165535 NAME)"
    )))
}

/// With newuidmap(1); gives why not, if not.
fn map_all(pid: u32, uid: u32, gid: u32) -> Result<Option<String>, Failure> {
    let mut lines = Vec::new();
    let name = user_name(uid);
    // Once the uids are mapped there is no way back to the one, so all is looked at first.
    for (tool, file, own) in
        [("newuidmap", Subids::CONFIGURED, uid), ("newgidmap", "/etc/subgid", gid)]
    {
        if find(tool).is_none() {
            return Ok(Some(format!("no {tool}")));
        }
        let configured = Subids::read(Path::new(file))?;
        let Some(range) = configured.first_of(name.as_bytes(), Some(uid)) else {
            return Ok(Some(format!("{} has no range in {file}", out::name(name.as_bytes()))));
        };
        lines.push((tool, [0, own, 1, 1, range.start, range.count].map(|n| n.to_string())));
    }
    for (tool, line) in lines {
        let mut command = Command::new(tool);
        command.env("PATH", super::path()).arg(pid.to_string()).args(line);
        let done = command.output().map_err(|error| call(tool.as_ref(), "execve", error))?;
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        match (done.status.success(), tool) {
            (true, _) => {}
            (false, "newuidmap") => return Ok(Some(said)),
            (false, _) => return Err(super::cannot(tool, &said, EIO)),
        }
    }
    Ok(None)
}

/// The name of a user in /etc/passwd, else the number.
fn user_name(uid: u32) -> String {
    let number = uid.to_string();
    let all = std::fs::read("/etc/passwd").unwrap_or_default();
    let all = String::from_utf8_lossy(&all);
    let is = |line: &&str| line.split(':').nth(2) == Some(&number);
    let name = all.lines().find(is).and_then(|line| line.split(':').next());
    name.map_or(number.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maps_decide() {
        let all = "         0          0 4294967295\n";
        assert_eq!(Ids::of(all, all), Ids::Two { a: 200_000, b: 300_000, owner: 500_000 });
        let usual = "0 1000 1\n1 100000 65536\n";
        assert_eq!(Ids::of(usual, usual), Ids::Two { a: 20_000, b: 30_000, owner: 50_000 });
        let one = "1 1000 1\n";
        assert_eq!(Ids::of(one, one), Ids::One { a: 1 });
        assert_eq!(Ids::of(usual, one), Ids::One { a: 0 });
        assert_eq!(Ids::of("", ""), Ids::One { a: 0 });
    }
}
