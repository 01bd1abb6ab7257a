// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: what clap reads, and what the man pages and completions are made from.

mod layer;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use nscap_core::{Busy, Policy};

pub(crate) use layer::{Layer, LayerMap, UnmappedArg};

const WHO: &str = "\
WHO is one of
  host       whoever owns ordinary file systems: a host value
  100000     the root kuid itself: uid 0 of a container, as the host counts
  pid:N      root of the user namespace of process N
  ns:PATH    root of the user namespace that a file stands for (/proc/N/ns/user, a bind mount)
  user:NAME  root of a container with the first range of NAME in /etc/subuid";

const CAPS: &str = "CAPS is written as for setcap(8): cap_net_raw=ep, cap_chown,cap_kill+p";

const EXIT: &str = "Exit status: 0 yes, 1 no, 2 could not tell (usage, input or system error)";

/// Capabilities of executables that belong to a user namespace.
///
/// A file holds at most one host value, which holds on the host and in every container, and one
/// entry for each root kuid, which holds for that container's tasks and below, and nowhere else.
#[derive(Parser)]
#[command(name = "nscap", version, max_term_width = 100, after_help = EXIT)]
pub(crate) struct Cli {
    /// Print one JSON object per line (docs/json.md names the fields)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show for whom a file's capabilities hold
    ///
    /// Exit status: 0 when a file has capabilities, 1 when none has, 2 on an error.
    Get(Get),
    /// Give files capabilities, for this user namespace or another
    ///
    /// A file that already has an entry for the same root is left alone (EBUSY, exit status 1)
    /// unless --replace or --same-ok says otherwise.
    Set(Set),
    /// Take capabilities from files
    ///
    /// Exit status: 0 when something was removed, 1 when there was nothing, 2 on an error.
    Rm(Rm),
    /// Say what execve would give a task, why not more, and what would mend it
    ///
    /// Exit status: 0 when the task gains everything that the file promises it, 1 when anything is
    /// lost, 2 on an error.
    Explain(Explain),
    /// Move a whole tree from one id mapping to another
    ///
    /// Owners, groups, the rootids of capabilities and the ids of access control lists. The plan is
    /// written beside DIR first (.nscap-shift-NAME.journal); by it a shift that was killed is
    /// resumed, and one that was made is undone.
    ///
    /// Exit status: 0 when all of it is done, 1 when something stands in the way or was left as it
    /// is, 2 on an error.
    Shift(Shift),
    /// List live user namespaces as a tree
    Ns,
    /// Say what this machine offers to nscap, and which id ranges overlap
    ///
    /// Exit status: 0 when nothing is missing and nothing overlaps, 1 otherwise, 2 on an error.
    Check(Check),
    /// Show a directory tree on which every user namespace has its own capabilities
    ///
    /// Returns when the mount is usable; the server goes on by itself. Exit status: 0 when it is
    /// mounted, 2 when not.
    Mount(Mount),
    /// Unmount a tree that nscap mount shows
    Umount(Umount),
    /// Show the counters of a tree that nscap mount shows
    Stats(Stats),
    /// Play the eight points of the design on a tree of its own, and check each answer
    ///
    /// As root, or as another user in a user namespace of its own. Leaves nothing behind. Exit
    /// status: 0 when every answer is as its clause says, 1 when one is not, 2 when it could not be
    /// played here.
    Tour(Tour),
    /// Find every file with capabilities in directory trees, and say for whom they hold
    ///
    /// Exit status: 0 when a file was found, 1 when none was, 2 when a directory could not be read
    /// (it is named on standard error, and the search goes on).
    Scan(Scan),
    /// Capabilities in layers (tar archives) and images (OCI layouts)
    #[command(subcommand)]
    Layer(Layer),
    /// Write man pages or shell completions
    #[command(subcommand)]
    Generate(Generate),
}

