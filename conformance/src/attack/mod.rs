// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attacks: what no table of steps can say. Descriptors that were opened before a grant, threads
//! that race, processes that die in between, namespaces whose number comes back.
//!
//! Each attack tries to have a task gain what nobody granted it for the content and the owner that
//! the file now has (K, R3, W), and fails where that happens. On a bare kernel some of them get
//! through: that is how one sees that they can.

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
