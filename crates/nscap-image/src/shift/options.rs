// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of a shift, and the counts of its plan.

use super::ids::Unmapped;
use crate::map::Side;

/// The options of a shift.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The mapping that the tree has.
    pub from: Side,
    /// The mapping that the tree gets.
    pub to: Side,
    /// What to do with an id that has no image.
    pub unmapped: Unmapped,
    /// Whether an entry may become a host value, and the host's root the owner of a set-id file.
    pub to_host: bool,
    /// Whether to move an inode that also has names outside the tree.
    pub other_names: bool,
}

/// What a plan counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Inodes in the tree.
    pub inodes: u64,
    /// Inodes that change.
    pub changes: u64,
    /// Inodes whose owner or group changes.
    pub owners: u64,
    /// Inodes whose access control lists change.
    pub acls: u64,
    /// Files whose capabilities change.
    pub grants: u64,
    /// Entries and set-id bits that [`Unmapped::Id`] drops.
    pub dropped: u64,
    /// Further names of inodes that were counted already.
    pub hard_links: u64,
    /// Mounts in the tree, which are not entered.
    pub mounts: u64,
    /// Problems; with one of them the shift cannot start.
    pub problems: u64,
}
