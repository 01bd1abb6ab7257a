// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: what clap reads, and what the man pages and completions are made from.

mod explain;
mod files;
mod ids;
mod layer;
mod mount;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use explain::{Explain, RootfsIds};
pub(crate) use files::{FileArgs, Get, PolicyArgs, Rm, Set};
pub(crate) use layer::{Layer, LayerHow, LayerMap, LayerSet, UnmappedArg};
pub(crate) use mount::{MOUNT_OPTIONS, Mount, SIGNALS, Stats, Umount};

use crate::watch::{INTERVAL, interval};

const WHO: &str = "\
WHO is one of
  host       root of the host, which owns ordinary file systems: a host value
  100000     a root kuid: uid 0 of a container, as the host counts
  pid:N      root of the user namespace of process N
  ns:PATH    root of the user namespace of a file, such as /proc/N/ns/user
  user:NAME  root of a container with the first range of NAME in /etc/subuid
  podman:NAME, docker:NAME, incus:NAME, machine:NAME, unit:NAME
  kube:NS/POD/CONTAINER
             root of the user namespace of its first process, by its manager";

const CAPS: &str = "CAPS is written as for setcap(8): cap_net_raw=ep, cap_chown,cap_kill+p";

/// The exit status of every command.
pub(crate) const STATUS: &str = "0 yes, 1 no, 2 could not tell (usage, input or system error). A command whose \
reader has gone ends by SIGPIPE, which a shell shows as 141.";

/// Capabilities of executables that belong to a user namespace.
///
/// A file holds at most one host value, which applies on the host and in every container, and one
/// entry for each root kuid, which applies to that container's tasks and below, and nowhere else.
#[derive(Parser)]
#[command(name = "nscap", version, max_term_width = 100, after_help = format!("Exit status: {STATUS}"))]
pub(crate) struct Cli {
    /// Print one JSON object per line (docs/json.md names the fields)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the capabilities of files, and the containers that each applies to
    ///
    /// Exit status: 0 when a file has capabilities, 1 when none has, 2 on an error or where a file
    /// has something that cannot be seen from here.
    Get(Get),
    /// Give files capabilities, for this user namespace or another
    ///
    /// A file that already has an entry for the same root is left alone (EBUSY) unless --replace or
    /// --busy says otherwise.
    ///
    /// Exit status: 0 when all files have them, 1 when a rule refuses (EBUSY, EPERM), 2 on an
    /// error.
    Set(Set),
    /// Take capabilities from files
    ///
    /// Exit status: 0 when something was removed, 1 when there was nothing or the caller may not
    /// (EPERM), 2 on an error.
    Rm(Rm),
    /// Say which capabilities execve gives a task, why no others, and how to change that
    ///
    /// Exit status: 0 when the task gains everything that the file promises it, 1 when anything is
    /// lost, 2 on an error or where it cannot be known from here.
    Explain(Box<Explain>),
    /// Move a whole tree from one id mapping to another
    ///
    /// Owners, groups, the rootids of capabilities and the ids of access control lists. The plan is
    /// written beside DIR first (.nscap-shift-NAME.journal); by it a shift that was killed is
    /// resumed, and one that was made is undone.
    ///
    /// Exit status: 0 when the whole tree moved, 1 when a problem prevents that or files were left
    /// as they are, 2 on an error.
    Shift(Shift),
    /// List live user namespaces as a tree
    ///
    /// Exit status: 0, or 2 when some were not looked at.
    Ns(Ns),
    /// Say what this machine offers to nscap, and which id ranges overlap
    ///
    /// Exit status: 0 when nothing is missing and nothing overlaps, 1 otherwise, 2 on an error, and
    /// when something could not be tried.
    Check(Check),
    /// Show a directory tree on which every user namespace has its own capabilities
    ///
    /// Returns when the mount is usable; the server goes on by itself. Exit status: 0 when it is
    /// mounted, 2 when not.
    Mount(Mount),
    /// Unmount a tree that nscap mount shows
    ///
    /// Says what keeps the mount busy, or its server alive. Exit status: 0 when it is unmounted, 2
    /// when not.
    Umount(Umount),
    /// Show the counters of a tree that nscap mount shows
    ///
    /// Exit status: 0, or 2 where no mount of nscap is.
    Stats(Stats),
    /// Play the eight points of the design on a tree of its own, and check each answer
    ///
    /// As root, or as another user in a user namespace of its own. Leaves nothing behind. Exit
    /// status: 0 when every answer is as its clause says, 1 when one is not, 2 when it could not be
    /// played here.
    Tour(Tour),
    /// Find every file with capabilities in directory trees, and the containers that each applies
    /// to
    ///
    /// Exit status: 0 when a file was found, 1 when none was, 2 when a directory could not be read
    /// (it is named on standard error, and the search goes on).
    Scan(Scan),
    /// Compare the capabilities of two trees, layers or images
    ///
    /// Exit status: 0 when they have the same, 1 when one of them was added, lost, widened or
    /// narrowed, 2 on an error.
    Diff(Diff),
    /// Write the capabilities of a tree or image as a text that can be reviewed and restored
    ///
    /// Each file with its names, size, content hash, owner, mode and grants. Exit status: 0 when
    /// there are capabilities, 1 when there are none, 2 on an error.
    Save(Save),
    /// Give files the capabilities that nscap save wrote down
    ///
    /// Only to a file of the same name, type, size and content, whose owner is the same and whose
    /// mode allows no more. No link is followed. Exit status: 0 when all have them, 1 when one is
    /// refused, 2 on an error, also where one is missing.
    Restore(Restore),
    /// Capabilities in layers (tar archives) and images
    #[command(subcommand)]
    Layer(Layer),
    /// Write man pages or shell completions
    #[command(subcommand)]
    Generate(Generate),
}

