// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attacks: what no table of steps can say. Descriptors that were opened before a grant, threads
//! that race, processes that die in between, namespaces whose number comes back.
//!
//! Each attack tries to make a task gain capabilities that were not granted for the content and
//! owner that the file now has (K, R3, W). It fails if the task gains them. On a bare kernel some
//! attacks get through, which shows that they work.

mod callers;
mod content;
mod crash;
mod identity;
mod idmapped;
mod overlay;
mod races;
mod root;
mod setid;
mod shares;
mod source;
mod threads;
mod upper;
mod ways;
mod weapons;
mod workers;

use crate::case::Case;

/// Every attack.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        content::ATTACKS,
        races::ATTACKS,
        threads::ATTACKS,
        callers::ATTACKS,
        crash::ATTACKS,
        overlay::ATTACKS,
        setid::ATTACKS,
        workers::ATTACKS,
        root::ATTACKS,
        idmapped::ATTACKS,
        upper::ATTACKS,
        identity::ATTACKS,
        source::ATTACKS,
        ways::ATTACKS,
        shares::ATTACKS,
    ]
    .concat()
}
