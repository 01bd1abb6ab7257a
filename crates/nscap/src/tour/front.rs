//! What answers on the tour: a kernel that decides by the design itself, else our file system.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nscap_core::Policy;
use nscap_linux::Namespaces;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::cannot;
use crate::failure::{EIO, Failure, call};
use crate::mount::detach::SELF;

const FUSE: &str = "/dev/fuse";
const SOURCES: &str = "sources";
const KERNEL_ARRAY: &str = "/proc/sys/kernel/nscap_array";
const KERNEL_SAME_OK: &str = "/proc/sys/kernel/nscap_same_ok";

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Front {
    /// The kernel.
    Kernel,
    /// `nscap mount`.
    Fuse,
}

impl Front {
    fn here() -> Front {
        if Path::new(KERNEL_ARRAY).exists() { Front::Kernel } else { Front::Fuse }
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
            Front::Kernel => "not with this kernel's nscap_array or nscap_same_ok as they are",
            Front::Fuse => "a user namespace stores one entry a file; as root there can be several",
        }
    }

    /// The name by which a task in a namespace writes `security.nscapability`: an unmodified
    /// kernel's VFS keeps the real one from everybody but the owner of the file system (R7).
    pub(super) fn inner_name(self) -> &'static str {
        match self {
            Front::Kernel => "security.nscapability",
            Front::Fuse => "system.nscapability",
        }
    }
}

/// Whether there is anything to answer; if not, how to get it.
pub(super) fn possible() -> Result<(), Failure> {
    if Front::here() == Front::Kernel {
        return Ok(());
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
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|error| call("/".as_ref(), "mount", error))?;
        let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("proc", "/proc", "proc", plain, None)
            .map_err(|error| call("/proc".as_ref(), "mount of a new one", error))?;
        let base = std::env::temp_dir();
        // Over the directory, since one of its own would stay behind.
        mount("nscap-tour", &base, "tmpfs", MountFlags::NODEV, Some(c"mode=755"))
            .map_err(|error| call(&base, "mount of a tmpfs", error))?;
        let front = Front::here();
        let trees = match front {
            Front::Kernel => vec![plain_tree(&base)?],
            Front::Fuse => {
                // Nobody but root may reach the sources by their own path.
                directory(&base, SOURCES, 0o700)?;
                let array = is_initial()?;
                vec![
                    shown_tree(&base, "tree", Policy { array, same_ok: false })?,
                    shown_tree(&base, "single", Policy { array: false, same_ok: true })?,
                ]
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

fn plain_tree(base: &Path) -> Result<Tree, Failure> {
    let on = |file: &str| {
        let text = std::fs::read_to_string(file);
        text.map(|text| text.trim() != "0").map_err(|error| call(file.as_ref(), "read", error))
    };
    let policy = Policy { array: on(KERNEL_ARRAY)?, same_ok: on(KERNEL_SAME_OK)? };
    Ok(Tree { path: directory(base, "tree", 0o755)?, policy })
}

fn shown_tree(base: &Path, name: &str, policy: Policy) -> Result<Tree, Failure> {
    let source = directory(&base.join(SOURCES), name, 0o755)?;
    let path = directory(base, name, 0o755)?;
    let mut command = Command::new(SELF);
    command.arg("mount").args((!policy.array).then_some("--single"));
    command.args(policy.same_ok.then_some("--same-ok")).arg(&source).arg(&path);
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
