// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mounts of our own mount namespace as a list, proc_pid_mountinfo(5), and which of them has
//! its root at a path. No file system is asked anything, so that one whose server is dead or hangs
//! can be found and unmounted.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// The type of a mount on which the rules of nscap decide.
pub(crate) const NSCAP_TYPE: &str = "fuse.nscap";

/// The id, as mountinfo has it, of the mount that a descriptor was opened through.
///
/// proc_pid_fdinfo(5) says it, and where /proc is not mounted statx(2), from Linux 5.8 on. /proc
/// comes first, because qemu-user 7.2 sets STATX_MNT_ID in the mask and leaves the id out. A server
/// is not asked.
///
/// # Errors
/// [`Error::Call`] where neither says it.
pub(crate) fn mount_id(file: BorrowedFd<'_>) -> Result<u64> {
    id_by_proc(file).or_else(|no_proc| id_by_statx(file).ok_or(no_proc))
}

/// [`mount_id`] by proc_pid_fdinfo(5).
fn id_by_proc(file: BorrowedFd<'_>) -> Result<u64> {
    let info = PathBuf::from(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
    let text = std::fs::read_to_string(&info).map_err(|e| Error::call(&info, "read", e))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| Error::call(&info, "read", Errno::NODATA))
}

/// [`mount_id`] by statx(2).
fn id_by_statx(file: BorrowedFd<'_>) -> Option<u64> {
    let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(file, c"", how, StatxFlags::MNT_ID).ok()?;
    (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
}

/// Of the thread, which may have a mount namespace of its own.
const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountPoint {
    /// Its id, used again after it is gone.
    pub id: u64,
    /// Major and minor number of the file system's device, as stat(2) shows them.
    pub device: (u32, u32),
    /// What of the file system is mounted, as a path in it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The file system's type with its subtype, e.g. `"fuse.nscap"`.
    pub fs_type: String,
    /// The source of the mount, as the mounter named it.
    pub source: OsString,
    /// Whether set-id bits and file capabilities are ignored.
    pub nosuid: bool,
    /// Whether it is id-mapped (mount_setattr(2)).
    pub idmapped: bool,
    /// The options of the file system, such as an overlay's `lowerdir=`, as mountinfo has them.
    pub options: OsString,
}

impl MountPoint {
    /// All mounts that this process sees, each after what it is mounted on.
    ///
    /// # Errors
    /// [`Error::Call`] where /proc is not mounted.
    ///
    /// ```
    /// use nscap_linux::MountPoint;
    /// assert!(MountPoint::all()?.iter().any(|mount| mount.fs_type == "proc"));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn all() -> Result<Vec<MountPoint>> {
        MountPoint::listed(Path::new(MOUNTINFO))
    }

    /// The mounts that a process sees, below its root directory.
    ///
    /// # Errors
    /// [`Error::Call`] where there is no such process, or we may not look at it (EACCES; ptrace(2),
    /// "Ptrace access mode checking").
    ///
    /// ```
    /// use nscap_linux::MountPoint;
    /// assert_eq!(MountPoint::all()?, MountPoint::of_process(std::process::id())?);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn of_process(pid: u32) -> Result<Vec<MountPoint>> {
        MountPoint::listed(Path::new(&format!("/proc/{pid}/mountinfo")))
    }

    fn listed(path: &Path) -> Result<Vec<MountPoint>> {
        let bytes = std::fs::read(path).map_err(|e| Error::call(path, "read", e))?;
        Ok(bytes.split(|byte| *byte == b'\n').filter_map(MountPoint::parse).collect())
    }

    /// The mount whose root a path leads to; `None` where the path leads elsewhere.
    ///
    /// # Errors
    /// [`Error::Call`] from open(2) on the path, or where /proc is not mounted.
    ///
    /// ```
    /// use nscap_linux::MountPoint;
    /// assert_eq!(MountPoint::at("/proc".as_ref())?.map(|m| m.fs_type).as_deref(), Some("proc"));
    /// assert_eq!(MountPoint::at("/proc/self".as_ref())?, None);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn at(path: &Path) -> Result<Option<MountPoint>> {
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::call(path, "open", e))?;
        let link = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let place = std::fs::read_link(&link).map_err(|e| Error::call(&link, "readlink", e))?;
        let id = id_by_proc(file.as_fd())?;
        let is = |mount: &MountPoint| mount.id == id && mount.point == place;
        Ok(MountPoint::all()?.into_iter().find(is))
    }

    /// A mount of the file system with this device number in a mount namespace that is not ours,
    /// and a process in that namespace, as we see its id. Looks for so long at most; a namespace
    /// that no process is in (a descriptor or a file holds it) is not found.
    ///
    /// # Errors
    /// [`Error::Call`] where /proc is not mounted.
    ///
    /// ```
    /// use nscap_linux::MountPoint;
    /// use std::time::Duration;
    /// assert_eq!(MountPoint::elsewhere((0, 0), Duration::from_secs(1))?, None);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn elsewhere(device: (u32, u32), patience: Duration) -> Result<Option<(u32, MountPoint)>> {
        let mut found = None;
        in_other_namespaces(patience, |pid| {
            let all = MountPoint::of_process(pid).unwrap_or_default();
            let mount = all.into_iter().find(|mount| mount.device == device);
            found = mount.map(|mount| (pid, mount));
            found.is_some()
        })?;
        Ok(found)
    }

    fn parse(line: &[u8]) -> Option<MountPoint> {
        let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
        let mut fields = line.split(|byte| *byte == b' ');
        let id = text(fields.next()?).parse().ok()?;
        let device = text(fields.nth(1)?);
        let (major, minor) = device.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let path = |field: &[u8]| PathBuf::from(OsString::from_vec(unescape(field)));
        let (root, point) = (path(fields.next()?), path(fields.next()?));
        let flags = fields.next()?;
        let has = |name: &[u8]| flags.split(|byte| *byte == b',').any(|flag| flag == name);
        let (nosuid, idmapped) = (has(b"nosuid"), has(b"idmapped"));
        fields.find(|field| *field == b"-")?;
        let fs_type = text(fields.next()?);
        let source = OsString::from_vec(unescape(fields.next()?));
        let options = OsString::from_vec(unescape(fields.next().unwrap_or_default()));
        Some(MountPoint { id, device, root, point, fs_type, source, nosuid, idmapped, options })
    }

    /// Whether the rules of nscap decide on this file system, and not the kernel's own alone.
    #[must_use]
    pub fn is_nscap(&self) -> bool {
        self.fs_type == NSCAP_TYPE
    }
}

