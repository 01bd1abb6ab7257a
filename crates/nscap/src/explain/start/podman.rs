// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of `podman run` and `docker run`, as far as they decide about capabilities.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use nscap_core::Extent;

use super::flags::{checked, extents, home, is_root};
use super::merge::{Change, Names};
use super::rootfs::variable;
use super::{Engine, Home, Machine, Rootfs, Runtime, Wanted, Words, input};
use crate::cli::Explain;
use crate::explain::unseen::Unseen;
use crate::failure::Failure;
use crate::out;
use crate::system::System;

/// Options without a value; every other one takes one.
const SWITCHES: [&str; 26] = [
    "detach",
    "disable-content-trust",
    "env-host",
    "help",
    "http-proxy",
    "init",
    "interactive",
    "no-healthcheck",
    "no-hostname",
    "no-hosts",
    "oom-kill-disable",
    "passwd",
    "privileged",
    "publish-all",
    "quiet",
    "read-only",
    "read-only-tmpfs",
    "replace",
    "rm",
    "rmi",
    "rootfs",
    "sig-proxy",
    "tls-verify",
    "tty",
    "unsetenv-all",
    "use-api-socket",
];

/// Letters without a value.
const LETTERS: &str = "dditPqt";

/// What was read of the arguments.
#[derive(Debug, Default)]
struct Read {
    add: Vec<String>,
    drop: Vec<String>,
    user: Option<String>,
    groups: Vec<String>,
    userns: Option<String>,
    uid_map: Vec<String>,
    gid_map: Vec<String>,
    entrypoint: Option<String>,
    environment: Vec<String>,
    directory: Option<String>,
    no_new_privs: bool,
    privileged: bool,
    is_rootfs: bool,
    seccomp: bool,
    /// The image or root file system, and the command.
    rest: Vec<OsString>,
}

impl Read {
    fn arguments(words: &[OsString]) -> Result<Read, Failure> {
        let mut read = Read { seccomp: true, ..Read::default() };
        let mut words = words.iter();
        let mut first = true;
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            let leading = std::mem::take(&mut first);
            if leading && ["run", "create"].contains(&text) {
                continue;
            }
            let Some(option) = text.strip_prefix('-').filter(|option| !option.is_empty()) else {
                read.rest = std::iter::once(word).chain(words).cloned().collect();
                break;
            };
            if option == "-" {
                read.rest = words.cloned().collect();
                break;
            }
            let mut next = || words.next().map(|word| word.to_string_lossy().into_owned());
            match option.strip_prefix('-') {
                Some(long) => read.long(long, &mut next)?,
                None => read.short(option, &mut next)?,
            }
        }
        Ok(read)
    }

    fn long(
        &mut self,
        text: &str,
        next: &mut dyn FnMut() -> Option<String>,
    ) -> Result<(), Failure> {
        let (name, value) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
        if SWITCHES.contains(&name) {
            let on = value.is_none_or(is_true);
            match name {
                "privileged" => self.privileged = on,
                "rootfs" => self.is_rootfs = on,
                _ => {}
            }
            return Ok(());
        }
        let none = || input(format!("--{name}"), "has no value");
        let value = value.map(str::to_owned).or_else(next).ok_or_else(none)?;
        self.option(name, value);
        Ok(())
    }

    /// `-it`, `-u 1000`, `-u1000`.
    fn short(
        &mut self,
        text: &str,
        next: &mut dyn FnMut() -> Option<String>,
    ) -> Result<(), Failure> {
        for (at, letter) in text.char_indices() {
            if LETTERS.contains(letter) {
                continue;
            }
            let rest = &text[at + letter.len_utf8()..];
            let rest = rest.strip_prefix('=').unwrap_or(rest);
            let none = || input(format!("-{letter}"), "has no value");
            let value = match rest {
                "" => next().ok_or_else(none)?,
                rest => rest.to_owned(),
            };
            let name = match letter {
                'u' => "user",
                'e' => "env",
                'w' => "workdir",
                _ => "",
            };
            self.option(name, value);
            break;
        }
        Ok(())
    }

    fn option(&mut self, name: &str, value: String) {
        match name {
            "cap-add" => self.add.push(value),
            "cap-drop" => self.drop.push(value),
            "user" => self.user = Some(value),
            "group-add" => self.groups.push(value),
            "userns" => self.userns = Some(value),
            "uidmap" => self.uid_map.push(value),
            "gidmap" => self.gid_map.push(value),
            "entrypoint" => self.entrypoint = Some(value),
            "env" => self.environment.push(value),
            "workdir" => self.directory = Some(value),
            "security-opt" => self.security(&value),
            _ => {}
        }
    }

    fn security(&mut self, value: &str) {
        let (name, value) =
            value.split_once([':', '=']).map_or((value, None), |(n, v)| (n, Some(v)));
        match name {
            "no-new-privileges" => self.no_new_privs = value.is_none_or(is_true),
            "seccomp" => self.seccomp = value != Some("unconfined"),
            _ => {}
        }
    }
}