#[derive(Args)]
#[command(after_help = WHO)]
pub(crate) struct Get {
    /// Show what the tools of WHO's namespace would see instead: both attributes, rootids in its
    /// own terms
    #[arg(long = "as", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) seen_by: Option<std::ffi::OsString>,
    /// Regular files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Args)]
#[command(after_help = format!("{CAPS}\n\n{WHO}"))]
pub(crate) struct Set {
    /// The capabilities
    #[arg(value_name = "CAPS", allow_hyphen_values = true)]
    pub(crate) caps: std::ffi::OsString,
    /// Regular files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// For whom; without it, for the user namespace that this command runs in
    #[arg(long = "for", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) whom: Option<std::ffi::OsString>,
    /// Remove what stands there for WHO and set this, as one step
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

/// The policy (A, B), as the core's table has it.
#[derive(Args)]
pub(crate) struct PolicyArgs {
    /// One entry a file, as the design of 2016 has it, not one for each root
    #[arg(long)]
    single: bool,
    /// Where an entry exists: EBUSY, success if it is equal, or replace it [default: error]
    #[arg(long, value_name = "POLICY")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Busy::ALL.map(Busy::name)))]
    busy: Option<String>,
    /// The same as --busy=same-ok
    #[arg(long, conflicts_with = "busy")]
    same_ok: bool,
}

impl PolicyArgs {
    /// What was said, and for the rest this policy.
    pub(crate) fn over(&self, policy: Policy) -> Policy {
        let same_ok = self.same_ok.then_some(Busy::SameOk);
        let busy = self.busy.as_deref().and_then(Busy::named).or(same_ok);
        let policy = if self.single { policy.with_array(false) } else { policy };
        busy.map_or(policy, |busy| policy.with_busy(busy))
    }
}

#[derive(Args)]
#[command(after_help = WHO)]
pub(crate) struct Rm {
    /// Regular files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Whose; without it, those of the user namespace that this command runs in
    #[arg(long = "for", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) whom: Option<std::ffi::OsString>,
    /// Every entry that this command may remove, the host value, and what counts for nothing
    #[arg(long, conflicts_with = "whom")]
    pub(crate) all: bool,
}

#[derive(Args)]
#[command(
    after_help = WHO,
    group = clap::ArgGroup::new("task").required(true).args(["seen_by", "pid"])
)]
pub(crate) struct Explain {
    /// The file to execute; with --pid as that process finds it, from its root directory
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// A task in WHO's namespace, with the ids that --uid and --gid say
    #[arg(long = "as", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) seen_by: Option<std::ffi::OsString>,
    /// A process as it is now
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
    /// Its uid in that namespace; 0 has every capability, others none [default: 0]
    #[arg(long, value_name = "N", conflicts_with = "pid")]
    pub(crate) uid: Option<u32>,
    /// Its gid in that namespace [default: as the uid]
    #[arg(long, value_name = "N", conflicts_with = "pid")]
    pub(crate) gid: Option<u32>,
}

const MAP: &str = "\
MAP is inside:outside:count[,...], as newuidmap(1) takes it, or WHO: the map of that
namespace, or the range that is configured for it";

