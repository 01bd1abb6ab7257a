// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this machine offers to nscap: facts for `nscap check`, and whether the kernel decides by
//! the rules. Each is found by a try if that changes nothing, and otherwise by what the kernel says
//! of itself.

mod idmap;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nscap_core::storage::Table;
use nscap_core::{CapSet, Capability, FileCaps, NsCaps, Record, VfsCaps};
use rustix::fs::{
    AtFlags, CWD, MemfdFlags, Mode, OFlags, StatxAttributes, StatxFlags, XattrFlags, openat, statx,
    unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::mount::Mount;
use crate::names::{CAPABILITY, TABLE};
use crate::ns::Namespaces;
use crate::policy::kernel_decides;
use crate::server::{FuseQueue, Lowered};
use crate::sys;
use crate::xattr::{self, Present};

pub use idmap::can_be_idmapped;

/// What the kernel offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Its version, major and minor.
    pub version: (u16, u16),
    /// Whether this process may make a user namespace: tried.
    pub user_namespaces: bool,
    /// Whether /dev/fuse can be opened.
    pub fuse: bool,
    /// FUSE passthrough: Linux 6.9, and not turned off where the configuration can be read.
    pub fuse_passthrough: Option<bool>,
    /// FUSE over io_uring: Linux 6.14, turned on (the fuse module's parameter `enable_uring`), and
    /// a ring can be had.
    pub fuse_io_uring: bool,
    /// After how many seconds the kernel ends a mount whose server has not answered a request
    /// (fs.fuse.default_request_timeout and fs.fuse.max_request_timeout, Linux 6.15); 0: never.
    pub fuse_timeout: u64,
    /// Whether the kernel checks changes of `security.*` names itself: [`asks_for_security_names`].
    pub security_asked: bool,
    /// Whether the kernel's own revision 3 exists: Linux 4.14.
    pub revision_3: bool,
    /// Whether file capabilities are honoured: no `no_file_caps` on the command line.
    pub file_caps: bool,
    /// The *xattrat calls: tried.
    pub xattrat: bool,
    /// NS_GET_ID: tried.
    pub ns_id: bool,
    /// Whether a pidfd of a thread can be had (PIDFD_THREAD, Linux 6.9).
    pub pidfd_thread: bool,
}

impl Kernel {
    /// Asks the running kernel.
    #[must_use]
    pub fn probe() -> Kernel {
        let version = version();
        let own = std::fs::File::open("/proc/self/ns/user");
        Kernel {
            version,
            user_namespaces: user_namespace().is_ok(),
            fuse: rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .is_ok(),
            fuse_passthrough: if version < (6, 9) {
                Some(false)
            } else {
                config("CONFIG_FUSE_PASSTHROUGH")
            },
            fuse_io_uring: FuseQueue::count().is_some() && FuseQueue::new(0, 4096).is_ok(),
            fuse_timeout: timeout(Path::new("/proc/sys/fs/fuse")),
            security_asked: asks_for_security_names(),
            revision_3: version >= (4, 14),
            file_caps: file_caps(),
            xattrat: xattr::has_at_calls(),
            ns_id: own.is_ok_and(|own| sys::ns_id(own).is_ok()),
            pidfd_thread: version >= (6, 9),
        }
    }
}

/// Whether this process may make a user namespace: a child of it tries.
///
/// # Errors
/// [`Error::Call`] with unshare(2)'s errno: EPERM in a chroot and where a setting or security
/// module forbids it, ENOSPC or EUSERS beyond a limit, EINVAL where the kernel has none.
///
/// ```
/// let made = nscap_linux::probe::user_namespace().is_ok();
/// assert_eq!(made, nscap_linux::probe::Kernel::probe().user_namespaces);
/// ```
pub fn user_namespace() -> Result<()> {
    sys::try_unshare_user().map_err(|e| Error::call(Path::new("user namespace"), "unshare", e))
}

/// Whether this process is in a chroot, as far as it can see: its root is no mount, or is not the
/// root of the first process that it sees in its own mount namespace. The kernel makes no user
/// namespace there (user_namespaces(7)).
///
/// ```
/// assert!(!nscap_linux::probe::is_chroot());
/// ```
#[must_use]
pub fn is_chroot() -> bool {
    let look = |path: &str| {
        let mask = StatxFlags::INO | StatxFlags::MNT_ID;
        statx(CWD, path, AtFlags::empty(), mask).ok()
    };
    let Some(own) = look("/") else { return false };
    if !own.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return true;
    }
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let first = namespace("1").filter(|first| namespace("self").as_ref() == Some(first));
    first
        .and_then(|_| look("/proc/1/root/"))
        .is_some_and(|first| (first.stx_mnt_id, first.stx_ino) != (own.stx_mnt_id, own.stx_ino))
}

/// The smaller of two limits; 0 means no limit.
fn timeout(settings: &Path) -> u64 {
    let limit = |name| {
        let text = std::fs::read_to_string(settings.join(name)).ok()?;
        text.trim().parse().ok().filter(|seconds| *seconds > 0)
    };
    let limits = ["default_request_timeout", "max_request_timeout"].map(limit);
    limits.into_iter().flatten().min().unwrap_or(0)
}

/// What a directory's file system offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Whether anything could be tried; else the errno of making a file there. The fields after
    /// this one then say nothing.
    pub tried: std::result::Result<(), i32>,
    /// Whether `security.capability` can be set here; else the errno.
    pub capability: std::result::Result<(), i32>,
    /// Whether `security.nscapability` can be set here; else the errno.
    pub table: std::result::Result<(), i32>,
    /// How many entries one file can hold, up to 1,024.
    pub entries: usize,
}

