//! Which directories have a mount point in them. A file there may be of another file system than
//! its directory: a file can be a mount point, too.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::dir::Identity;

/// The directories that have a mount point in them now; `None` where the mounts cannot be read.
pub(super) fn directories_with_mount_points() -> Option<HashSet<Identity>> {
    let text = std::fs::read("/proc/self/mountinfo").ok()?;
    let parents: HashSet<PathBuf> = mount_points(&text)
        .filter_map(|point| point.parent().map(Path::to_owned))
        .collect();
    // What cannot be opened is out of this walk's reach as well.
    let identity = |path: &PathBuf| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Identity::of(openat(CWD, path, flags, Mode::empty()).ok()?).ok()
    };
    Some(parents.iter().filter_map(identity).collect())
}

/// The fifth field of each line, proc_pid_mountinfo(5).
fn mount_points(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
}

/// `\040` is a blank: bytes that would end a field are three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let octal = after.first_chunk::<3>().filter(|_| *byte == b'\\').and_then(octal);
        plain.push(octal.unwrap_or(*byte));
        rest = if octal.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    plain
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    let value = |sum: u8, digit: &u8| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        sum.checked_mul(8)?.checked_add(digit)
    };
    digits.iter().try_fold(0, value)
}

#[cfg(test)]
pub(crate) fn fuzz(bytes: &[u8]) {
    use std::os::unix::ffi::OsStrExt as _;
    assert!(mount_points(bytes).all(|point| point.as_os_str().as_bytes().len() <= bytes.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_may_have_any_name() {
        let text = b"29 1 8:1 / / rw - ext4 /dev/sda rw\n30 29 0:5 / /a\\040b\\134\\012c rw - x y\n\n\
            31 29 0:6 / /\\9\\400\\04 rw - x y";
        let points: Vec<PathBuf> = mount_points(text).collect();
        assert_eq!(points, ["/", "/a b\\\nc", "/\\9\\400\\04"].map(PathBuf::from));
    }

    #[test]
    fn the_root_has_one() {
        let known = directories_with_mount_points().unwrap();
        let root = openat(CWD, "/", OFlags::PATH, Mode::empty()).unwrap();
        assert!(known.contains(&Identity::of(root).unwrap()));
    }
}