fn is_true(text: &str) -> bool {
    ["1", "t", "true"].contains(&text.to_ascii_lowercase().as_str())
}

pub(super) fn read(
    words: &[OsString],
    engine: Engine,
    args: &Explain,
    machine: &Machine,
    system: &mut System,
) -> Result<Wanted, Failure> {
    let read = Read::arguments(words)?;
    let runtime = args.runtime.unwrap_or(Runtime::today(engine));
    let mut rest = read.rest.iter();
    let image = rest.next();
    let dir = args.rootfs.clone().or_else(|| image.filter(|_| read.is_rootfs).map(rootfs_path));
    if args.opened.is_some() && read.is_rootfs {
        return Err(input("--rootfs", "is another root file system than the image"));
    }
    let mut rootfs = Rootfs::of(args, dir);
    if let Some(directory) = &read.directory {
        rootfs = rootfs.with_cwd(directory);
    }
    let mut wanted = Wanted::new(Words::Run(engine), runtime, rootfs);
    // What the image says of its user, if the arguments say nothing.
    let own = wanted.take_image();
    let user = read.user.as_deref().or(args.user.as_deref()).or(own.as_deref());
    if let Some(user) = user {
        let user = wanted.rootfs.user(user)?;
        (wanted.uid, wanted.gid, wanted.groups) = (user.uid, user.gid, user.groups);
    }
    for group in &read.groups {
        wanted.groups.push(wanted.rootfs.group(group)?);
    }
    let change = Change {
        base: super::defaults::of(engine, &mut wanted.notes)?,
        add: Names::read(read.add.iter().map(String::as_str))?,
        drop: Names::read(read.drop.iter().map(String::as_str))?,
        privileged: read.privileged,
    };
    let keep_id = read.userns.as_deref().is_some_and(|userns| userns.starts_with("keep-id"));
    let as_root = is_root(user, wanted.uid, runtime) && !(keep_id && user.is_none());
    wanted.sets = change.sets(runtime, as_root, machine)?;
    wanted.asked = change.add.caps;
    wanted.no_new_privs = read.no_new_privs;
    wanted.home = namespace(&read, args, system, &mut wanted.unseen)?;
    if let Some(entrypoint) = &read.entrypoint {
        let entrypoint = Some(entrypoint).filter(|entry| !entry.is_empty());
        wanted.args = entrypoint.map(OsString::from).into_iter().collect();
    }
    let command: Vec<OsString> = rest.cloned().collect();
    // Another entrypoint, or a command, is instead of the image's command.
    match command.is_empty() && read.entrypoint.is_none() {
        true => wanted.args.extend(wanted.rootfs.settings().cmd.into_iter().map(OsString::from)),
        false => wanted.args.extend(command),
    }
    let path = variable(read.environment.iter().map(String::as_str), "PATH");
    wanted.search = path.unwrap_or(wanted.search);
    note(&read, image.map(OsString::as_os_str), &mut wanted);
    Ok(wanted)
}

