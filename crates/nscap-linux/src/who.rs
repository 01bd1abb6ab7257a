// SPDX-License-Identifier: MIT OR Apache-2.0
//! WHO, which names the root that a grant is for on a command line: the host, a kuid, root of the
//! namespace of a process or of a file, or the first subordinate range of a user.

use std::path::{Path, PathBuf};

use crate::quote::Quotable as _;
use nscap_core::{Kuid, root_kuid};

use crate::error::{Error, Result};
use crate::managed::Managed;
use crate::ns::{Namespaces, NsIndex};
use crate::subid::Subids;

/// WHO as written.
///
/// ```
/// use nscap_linux::Who;
/// assert_eq!(Who::parse("100000".as_ref())?, Who::Kuid(nscap_core::Kuid::new(100_000).unwrap()));
/// assert_eq!(Who::parse("pid:7".as_ref())?, Who::Process(7));
/// assert!(Who::parse("alice".as_ref()).is_err());
/// # Ok::<(), nscap_linux::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// `host`: the owner of ordinary file systems; a grant to it is a host value.
    Host,
    /// `100000`: a root kuid.
    Kuid(Kuid),
    /// `pid:N`: root of the user namespace of a process.
    Process(u32),
    /// `ns:PATH`: root of the user namespace that a file refers to.
    File(PathBuf),
    /// `user:NAME`: root of a container with the first subordinate range of a user.
    User(String),
    /// `podman:NAME`, `docker:NAME`, `incus:NAME`, `kube:NS/POD/CONTAINER`, `machine:NAME`,
    /// `unit:NAME`: root of the user namespace of its first process.
    Managed(Managed),
}

/// The root that a WHO names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The root kuid.
    pub kuid: Kuid,
    /// The namespace, if WHO names one, or if a live one in the snapshot has that root.
    pub ns: Option<NsIndex>,
    /// How many ids its range has, where that is configured.
    pub count: Option<u32>,
}

/// How many ids a container mostly has, as newuidmap(1) and most runtimes give them.
const USUAL_COUNT: u32 = 65_536;

impl Target {
    /// The namespace; where there is none, one as it would be made in the initial namespace, with
    /// ids from 0 mapped to the target's range (65,536 ids where the size is not known).
    ///
    /// # Errors
    /// [`Error::Who`] where such a range reaches past the last id.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let target = Who::parse("4000000".as_ref())?.resolve(&mut namespaces)?;
    /// let supposed = target.namespace(&mut namespaces)?;
    /// assert_eq!(nscap_core::root_kuid(namespaces.get(supposed)), Some(target.kuid));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn namespace(&self, namespaces: &mut Namespaces) -> Result<NsIndex> {
        if let Some(ns) = self.ns {
            return Ok(ns);
        }
        let kuid = self.kuid.get();
        let count = self.count.unwrap_or(USUAL_COUNT).min(u32::MAX - kuid);
        let map = [nscap_core::Extent { inside: 0, outside: kuid, count }];
        let problem =
            |e: nscap_core::MapError| who_error(kuid.to_string().as_ref(), &e.to_string());
        namespaces.add_idmap(&map, &map).map_err(problem)
    }
}

impl Who {
    /// The forms, in words.
    pub const FORMS: &str = "host, a kuid, pid:N, ns:PATH, user:NAME, or podman:, docker:, incus:, \
         machine: or unit:NAME, or kube:NS/POD/CONTAINER";

    /// Reads WHO.
    ///
    /// # Errors
    /// [`Error::Who`] with what is wrong.
    pub fn parse(text: &std::ffi::OsStr) -> Result<Who> {
        use std::os::unix::ffi::OsStrExt as _;
        let problem = |problem: &str| who_error(text, problem);
        if let Some(path) = text.as_bytes().strip_prefix(b"ns:") {
            if path.is_empty() {
                return Err(problem("no path after ns:"));
            }
            return Ok(Who::File(std::ffi::OsStr::from_bytes(path).into()));
        }
        let Some(word) = text.to_str() else {
            return Err(problem("not UTF-8"));
        };
        if word == "host" {
            return Ok(Who::Host);
        }
        if let Some(pid) = word.strip_prefix("pid:") {
            let pid = pid.parse().ok().filter(|pid| *pid > 0);
            return pid.map(Who::Process).ok_or_else(|| problem("not a process id after pid:"));
        }
        if let Some(name) = word.strip_prefix("user:") {
            let named = !name.is_empty();
            return named
                .then(|| Who::User(name.into()))
                .ok_or_else(|| problem("no name after user:"));
        }
        if let Some(managed) = Managed::parse(word) {
            return managed.map(Who::Managed);
        }
        let kuid = word.parse().ok().and_then(Kuid::new);
        kuid.map(Who::Kuid).ok_or_else(|| problem(&format!("expected {}", Who::FORMS)))
    }