const MAP: &str = "\
MAP is inside:outside:count[,...], as newuidmap(1) takes it, or WHO: the map of that
namespace, or the range that is configured for it";

#[derive(Args)]
#[command(after_help = format!("{MAP}\n\n{WHO}"))]
pub(crate) struct Shift {
    /// The top of the tree; file systems that are mounted in it are left as they are
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The mapping that the tree has
    #[arg(long, value_name = "MAP", required_unless_present_any = ["resume", "undo"])]
    pub(crate) from: Option<std::ffi::OsString>,
    /// The mapping that the tree gets
    #[arg(long, value_name = "MAP", required_unless_present_any = ["resume", "undo"])]
    pub(crate) to: Option<std::ffi::OsString>,
    /// The mapping that groups have; without it, --from's
    #[arg(long, value_name = "MAP")]
    pub(crate) gid_from: Option<std::ffi::OsString>,
    /// The mapping that groups get; without it, --to's
    #[arg(long, value_name = "MAP")]
    pub(crate) gid_to: Option<std::ffi::OsString>,
    /// What to do with an id that --to cannot hold: fail (nothing is changed), skip (it stays), or
    /// the id that it becomes
    #[arg(long, value_name = "fail|skip|ID", value_parser = unmapped, default_value = "fail")]
    pub(crate) unmapped: nscap_image::shift::Unmapped,
    /// Let capabilities become host values, and root of the host own set-id files: they then apply
    /// on the whole host
    #[arg(long)]
    pub(crate) host_grants: bool,
    /// Move files too that have other names outside DIR
    #[arg(long)]
    pub(crate) other_names: bool,
    /// Print the plan and its problems, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Go on with a shift that was stopped
    #[arg(long, conflicts_with_all = SETTINGS, conflicts_with = "undo")]
    pub(crate) resume: bool,
    /// Take back the shift that was made last, or begun
    #[arg(long, conflicts_with_all = SETTINGS)]
    pub(crate) undo: bool,
}

const SETTINGS: [&str; 8] =
    ["from", "to", "gid_from", "gid_to", "unmapped", "host_grants", "other_names", "dry_run"];

fn unmapped(text: &str) -> Result<nscap_image::shift::Unmapped, &'static str> {
    use nscap_image::shift::Unmapped;
    match text {
        "fail" => Ok(Unmapped::Fail),
        "skip" => Ok(Unmapped::Skip),
        id => match id.parse() {
            Ok(id) if id != u32::MAX => Ok(Unmapped::Id(id)),
            _ => Err("expected fail, skip or an id"),
        },
    }
}