/// podman's `DIR[:idmap|:O]`.
fn rootfs_path(text: &OsString) -> PathBuf {
    let text = text.to_string_lossy();
    let end = text.rfind(':').filter(|at| !text[*at..].contains('/'));
    text[..end.unwrap_or(text.len())].into()
}

/// The user namespace that the options ask for.
fn namespace(
    read: &Read,
    args: &Explain,
    system: &mut System,
    unseen: &mut Vec<Unseen>,
) -> Result<Home, Failure> {
    if let Some(map) = &args.userns {
        return home(map, system);
    }
    if !(read.uid_map.is_empty() && read.gid_map.is_empty()) {
        let map = |own: &[String], other: &[String]| {
            let texts = if own.is_empty() { other } else { own };
            extents(texts.iter().map(String::as_str))
        };
        let (uids, gids) = (map(&read.uid_map, &read.gid_map)?, map(&read.gid_map, &read.uid_map)?);
        return Ok(Home::New { uids, gids });
    }
    let word = read.userns.as_deref().unwrap_or_default();
    match word.split(':').next().unwrap_or_default() {
        "ns" => home(OsStr::new(word), system),
        "" | "host" => Ok(Home::Ours),
        _ => {
            let text = format!(
                "which ids --userns={word} takes: 65536 from 65536 are supposed (--userns MAP)"
            );
            unseen.push(Unseen::aside("ids", text));
            supposed()
        }
    }
}

/// A range that nothing else has in most places.
pub(super) fn supposed() -> Result<Home, Failure> {
    let extents = checked(vec![Extent { inside: 0, outside: 65_536, count: 65_536 }])?;
    Ok(Home::New { uids: extents.clone(), gids: extents })
}

fn note(read: &Read, image: Option<&OsStr>, wanted: &mut Wanted) {
    if read.seccomp && !read.privileged {
        let text = "the default filter of the engine: it permits execve";
        wanted.unseen.push(Unseen::aside("seccomp", text));
    }
    if let Some(image) = image.filter(|_| !wanted.rootfs.is_a_containers()) {
        use std::os::unix::ffi::OsStrExt as _;
        let text = format!(
            "what image {} has is not looked at: the file is this machine's (--root DIR names \
             another root), and without --user the user is root",
            out::name(image.as_bytes()),
        );
        wanted.unseen.push(Unseen::aside("image", text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Read {
        let words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
        Read::arguments(&words).unwrap()
    }

    #[test]
    fn options_are_read_as_the_engines_read_them() {
        let one =
            read("run -it --rm --cap-drop=ALL --cap-add net_raw -u1000:7 -v /a:/b image ping -u 5");
        assert_eq!((one.add, one.drop), (vec!["net_raw".to_owned()], vec!["ALL".to_owned()]));
        assert_eq!(
            (one.user.as_deref(), one.rest),
            (Some("1000:7"), vec!["image".into(), "ping".into(), "-u".into(), "5".into()])
        );
        let two = read("--security-opt no-new-privileges --privileged=false --name x -- --image a");
        assert!(two.no_new_privs && !two.privileged && two.rest.len() == 2);
        assert!(!read("--security-opt=no-new-privileges=false image").no_new_privs);
        assert!(read("--security-opt=no-new-privileges:true image").no_new_privs);
        assert!(Read::arguments(&["--user".into()]).is_err());
        assert!(Read::arguments(&["-u".into()]).is_err());
    }

    #[test]
    fn a_root_may_have_a_suffix() {
        assert_eq!(rootfs_path(&"/a/b:idmap".into()), PathBuf::from("/a/b"));
        assert_eq!(rootfs_path(&"/a:c/b".into()), PathBuf::from("/a:c/b"));
    }
}
