// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of `nscap layer`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CAPS;

const LAYER_MAP: &str = "\
MAP says which ids the layer's numbers are: inside:outside:count[,...] as for newuidmap(1), where
the layer's numbers are the outside; or a WHO, then the map of that namespace
  host            every id as it is: a layer in a container's own terms
  0:100000:65536  a layer packed from a tree of a container with ids from 100000
  100000          the same
  pid:N, ns:PATH, user:NAME  as for nscap get";

const LAYER: &str = "\
LAYER is a tar archive, plain or compressed with gzip, zstd or xz, or an image: an OCI image layout
(a directory, or in an archive), what docker save writes, a dir: of skopeo; PATH:REFERENCE is one
image of several, by its name or tag. Without it, or for -, standard input.";

const FILESYSTEMS: &str = "\
A squashfs image is read by sqfs2tar(1) of squashfs-tools-ng. An erofs image is mounted in a mount
namespace of its own, which needs root.";

#[derive(Subcommand)]
pub(crate) enum Layer {
    /// List the capabilities in a layer or image, and the containers that each applies to
    ///
    /// Numbers are the layer's own. Exit status: 0 when there are any, 1 when there are none, 2 on
    /// an error, also where a value is malformed.
    #[command(after_help = format!("{LAYER}\n\n{FILESYSTEMS}"))]
    Ls {
        /// Only the images of this platform, os/architecture[/variant]
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<String>,
        /// Tar archives or images; of several each row has its name
        #[arg(value_name = "LAYER")]
        layers: Vec<std::ffi::OsString>,
    },
    /// Give a file in an image capabilities, without unpacking the image and without root
    ///
    /// A host value in the image's terms: for the root that unpacks it. Entries that the file has
    /// stay. The image gets one more layer, with the file, the records of the directories above it,
    /// and nothing else. Exit status: 0 when the file has them, 1 when a rule refuses, 2 on an
    /// error.
    #[command(after_help = format!("{IMAGE}\n\n{CAPS}"))]
    Set(LayerSet),
    /// Take all capabilities from a file in an image
    ///
    /// Exit status: 0 when they are removed, 1 when there were none, 2 on an error.
    #[command(after_help = IMAGE)]
    Rm(LayerHow),
    /// Write a layer or image with translated rootids, and with --owners translated owners
    ///
    /// An entry for the root of one map becomes an entry for the root of the other. It becomes a
    /// host value if that root is id 0 in the result, and the other way round; an id without image
    /// is refused. Bytes that need no change stay the same. Exit status: 0 when written, 1 when the
    /// target cannot hold a capability, 2 on an error.
    Map(LayerMap),
    /// Find capabilities in a layer or image that its consumer would not expect
    ///
    /// Exit status: 0 when there are none, 1 when there are some, 2 on an error.
    #[command(after_help = format!("{LAYER}\n\n{FILESYSTEMS}\n\n{LAYER_MAP}"))]
    Check {
        /// The ids of the consumer: a grant for an id outside MAP is unexpected. Without it, the
        /// consumer is a container and the layer has its ids: any rootid but 0 is unexpected
        #[arg(long = "for", value_name = "MAP", allow_hyphen_values = true)]
        consumer: Option<std::ffi::OsString>,
        /// A kind of finding that is expected here, such as effective; may be given several times
        #[arg(long, value_name = "FINDING")]
        allow: Vec<String>,
        /// Only the images of this platform, os/architecture[/variant]
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<String>,
        /// Tar archives or images; of several each row has its name
        #[arg(value_name = "LAYER")]
        layers: Vec<std::ffi::OsString>,
    },
}

const IMAGE: &str = "\
IMAGE is an OCI image layout (a directory, or in an archive), what docker save writes, a dir: of
skopeo, or a layer alone in a file; PATH:REFERENCE is one image of several. Symbolic links on the way to
the file are followed as in the unpacked image. All images of an index are changed, or those of
--platform; a signature of the old image does not sign the new one.";

#[derive(Args)]
pub(crate) struct LayerSet {
    /// Without the effective bit: the program must raise the capability itself. Without CAPS, of
    /// what the file has
    #[arg(long)]
    pub(crate) no_effective: bool,
    #[command(flatten)]
    pub(crate) how: LayerHow,
    /// The capabilities
    #[arg(value_name = "CAPS", required_unless_present = "no_effective")]
    pub(crate) caps: Option<std::ffi::OsString>,
}

/// Which file of which image is changed, and how.
#[derive(Args)]
#[group(skip)]
pub(crate) struct LayerHow {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: std::ffi::OsString,
    /// The file, from the root of the image
    #[arg(value_name = "PATH")]
    pub(crate) path: std::ffi::OsString,
    /// Write the changed image there, in the form that it has; it must be new
    #[arg(long, short, value_name = "PATH", required_unless_present = "in_place")]
    pub(crate) output: Option<PathBuf>,
    /// Change the image where it is
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    /// Write the layer that has the file anew, in place of one more layer: the layer is no longer
    /// shared with other images
    #[arg(long)]
    pub(crate) rewrite: bool,
    /// Change all names of the file (hard links). Otherwise the others keep what they have
    #[arg(long)]
    pub(crate) all_links: bool,
    /// Only the images of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
}

#[derive(Args)]
#[command(after_help = format!("{LAYER}\n\n{LAYER_MAP}"))]
pub(crate) struct LayerMap {
    /// The mapping that the ids in the layer have
    #[arg(long, value_name = "MAP", allow_hyphen_values = true)]
    pub(crate) from: std::ffi::OsString,
    /// The mapping that they get
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
    /// What to do with a capability that the target cannot hold, or that is malformed: refuse the
    /// layer, or leave the capability out and say so
    #[arg(long, value_name = "HOW", default_value = "fail")]
    pub(crate) unmapped: UnmappedArg,
    /// Print what became of each capability and why (on standard error for a single layer)
    #[arg(long)]
    pub(crate) explain: bool,
    /// Write there, which must be new for an image [default for a layer: standard output]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Change an image where it is
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    /// Only the images of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
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
