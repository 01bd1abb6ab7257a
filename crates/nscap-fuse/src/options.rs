// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of a mount.

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
    /// The choices that the rules leave to the administrator (A, B). Default: [`Policy::ARRAYS`].
    pub policy: Policy,
    /// Refuse every change with EROFS.
    pub read_only: bool,
    /// Accept a source that users other than root can reach by its path.
    pub reachable_ok: bool,
    /// Treat the superblock of the source as owned by the server's user namespace where the kernel
    /// does not say so: the administrator vouches for the task that mounted it. Without this option
    /// such a source is mounted nosuid and nodev, and the rules ignore every table of entries in
    /// it.
    pub source_owner_ok: bool,
    /// Let the kernel itself read and write the files of the source where it can (FUSE passthrough,
    /// Linux 6.9, as root of the initial user namespace). Otherwise the server does.
    pub passthrough: bool,
    /// Take requests through io_uring queues where the kernel offers them (Linux 6.14, and
    /// /sys/module/fuse/parameters/enable_uring is set). This takes four more threads for each
    /// processor, or more as they are needed. Ignored on a machine with more than 64 possible
    /// processors.
    pub io_uring: bool,
    /// Threads for /dev/fuse; more are added while requests last. 0 means 1. Default: the number of
    /// processors, at least 2 and at most 8.
    pub threads: usize,
    /// Flags of the mount, as for mount(8).
    pub flags: Flags,
    /// The first column in /proc/self/mounts; `None`: the path of the source.
    pub name: Option<String>,
}

/// Flags of a mount, as in mount(8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// No file can be executed.
    pub noexec: bool,
    /// Device nodes cannot be opened. Always so in a user namespace.
    pub nodev: bool,
    /// The kernel ignores set-id bits and file capabilities: no grant has an effect.
    pub nosuid: bool,
    /// Symbolic links are not followed.
    pub nosymfollow: bool,
    /// When reads update the access times of the source's files.
    pub atime: Atime,
    /// Access times of directories are not updated.
    pub nodiratime: bool,
}

/// When reading a file updates its access time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Atime {
    /// As on the source's own mount.
    #[default]
    AsSource,
    /// When the access time is not later than the last change, or is a day old (relatime).
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
