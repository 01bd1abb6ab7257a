//! The command line: what clap reads, and what the man pages and completions are made from.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

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
    /// List live user namespaces as a tree
    Ns,
    /// Say what this machine offers to nscap, and which id ranges overlap
    ///
    /// Exit status: 0 when nothing is missing and nothing overlaps, 1 otherwise, 2 on an error.
    Check(Check),
    /// Find every file with capabilities in directory trees, and say for whom they hold
    ///
    /// Exit status: 0 when a file was found, 1 when none was, 2 when a directory could not be read
    /// (it is named on standard error, and the search goes on).
    Scan(Scan),
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
    /// Succeed where the same capabilities stand there already
    #[arg(long)]
    pub(crate) same_ok: bool,
    /// Allow one entry a file, as unmodified kernels do
    #[arg(long)]
    pub(crate) single: bool,
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

#[derive(Args)]
pub(crate) struct Check {
    /// Where capabilities are to be stored: what its file system offers
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
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
