// SPDX-License-Identifier: MIT OR Apache-2.0
//! name_to_handle_at(2) and open_by_handle_at(2): an inode by a name that no rename changes and
//! that costs no descriptor.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::sys::last;

const EMPTY: &CStr = c"";
/// The longest handle (`MAX_HANDLE_SZ`), in bytes.
const MAX: usize = 128;
/// What ext4, xfs, btrfs, f2fs and tmpfs need.
const INLINE: usize = 28;

/// `struct file_handle` of fcntl.h, with room for the longest.
#[repr(C)]
struct Raw {
    bytes: u32,
    kind: i32,
    handle: [u8; MAX],
}

/// A file handle: which inode of a file system, and which of those that had its number.
///
/// ```no_run
/// use nscap_linux::server::FileHandle;
/// use rustix::fs::OFlags;
/// let mount = std::fs::File::open("/srv")?;
/// let file = std::fs::File::open("/srv/data")?;
/// let handle = FileHandle::of(&file)?;
/// std::fs::rename("/srv/data", "/srv/elsewhere")?;
/// let again = handle.open(&mount, OFlags::PATH)?;
/// assert_eq!(FileHandle::of(&again)?, handle);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileHandle(Kept);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kept {
    Short { kind: u8, len: u8, bytes: [u8; INLINE] },
    Long(Box<(i32, Vec<u8>)>),
}

impl FileHandle {
    /// The handle of what a descriptor leads to; O_PATH is enough.
    ///
    /// # Errors
    /// EOPNOTSUPP where the file system has no handles; EOVERFLOW where one is longer than the
    /// kernel allows.
    ///
    /// ```
    /// use nscap_linux::server::FileHandle;
    /// let proc = std::fs::File::open("/proc/self").unwrap();
    /// assert!(FileHandle::of(&proc).is_err());
    /// ```
    pub fn of(file: impl AsFd) -> Result<FileHandle, Errno> {
        let mut raw = Raw { bytes: MAX as u32, kind: 0, handle: [0; MAX] };
        let mut mount_id: libc::c_int = 0;
        // SAFETY: the path ends in NUL; `raw` is a `struct file_handle` with room for the bytes
        // that it says, and `mount_id` is ours.
        let done = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                file.as_fd().as_raw_fd(),
                EMPTY.as_ptr(),
                &raw mut raw,
                &raw mut mount_id,
                libc::AT_EMPTY_PATH,
            )
        };
        if done < 0 {
            return Err(last());
        }
        let bytes = usize::try_from(raw.bytes).ok().and_then(|len| raw.handle.get(..len));
        let bytes = bytes.ok_or(Errno::OVERFLOW)?;
        Ok(FileHandle::kept(raw.kind, bytes))
    }

    /// The type and the bytes, as the kernel gave them.
    pub(crate) fn parts(&self) -> (i32, &[u8]) {
        match &self.0 {
            Kept::Short { kind, len, bytes } => {
                (i32::from(*kind), bytes.get(..usize::from(*len)).unwrap_or_default())
            }
            Kept::Long(long) => (long.0, long.1.as_slice()),
        }
    }

    /// The handle of these.
    pub(crate) fn from_parts(kind: i32, bytes: &[u8]) -> FileHandle {
        FileHandle::kept(kind, bytes)
    }

    fn kept(kind: i32, bytes: &[u8]) -> FileHandle {
        let mut short = [0; INLINE];
        match (u8::try_from(kind), u8::try_from(bytes.len()), short.get_mut(..bytes.len())) {
            (Ok(kind), Ok(len), Some(room)) => {
                room.copy_from_slice(bytes);
                FileHandle(Kept::Short { kind, len, bytes: short })
            }
            _ => FileHandle(Kept::Long(Box::new((kind, bytes.to_vec())))),
        }
    }

    /// Opens the inode. `mount`: a descriptor on the mount that it is to be reached through.
    ///
    /// # Errors
    /// ESTALE where the inode is gone; EPERM without CAP_DAC_READ_SEARCH in the initial user
    /// namespace; open(2)'s.
    ///
    /// ```no_run
    /// # use nscap_linux::server::FileHandle;
    /// # let (mount, file) = (std::fs::File::open("/srv")?, std::fs::File::open("/srv/data")?);
    /// let read = FileHandle::of(&file)?.open(&mount, rustix::fs::OFlags::RDONLY)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(&self, mount: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (kind, bytes) = self.parts();
        let mut raw = Raw { bytes: bytes.len() as u32, kind, handle: [0; MAX] };
        raw.handle.get_mut(..bytes.len()).ok_or(Errno::INVAL)?.copy_from_slice(bytes);
        let flags = (flags | OFlags::CLOEXEC).bits();
        // SAFETY: `raw` is a `struct file_handle` that holds as many bytes as it says; the kernel
        // only reads it.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                mount.as_fd().as_raw_fd(),
                &raw mut raw,
                flags as libc::c_int,
            )
        };
        let fd = libc::c_int::try_from(fd).map_err(|_| Errno::IO)?;
        if fd < 0 {
            return Err(last());
        }
        // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_small_and_leads_back() {
        assert!(size_of::<FileHandle>() <= 32);
        let directory = tempfile::tempdir().unwrap();
        let mount = std::fs::File::open(directory.path()).unwrap();
        let file = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
        let handle = match FileHandle::of(&file) {
            Ok(handle) => handle,
            Err(errno) => return println!("skipped: no handles here: {errno}"),
        };
        match handle.open(&mount, OFlags::PATH) {
            Ok(again) => assert_eq!(FileHandle::of(again), Ok(handle)),
            Err(errno) => println!("skipped: open_by_handle_at: {errno}"),
        }
    }

    #[test]
    fn a_long_handle_is_kept_whole() {
        let long = FileHandle::kept(0x1_0081, &[7; 100]);
        assert!(matches!(long.0, Kept::Long(_)));
        assert_ne!(long, FileHandle::kept(0x1_0081, &[7; 101]));
    }
}
