//! The ioctls of /dev/fuse: another descriptor of a connection, and files that the kernel reads and
//! writes itself.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::sys;

/// A connection to the kernel's FUSE: one of its descriptors of /dev/fuse.
///
/// ```no_run
/// use nscap_linux::server::FuseDevice;
/// let device = FuseDevice::open()?;
/// // ... and once a file system is mounted with it:
/// let for_another_thread = device.another()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FuseDevice(Arc<OwnedFd>);

impl FuseDevice {
    /// A descriptor of no connection yet.
    ///
    /// # Errors
    /// open(2)'s for /dev/fuse.
    ///
    /// ```no_run
    /// nscap_linux::server::FuseDevice::open()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open() -> Result<FuseDevice, Errno> {
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(FuseDevice(Arc::new(device)))
    }

    /// Another descriptor of the same connection: requests read from it are answered on it.
    ///
    /// # Errors
    /// As [`open`](FuseDevice::open); EINVAL where this one has no connection yet.
    ///
    /// ```no_run
    /// let device = nscap_linux::server::FuseDevice::open()?;
    /// assert!(device.another().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn another(&self) -> Result<FuseDevice, Errno> {
        // Not by its path, which may lead into the file system that it is for.
        let new = super::open_again(self, OFlags::RDWR)?;
        sys::fuse_clone(new.as_fd(), self.as_fd())?;
        Ok(FuseDevice(Arc::new(new)))
    }

    /// Gives the kernel a file to read and write itself, with the calling thread's credentials.
    /// A descriptor that is open for reading is enough for writing, too.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN in the initial user namespace, or where the connection has no
    /// passthrough; ELOOP where the file's own file system is stacked on others.
    ///
    /// ```no_run
    /// # let device = nscap_linux::server::FuseDevice::open()?;
    /// let backing = device.backing(std::fs::File::open("/srv/data")?)?;
    /// println!("{}", backing.id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn backing(&self, file: impl AsFd) -> Result<Backing, Errno> {
        let id = sys::fuse_backing_open(self.as_fd(), file.as_fd())?;
        Ok(Backing { device: self.clone(), id })
    }
}

impl AsFd for FuseDevice {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A file that the kernel has been given, until dropped; handles that are open on it keep it.
#[derive(Debug)]
pub struct Backing {
    device: FuseDevice,
    id: i32,
}

impl Backing {
    /// What the reply to an open says.
    ///
    /// ```no_run
    /// # fn f(backing: nscap_linux::server::Backing) {
    /// assert!(backing.id() > 0);
    /// # }
    /// ```
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // It can only be gone already, with the connection.
        let _ = sys::fuse_backing_close(self.device.as_fd(), self.id);
    }
}
