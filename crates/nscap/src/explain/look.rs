// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file as the task comes to it: each directory that it has to search, the file, and its access
//! control list.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nscap_core::{
    AclEntry, AclTag, Capability, InodeView, Program, Task, Why, check_searchable, permits,
};
use nscap_image::layer::TreeInode;
use nscap_image::shift::{Acl, Tag};
use nscap_linux::{FileState, Inode, LiveNs, opath};

use super::place::{Dir, Node, Place, Trodden};
use super::subject::Subject;
use super::unseen::Unseen;
use crate::failure::{EACCES, Failure, call};
use crate::out;
use crate::system::System;

const ACCESS: &std::ffi::CStr = c"system.posix_acl_access";

/// Why execve(2) fails before it looks at capabilities.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) errno: i32,
    pub(crate) text: String,
    pub(crate) why: Option<Why>,
}

/// A file that execve(2) opens.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) file: Node,
    /// As it is if the superblock is the likeliest namespace's.
    pub(crate) state: FileState,
    /// As it is if it is another's, for each that it may be.
    pub(crate) readings: Vec<FileState>,
    /// The same where an owner that is shown as one without an id has none.
    pub(crate) hazy: Vec<FileState>,
    acl: Vec<AclEntry>,
    /// What of it may be in several ways.
    pub(crate) unseen: Vec<Unseen>,
}

/// What came of looking for one.
pub(crate) struct Looked {
    /// The directories on the way, in words.
    pub(crate) way: String,
    /// The first directory that refuses, and the rest of what refuses.
    pub(crate) refused: Vec<Stop>,
    pub(crate) unseen: Vec<Unseen>,
    pub(crate) found: Result<Found, nscap_linux::Error>,
}

impl Looked {
    /// Looks for a file as the task does.
    pub(crate) fn at(
        path: &Path,
        start: &Place,
        subject: &Subject,
        system: &mut System,
    ) -> Result<Looked, Failure> {
        let way = start.take(path)?;
        let mut looked = Looked {
            way: String::new(),
            refused: Vec::new(),
            unseen: Vec::new(),
            found: Err(nscap_linux::Error::NoProcess { pid: 0 }),
        };
        looked.pass(&way, subject, system)?;
        looked.follow(&way.magic, subject, system)?;
        looked.found = match way.end {
            Ok(file) => Ok(Found::read(file, subject, system)?),
            Err(error) => Err(error),
        };
        Ok(looked)
    }

    fn pass(&mut self, way: &Trodden, subject: &Subject, system: &System) -> Result<(), Failure> {
        let task = &subject.task(system)?;
        for dir in &way.passed {
            let inode = subject.shown(dir.inode()?, system);
            let acl = match dir {
                Dir::Here(dir) => access_list(dir, &dir.path, subject, system)?,
                Dir::Packed(inode, _) => {
                    self.unseen.extend(inode.listed.then(|| unpacked_list(dir.path())));
                    Vec::new()
                }
            };
            let name = shown(dir.path());
            let answers = owned(&inode, system)
                .map(|inode| (view(&inode, task.cred.ns, system), inode.mode))
                .map(|(view, mode)| (view, check_searchable(task, &view, mode, &acl)));
            let answers: Vec<_> = answers.collect();
            if answers.iter().any(|(_, answer)| *answer != answers[0].1) {
                let text =
                    format!("the owner of {name}, which has no id here or this one: it decides");
                self.unseen.push(Unseen::deciding("owner", text));
                continue;
            }
            let (view, answer) = answers[0];
            if let (Err(_), Dir::Packed(TreeInode { passed_over: true, .. }, _)) = (answer, dir) {
                let text = format!(
                    "{name} is mode {:04o}, {}, in one layer, and a layer above it has files in it and \
                     no record of it: podman makes it root's of mode 0755, umoci leaves it",
                    inode.mode & 0o7777,
                    owners(&view),
                );
                self.unseen.push(Unseen::deciding("directory", text));
                continue;
            }
            if let Err(denied) = answer {
                let list = if acl.is_empty() { "" } else { ", with an access control list" };
                let text = format!(
                    "the directory {name} (mode {:04o}, {}{list}) may not be searched by the task",
                    inode.mode & 0o7777,
                    owners(&view),
                );
                self.refused.push(Stop { errno: EACCES, text, why: Some(denied.why) });
            }
        }
        self.way = match (self.refused.first(), way.passed.len()) {
            (Some(first), _) => first.text.clone(),
            (None, 1) => "1 directory: it may be searched".to_owned(),
            (None, count) => format!("{count} directories: each may be searched"),
        };
        Ok(())
    }

    /// Whether the task may follow the magic links on the way: like ptrace(2), and what else
    /// decides about that cannot be seen.
    fn follow(
        &mut self,
        links: &[PathBuf],
        subject: &Subject,
        system: &mut System,
    ) -> Result<(), Failure> {
        for link in links {
            let pid = link.iter().nth(2).and_then(|name| name.to_str()?.parse().ok());
            if pid.is_some() && pid == subject.live().map(|task| task.pid()) {
                continue;
            }
            let ns = pid.and_then(|pid| system.namespaces.add_pid(pid).ok());
            let cred = subject.task(system)?.cred;
            let able = ns.is_some_and(|ns| {
                cred.has_cap_over(Capability::SysPtrace, system.namespaces.get(ns))
            });
            if !able {
                let text = format!(
                    "whether the task may follow {} (ptrace(2), \"Ptrace access mode checking\")",
                    out::path(link)
                );
                self.unseen.push(Unseen::deciding("link", text));
            }
        }
        Ok(())
    }
}

