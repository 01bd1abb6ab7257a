// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers by which the kernel knows inodes, from those that the source has for them.

use std::sync::Mutex;

use rustix::fs::Stat;

use crate::inodes::{ROOT, locked};

/// From here on numbers that no file system gives: for inodes whose own number is taken.
pub(crate) const SPARE: u64 = 1 << 63;
/// A number is an inode's on its device, and which device of the source that is.
const INODE_BITS: u32 = 47;
const DEVICE_BITS: u32 = 15;

/// An inode by what stat(2) says: for as long as it exists, this one only.
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

/// The devices of a source: one, unless it has subvolumes or is stacked.
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

    /// The number that an inode should have; on the root's device, its own. None where it would be
    /// the root's or another device's.
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
