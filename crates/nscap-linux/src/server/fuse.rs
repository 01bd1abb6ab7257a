// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a descriptor of /dev/fuse does beside requests: another descriptor of the connection, files
//! that the kernel reads and writes itself, and a request that the server asks for.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::{places, sys};

/// FUSE_NOTIFY_RETRIEVE.
const RETRIEVE: i32 = 5;
/// Numbers of the requests of [`FuseDevice::nudge`]; the kernel gives its own from below, and even
/// ones.
static NUDGES: AtomicU64 = AtomicU64::new(1 << 63);

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
        let new = crate::opath::reopen(self, OFlags::RDWR)?;
        sys::fuse_clone(new.as_fd(), self.as_fd())?;
        Ok(FuseDevice(Arc::new(new)))
    }

    /// Makes one request, FUSE_NOTIFY_REPLY without data, in the queue of the processor that the
    /// calling thread runs on. The kernel gives a place that is [new](super::FuseQueue::register)
    /// no request that waits already; one whose request is answered, it does. `node`: of a regular
    /// file that the kernel knows.
    ///
    /// # Errors
    /// ENOENT where the kernel does not know it; EINVAL where it is no regular file, and the kernel
    /// looks at that (Linux 6.18); EPERM before the file system is mounted, ENODEV after that.
    ///
    /// ```no_run
    /// let device = nscap_linux::server::FuseDevice::open()?;
    /// assert!(device.nudge(2).is_err()); // nothing is mounted with it
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn nudge(&self, node: u64) -> Result<(), Errno> {
        // `struct fuse_out_header` and `struct fuse_notify_retrieve_out`, of no pages.
        const LENGTH: u32 = 16 + 32;
        let unique = NUDGES.fetch_add(2, Ordering::Relaxed);
        let mut notice = Vec::with_capacity(LENGTH as usize);
        notice.extend(LENGTH.to_ne_bytes());
        notice.extend(RETRIEVE.to_ne_bytes());
        for number in [0, unique, node, 0, 0] {
            notice.extend(number.to_ne_bytes());
        }
        rustix::io::write(self, &notice).map(drop)
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

/// Replaces every descriptor of /dev/fuse in this process, which is about to end: their numbers
/// lead to /proc afterwards. A thread that waits in the kernel without end keeps everything open
/// that its process has, and callers would wait for their answers as long.
///
/// # Errors
/// open(2)'s for /proc/self/fd, dup3(2)'s.
///
/// ```no_run
/// nscap_linux::server::let_go_of_devices()?;
/// std::process::exit(0);
/// # Ok::<(), rustix::io::Errno>(())
/// ```
pub fn let_go_of_devices() -> Result<(), Errno> {
    // Documentation/admin-guide/devices.txt.
    const FUSE: (u32, u32) = (10, 229);
    let nothing = places::open(".", OFlags::PATH | OFlags::CLOEXEC)?;
    let own = places::open("self/fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
    let names = rustix::fs::Dir::new(own)?
        .filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse::<i32>().ok());
    let device = rustix::fs::makedev(FUSE.0, FUSE.1);
    for number in names.collect::<Vec<_>>() {
        sys::replace_device(nothing.as_fd(), number, device)?;
    }
    Ok(())
}

impl FuseDevice {
    /// Makes the kernel ask again for the attributes of an inode, by its number
    /// (FUSE_NOTIFY_INVAL_INODE). Answers from before, also those under way, are no longer used.
    /// The kernel knows no attributes of an inode that it does not know.
    ///
    /// ```no_run
    /// # let device = nscap_linux::server::FuseDevice::open()?;
    /// device.forget_attributes(1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn forget_attributes(&self, node: u64) {
        const INVAL_INODE: i32 = 2;
        const LENGTH: u32 = 40;
        // `struct fuse_out_header` and `struct fuse_notify_inval_inode_out`: an offset below 0 is
        // no page.
        let words = [LENGTH.to_ne_bytes(), INVAL_INODE.to_ne_bytes()].concat();
        let rest = [0, node, u64::MAX, 0].map(u64::to_ne_bytes).concat();
        // It fails where the kernel does not know the inode, or where there is no mount any more.
        let _ = rustix::io::write(&*self.0, &[words, rest].concat());
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
