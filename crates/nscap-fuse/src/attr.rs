// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attributes: how long the kernel may cache them, and FUSE's form of device numbers.

use std::time::Duration;

/// How long the kernel may cache names and attributes where no other task reaches the source: as
/// good as for ever, since every change comes through the mount.
pub(crate) const ALONE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The same where other tasks may change the source.
pub(crate) const SHARED: Duration = Duration::from_secs(1);

/// A device number in FUSE's form (the kernel's `new_encode_dev`).
pub(crate) fn device_to_fuse(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// A device number from FUSE's form (`new_decode_dev`).
pub(crate) fn device_from_fuse(device: u32) -> u64 {
    let major = (device & 0xf_ff00) >> 8;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    rustix::fs::makedev(major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_survive() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (259, 256), (4095, 0xf_ffff)] {
            let device = rustix::fs::makedev(major, minor);
            assert_eq!(device_from_fuse(device_to_fuse(device)), device);
        }
    }
}