impl Directory {
    /// Tries a directory with a file that never has a name (O_TMPFILE); where the file system has
    /// none such, with one whose name goes at once.
    ///
    /// # Errors
    /// [`Error::Call`] if there is no such directory: ENOENT, ENOTDIR, EACCES.
    pub fn probe(path: &Path) -> Result<Directory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| Error::call(path, "open", e))?;
        let file = match scratch(&directory) {
            Ok(file) => file,
            Err(errno) => {
                let no = Err(errno.raw_os_error());
                return Ok(Directory { tried: no, capability: no, table: no, entries: 0 });
            }
        };
        let plain = VfsCaps::v2(FileCaps::default()).encode();
        let by_design =
            kernel_decides() || Mount::of(&directory, path, &mut Namespaces::own()?)?.is_nscap();
        let try_set = |name, value: &[u8]| {
            xattr::set(file.as_fd(), name, value, Present::Any).map_err(Errno::raw_os_error)
        };
        let capability = try_set(CAPABILITY, plain.as_bytes());
        // An enforcer takes entries only, and none beside those that are there.
        let try_table = |count: usize| {
            if by_design {
                let _ = xattr::remove(file.as_fd(), TABLE);
                try_set(TABLE, &entries(count))
            } else {
                try_set(TABLE, &vec![0; Table::encoded_len(count)])
            }
        };
        let table = try_table(1);
        let entries = largest(|count| try_table(*count).is_ok());
        Ok(Directory { tried: Ok(()), capability, table, entries })
    }
}

/// A file for writing only: on a mount of nscap one that is open for reading and writing gets no
/// grant.
fn scratch(directory: &OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match openat(directory, c".", OFlags::TMPFILE | flags, mode) {
        Err(Errno::OPNOTSUPP) => {}
        made => return made,
    }
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let name = format!(".nscap-check-{:016x}", u64::from_ne_bytes(random));
    let file = openat(directory, &*name, OFlags::CREATE | OFlags::EXCL | flags, mode)
        .map_err(|_| Errno::OPNOTSUPP)?;
    let _ = unlinkat(directory, &*name, AtFlags::empty());
    Ok(file)
}

/// A value of `security.nscapability` with this many entries, none of which gives anything.
fn entries(count: usize) -> Vec<u8> {
    let mut value = vec![0; NsCaps::encoded_len(count)];
    let rootids = (1..=u32::MAX).take(count);
    NsCaps::encode(rootids.map(|id| Record::new(id, FileCaps::default())), &mut value);
    value
}

/// The largest count up to the limit that fits; what fits is assumed to be without gaps.
fn largest(fits: impl Fn(&usize) -> bool) -> usize {
    let (mut low, mut high) = (0, nscap_core::MAX_ENTRIES);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(&middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// The running kernel's version; (0, 0) where uname(2) says something unheard of.
#[must_use]
pub fn version() -> (u16, u16) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (0, 0),
    }
}

/// Whether the kernel asks for CAP_SYS_ADMIN before it changes a name of `security.*` that is none
/// of its own (xattr(7)): tried by a thread without it, on a file in memory. Some kernels with
/// several security modules do not, and need an update.
///
/// ```
/// assert!(nscap_linux::probe::asks_for_security_names());
/// ```
#[must_use]
pub fn asks_for_security_names() -> bool {
    let tried = std::thread::spawn(|| {
        let file = rustix::fs::memfd_create("nscap-probe", MemfdFlags::CLOEXEC)?;
        let _without = Lowered::new(CapSet::of(&[Capability::SysAdmin]))?;
        rustix::fs::fsetxattr(&file, "security.nscap-probe", b"", XattrFlags::empty())
    });
    // Where it could not be tried, or nothing was asked, it is not known.
    matches!(tried.join(), Ok(Err(Errno::PERM)))
}

/// Whether the kernel honours file capabilities at all.
#[must_use]
pub fn file_caps() -> bool {
    let line = std::fs::read("/proc/cmdline").unwrap_or_default();
    !line.split(u8::is_ascii_whitespace).any(|word| word == b"no_file_caps")
}

/// Whether an option is built in or a module, where the configuration of the kernel is on disk as
/// text.
fn config(option: &str) -> Option<bool> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(format!("/boot/config-{release}")).ok()?;
    let set =
        |line: &str| line.strip_prefix(option).is_some_and(|rest| rest == "=y" || rest == "=m");
    Some(text.lines().any(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_edge() {
        assert_eq!(largest(|n| *n <= 37), 37);
        assert_eq!(largest(|_| false), 0);
        assert_eq!(largest(|_| true), 1024);
    }

    #[test]
    fn the_smaller_limit_counts() {
        let settings = tempfile::tempdir().unwrap();
        assert_eq!(timeout(settings.path()), 0);
        for (default, most, seconds) in [(0, 0, 0), (60, 0, 60), (0, 90, 90), (60, 30, 30)] {
            let write = |name, value: u64| {
                std::fs::write(settings.path().join(name), format!("{value}\n")).unwrap();
            };
            write("default_request_timeout", default);
            write("max_request_timeout", most);
            assert_eq!(timeout(settings.path()), seconds);
        }
    }

    #[test]
    fn a_directory_is_tried_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let probe = Directory::probe(directory.path());
        assert!(probe.is_ok(), "{probe:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let missing = Directory::probe(&directory.path().join("x")).unwrap_err();
        assert_eq!(missing.errno(), libc::ENOENT);
    }
}
