// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the kernel that runs decides by the design, and by which policy (A, B).

use std::sync::OnceLock;

use nscap_core::{Policy, SYSCTLS};

/// The policy (A, B) of a kernel that decides by the design itself, as the reference kernel in
/// `kernel/` does; `None` on an unmodified one.
///
/// ```
/// let reference = std::path::Path::new("/proc/sys/kernel/nscap_array").exists();
/// assert_eq!(nscap_linux::kernel_policy().is_some(), reference);
/// ```
#[must_use]
pub fn kernel_policy() -> Option<Policy> {
    let number = |file| std::fs::read_to_string(file).ok()?.trim().parse().ok();
    Some(Policy::of_numbers((number(SYSCTLS.0)?, number(SYSCTLS.1)?)))
}

/// Whether the kernel that runs decides by the design. Which one runs does not change.
pub(crate) fn kernel_decides() -> bool {
    static KERNEL: OnceLock<bool> = OnceLock::new();
    *KERNEL.get_or_init(|| kernel_policy().is_some())
}