/// Visits one process of each mount namespace but our own, until the visitor has what it looks for
/// or the time is over. A namespace that no process is in (a descriptor or a file holds it) is not
/// found.
///
/// # Errors
/// [`Error::Call`] where /proc is not mounted.
pub(crate) fn in_other_namespaces(
    patience: Duration,
    mut visit: impl FnMut(u32) -> bool,
) -> Result<()> {
    let until = Instant::now() + patience;
    let mut seen: HashSet<Option<u64>> = HashSet::from([None, namespace_of("thread-self")]);
    for pid in crate::ns::pids()? {
        if Instant::now() >= until {
            break;
        }
        if seen.insert(namespace_of(&pid.to_string())) && visit(pid) {
            break;
        }
    }
    Ok(())
}

/// The identity of a process's mount namespace among all that exist at the same time; `process` is
/// its directory in /proc. `None` where there is none, or we may not see it.
pub(crate) fn namespace_of(process: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(format!("/proc/{process}/ns/mnt")).ok().map(|link| link.ino())
}

/// Blank, tab, line feed and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\').then(|| after.get(..3).and_then(octal)).flatten();
        plain.push(code.unwrap_or(first));
        rest = after.get(if code.is_some() { 3 } else { 0 }..).unwrap_or_default();
    }
    plain
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let line = b"36 35 0:57 / /mnt/a\\040b\\134c\\012 rw,nosuid,relatime shared:1 master:2 - \
            fuse.nscap /src\xff rw,user_id=0";
        let mount = MountPoint::parse(line).unwrap();
        assert_eq!(mount.id, 36);
        assert_eq!(mount.device, (0, 57));
        assert_eq!(mount.point.as_os_str().as_bytes(), b"/mnt/a b\\c\n");
        assert_eq!(mount.source.as_bytes(), b"/src\xff");
        assert!(mount.nosuid && mount.is_nscap() && !mount.idmapped);
        for bad in
            [&b""[..], b"36", b"x 35 0:57 / / rw - a b", b"36 35 0:57 / / rw", b"1 1 1 / / r - a b"]
        {
            assert_eq!(MountPoint::parse(bad), None);
        }
        assert_eq!(unescape(b"\\04"), b"\\04");
        assert_eq!(unescape(b"a\\"), b"a\\");
        assert_eq!(unescape(b"\\777x"), b"\\777x");
    }

    #[test]
    fn statx_and_proc_say_the_same_mount() {
        let all = MountPoint::all().unwrap();
        for path in ["/", "/proc", "/proc/self/status", "/dev/null"] {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::empty()).unwrap();
            let id = mount_id(file.as_fd()).unwrap();
            assert_eq!(id_by_statx(file.as_fd()).unwrap(), id, "{path}");
            assert!(all.iter().any(|mount| mount.id == id), "{path}");
        }
    }

    #[test]
    fn a_root_is_told_from_what_is_below() {
        let here = tempfile::tempdir().unwrap();
        let mount = MountPoint::at(here.path()).unwrap();
        assert_eq!(mount.filter(|mount| mount.point != here.path()), None);
        let missing = MountPoint::at(&here.path().join("x")).unwrap_err();
        assert_eq!(missing.errno(), libc::ENOENT);
    }
}
