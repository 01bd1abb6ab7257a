// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of `nscap explain`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use clap::{Args, ValueEnum};

use super::{WHO, ids};
use crate::explain::{Image, Runtime};

/// How a container's root file system is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum RootfsIds {
    /// With the ids that it has: the runtime leaves it, or has changed its owners
    AsIs,
    /// Through an id-mapped mount with the map of the user namespace
    Mapped,
}

#[derive(Args, Clone)]
#[command(
    after_help = format!("{IMAGE}\n\n{WHO}"),
    group = clap::ArgGroup::new("task").multiple(true).args([
        "seen_by", "pid", "drop", "add", "user", "userns", "no_new_privileges", "runtime", "oci",
        "podman", "docker", "kube", "systemd",
    ])
)]
pub(crate) struct Explain {
    /// The file to execute; with --pid as that process finds it, from its root directory. Of a
    /// container or unit: as it finds it, and without FILE its own first program. IMAGE:/PATH is a
    /// file of an image
    #[arg(value_name = "FILE", required_unless_present_any = ["image", "oci", "podman", "docker", "kube", "systemd"])]
    pub(crate) file: Option<PathBuf>,
    /// A task in WHO's namespace, with the ids that --uid and --gid say
    #[arg(long = "as", value_name = "WHO", allow_hyphen_values = true, conflicts_with_all = STARTS)]
    pub(crate) seen_by: Option<OsString>,
    /// A process as it is now; or the first one of podman:NAME and the like, as WHO has them
    #[arg(long, value_name = "N", value_parser = ids::process, conflicts_with = "seen_by", conflicts_with_all = STARTS)]
    pub(crate) pid: Option<ids::Process>,
    /// Its uid in that namespace, or the name of a user here; 0 has every capability, others none
    /// [default: 0]
    #[arg(long, value_name = "UID", conflicts_with = "pid", conflicts_with_all = STARTS, value_parser = ids::user)]
    pub(crate) uid: Option<ids::User>,
    /// Its gid in that namespace, or the name of a group here [default: the user's own, or as the
    /// uid]
    #[arg(long, value_name = "GID", conflicts_with = "pid", conflicts_with_all = STARTS, value_parser = ids::group)]
    pub(crate) gid: Option<u32>,
    /// A task that is started without these capabilities (names with or without cap_, commas, or
    /// ALL)
    #[arg(long, value_name = "CAP", conflicts_with_all = FILES)]
    pub(crate) drop: Vec<String>,
    /// With these beside what the runtime gives
    #[arg(long, value_name = "CAP", conflicts_with_all = FILES)]
    pub(crate) add: Vec<String>,
    /// With no_new_privs
    #[arg(long, conflicts_with_all = FILES)]
    pub(crate) no_new_privileges: bool,
    /// As USER or USER:GROUP, by the container's /etc/passwd; of --podman, --docker and --kube the
    /// user of the image
    #[arg(long, value_name = "USER", conflicts_with_all = ["oci", "systemd"])]
    pub(crate) user: Option<String>,
    /// In a new user namespace with this map, inside:outside:count[,...], or in WHO's
    #[arg(long, value_name = "MAP", conflicts_with_all = ["oci", "kube", "systemd"])]
    pub(crate) userns: Option<OsString>,
    /// What starts it: podman, docker, containerd (kubernetes), crio, crun, runc or systemd, and
    /// :VERSION
    #[arg(long, value_name = "NAME[:VERSION]")]
    pub(crate) runtime: Option<Runtime>,
    /// The directory that is its root file system
    #[arg(long = "root", value_name = "DIR", conflicts_with_all = ["seen_by", "pid"])]
    pub(crate) rootfs: Option<PathBuf>,
    /// The image that is its root file system, where IMAGE:/PATH would not do; without FILE its own
    /// first program
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["rootfs", "seen_by", "pid"])]
    pub(crate) image: Option<OsString>,
    /// Of an image with several, the one for this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The image, opened.
    #[arg(skip)]
    pub(crate) opened: Option<Rc<Image>>,
    /// As a picture: SVG, one file with all that it needs
    #[arg(long, conflicts_with = "json")]
    pub(crate) svg: bool,
    /// Whether the root file system is id-mapped; without it both are answered where it decides
    #[arg(long, value_name = "HOW", conflicts_with_all = ["seen_by", "pid"])]
    pub(crate) rootfs_ids: Option<RootfsIds>,
    /// A program that is executed before, such as an entrypoint; several in their order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seen_by", "pid"])]
    pub(crate) through: Vec<PathBuf>,
    /// A container by its config.json, or the bundle that it is in
    #[arg(long, value_name = "CONFIG", conflicts_with_all = ["podman", "docker", "kube", "systemd"])]
    pub(crate) oci: Option<PathBuf>,
    /// A container by the arguments of podman run; everything after it is one
    #[arg(long, value_name = "ARGS", num_args = 1.., allow_hyphen_values = true, conflicts_with_all = ["docker", "kube", "systemd"])]
    pub(crate) podman: Option<Vec<OsString>>,
    /// A container by the arguments of docker run; everything after it is one
    #[arg(long, value_name = "ARGS", num_args = 1.., allow_hyphen_values = true, conflicts_with_all = ["kube", "systemd"])]
    pub(crate) docker: Option<Vec<OsString>>,
    /// A container of a pod, by the pod's YAML or JSON, or that of an object with a template of one
    #[arg(long, num_args = 2, value_names = ["FILE", "CONTAINER"], conflicts_with = "systemd")]
    pub(crate) kube: Option<Vec<OsString>>,
    /// A service, by its name or the path of its unit file
    #[arg(long, value_name = "UNIT")]
    pub(crate) systemd: Option<PathBuf>,
}

const IMAGE: &str = "\
IMAGE is an OCI image layout (a directory, or in an archive), what docker save writes, a dir: of skopeo,
or a layer alone; PATH:REFERENCE is one image of several. It is neither unpacked nor run. A FILE is
IMAGE:/PATH where no file has the whole name, and what is before a colon and a slash exists; --image
says it without that. User, working directory, PATH and entrypoint are the image's, where the start
has no other.";

/// What describes a task that does not run.
const STARTS: [&str; 11] = [
    "drop",
    "add",
    "no_new_privileges",
    "user",
    "userns",
    "runtime",
    "oci",
    "podman",
    "docker",
    "kube",
    "systemd",
];

/// What describes it by a file or another command's arguments.
const FILES: [&str; 5] = ["oci", "podman", "docker", "kube", "systemd"];

impl Explain {
    /// uid and gid of a supposed task.
    pub(crate) fn ids(&self) -> (u32, u32) {
        let user = self.uid.unwrap_or(ids::User { uid: 0, gid: 0 });
        (user.uid, self.gid.unwrap_or(user.gid))
    }

    /// Whether a task is named: a process, one that would be, or one that would be started.
    pub(crate) fn names_a_task(&self) -> bool {
        let lists = [&self.drop, &self.add].into_iter().any(|list| !list.is_empty());
        let words = [&self.podman, &self.docker, &self.kube].into_iter().any(Option::is_some);
        let by = self.user.is_some() || self.userns.is_some() || self.runtime.is_some();
        self.opened.is_some()
            || !self.by_flags()
            || lists
            || words
            || by
            || self.no_new_privileges
            || self.oci.is_some()
            || self.systemd.is_some()
    }

    /// Whether options alone describe the start.
    pub(crate) fn by_flags(&self) -> bool {
        self.seen_by.is_none() && self.pid.is_none()
    }
}
