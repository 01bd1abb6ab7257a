// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scenario as a value: a world, and steps in it with what each must give.
//!
//! [`load`](mod@crate::load) makes these from TOML; the runners only read them. Nothing here knows
//! what is right: expectations come from the table.

use std::collections::BTreeMap;

use nscap_core::{Extent, FileCaps};

use crate::outcome::Expectation;

/// The name of the namespace that every world begins with: the one that the runner is in.
pub const INIT: &str = "init";

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Unique in the whole table.
    pub name: String,
    /// The clauses of SPEC that it shows, at least one.
    pub clauses: Vec<String>,
    /// One sentence for people.
    pub about: String,
    /// The policy of the front end: A and B.
    pub policy: nscap_core::Policy,
    /// Why an unmodified kernel has no part in it, where it has none.
    pub design_only: Option<String>,
    /// Why no FUSE mount can be part of it, where none can.
    pub fuse_skip: Option<String>,
    /// What exists before the first step.
    pub world: World,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// What exists before the first step.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Namespaces beside `init`, parents before their children.
    pub namespaces: Vec<Namespace>,
    /// Where the files are.
    pub fs: Fs,
    /// The files, by name.
    pub files: BTreeMap<String, File>,
    /// The tasks, by name.
    pub tasks: BTreeMap<String, Task>,
}

/// A user namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// What the scenario calls it.
    pub name: String,
    /// The name of the one that it was made in.
    pub parent: String,
    /// The kuid of its maker.
    pub owner: u32,
    /// Its maps.
    pub maps: Maps,
}

/// The two maps of a namespace, the outside in its *parent's* terms as uid_map takes them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Maps {
    /// Of uids.
    pub uids: Vec<Extent>,
    /// Of gids.
    pub gids: Vec<Extent>,
}

/// A file system and the mount of it that the tasks use.
#[derive(Clone, Debug)]
pub struct Fs {
    /// What kind of file system.
    pub kind: FsKind,
    /// The namespace that owns the superblock.
    pub owner: String,
    /// The map of an id-mapped mount, from ids on disk to kuids; empty on any other.
    pub idmap: Vec<Extent>,
    /// Whether the mount is nosuid.
    pub nosuid: bool,
    /// Whether the mount is noexec.
    pub noexec: bool,
    /// Whether the mount is read-only.
    pub read_only: bool,
    /// Whether the mount is in no mount namespace that a task is in.
    pub foreign: bool,
}

impl Default for Fs {
    fn default() -> Fs {
        Fs {
            kind: FsKind::Tmpfs,
            owner: INIT.to_owned(),
            idmap: Vec::new(),
            nosuid: false,
            noexec: false,
            read_only: false,
            foreign: false,
        }
    }
}

/// A kind of file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FsKind {
    /// tmpfs, fresh for each scenario; a namespace can own its superblock.
    Tmpfs,
    /// ext4 on a loop device: the only one that can hold values that no kernel writes.
    Ext4,
}

/// A regular file.
#[derive(Clone, Debug)]
pub struct File {
    /// The kuid that owns it, as it is stored (an id map of the mount comes on top).
    pub owner: u32,
    /// The kgid of its group, as it is stored.
    pub group: u32,
    /// Permission bits with set-user-ID and set-group-ID.
    pub mode: u32,
    /// What is in it.
    pub content: Content,
    /// What capabilities it has.
    pub stored: Stored,
    /// Whether it is immutable (chattr +i).
    pub immutable: bool,
}

/// What is in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The program that prints its credentials.
    Probe,
    /// A script whose interpreter is that file of the same scenario.
    Script(String),
}

/// What capabilities a file has when the scenario begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stored {
    /// A host value and entries by root kuid; both may be absent.
    Caps {
        /// The host value.
        host: Option<FileCaps>,
        /// The entries, by their root kuid.
        entries: BTreeMap<u32, FileCaps>,
    },
    /// These bytes in `security.capability`, whatever they are.
    Raw(Vec<u8>),
}

impl Stored {
    /// No capabilities.
    #[must_use]
    pub fn nothing() -> Stored {
        Stored::Caps { host: None, entries: BTreeMap::new() }
    }
}

/// A task. Ids are in its own namespace's terms; sets are text, since what `all` is depends on
/// the machine ([`text::set`](crate::text::set)).
#[derive(Clone, Debug)]
pub struct Task {
    /// The name of its user namespace.
    pub ns: String,
    /// Real, effective and saved uid.
    pub uids: [u32; 3],
    /// Real, effective and saved gid.
    pub gids: [u32; 3],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Its five sets.
    pub sets: TaskSets,
    /// Its securebits flags.
    pub securebits: u32,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
    /// Whether a task with the same credentials traces it when it executes a file.
    pub traced: bool,
    /// Whether it shares its file system information with another process when it executes one.
    pub shared_fs: bool,
    /// Whether it is in a pid namespace of its own.
    pub pid_ns: bool,
}

/// The sets of a task, as text that [`text::set`](crate::text::set) reads.
#[derive(Clone, Debug)]
pub struct TaskSets {
    /// Permitted.
    pub permitted: String,
    /// Effective.
    pub effective: String,
    /// Inheritable.
    pub inheritable: String,
    /// Ambient.
    pub ambient: String,
    /// Bounding.
    pub bounding: String,
}

