// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root file system of a container: where a program is found, and which users it has. It is
//! looked up as a task in it does, so that no link leads out of it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nscap_linux::{Start, Way};

use super::{Image, directory, input};
use crate::cli::Explain;
use crate::explain::place::Place;
use crate::failure::{ENOENT, Failure};
use crate::out;

/// A directory that is to be `/`.
#[derive(Debug, Default)]
pub(crate) struct Rootfs {
    /// `None`: ours, or an image.
    dir: Option<PathBuf>,
    image: Option<Rc<Image>>,
    /// In it.
    cwd: Option<PathBuf>,
}

/// A user, with the groups that the group file adds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

impl Rootfs {
    pub(super) fn new(dir: Option<PathBuf>) -> Rootfs {
        Rootfs { dir, image: None, cwd: None }
    }

    /// The image that the arguments name, or this directory.
    pub(super) fn of(args: &Explain, dir: Option<PathBuf>) -> Rootfs {
        match &args.opened {
            Some(image) => Rootfs { image: Some(image.clone()), ..Rootfs::default() },
            None => Rootfs::new(dir),
        }
    }

    /// The image.
    pub(crate) fn image(&self) -> Option<&Image> {
        self.image.as_deref()
    }

    /// What an image's configuration says; nothing of a directory.
    pub(super) fn settings(&self) -> nscap_image::layer::Settings {
        self.image().map(Image::settings).unwrap_or_default()
    }

    /// With another working directory than `/`.
    pub(super) fn with_cwd(self, cwd: impl Into<PathBuf>) -> Rootfs {
        Rootfs { cwd: Some(cwd.into()), ..self }
    }

    /// Whether it is a container's, and not our own.
    pub(super) fn is_a_containers(&self) -> bool {
        self.dir.is_some() || self.image.is_some()
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    pub(super) fn place(&self) -> Result<Place, Failure> {
        let own = self.settings().working_dir;
        let cwd = self.cwd.as_deref().unwrap_or(Path::new(&own));
        let cwd = if cwd.as_os_str().is_empty() { Path::new("/") } else { cwd };
        if let Some(image) = &self.image {
            let path = image.tree.take(b"", cwd.as_os_str().as_bytes());
            let path = path.map_err(|error| image.error(error))?.path;
            return Ok(Place::Image(image.clone(), OsStr::from_bytes(&path).into()));
        }
        let Some(dir) = &self.dir else { return Ok(Place::Here(Start::ours()?)) };
        let begin = || Ok::<_, Failure>(Start { root: directory(dir)?, cwd: None, task: None });
        Ok(Place::Here(Start { cwd: Way::take(&begin()?, cwd).end.ok(), ..begin()? }))
    }

    /// The path of a program: a name without a slash is looked for in the directories of `search`,
    /// for what may be executed (access(2) by root, as crun and runc look); else any file of the
    /// name.
    pub(super) fn search(&self, name: &OsStr, search: &OsStr) -> Result<PathBuf, Failure> {
        if name.as_bytes().contains(&b'/') {
            return Ok(name.into());
        }
        let place = self.place()?;
        let mut first = None;
        for dir in search.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes) {
            let path = Path::new(dir).join(name);
            let Ok(file) = place.take(&path)?.end else { continue };
            if file.has_execute_bit() {
                return Ok(path);
            }
            first.get_or_insert(path);
        }
        first.ok_or_else(|| Failure::Input {
            what: out::name(name.as_bytes()),
            problem: format!("is in none of {}", out::name(search.as_bytes())),
            errno: ENOENT,
        })
    }

    /// Whether two paths lead to one file.
    pub(super) fn is_same(&self, one: &Path, other: &Path) -> bool {
        let ends = |path: &Path| {
            let way = self.place().ok()?.take(path).ok()?;
            way.end.is_ok().then_some(way.path)
        };
        one == other || (ends(one).is_some() && ends(one) == ends(other))
    }

    /// A text of it; empty where there is none.
    ///
    /// # Errors
    /// Where it cannot be read whole: an answer without it could be another.
    fn text(&self, path: &str) -> Result<String, Failure> {
        const MOST: usize = 1 << 20;
        let text = self.place()?.text(Path::new(path), MOST)?.unwrap_or_default();
        match text.len() >= MOST {
            true => Err(input(path.to_owned(), "a file of the container of 1 MiB or more")),
            false => Ok(text),
        }
    }

