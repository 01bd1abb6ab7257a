// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of `nscap mount`, `umount` and `stats`, and the options of a mount for the help
//! and mount.nscap(8).

use std::path::PathBuf;

use clap::Args;

use super::{PolicyArgs, Watch};

/// For -o and fstab(5).
pub(crate) const MOUNT_OPTIONS: [(&str, &str); 12] = [
    ("single", "one entry a file; without it one for each root"),
    ("busy=error", "a write is EBUSY if an entry exists (default)"),
    ("busy=same-ok", "an equal write succeeds; also same-ok"),
    ("busy=replace", "a write replaces the entry: for package managers"),
    ("reachable-ok", "users besides root may reach SOURCE by its path"),
    ("source-owner-ok", "SOURCE is the server's own, whatever its type"),
    ("no-passthrough", "the server reads and writes file data itself"),
    ("no-io-uring", "no requests through io_uring queues"),
    ("threads=N", "how many threads serve, 1 to 64"),
    ("nosuid", "execve ignores capabilities: grants have no effect"),
    ("ro, noexec, nodev, nosymfollow", "as mount(8)"),
    ("noatime, relatime, strictatime, nodiratime", "as mount(8), for the files of SOURCE"),
];

pub(crate) const SIGNALS: &str =
    "SIGTERM and SIGINT unmount and end the server, SIGUSR1 prints its counters.";

/// A line for each option, which no terminal of 80 columns has to break.
fn mount_help() -> String {
    let mut text = String::from("Options for -o and fstab(5), separated by commas:\n");
    for (option, what) in MOUNT_OPTIONS {
        let line = if option.len() > 17 {
            format!("  {option}\n{:21}{what}\n", "")
        } else {
            format!("  {option:17}  {what}\n")
        };
        text.push_str(&line);
    }
    text.push_str(
        "  and what mount(8) has for every file system\n\n\
         As /sbin/mount.nscap this command is what mount -t nscap runs.\n\n",
    );
    text + "Signals: " + SIGNALS
}

#[derive(Args)]
#[command(after_help = mount_help())]
pub(crate) struct Mount {
    /// The directory to show; only root may be able to reach it by its own path
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    /// An existing directory, the mount point
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
    /// Allow a source that users other than root can reach: their changes there bypass the rules
    #[arg(long)]
    pub(crate) reachable_ok: bool,
    /// Treat a source that a user namespace may own as the server's own; otherwise it is mounted
    /// nosuid and nodev
    #[arg(long)]
    pub(crate) source_owner_ok: bool,
    /// Never let the kernel read and write the source's files without the server
    #[arg(long)]
    pub(crate) no_passthrough: bool,
    /// Never take requests through io_uring queues
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
    /// Detach it now, and unmount it when no task uses it any more
    #[arg(short, long)]
    pub(crate) lazy: bool,
}

#[derive(Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    pub(crate) watch: Watch,
    /// Where it is mounted
    #[arg(value_name = "TARGET")]
    pub(crate) target: PathBuf,
}