/// One thing that a task does, and what must come of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The name of the task.
    pub by: String,
    /// What it does.
    pub op: Op,
    /// The answer of SPEC.
    pub design: Expectation,
    /// The answer of a FUSE mount, where V names a difference.
    pub design_fuse: Option<Expectation>,
    /// The answer of the unmodified kernel, where it differs.
    pub kernel: Option<Expectation>,
    /// SPEC's answer where the kernel beneath is older than 6.16, where that differs.
    pub design_6_1: Option<Expectation>,
    /// The unmodified kernel's answer before 6.16, where that differs.
    pub kernel_6_1: Option<Expectation>,
}

/// Which answer of a step a runner is held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// SPEC's.
    Design,
    /// SPEC's, with what V lets a FUSE mount answer otherwise.
    Fuse,
    /// The unmodified kernel's.
    Kernel,
}

impl Step {
    /// What must come of the step in this column on a kernel of this version.
    #[must_use]
    pub fn expectation(&self, column: Column, kernel: (u16, u16)) -> &Expectation {
        let older = kernel < (6, 16);
        let design_6_1 = self.design_6_1.as_ref().filter(|_| older);
        let kernel_6_1 = self.kernel_6_1.as_ref().filter(|_| older);
        match column {
            Column::Design => design_6_1.unwrap_or(&self.design),
            Column::Fuse => self.design_fuse.as_ref().or(design_6_1).unwrap_or(&self.design),
            Column::Kernel => {
                kernel_6_1.or(self.kernel.as_ref()).or(design_6_1).unwrap_or(&self.design)
            }
        }
    }
}

/// One of the two attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attr {
    /// `security.capability`.
    Cap,
    /// `security.nscapability`.
    Nscap,
}

impl Attr {
    /// The attribute's name for system calls.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Attr::Cap => "security.capability",
            Attr::Nscap => "security.nscapability",
        }
    }

    /// What the table calls it.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Attr::Cap => "cap",
            Attr::Nscap => "nscap",
        }
    }
}

/// What a task does. Files are named within the scenario; ids are in the task's namespace's terms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// setxattr(2).
    Set {
        /// Which attribute.
        attr: Attr,
        /// The file.
        file: String,
        /// To which bytes.
        value: Vec<u8>,
        /// With which flag.
        flag: Flag,
    },
    /// getxattr(2).
    Get(Attr, String),
    /// getxattr(2) with size 0.
    Size(Attr, String),
    /// removexattr(2).
    Remove(Attr, String),
    /// listxattr(2).
    List(String),
    /// execve(2), by a child of the task with the same credentials.
    Exec(String),
    /// write(2) of the first byte, as it was.
    Write(String),
    /// ftruncate(2) to the size that it has.
    Truncate(String),
    /// fallocate(2) of the first bytes.
    Fallocate(String),
    /// A write through mmap(2) with MAP_SHARED.
    Mmap(String),
    /// copy_file_range(2) of the first byte of another file with the same content.
    CopyInto {
        /// From which file.
        from: String,
        /// Into which file.
        file: String,
    },
    /// chown(2).
    Chown {
        /// Which file.
        file: String,
        /// The new owner, or `None` to leave it.
        uid: Option<u32>,
        /// The new group, or `None` to leave it.
        gid: Option<u32>,
    },
    /// chmod(2).
    Chmod(String, u32),
    /// rename(2).
    Rename(String, String),
    /// link(2).
    Link(String, String),
    /// utimensat(2) to the present time.
    Utimes(String),
    /// unshare(2) of a user namespace by a child, and its maps.
    Unshare {
        /// What to call it.
        ns: String,
        /// Its maps, in the task's namespace's terms.
        maps: Maps,
        /// The writer of the maps.
        writer: MapWriter,
    },
    /// setns(2) to a user namespace.
    Enter(String),
}

/// A flag of setxattr(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flag {
    /// Neither.
    None,
    /// XATTR_CREATE.
    Create,
    /// XATTR_REPLACE.
    Replace,
}

/// The writer of the maps of a namespace that a task makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapWriter {
    /// The task, from the parent namespace.
    Parent,
    /// Its child, from inside.
    Child,
}

impl Op {
    /// The files that the operation names.
    #[must_use]
    pub fn files(&self) -> Vec<&str> {
        match self {
            Op::Set { file, .. } | Op::Chown { file, .. } => vec![file],
            Op::Get(_, file) | Op::Size(_, file) | Op::Remove(_, file) => vec![file],
            Op::List(file) | Op::Exec(file) | Op::Write(file) | Op::Truncate(file) => vec![file],
            Op::Fallocate(file) | Op::Mmap(file) | Op::Chmod(file, _) => vec![file],
            Op::Utimes(file) | Op::Rename(file, _) | Op::Link(file, _) => vec![file],
            Op::CopyInto { from, file } => vec![from, file],
            Op::Unshare { .. } | Op::Enter(_) => Vec::new(),
        }
    }
}
