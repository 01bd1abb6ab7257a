// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of `nscap layer`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const LAYER_MAP: &str = "\
MAP says which ids the layer's numbers are: inside:outside:count[,...] as for newuidmap(1), where
the layer's numbers are the outside; or a WHO, then the map of that namespace
  host            every id as it is: a layer in a container's own terms
  0:100000:65536  a layer packed from a tree of a container with ids from 100000
  100000          the same
  pid:N, ns:PATH, user:NAME  as for nscap get";

const LAYER: &str = "\
LAYER is a tar archive, plain or compressed with gzip or zstd, an OCI image layout (a directory), or
one reference in it (DIR:REFERENCE); without it, or for -, standard input. An image in one archive
(docker save, oci-archive) is no layer: unpack it first.";

#[derive(Subcommand)]
pub(crate) enum Layer {
    /// List the capabilities in a layer or image, and for whom they hold
    ///
    /// Numbers are the layer's own. Exit status: 0 when there are any, 1 when there are none, 2 on
    /// an error, also where a value is malformed.
    #[command(after_help = LAYER)]
    Ls {
        /// Tar archives or images; of several each row has its name
        #[arg(value_name = "LAYER")]
        layers: Vec<std::ffi::OsString>,
    },
    /// Write a layer or image in other terms: rootids, and with --owners the owners, translated
    ///
    /// An entry for the root of the one map becomes an entry for the root of the other, a host
    /// value where that is id 0 in the new terms, and back; an id without image is refused. Bytes
    /// that need no change are the same. Exit status: 0 when written, 1 when a capability has no
    /// place in the target, 2 on an error.
    Map(LayerMap),
    /// Find capabilities in a layer or image that the one whom it is for would not expect
    ///
    /// Exit status: 0 when there is nothing, 1 when there is, 2 on an error.
    #[command(after_help = format!("{LAYER}\n\n{LAYER_MAP}"))]
    Check {
        /// For whom: a grant for an id that MAP does not give is unexpected. Without it, for a
        /// container in its own terms: any rootid but 0 is
        #[arg(long = "for", value_name = "MAP", allow_hyphen_values = true)]
        for_whom: Option<std::ffi::OsString>,
        /// Tar archives or images; of several each row has its name
        #[arg(value_name = "LAYER")]
        layers: Vec<std::ffi::OsString>,
    },
}

#[derive(Args)]
#[command(after_help = format!("{LAYER}\n\n{LAYER_MAP}"))]
pub(crate) struct LayerMap {
    /// In whose terms the layer is
    #[arg(long, value_name = "MAP", allow_hyphen_values = true)]
    pub(crate) from: std::ffi::OsString,
    /// In whose terms it is to be
    #[arg(long, value_name = "MAP", allow_hyphen_values = true)]
    pub(crate) to: std::ffi::OsString,
    /// Translate the owners and groups of all members too
    #[arg(long)]
    pub(crate) owners: bool,
    /// The groups, where they have another map than the owners
    #[arg(long, value_name = "MAP", requires = "owners", requires = "gid_to")]
    pub(crate) gid_from: Option<std::ffi::OsString>,
    /// The groups, where they have another map than the owners
    #[arg(long, value_name = "MAP", requires = "owners", requires = "gid_from")]
    pub(crate) gid_to: Option<std::ffi::OsString>,
    /// What is done about a capability that has no place in the target, or is malformed: refuse the
    /// layer, or leave the capability out and say so
    #[arg(long, value_name = "HOW", default_value = "fail")]
    pub(crate) unmapped: UnmappedArg,
    /// Say of each capability what became of it and why (standard error for a single layer)
    #[arg(long)]
    pub(crate) explain: bool,
    /// Write there, which must be new for an image [default for a layer: standard output]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Change an image where it is
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    /// A tar archive or an image
    #[arg(value_name = "LAYER")]
    pub(crate) layer: Option<std::ffi::OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UnmappedArg {
    /// Refuse the layer
    Fail,
    /// Leave it out
    Drop,
}
