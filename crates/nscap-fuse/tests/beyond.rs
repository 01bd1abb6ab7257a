// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel's FUSE does not pass on, whatever a server would answer (docs/mount.md names
//! each): as the kernel says it here and now, so that the page is true.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, IFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

mod support;
use support::on_mounts;

/// fallocate(2) that moves what follows, and that makes blocks a file's own.
#[test]
fn ranges_are_neither_collapsed_nor_inserted() {
    on_mounts("ranges_are_neither_collapsed_nor_inserted", |ground| {
        fs::write(ground.at("file"), [7; 16384]).unwrap();
        let file = File::options().write(true).open(ground.at("file")).unwrap();
        for mode in [
            FallocateFlags::COLLAPSE_RANGE,
            FallocateFlags::INSERT_RANGE,
            FallocateFlags::UNSHARE_RANGE,
        ] {
            let done = rustix::fs::fallocate(&file, mode, 4096, 4096);
            assert_eq!(done, Err(Errno::OPNOTSUPP), "{mode:?}");
        }
        assert_eq!(fs::read(ground.beneath("file")).unwrap(), [7; 16384]);
        let mode = FallocateFlags::ZERO_RANGE;
        match rustix::fs::fallocate(&file, mode, 0, 4096) {
            Ok(()) => assert_eq!(fs::read(ground.beneath("file")).unwrap()[..4096], [0; 4096]),
            // Not every source has it.
            Err(errno) => assert_eq!(errno, Errno::OPNOTSUPP),
        }
    });
}

fn attributes(path: &Path) -> (StatxAttributes, StatxAttributes) {
    let it = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS).unwrap();
    (it.stx_attributes, it.stx_attributes_mask)
}

/// statx(2) does not say that it knows them; FS_IOC_GETFLAGS (lsattr(1)) tells.
#[test]
fn attributes_are_told_by_the_ioctl_alone() {
    on_mounts("attributes_are_told_by_the_ioctl_alone", |ground| {
        fs::write(ground.at("file"), "").unwrap();
        let (file, beneath) = (ground.at("file"), ground.beneath("file"));
        let flags = IFlags::NODUMP;
        let Ok(before) = rustix::fs::ioctl_getflags(File::open(&beneath).unwrap()) else {
            return println!("skipped: no flags here");
        };
        rustix::fs::ioctl_setflags(File::open(&file).unwrap(), before | flags).unwrap();
        let told = rustix::fs::ioctl_getflags(File::open(&file).unwrap()).unwrap();
        assert!(told.contains(flags));
        assert_eq!(told, rustix::fs::ioctl_getflags(File::open(&beneath).unwrap()).unwrap());
        let asked = StatxAttributes::NODUMP | StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        let (set, known) = attributes(&beneath);
        if known.contains(asked) {
            assert!(set.contains(StatxAttributes::NODUMP));
        }
        let (set, known) = attributes(&file);
        assert!(!known.intersects(asked) && !set.intersects(asked), "{set:?} of {known:?}");
    });
}

/// `struct fiemap` without extents: how many there are.
fn fiemap(file: impl AsFd) -> Result<u32, i32> {
    const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
    let mut argument = [0u32; 8];
    argument[2] = u32::MAX;
    argument[3] = u32::MAX;
    // SAFETY: the argument is a `struct fiemap` that has room for no extent, and says so.
    let done =
        unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_FIEMAP, argument.as_mut_ptr()) };
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    if done == 0 { Ok(argument[5]) } else { Err(errno) }
}

#[test]
fn extents_are_not_told_and_holes_are() {
    on_mounts("extents_are_not_told_and_holes_are", |ground| {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(ground.at("file"))
            .unwrap();
        std::os::unix::fs::FileExt::write_at(&file, b"x", 1 << 20).unwrap();
        assert_eq!(fiemap(&file), Err(libc::EOPNOTSUPP));
        // What programs ask for instead.
        let data = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0));
        assert_eq!(data, Ok(1 << 20));
    });
}

/// name_to_handle_at(2), with and without AT_HANDLE_FID (Linux 6.5).
fn handle(path: &Path, flags: libc::c_int) -> Result<(), i32> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    let (mut raw, mut mount) = ([0u32; 34], 0);
    raw[0] = 128;
    // SAFETY: the path is a C string; `raw` is a `struct file_handle` with room for 128 bytes, as
    // it says, and `mount` is ours.
    let done = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            raw.as_mut_ptr(),
            &raw mut mount,
            flags,
        )
    };
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    if done == 0 { Ok(()) } else { Err(errno) }
}

#[test]
fn a_handle_identifies_and_opens_nothing() {
    const AT_HANDLE_FID: libc::c_int = 0x200;
    on_mounts("a_handle_identifies_and_opens_nothing", |ground| {
        fs::write(ground.at("file"), "").unwrap();
        assert_eq!(handle(&ground.at("file"), 0), Err(libc::EOPNOTSUPP));
        match handle(&ground.at("file"), AT_HANDLE_FID) {
            Ok(()) => {}
            // Before Linux 6.5.
            Err(errno) => assert_eq!(errno, libc::EINVAL),
        }
    });
}
