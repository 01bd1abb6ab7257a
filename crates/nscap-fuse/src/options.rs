// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the administrator chooses about a mount.

use nscap_core::Policy;

/// How a tree is mounted and served.
///
/// ```
/// use nscap_fuse::Options;
/// let options = Options { read_only: true, ..Options::default() };
/// assert_eq!(options.policy, nscap_core::Policy::ARRAYS);
/// assert!((2..=8).contains(&options.threads));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What the rules leave open (A, B). Default: [`Policy::ARRAYS`].
    pub policy: Policy,
    /// Every change is EROFS.
    pub read_only: bool,
    /// Take a source that others than root can reach by its path.
    pub reachable_ok: bool,
    /// Take the superblock of the source for our own user namespace's where that cannot be shown: the
    /// administrator vouches for whoever mounted it. Without it such a source is shown nosuid and
    /// nodev, and no table of entries in it counts.
    pub source_owner_ok: bool,
    /// Let the kernel read and write the files of the source itself where it can (Linux 6.9, as
    /// root of the initial user namespace). Where it cannot, the server does.
    pub passthrough: bool,
    /// Take requests by the queues of io_uring where the kernel offers that (Linux 6.14, and
    /// /sys/module/fuse/parameters/enable_uring is set): with four threads for each processor, or
    /// more as they are needed, beside the others; where there can be more than 64 processors, not.
    pub io_uring: bool,
    /// Worker threads while no request lasts; more are added while some do. 0 is taken for 1. Default:
    /// as many as there are processors, 2 to 8.
    pub threads: usize,
    /// Flags of the mount, as for mount(8).
    pub flags: Flags,
    /// What the first column of /proc/self/mounts says; `None`: the path of the source.
    pub name: Option<String>,
}

/// Flags of a mount, as mount(8) has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// Nothing is executed from it.
    pub noexec: bool,
    /// Device nodes cannot be opened. Always so in a user namespace.
    pub nodev: bool,
    /// Set-id bits are ignored, and with them every file capability: nothing that is granted has an
    /// effect.
    pub nosuid: bool,
    /// Symbolic links are not followed.
    pub nosymfollow: bool,
    /// When reading updates access times, those of the source's files.
    pub atime: Atime,
    /// Access times of directories are not updated.
    pub nodiratime: bool,
}

/// When reading a file updates its access time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Atime {
    /// As on the mount that the source is given by.
    #[default]
    AsSource,
    /// When it is not later than the last change, or is a day old.
    Relative,
    /// Always.
    Strict,
    /// Never.
    Never,
}

impl Default for Options {
    fn default() -> Options {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Options {
            policy: Policy::ARRAYS,
            read_only: false,
            reachable_ok: false,
            source_owner_ok: false,
            passthrough: true,
            io_uring: true,
            threads: cores.clamp(2, 8),
            flags: Flags::default(),
            name: None,
        }
    }
}
