// SPDX-License-Identifier: MIT OR Apache-2.0
//! The form in which mount(8) starts a helper: `mount.nscap SOURCE TARGET [-sfnv] [-N NS] [-o
//! OPTIONS] [-t TYPE]` ("External helpers" there), and mount.fuse(8) a file system: `nscap SOURCE
//! TARGET -o OPTIONS`. Both become arguments of `nscap mount`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The names under which mount(8) finds this command, in /sbin.
const NAMES: [&str; 2] = ["mount.nscap", "mount.fuse.nscap"];

/// The arguments of `nscap mount` that mean the same; `None` where this is not the helper's form.
pub(crate) fn arguments(args: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut args = args.into_iter();
    let name = args.next()?;
    let rest: Vec<OsString> = args.collect();
    let named = Path::new(&name).file_name().is_some_and(|name| NAMES.iter().any(|n| name == *n));
    // No command of ours has a slash in it, and whatever a helper mounts is given by a whole path.
    let by_path = rest.first().is_some_and(|first| first.as_bytes().starts_with(b"/"));
    (named || by_path).then(|| translate(&rest))
}

fn translate(given: &[OsString]) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["nscap", "mount"].map(OsString::from).into();
    let mut places = Vec::new();
    let mut given = given.iter();
    while let Some(word) = given.next() {
        match word.to_str() {
            // The argument of -t is always nscap: mount(8) would have started another program
            // otherwise.
            Some("-t") => drop(given.next()),
            Some("-o" | "-N") => {
                all.push(if word == "-o" { "-o" } else { "--namespace" }.into());
                all.extend(given.next().cloned());
            }
            Some(flags) if is_flags(flags) => all.extend(flags.chars().filter_map(flag)),
            _ => places.push(word.clone()),
        }
    }
    // An unknown flag is clap's to refuse, so only what cannot be one is kept from it.
    if places.iter().all(|place| !place.as_bytes().starts_with(b"-")) {
        all.push("--".into());
    }
    all.extend(places);
    all
}

fn is_flags(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|f| !f.is_empty() && f.chars().all(|c| "sfnvrw".contains(c)))
}

/// -n (no /etc/mtab) and -v (say more) change nothing here.
fn flag(letter: char) -> Option<OsString> {
    let same = match letter {
        's' => "--sloppy",
        'f' => "--fake",
        'r' => "--read-only",
        _ => return None,
    };
    Some(OsStr::new(same).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(given: &[&str]) -> Option<String> {
        let all = arguments(given.iter().map(OsString::from))?;
        Some(all.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn the_forms_of_helpers_become_ours() {
        assert_eq!(
            same(&["/sbin/mount.nscap", "/a", "/b", "-n", "-o", "ro,same-ok", "-t", "nscap"]),
            Some("nscap mount -o ro,same-ok -- /a /b".into())
        );
        assert_eq!(
            same(&["mount.nscap", "/a", "/b", "-sfv", "-N", "/proc/7/ns/mnt"]),
            Some("nscap mount --sloppy --fake --namespace /proc/7/ns/mnt -- /a /b".into())
        );
        assert_eq!(
            same(&["nscap", "/a", "/b", "-o", "rw,dev,suid"]),
            Some("nscap mount -o rw,dev,suid -- /a /b".into())
        );
        assert_eq!(same(&["mount.nscap", "/a", "-x"]), Some("nscap mount /a -x".into()));
        assert_eq!(
            same(&["mount.nscap", "/a", "/b", "-o"]),
            Some("nscap mount -o -- /a /b".into())
        );
        assert_eq!(same(&["nscap", "mount", "/a", "/b"]), None);
        assert_eq!(same(&["nscap"]), None);
        assert_eq!(same(&[]), None);
    }
}
