// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of `nscap get`, `set` and `rm`, and the policy, which `nscap mount` takes too.

use std::path::PathBuf;

use clap::Args;
use nscap_core::{Busy, Policy};

use super::{CAPS, WHO};

/// One of the two ways to name files is needed.
fn named_files() -> clap::ArgGroup {
    clap::ArgGroup::new("named").required(true).args(["files", "files0_from"])
}

/// The files of a command.
#[derive(Args, Clone)]
pub(crate) struct FileArgs {
    /// Regular files
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Take the names of files from F, each followed by a NUL byte as find -print0 and nscap scan
    /// -0 write them; - is standard input
    #[arg(long, value_name = "F", conflicts_with = "files")]
    pub(crate) files0_from: Option<PathBuf>,
    /// Look files up below DIR as chroot(2) would: absolute paths begin at DIR, and no link and no
    /// `..` leads out of it. Without it links of directories are followed wherever they lead
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
}

#[derive(Args)]
#[command(
    after_help = WHO,
    group = named_files(),
    override_usage = "nscap get [OPTIONS] FILE...\n       nscap get -r [OPTIONS] DIR..."
)]
pub(crate) struct Get {
    /// Show both attributes as tools in WHO's namespace see them, with its own ids
    #[arg(long = "as", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) seen_by: Option<std::ffi::OsString>,
    /// Search directories, as getcap -r and nscap scan do
    #[arg(short, long, conflicts_with_all = ["seen_by", "root"])]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) files: FileArgs,
}

#[derive(Args)]
#[command(
    after_help = format!("{CAPS}\n\n{WHO}"),
    group = named_files().arg("remove").arg("from_attribute").multiple(true),
    override_usage = "nscap set [OPTIONS] CAPS FILE...\n       nscap set -r [OPTIONS] FILE..."
)]
pub(crate) struct Set {
    /// The capabilities; - reads them from standard input, up to an empty line
    #[arg(
        required_unless_present_any = ["remove", "from_attribute"],
        value_name = "CAPS",
        allow_hyphen_values = true
    )]
    pub(crate) caps: Option<std::ffi::OsString>,
    #[command(flatten)]
    files: FileArgs,
    /// Remove them, as setcap -r and nscap rm do; there is no CAPS then
    #[arg(short = 'r', long, conflicts_with_all = ["replace", "single", "busy", "same_ok"])]
    pub(crate) remove: bool,
    /// Take the entries from each file's security.nscapability, as cp, tar or rsync copied it from
    /// a mount of nscap's: each for its own root, and none as a host value; there is no CAPS then
    #[arg(long, conflicts_with_all = ["remove", "whom", "single"])]
    pub(crate) from_attribute: bool,
    /// The root that gets them; without it, root of the user namespace that this command runs in
    #[arg(long = "for", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) whom: Option<std::ffi::OsString>,
    /// Replace the entry of WHO in one step
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

impl Set {
    /// With -r and --from-attribute the first argument, in the place of CAPS, is a file.
    pub(crate) fn files(&self) -> FileArgs {
        let mut all = self.files.clone();
        if self.remove || self.from_attribute {
            let first = self.caps.iter().map(PathBuf::from);
            all.files = first.chain(all.files).collect();
        }
        all
    }
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
#[command(
    after_help = WHO,
    group = named_files(),
    override_usage = "nscap rm [OPTIONS] FILE..."
)]
pub(crate) struct Rm {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// The root that loses them; without it, root of the user namespace that this command runs in
    #[arg(long = "for", value_name = "WHO", allow_hyphen_values = true)]
    pub(crate) whom: Option<std::ffi::OsString>,
    /// Remove every entry that this command may remove, the host value, and a table that is void
    #[arg(long, conflicts_with = "whom")]
    pub(crate) all: bool,
}