    /// `[USER][:GROUP]`, names or numbers, by its /etc/passwd and /etc/group. What is a number is
    /// never a name, as programs in Go have it.
    ///
    /// # Errors
    /// EINVAL where it has no such name.
    pub(super) fn user(&self, text: &str) -> Result<User, Failure> {
        let (user, group) = text.split_once(':').map_or((text, ""), |(u, g)| (u, g));
        let user = if user.is_empty() { "0" } else { user };
        let (passwd, groups) = (self.text("/etc/passwd")?, self.text("/etc/group")?);
        let unknown = |what: &str, name: &str| self.unknown(what, name);
        let line = line_of(&passwd, user);
        let field = |n: usize| line.as_ref().and_then(|line| line.get(n)?.parse().ok());
        let uid = field(2).or_else(|| user.parse().ok()).ok_or_else(|| unknown("user", user))?;
        let name = line.as_ref().and_then(|line| line.first().copied());
        if group.is_empty() {
            let member = |line: &Vec<&str>| {
                let members = line.get(3)?.split(',');
                name.filter(|name| members.clone().any(|member| member == *name))?;
                line.get(2)?.parse().ok()
            };
            let groups = lines(&groups).filter_map(|line| member(&line)).collect();
            return Ok(User { uid, gid: field(3).unwrap_or(0), groups });
        }
        Ok(User {
            uid,
            gid: group_of(&groups, group).ok_or_else(|| unknown("group", group))?,
            groups: Vec::new(),
        })
    }

    /// A group, by its name or number.
    pub(super) fn group(&self, text: &str) -> Result<u32, Failure> {
        let groups = self.text("/etc/group")?;
        group_of(&groups, text).ok_or_else(|| self.unknown("group", text))
    }

    /// Whether /etc/passwd or /etc/group has this name or number.
    pub(super) fn lists(&self, file: &str, text: &str) -> Result<bool, Failure> {
        Ok(line_of(&self.text(file)?, text).is_some())
    }

    fn unknown(&self, what: &str, name: &str) -> Failure {
        let whose = if self.is_a_containers() { "the container" } else { "this machine" };
        input(out::name(name.as_bytes()), format!("no {what} of {whose} has this name"))
    }
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.trim().split(':').collect())
}

/// The line of passwd or group with this name; or with this number, where it is one.
fn line_of<'t>(text: &'t str, name: &str) -> Option<Vec<&'t str>> {
    let number: Option<i64> = name.parse().ok();
    lines(text).find(|line| match number {
        Some(number) => line.get(2).and_then(|field| field.parse().ok()) == Some(number),
        None => line.first() == Some(&name),
    })
}

fn group_of(groups: &str, name: &str) -> Option<u32> {
    let found = line_of(groups, name).and_then(|line| line.get(2)?.parse().ok());
    found.or_else(|| name.parse().ok())
}

/// The value of a variable of an environment, `NAME=VALUE` each; the last one counts.
pub(super) fn variable<'e>(
    environment: impl IntoIterator<Item = &'e str>,
    name: &str,
) -> Option<OsString> {
    let value = |entry: &'e str| entry.split_once('=').filter(|(key, _)| *key == name);
    environment.into_iter().filter_map(value).last().map(|(_, value)| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_the_containers_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        file("etc/passwd", "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n");
        file("etc/group", "web:x:34:\nnet:x:50:web,root\n");
        let rootfs = Rootfs::new(Some(dir.path().into()));
        let user = |text: &str| rootfs.user(text).unwrap();
        assert_eq!(user("web"), User { uid: 33, gid: 34, groups: vec![50] });
        assert_eq!(user("33"), user("web"));
        assert_eq!(user("web:net"), User { uid: 33, gid: 50, groups: vec![] });
        assert_eq!(user("1000"), User { uid: 1000, gid: 0, groups: vec![] });
        assert_eq!(user("1000:7"), User { uid: 1000, gid: 7, groups: vec![] });
        // Of bytes that are no UTF-8, of blanks, and with names that are other lines' numbers.
        let lines = b"44:x:0:0::/:\nroot:x:0:0::/:\n web:x:33:34:J\xf6rg:/:\nc:x:44:9::/: \n";
        std::fs::write(dir.path().join("etc/passwd"), lines).unwrap();
        file("etc/group", "50:x:0:\nweb:x:34:\nnet:x:50:web,root \n");
        assert_eq!(user("web"), User { uid: 33, gid: 34, groups: vec![50] });
        assert_eq!((user("033"), user("33:")), (user("web"), user("web")));
        assert_eq!(user("44"), User { uid: 44, gid: 9, groups: vec![] });
        assert_eq!(user("44:50"), User { uid: 44, gid: 50, groups: vec![] });
        assert_eq!(user(":50"), User { uid: 0, gid: 50, groups: vec![] });
        assert_eq!(rootfs.group("50").unwrap(), 50);
        file("etc/passwd", &"#".repeat(1 << 20));
        assert!(rootfs.user("33").is_err());
        file("etc/passwd", "root:x:0:0::/:\n");
        assert!(rootfs.user("nobody").is_err() && rootfs.user("web:none").is_err());
        // A link that would lead out of it leads nowhere.
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/../../etc/passwd", dir.path().join("etc/passwd")).unwrap();
        assert!(rootfs.user("root").is_err());
    }
}