impl Found {
    fn read(file: Node, subject: &Subject, system: &mut System) -> Result<Found, Failure> {
        let file = match file {
            Node::Here(file) => file,
            Node::Packed(packed) => {
                let state = subject.unpacked(&packed, system);
                let unseen = packed.unseen();
                let (file, readings, hazy) = (Node::Packed(packed), Vec::new(), Vec::new());
                return Ok(Found { file, state, readings, hazy, acl: Vec::new(), unseen });
            }
        };
        let mut readings = subject.read(&file, system)?.readings(&system.namespaces)?;
        let state = readings.remove(0);
        let hazy = owned(&state.inode, system).skip(1);
        let otherwise = |inode| {
            let mut other = state.clone();
            other.inode = inode;
            other
        };
        let hazy = hazy.map(otherwise).collect();
        let acl = access_list(&file, file.path(), subject, system)?;
        let (file, unseen) = (Node::Here(file), Vec::new());
        Ok(Found { file, state, readings, hazy, acl, unseen })
    }

    /// The file as execve(2) sees it, but for its capabilities.
    pub(crate) fn program<'n>(
        &self,
        task: &Task<'_, LiveNs<'n>>,
        system: &'n System,
    ) -> Program<LiveNs<'n>> {
        self.program_of(&self.state, task, system)
    }

    /// The same for one of its readings.
    pub(crate) fn program_of<'n>(
        &self,
        state: &FileState,
        task: &Task<'_, LiveNs<'n>>,
        system: &'n System,
    ) -> Program<LiveNs<'n>> {
        let (view, mode) = (state.view(&system.namespaces), state.inode.mode);
        let listed = !self.acl.is_empty();
        Program {
            by_acl: listed.then(|| permits(task, &view, mode, &self.acl)),
            inode: view,
            mode,
            nosuid: state.mount.nosuid,
            noexec: state.mount.noexec,
            foreign: state.mount.foreign,
        }
    }

    /// Whether its file system has access control lists.
    pub(crate) fn takes_lists(&self) -> bool {
        use rustix::io::Errno;
        match &self.file {
            Node::Here(file) => {
                matches!(opath::getxattr(file, ACCESS, &mut []), Ok(_) | Err(Errno::NODATA))
            }
            Node::Packed(_) => false,
        }
    }

    /// Its access control list; empty: none.
    pub(crate) fn list(&self) -> &[AclEntry] {
        &self.acl
    }
}

/// The inode as it is shown; and where an owner is shown as one that has no id in our namespace,
/// and that id is mapped there too, as it would be then.
fn owned(inode: &Inode, system: &System) -> impl Iterator<Item = Inode> + use<> {
    /// What an id is shown as that has none here (/proc/sys/kernel/overflowuid).
    const OVERFLOW: u32 = 65_534;
    let hazy = |id: u32| !system.namespaces.own_ns().is_initial() && id == OVERFLOW;
    let unless = |hazy: bool, id: u32| if hazy { u32::MAX } else { id };
    let (uid, gid) = (hazy(inode.uid), hazy(inode.gid));
    let all = [(false, false), (uid, false), (false, gid), (uid, gid)];
    let mut all: Vec<Inode> = all
        .into_iter()
        .map(|(u, g)| Inode { uid: unless(u, inode.uid), gid: unless(g, inode.gid), ..*inode })
        .collect();
    all.dedup();
    all.into_iter()
}

fn view<'n>(inode: &Inode, ns: LiveNs<'n>, system: &System) -> InodeView<LiveNs<'n>> {
    InodeView {
        sb_ns: ns,
        idmap: None,
        owner: system.namespaces.shown_uid(inode.uid),
        group: system.namespaces.shown_gid(inode.gid),
        read_only: false,
        immutable: inode.immutable,
    }
}

/// Owner and group in words.
pub(crate) fn owners(view: &InodeView<LiveNs<'_>>) -> String {
    let id = |id: Option<u32>| id.map_or("unmapped".to_owned(), |id| id.to_string());
    format!(
        "owner kuid {}, group kgid {}",
        id(view.owner.map(nscap_core::Kuid::get)),
        id(view.group.map(nscap_core::Kgid::get))
    )
}

fn shown(path: &Path) -> String {
    out::path(if path.as_os_str().is_empty() { Path::new(".") } else { path })
}

/// That an image has one, which programs may unpack or not.
pub(crate) fn unpacked_list(path: &Path) -> Unseen {
    let text = format!(
        "{} has an access control list in the image: programs differ in whether they unpack it",
        out::path(path)
    );
    Unseen::deciding("list", text)
}

/// The access control list; empty where there is none.
fn access_list(
    file: impl AsFd,
    path: &Path,
    subject: &Subject,
    system: &System,
) -> Result<Vec<AclEntry>, Failure> {
    let value = opath::get(file, ACCESS).map_err(|e| call(path, "getxattr", e))?;
    let Some(value) = value else { return Ok(Vec::new()) };
    let Ok(acl) = Acl::decode(&value) else { return Ok(Vec::new()) };
    let id = |id: u32| Inode { size: 0, uid: id, gid: id, mode: 0, immutable: false };
    let shown = |of: u32| subject.shown(id(of), system);
    let entries = acl.entries().iter().map(|entry| AclEntry {
        tag: match entry.tag {
            Tag::Owner => AclTag::Owner,
            Tag::User(uid) => AclTag::User(system.namespaces.shown_uid(shown(uid).uid)),
            Tag::OwningGroup => AclTag::OwningGroup,
            Tag::Group(gid) => AclTag::Group(system.namespaces.shown_gid(shown(gid).gid)),
            Tag::Mask => AclTag::Mask,
            Tag::Other => AclTag::Other,
        },
        permissions: entry.permissions.into(),
    });
    Ok(entries.collect())
}
