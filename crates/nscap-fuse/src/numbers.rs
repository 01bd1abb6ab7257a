// SPDX-License-Identifier: MIT OR Apache-2.0
//! Node ids, by which the kernel names inodes, from the inode numbers of the source.

use std::sync::Mutex;

use rustix::fs::Stat;

use crate::shards::locked;

/// The number of the root (FUSE_ROOT_ID).
pub(crate) const ROOT: u64 = 1;
/// Node ids from here on are no file system's inode numbers: for inodes whose own number is taken.
pub(crate) const SPARE: u64 = 1 << 63;
/// A node id has an inode number in its low bits, and the index of the source's device above them.
const INODE_BITS: u32 = 47;
const DEVICE_BITS: u32 = 15;

/// An inode's device and number, as stat(2) says them. Unique while the inode exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Own {
    dev: u64,
    pub(crate) ino: u64,
}

impl Own {
    pub(crate) fn of(stat: &Stat) -> Own {
        Own { dev: stat.st_dev, ino: stat.st_ino }
    }

    #[cfg(test)]
    pub(crate) fn new(dev: u64, ino: u64) -> Own {
        Own { dev, ino }
    }
}

/// The devices of a source: one, unless it has subvolumes or is a stacked file system.
#[derive(Debug)]
pub(crate) struct Numbers {
    root: Own,
    devices: Mutex<Vec<u64>>,
}

impl Numbers {
    pub(crate) fn new(root: Own) -> Numbers {
        Numbers { root, devices: Mutex::new(vec![root.dev]) }
    }

    pub(crate) fn root(&self) -> Own {
        self.root
    }

    /// The node id that an inode should have; on the root's device, its inode number. `None` where
    /// that would be the root's node id, or does not fit.
    pub(crate) fn of(&self, own: Own) -> Option<u64> {
        let device = if own.dev == self.root.dev { 0 } else { self.index_of(own.dev) };
        let fits = own.ino > ROOT && own.ino >> INODE_BITS == 0 && device >> DEVICE_BITS == 0;
        fits.then_some(device << INODE_BITS | own.ino)
    }

    fn index_of(&self, dev: u64) -> u64 {
        let mut devices = locked(&self.devices);
        let index = devices.iter().position(|it| *it == dev).unwrap_or_else(|| {
            devices.push(dev);
            devices.len() - 1
        });
        index as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_inodes_should_have_one_number() {
        let own = Own::new;
        let numbers = Numbers::new(own(5, 2));
        assert_eq!(numbers.of(own(5, 12)), Some(12));
        let elsewhere = numbers.of(own(6, 12)).unwrap();
        assert!(elsewhere != 12 && elsewhere & SPARE == 0);
        assert_eq!(numbers.of(own(6, 12)), Some(elsewhere));
        assert_ne!(numbers.of(own(7, 12)), Some(elsewhere));
        assert_eq!(numbers.of(own(5, ROOT)), None);
        assert_eq!(numbers.of(own(5, 1 << 50)), None);
    }
}