#[derive(Args)]
#[command(after_help = format!("{MAP}\n\n{WHO}"))]
pub(crate) struct Shift {
    /// The top of the tree; what is mounted in it is left as it is
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The mapping that the tree has
    #[arg(long, value_name = "MAP", required_unless_present_any = ["resume", "undo"])]
    pub(crate) from: Option<std::ffi::OsString>,
    /// The mapping that it is to have
    #[arg(long, value_name = "MAP", required_unless_present_any = ["resume", "undo"])]
    pub(crate) to: Option<std::ffi::OsString>,
    /// The mapping that groups have; without it, --from's
    #[arg(long, value_name = "MAP")]
    pub(crate) gid_from: Option<std::ffi::OsString>,
    /// The mapping that groups are to have; without it, --to's
    #[arg(long, value_name = "MAP")]
    pub(crate) gid_to: Option<std::ffi::OsString>,
    /// What becomes of an id that --to has no place for: fail (nothing is changed), skip (it stays),
    /// or the id that it becomes
    #[arg(long, value_name = "fail|skip|ID", value_parser = unmapped, default_value = "fail")]
    pub(crate) unmapped: nscap_image::shift::Unmapped,
    /// Let capabilities become host values, and set-id files the host's root's: they then hold for
    /// everybody
    #[arg(long)]
    pub(crate) host_grants: bool,
    /// Move files too that have other names outside DIR
    #[arg(long)]
    pub(crate) other_names: bool,
    /// Say what would be done and what stands in the way, and change nothing
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

const OPTIONS: &str = "\
OPTIONS, for -o and fstab(5), separated by commas: single, busy=POLICY, same-ok, reachable-ok, source-owner-ok,
no-passthrough, no-io-uring, threads=N, ro, noexec, nodev, nosuid (then nothing is granted), nosymfollow, noatime,
strictatime, relatime, nodiratime, and what mount(8) has for every file system. As /sbin/mount.nscap this command is
what mount -t nscap runs.

Signals: SIGTERM and SIGINT unmount and end the server, SIGUSR1 prints its counters.";

#[derive(Args)]
#[command(after_help = OPTIONS)]
pub(crate) struct Mount {
    /// The directory to show; only root may be able to reach it by its own path
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    /// An existing directory, where it is shown
    #[arg(value_name = "TARGET")]
    pub(crate) target: PathBuf,
    /// Mount options, as mount(8) has them
    #[arg(short = 'o', long, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub(crate) options: Vec<std::ffi::OsString>,
    /// Pass over options that are unknown
    #[arg(short, long)]
    pub(crate) sloppy: bool,
    /// Every change is EROFS
    #[arg(short, long)]
    pub(crate) read_only: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Take a source that others than root can reach: what they change there, no rule sees
    #[arg(long)]
    pub(crate) reachable_ok: bool,
    /// Take a source of a user namespace's for our own: it is shown nosuid and nodev otherwise
    #[arg(long)]
    pub(crate) source_owner_ok: bool,
    /// Never let the kernel read and write the source's files without the server
    #[arg(long)]
    pub(crate) no_passthrough: bool,
    /// Never take requests by the queues of io_uring, where the kernel offers that
    #[arg(long)]
    pub(crate) no_io_uring: bool,
    /// How many threads serve, 1 to 64 [default: one a processor, 2 to 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: Option<u16>,
    /// Serve in this process, until the tree is unmounted
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Print the counters at the end
    #[arg(long)]
    pub(crate) stats: bool,
    /// Check everything and do not mount
    #[arg(long, hide = true)]
    pub(crate) fake: bool,
    /// In this mount namespace
    #[arg(long, value_name = "NS", hide = true)]
    pub(crate) namespace: Option<std::ffi::OsString>,
    /// The server that another nscap has started
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

#[derive(Args)]
pub(crate) struct Umount {
    /// Where it is mounted
    #[arg(value_name = "TARGET")]
    pub(crate) target: PathBuf,
    /// Now from everybody's sight, and for good when nobody uses it any more
    #[arg(short, long)]
    pub(crate) lazy: bool,
}

#[derive(Args)]
pub(crate) struct Stats {
    /// Where it is mounted
    #[arg(value_name = "TARGET")]
    pub(crate) target: PathBuf,
}

#[derive(Args)]
pub(crate) struct Tour {
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
    /// Is the init of these, and plays.
    Stage,
}

#[derive(Args)]
#[command(after_help = WHO)]
pub(crate) struct Scan {
    /// Directories; symbolic links are not followed
    #[arg(required = true, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Leave out what is mounted below DIR
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,
    /// Print only the files' paths, each followed by a NUL byte
    #[arg(short = '0', long, conflicts_with = "json")]
    pub(crate) null: bool,
    /// Only files with entries that nobody here can use: root of no live namespace, in no range of
    /// /etc/subuid and no user's uid; or entries that count for nothing since the file has changed
    #[arg(long)]
    pub(crate) stale: bool,
    /// Only files that hold what `nscap set --for WHO` sets: WHO's entry, or the host value
    #[arg(long = "for", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) whom: Option<std::ffi::OsString>,
    /// Print sorted by path, at the end: the same whatever the number of threads
    #[arg(long)]
    pub(crate) sort: bool,
    /// How many seconds a file system may take to answer one call; a directory where it takes longer
    /// is named, and what else is on that mount left out, with status 2
    #[arg(long, value_name = "SECONDS", default_value = "10",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) patience: u16,
    /// How many threads read directories [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
}

#[derive(Subcommand)]
pub(crate) enum Generate {
    /// Write one man page for each command into DIR
    Man {
        /// An existing directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
}
