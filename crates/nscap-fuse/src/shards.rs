// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables that are divided so that threads seldom wait for each other, and their locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of a thread that held the lock: such a panic fails one request and not
/// the mount.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spreads node ids over a table, by their remainder: node ids are often addresses or counters.
pub(crate) fn mixed(node: u64) -> usize {
    (node.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
}