    /// Finds the root that WHO names. Adds namespaces that it names to `namespaces`.
    ///
    /// # Errors
    /// [`Error::Who`] where the namespace maps no uid 0 or its maps cannot be read, or the user has
    /// no range; [`Namespaces::add_pid`]'s and [`Namespaces::add_path`]'s errors.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let target = Who::parse("host".as_ref())?.resolve(&mut namespaces)?;
    /// assert_eq!(target.kuid, nscap_core::Kuid::ROOT);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn resolve(&self, namespaces: &mut Namespaces) -> Result<Target> {
        match self {
            Who::Host => {
                let initial = namespaces.initial();
                Ok(Target { kuid: Kuid::ROOT, ns: Some(initial.index()), count: None })
            }
            Who::Kuid(kuid) => {
                Ok(Target { kuid: *kuid, ns: live_root(namespaces, *kuid), count: None })
            }
            Who::Process(pid) => {
                let ns = namespaces.add_pid(*pid)?;
                root_of(ns, &format!("pid:{pid}"), namespaces)
            }
            Who::Managed(managed) => {
                let leader = managed.leader()?;
                let ns = namespaces.add_pid(leader.pid())?;
                leader.check()?;
                root_of(ns, &format!("pid:{}", leader.pid()), namespaces)
            }
            Who::File(path) => {
                let ns = namespaces.add_path(path)?;
                root_of(ns, &format!("ns:{}", path.display()), namespaces)
            }
            Who::User(name) => {
                let (kuid, count) = first_range(name, Path::new(Subids::CONFIGURED))?;
                Ok(Target { kuid, ns: live_root(namespaces, kuid), count: Some(count) })
            }
        }
    }
}

fn root_of(ns: NsIndex, who: &str, namespaces: &Namespaces) -> Result<Target> {
    let live = namespaces.get(ns);
    let problem = |problem: &str| who_error(who.as_ref(), problem);
    if !live.maps_known() {
        return Err(problem("the namespace's maps cannot be read"));
    }
    let kuid = root_kuid(live).ok_or_else(|| {
        problem("the namespace maps no uid 0, so no entry can be its root's (R5)")
    })?;
    Ok(Target { kuid, ns: Some(ns), count: None })
}

/// A live namespace whose root it is.
fn live_root(namespaces: &Namespaces, kuid: Kuid) -> Option<NsIndex> {
    namespaces.rooted(kuid).next().map(crate::LiveNs::index)
}

fn first_range(name: &str, path: &Path) -> Result<(Kuid, u32)> {
    let uid = nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    let subids = Subids::read(path)?;
    let range = subids.first_of(name.as_bytes(), uid).ok_or_else(|| {
        let problem = format!("has no range in {}", path.display());
        who_error(format!("user:{name}").as_ref(), &problem)
    })?;
    let kuid = Kuid::new(range.start).ok_or_else(|| who_error(name.as_ref(), "not a kuid"))?;
    Ok((kuid, range.count))
}

/// The user whose uid this is, as the system's user database says (getpwuid(3)); `None` where there
/// is none.
///
/// ```
/// assert_eq!(nscap_linux::user_name(nscap_core::Kuid::ROOT).as_deref(), Some("root"));
/// ```
#[must_use]
pub fn user_name(kuid: Kuid) -> Option<String> {
    let user = nix::unistd::User::from_uid(kuid.get().into());
    user.ok().flatten().map(|user| user.name)
}

/// The uid and the login group of a user, by name (getpwnam(3)); `None` where there is no such
/// user.
///
/// ```
/// assert_eq!(nscap_linux::user_ids("root"), Some((0, 0)));
/// ```
#[must_use]
pub fn user_ids(name: &str) -> Option<(u32, u32)> {
    let user = nix::unistd::User::from_name(name).ok().flatten()?;
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

/// The gid of a group, by name (getgrnam(3)); `None` where there is no such group.
///
/// ```
/// assert_eq!(nscap_linux::group_id("root"), Some(0));
/// ```
#[must_use]
pub fn group_id(name: &str) -> Option<u32> {
    let group = nix::unistd::Group::from_name(name).ok().flatten()?;
    Some(group.gid.as_raw())
}

/// The group whose gid this is (getgrgid(3)); `None` where there is none.
///
/// ```
/// assert_eq!(nscap_linux::group_name(0).as_deref(), Some("root"));
/// ```
#[must_use]
pub fn group_name(gid: u32) -> Option<String> {
    let group = nix::unistd::Group::from_gid(gid.into());
    group.ok().flatten().map(|group| group.name)
}

fn who_error(who: &std::ffi::OsStr, problem: &str) -> Error {
    error(who, problem)
}

/// An error about WHO.
pub(crate) fn error(who: &std::ffi::OsStr, problem: &str) -> Error {
    Error::Who { who: who.maybe_quote().to_string(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_nobody_is_said_so() {
        for bad in ["", "bob", "-1", "4294967295", "pid:", "pid:0", "pid:x", "user:", "ns:", "1 "] {
            let error = Who::parse(bad.as_ref()).unwrap_err().to_string();
            assert!(error.contains("EINVAL"), "{bad}: {error}");
        }
        assert_eq!(Who::parse("ns:/x y".as_ref()).unwrap(), Who::File("/x y".into()));
    }

    #[test]
    fn the_first_range_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nscap-a:5000:10\nnscap-a:100000:10\n").unwrap();
        assert_eq!(first_range("nscap-a", file.path()).unwrap(), (Kuid::new(5000).unwrap(), 10));
        let error = first_range("nscap-b", file.path()).unwrap_err().to_string();
        assert!(error.starts_with("user:nscap-b: has no range"), "{error}");
    }
}