#[derive(Args)]
pub(crate) struct Check {
    /// Where capabilities are to be stored: what its file system offers
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
#[command(after_help = format!("{SIDES}\n\n{MAP}"))]
pub(crate) struct Diff {
    /// The ids of BEFORE: what is compared are ids inside MAP
    #[arg(long, value_name = "MAP", allow_hyphen_values = true)]
    pub(crate) ids_before: Option<std::ffi::OsString>,
    /// The ids of AFTER
    #[arg(long, value_name = "MAP", allow_hyphen_values = true)]
    pub(crate) ids_after: Option<std::ffi::OsString>,
    /// Only the images of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// A tree, layer or image
    #[arg(value_name = "BEFORE")]
    pub(crate) before: std::ffi::OsString,
    /// Another one, of any kind
    #[arg(value_name = "AFTER")]
    pub(crate) after: std::ffi::OsString,
}

#[derive(Args)]
#[command(after_help = SIDES)]
pub(crate) struct Save {
    /// Only the image of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// A tree, layer or image
    #[arg(value_name = "TREE|IMAGE")]
    pub(crate) side: std::ffi::OsString,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// Say what would be done, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Put a saved grant in the place of another one for the same root, which is an error (EBUSY)
    /// otherwise
    #[arg(long)]
    pub(crate) replace: bool,
    /// Restore entries whose rootid is in another range of /etc/subuid than where they were saved
    #[arg(long)]
    pub(crate) any_range: bool,
    /// What nscap save wrote; - is standard input
    #[arg(value_name = "MANIFEST")]
    pub(crate) manifest: std::ffi::OsString,
    /// The top of the tree
    #[arg(value_name = "TREE")]
    pub(crate) tree: std::ffi::OsString,
}

const SIDES: &str = "\
A tree is a directory. A layer is a tar archive, plain or compressed, or a squashfs or erofs image. An
image is an OCI image layout, what docker save writes, or a dir: of skopeo; PATH:REFERENCE is one image of
several. Files are compared by their names, those of an image as they are unpacked.";

#[derive(Args)]
pub(crate) struct Tour {
    /// Play on the kernel itself; where it does not decide by the design, fail
    #[arg(long)]
    pub(crate) kernel: bool,
    /// A part of the tour that plays in namespaces of its own
    #[arg(long, value_name = "PART", hide = true)]
    pub(crate) part: Option<TourPart>,
}

/// The processes of a tour, each started by the one before.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TourPart {
    /// Makes a user namespace, whose maps the first process writes.
    User,
    /// Makes a mount and a pid namespace.
    Space,
    /// The init of these namespaces, which plays.
    Stage,
}

/// How long a file system may take for one call, in seconds.
const PATIENCE: u16 = 10;

#[derive(Args)]
#[command(after_help = WHO)]
pub(crate) struct Scan {
    /// Directories, and regular files; symbolic links are not followed. What is mounted as proc,
    /// sysfs or cgroup is passed over: no program is executed from there
    #[arg(required = true, value_name = "DIR|FILE")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Leave out what is mounted below DIR
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,
    /// Print only the files' paths, each followed by a NUL byte
    #[arg(short = '0', long, conflicts_with = "json")]
    pub(crate) null: bool,
    /// Print one HTML page at the end: a table of the files, the namespaces in which each grant
    /// holds, and the tree of namespaces; sorted by path, with all that it needs
    #[arg(long, conflicts_with_all = ["json", "null"])]
    pub(crate) html: bool,
    /// Only files with entries that no task here can use, because their root kuid is that of no
    /// live namespace, in no range of /etc/subuid and no user's uid; or with a table that is void
    /// since the file changed
    #[arg(long)]
    pub(crate) stale: bool,
    /// Only files with the entry of WHO, or for `host` with a host value
    #[arg(long = "for", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) whom: Option<std::ffi::OsString>,
    /// Print sorted by path, at the end; the order does not depend on the threads
    #[arg(long)]
    pub(crate) sort: bool,
    /// How many seconds a file system may take to answer one call; a directory where it takes
    /// longer is named, and what else is on that mount left out, with status 2
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) patience: u16,
    /// How many threads read directories [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
}

impl Scan {
    /// A search with nothing chosen.
    pub(crate) fn of(dirs: Vec<PathBuf>) -> Scan {
        Scan {
            dirs,
            one_file_system: false,
            null: false,
            html: false,
            stale: false,
            whom: None,
            sort: false,
            patience: PATIENCE,
            threads: None,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Generate {
    /// Write the manual into the directories man1, man5 and man8 of DIR
    Man {
        /// An existing directory that man(1) searches, e.g. /usr/local/share/man
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print each WHO of this machine, one a line, for completion scripts
    #[command(hide = true)]
    Who {
        /// Processes alone, as --pid takes them
        #[arg(long)]
        process: bool,
        /// What there is of the word: a manager is asked for its names only after its prefix
        #[arg(default_value = "", allow_hyphen_values = true)]
        word: String,
    },
}

#[derive(Args)]
pub(crate) struct Ns {
    /// Draw the tree as SVG: one document with all that it needs, for light and dark, that a screen
    /// reader can read
    #[arg(long, conflicts_with_all = ["json", "every"])]
    pub(crate) svg: bool,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

#[derive(Args)]
#[command(after_help = WATCH)]
pub(crate) struct Watch {
    /// Show it on the whole terminal, asked for again every 2 or SECONDS seconds, as top(1) has it
    #[arg(long = "watch", value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = INTERVAL, value_parser = interval, conflicts_with = "json")]
    pub(crate) every: Option<Duration>,
}

const WATCH: &str = "\
Keys of --watch: q or Ctrl-C quits; arrows, j and k, page up and down, home and end move; space asks at
once; Ctrl-Z stops.";
