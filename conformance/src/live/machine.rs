// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine beneath gives: the runner's own sets, which are all that a task of its
//! namespace can have, and the kernel's version.

use nscap_core::CapSet;
use rustix::thread::CapabilitySet;

use crate::scenario::INIT;

/// The machine as the runner finds it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// What a task in the runner's namespace can have: the runner's permitted and bounding set.
    pub available: CapSet,
    /// The kernel's version, major and minor.
    pub kernel: (u16, u16),
}

impl Machine {
    /// A machine that withholds nothing.
    #[must_use]
    pub fn ideal(kernel: (u16, u16)) -> Machine {
        Machine { available: CapSet::KNOWN, kernel }
    }

    /// The machine that this process runs on.
    #[must_use]
    pub fn this() -> Machine {
        let permitted = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
        let in_bounding = |n: &u8| {
            let cap = CapabilitySet::from_bits_retain(1 << n);
            rustix::thread::capability_is_in_bounding_set(cap).unwrap_or(false)
        };
        let bounding = (0u8..64).filter(in_bounding).fold(0u64, |set, n| set | 1 << n);
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        let available = CapSet::from_bits(permitted & bounding).known();
        Machine { available, kernel: version(&release).unwrap_or((0, 0)) }
    }

    /// What `all` is in a namespace: a namespace below starts with every capability.
    #[must_use]
    pub fn everything(&self, ns: &str) -> CapSet {
        if ns == INIT { self.available } else { CapSet::KNOWN }
    }
}

/// Reads the first two numbers of a version.
#[must_use]
pub fn version(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_read_as_uname_writes_them() {
        assert_eq!(super::version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(super::version("6.1"), Some((6, 1)));
        assert_eq!(super::version("x"), None);
    }
}
