// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules of nscap: capabilities of executables that belong to a user namespace.
//!
//! This crate decides, and does nothing else. From the value on a file, the caller's credentials
//! and the caller's user namespace it computes the value that the file holds next, the value that a
//! reader sees, or the credentials after execve(2). It has no dependency, allocates nothing, cannot
//! panic, and links into a kernel. Its rules are the clauses (R5, K, ...) of `docs/spec.md`, which
//! the code calls SPEC.
//!
//! Root of a container grants to its `ping`. The grant applies in the container, and nowhere else:
//!
//! ```
//! use nscap_core::*;
//! let host = Mapped::initial();
//! let container = host.below(100_000, 65_536); // its uid 0 is kuid 100000
//!
//! // R5: the caller writes what setcap(8) writes.
//! let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
//! let request = Request {
//!     policy: Policy::default(),
//!     cred: &container.root(),
//!     inode: &container.file(),
//!     stored: &Stored::EMPTY,
//! };
//! let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
//! let value = VfsCaps::v2(ping).encode();
//! let decision = set_capability(&request, value.as_bytes(), SetFlags::default(), &mut out);
//! let Decision::Write(stored, why) = decision else { panic!("{decision:?}") };
//! assert_eq!((stored, why.clause()), (Stored::one(Uid::new(100_000).unwrap(), ping), "R5"));
//!
//! // R3: a user of the container executes it; then a user of the host does.
//! let program = Program::plain(container.file(), 0o755);
//! let run = |cred| exec(System::kernel(6, 18), &Task::of(cred), &program, &stored).unwrap();
//! assert!(run(container.user(1000).unwrap()).cred.effective.has(Capability::NetRaw));
//! assert!(!run(host.user(1000).unwrap()).cred.effective.has(Capability::NetRaw));
//! ```
//!
//! # The crate in reading order
//!
//! 1. **Ids and namespaces.** [`Kuid`] is a uid as the initial namespace sees it; [`Uid`] is one as
//!    another namespace sees it. [`IdMap`] and the trait [`UserNs`] translate. [`Mapped`] is a
//!    namespace for examples. An entry belongs to a root kuid ([`root_kuid`]) and applies where
//!    that kuid is root ([`rooted_at`], R3).
//! 2. **Capabilities and bytes.** [`CapSet`], [`FileCaps`] and their text ([`CapText`]).
//!    [`VfsCaps`] is a value of `security.capability`; [`NsCaps`] is one of `security.nscapability`
//!    (F).
//! 3. **A question.** [`Cred`] is the caller, [`InodeView`] the file as the caller reaches it,
//!    [`Stored`] what the file holds, [`Policy`] what the administrator chose (A, B). A [`Request`]
//!    is all four.
//! 4. **The rules**, in the table below.
//! 5. **An answer.** [`Decision`] says what to store or which errno to return, and [`Why`] names
//!    the clause.
//! 6. **On disk.** [`storage`] reads the two attributes, and plans their change with one commit
//!    point.
//! 7. **Beside the design.** [`bare`] predicts an unmodified kernel. [`translate`] and [`shift()`]
//!    move grants between namespaces' ids, for archives and for whole trees.
//!
//! | Clauses | Function |
//! |---|---|
//! | R3, R8, A, X: exec | [`exec()`], [`file_grant`] |
//! | R4, T: read `security.capability` | [`get_capability`] |
//! | R5, R8, B: write `security.capability` | [`set_capability`], [`set_own`] |
//! | R6: read `security.nscapability` | [`get_nscapability`] |
//! | R7: write `security.nscapability` | [`set_nscapability`], [`set_entry`] |
//! | P, U and the privilege of R5, R8 | [`may_grant`], [`writes_host_value`] |
//! | D: removal | [`remove_capability`], [`remove_nscapability`], [`remove_entry`] |
//! | L: listing | [`list`] |
//! | K: a change of content or owner | [`content_change`], [`set_id_dropped`] |
//! | M: mounts and superblocks | [`InodeView`], [`Stored::seen_from`], [`Stored::translate`] |
//! | R8, D, W: files of an image, and what was saved | [`ArchiveChange`], [`Difference`], [`SavedFile`] |
//! | V, W: behind a kernel | [`set_relayed`], [`remove_or_strip`], [`handed_to_kernel`] |
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate self as nscap_core;
#[cfg(test)]
extern crate std;

mod access;
mod archive;
pub mod bare;
mod cap;
mod chunks;
mod content;
mod copy_up;
mod cred;
mod decision;
mod exec;
mod flags;
mod grant;
mod id;
mod idmap;
mod inode_view;
mod loss;
mod mapped;
mod next;
mod ns;
mod nscaps;
mod policy;
mod privilege;
mod program;
mod read;
mod relay;
mod remove;
mod request;
mod setid;
mod shift;
mod start;
pub mod storage;
mod stored;
mod text;
pub mod translate;
mod vfscap;
mod wire;
#[cfg(test)]
#[path = "../tests/world/mod.rs"]
mod world;
mod write;

pub use access::{AclEntry, AclTag, check_executable, check_searchable, may_read, permits};
pub use archive::{ArchiveChange, Difference, IdRange, SavedFile};
pub use cap::{CapSet, Capability, FileCaps};
pub use content::{Operation, content_change};
pub use copy_up::{entry_above, entry_alone, keep_named, left_behind};
pub use cred::{Cred, Securebits};
pub use decision::{Decision, Denied, Errno, Logged, Why};
pub use exec::{Executed, exec};
pub use flags::SetFlags;
pub use grant::{Grant, file_grant};
pub use id::{Gid, Kgid, Kuid, Uid, id_or_minus_one};
pub use idmap::{Extent, IdMap, MAX_EXTENTS, MapError};
pub use inode_view::InodeView;
pub use loss::{Loss, Promise};
pub use mapped::Mapped;
pub use ns::{
    Initial, UserNs, is_same_or_below, path_to_initial, root_kuid, root_of_ancestor, rooted_at,
};
pub use nscaps::{MAX_ENTRIES, NsCaps};
pub use policy::{ALIASES, Busy, Policy, SETTINGS, SYSCTLS, Setting};
pub use privilege::{may_change_security, may_grant, writes_host_value};
pub use program::{Program, System, Task};
pub use read::{Listed, get_capability, get_nscapability, get_plainly, list, nscapability_len};
pub use relay::{Checked, handed_to_kernel, remove_or_strip, set_relayed};
pub use remove::{remove_all, remove_capability, remove_entry, remove_nscapability, remove_own};
pub use request::Request;
pub use setid::set_id_dropped;
pub use shift::{Shift, ShiftDenied, Shifted, Unmapped, shift, shift_root};
pub use stored::{Entries, EntryView, HostValue, Stored, StoredView};
pub use text::{CapText, TextError, TextProblem};
pub use vfscap::{Revision, VfsCaps, VfsCapsBytes};
pub use wire::{Malformed, RECORD_LEN, Record};
pub use write::{EntryBuffer, set_capability, set_entry, set_nscapability, set_own};
