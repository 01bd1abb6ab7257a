// SPDX-License-Identifier: MIT OR Apache-2.0
//! What answers on the tour: a kernel that decides by the design itself, else our file system.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nscap_core::{Busy, Policy};
use nscap_linux::Namespaces;
use nscap_linux::kernel_policy;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::cannot;
use crate::failure::{EIO, Failure, call};
use crate::mount::detach::SELF;

const FUSE: &str = "/dev/fuse";
const PROC: &str = "mount of a new one (a container that hides parts of /proc forbids it)";
const SOURCES: &str = "sources";

/// The part that answers: the mount or the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Front {
    /// The kernel.
    Kernel,
    /// `nscap mount`.
    Fuse,
}

impl Front {
    fn here() -> Front {
        if kernel_policy().is_some() { Front::Kernel } else { Front::Fuse }
    }

    /// What is said of it, in one line.
    pub(super) fn text(self) -> &'static str {
        match self {
            Front::Kernel => "this kernel decides by the design itself; a tmpfs",
            Front::Fuse => "nscap mount, on a tmpfs",
        }
    }

    /// Why something cannot be played that takes several entries a file.
    pub(super) fn why_no_array(self) -> &'static str {
        match self {
            Front::Kernel => "not with this kernel's nscap_array or nscap_busy as they are",
            Front::Fuse => "a user namespace stores one entry a file; as root there can be several",
        }
    }

    /// The name by which a task in a namespace writes `security.nscapability`: an unmodified
    /// kernel's VFS allows the real one only to the owner of the file system (R7).
    pub(super) fn inner_name(self) -> &'static str {
        match self {
            Front::Kernel => "security.nscapability",
            Front::Fuse => "system.nscapability",
        }
    }
}

/// Whether there is anything to answer; if not, how to get it.
pub(super) fn possible(kernel_only: bool) -> Result<(), Failure> {
    if Front::here() == Front::Kernel {
        return Ok(());
    }
    if kernel_only {
        let why = "it does not decide by the design: modprobe nscap, as root, loads the module of \
            nscap-dkms; without --kernel the tour plays on nscap mount";
        return Err(cannot("this kernel", why, Errno::OPNOTSUPP.raw_os_error()));
    }
    let Err(error) = OpenOptions::new().read(true).write(true).open(FUSE) else { return Ok(()) };
    let errno = error.raw_os_error().unwrap_or(EIO);
    let how = match Errno::from_raw_os_error(errno) {
        Errno::ACCESS | Errno::PERM => {
            "this user may not open it: chmod 0666 /dev/fuse as root (udev does so by itself), or be \
            root; in a container --device /dev/fuse"
        }
        _ => {
            "this kernel shows no FUSE: modprobe fuse as root (CONFIG_FUSE_FS); in a container \
            --device /dev/fuse"
        }
    };
    Err(cannot(FUSE, how, errno))
}

/// A directory where things are answered under one policy.
pub(super) struct Tree {
    pub(super) path: PathBuf,
    pub(super) policy: Policy,
}

/// What the tour plays on.
pub(super) struct Stage {
    pub(super) front: Front,
    pub(super) trees: Vec<Tree>,
}

impl Stage {
    /// Sets it up. This process must be the init of a pid namespace, in a mount namespace of its
    /// own; what is mounted is gone with it.
    pub(super) fn set() -> Result<Stage, Failure> {
        // Whatever the caller's is, others must be able to use the trees.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|error| call("/".as_ref(), "mount", error))?;
        let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("proc", "/proc", "proc", plain, None)
            .map_err(|error| call("/proc".as_ref(), PROC, error))?;
        let base = std::env::temp_dir();
        let base = std::fs::canonicalize(&base).map_err(|error| call(&base, "open", error))?;
        // Over the directory, since one of its own would stay behind.
        mount("nscap-tour", &base, "tmpfs", MountFlags::NODEV, Some(c"mode=755"))
            .map_err(|error| call(&base, "mount of a tmpfs", error))?;
        let (front, trees) = match kernel_policy() {
            Some(policy) => {
                let path = directory(&base, "tree", 0o755)?;
                (Front::Kernel, vec![Tree { path, policy }])
            }
            None => {
                // Only root may reach the sources by their own path.
                directory(&base, SOURCES, 0o700)?;
                let array = is_initial()?;
                let tree = shown_tree(&base, "tree", Policy::SEED.with_array(array))?;
                let single = Policy::SEED.with_busy(Busy::SameOk);
                let replace = Policy::SEED.with_array(array).with_busy(Busy::Replace);
                let single = shown_tree(&base, "single", single)?;
                (Front::Fuse, vec![tree, single, shown_tree(&base, "replace", replace)?])
            }
        };
        Ok(Stage { front, trees })
    }
}

/// Whether this is the initial user namespace, from which alone several entries can be stored: the
/// tripwire of a table is an id that no other maps (Storage).
fn is_initial() -> Result<bool, Failure> {
    let namespaces = Namespaces::own()?;
    Ok(namespaces.own_ns().index() == namespaces.initial().index())
}

fn shown_tree(base: &Path, name: &str, policy: Policy) -> Result<Tree, Failure> {
    let source = directory(&base.join(SOURCES), name, 0o755)?;
    let path = directory(base, name, 0o755)?;
    let mut command = Command::new(SELF);
    let names: Vec<_> = policy.settings().map(|setting| setting.name).collect();
    command.arg("mount").arg("-o").arg(names.join(",")).arg(&source).arg(&path);
    let status = command.stdin(Stdio::null()).status();
    if !status.map_err(|error| call(SELF.as_ref(), "execve", error))?.success() {
        // It has said why.
        return Err(cannot("nscap mount", "failed", EIO));
    }
    Ok(Tree { path, policy })
}

fn directory(base: &Path, name: &str, mode: u32) -> Result<PathBuf, Failure> {
    let path = base.join(name);
    DirBuilder::new().mode(mode).create(&path).map_err(|error| call(&path, "mkdir", error))?;
    Ok(path)
}
