// SPDX-License-Identifier: GPL-2.0-only
//! nscap-core behind a C ABI: what `security/nscap/nscap.c` asks. `nscap_rust.h` is the other side
//! of the same structs; `kernel/rust/check-layout` holds both against each other.
//!
//! A namespace is the kernel's own pointer. Nothing here keeps it, or any other pointer, beyond the
//! call. An enum that C passes has one of its values.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

use core::ffi::c_void;

use nscap_core::storage::{self, Before, Question, SealFacts, Step};
use nscap_core::{
    CapSet, Cred, Decision, Denied, Errno, Gid, Grant, HostValue, InodeView, Kgid, Kuid, Logged,
    Policy, RECORD_LEN, Request, SetFlags, Stored, Uid, UserNs, VfsCaps, entry_above, entry_alone,
    file_grant, get_plainly, keep_named, left_behind,
};

unsafe extern "C" {
    fn nscap_ns_parent(ns: *const c_void) -> *const c_void;
    fn nscap_ns_owner(ns: *const c_void) -> u32;
    fn nscap_ns_map(ns: *const c_void, map: Map, id: u32) -> u32;
    /// Not defined anywhere: no object that could panic can be linked.
    fn nscap_panics() -> !;
}

/// `enum nscap_map`: which map of a namespace is asked, and in which direction.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum Map {
    /// `make_kuid()`
    Kuid,
    /// `from_kuid()`
    Uid,
    /// `make_kgid()`
    Kgid,
    /// `from_kgid()`
    Gid,
}

/// `enum nscap_what`: the call that is decided.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum What {
    SetCapability,
    RemoveCapability,
    SetNscapability,
    RemoveNscapability,
}

/// The id that no task has.
const NOBODY: Kuid = match Kuid::new(u32::MAX - 1) {
    Some(nobody) => nobody,
    None => unreachable!(),
};

#[derive(Clone, Copy)]
struct Ns(*const c_void);

impl Ns {
    fn map(self, map: Map, id: u32) -> u32 {
        // SAFETY: every handle is a namespace that the caller holds during the call.
        unsafe { nscap_ns_map(self.0, map, id) }
    }
}

impl UserNs for Ns {
    fn same(self, other: Ns) -> bool {
        self.0 == other.0
    }
    fn parent(self) -> Option<Ns> {
        // SAFETY: as in `map`; a namespace holds its parent.
        let parent = unsafe { nscap_ns_parent(self.0) };
        if parent.is_null() { None } else { Some(Ns(parent)) }
    }
    fn owner(self) -> Kuid {
        // SAFETY: as in `map`. What has no owner is owned by an id that no task has.
        Kuid::new(unsafe { nscap_ns_owner(self.0) }).unwrap_or(NOBODY)
    }
    fn kuid(self, uid: Uid) -> Option<Kuid> {
        Kuid::new(self.map(Map::Kuid, uid.get()))
    }
    fn uid(self, kuid: Kuid) -> Option<Uid> {
        Uid::new(self.map(Map::Uid, kuid.get()))
    }
    fn kgid(self, gid: Gid) -> Option<Kgid> {
        Kgid::new(self.map(Map::Kgid, gid.get()))
    }
    fn gid(self, kgid: Kgid) -> Option<Gid> {
        Gid::new(self.map(Map::Gid, kgid.get()))
    }
}

/// Bytes of the caller; a null pointer means that there is no value.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    data: *const u8,
    len: usize,
}

impl Bytes {
    /// # Safety
    /// `data` is null, or `len` bytes are readable there for `'a`.
    unsafe fn get<'a>(self) -> Option<&'a [u8]> {
        if self.data.is_null() {
            return None;
        }
        // SAFETY: as this function demands.
        Some(unsafe { core::slice::from_raw_parts(self.data, self.len) })
    }
}

/// `struct nscap_file`: a file as one caller reaches it, and its two attributes.
#[repr(C)]
pub struct File {
    sb_ns: *const c_void,
    /// Of an id-mapped mount, else null.
    idmap: *const c_void,
    /// Through the mount; -1 where it has none.
    owner: u32,
    group: u32,
    /// As they are on disk.
    disk_uid: u32,
    disk_gid: u32,
    size: u64,
    immutable: u32,
    pad: u32,
    capability: Bytes,
    table: Bytes,
}

/// `struct nscap_caller`.
#[repr(C)]
pub struct Caller {
    ns: *const c_void,
    effective: u64,
    euid: u32,
    /// Bit 0: arrays. From bit 1: the number of `busy`.
    policy: u32,
}

/// `struct nscap_step`: `op` is 0 at the end, else [`Step::op`].
#[repr(C)]
pub struct CStep {
    op: u32,
    len: u32,
    /// Of a table; else the bytes are in `value`.
    data: *const u8,
    value: [u8; 24],
    /// Whether the change is made once this step is done.
    commits: bool,
}

/// `struct nscap_answer`: what is to be done, and what a log says of it.
#[repr(C)]
pub struct Answer {
    steps: [CStep; storage::MAX_STEPS],
    /// Of the clause that decided, one letter or two.
    clause: [u8; 2],
    logged: Logged,
    /// Whether the right is one over the superblock's owner namespace.
    over_superblock: bool,
}

/// `struct nscap_room`: memory for the answer, of the sizes that `nscap_rust.h` says.
#[repr(C)]
pub struct Room {
    entries: *mut [u8; RECORD_LEN],
    entries_len: usize,
    tables: *mut u8,
    tables_len: usize,
    random: u64,
}

/// What `state.c` holds its side against, too.
const _: () = {
    assert!(size_of::<Bytes>() == 16);
    assert!(size_of::<File>() == 80);
    assert!(size_of::<Caller>() == 24);
    assert!(size_of::<CStep>() == 48);
    assert!(size_of::<Answer>() == 200);
    assert!(size_of::<Room>() == 40);
    assert!(size_of::<CGrant>() == 24);
    assert!(size_of::<What>() == size_of::<u32>());
};

impl File {
    fn view(&self) -> InodeView<Ns> {
        InodeView {
            sb_ns: Ns(self.sb_ns),
            idmap: if self.idmap.is_null() { None } else { Some(Ns(self.idmap)) },
            owner: Kuid::new(self.owner),
            group: Kgid::new(self.group),
            // The VFS has answered EROFS before it asks.
            read_only: false,
            immutable: self.immutable != 0,
        }
    }

    /// # Safety
    /// Both attributes are readable for `'a`.
    unsafe fn before<'a>(&self) -> Before<'a> {
        let facts = SealFacts { size: self.size, uid: self.disk_uid, gid: self.disk_gid };
        // SAFETY: as this function demands.
        let (capability, table) = unsafe { (self.capability.get(), self.table.get()) };
        // A task that can write the table without us owns the superblock, and so its rootids.
        Before { capability, hidden: false, table, facts, trusted: true }
    }
}

fn stored<'a>(before: &Before<'a>) -> Stored<'a> {
    storage::read(before.capability, before.table, before.facts, before.trusted).0
}

impl Caller {
    fn cred(&self) -> Cred<Ns> {
        let euid = Kuid::new(self.euid).unwrap_or(NOBODY);
        let mut cred = Cred::ordinary(Ns(self.ns), euid, Kgid::ROOT);
        cred.effective = CapSet::from_bits(self.effective);
        cred
    }

    fn policy(&self) -> Policy {
        Policy::of_numbers((self.policy & 1, self.policy >> 1))
    }
}

impl CStep {
    const END: CStep =
        CStep { op: 0, len: 0, data: core::ptr::null(), value: [0; 24], commits: false };

    fn of(step: Step<'_>) -> CStep {
        let op = step.op();
        let mut it = CStep { op: op as u32, commits: op.commits(), ..CStep::END };
        match &step {
            Step::SetTable(table) => {
                it.data = table.as_ptr();
                it.len = table.len() as u32;
            }
            Step::CreateCapability(value) | Step::ReplaceCapability(value) => {
                let (value, len) = value.padded();
                it.len = len as u32;
                it.value = *value;
            }
            Step::RemoveTable | Step::RemoveCapability => {}
        }
        it
    }
}

/// setxattr and removexattr of either name. `flags`: bit 0 XATTR_CREATE, bit 1 XATTR_REPLACE. Gives
/// 0 or a negative errno; `answer` is filled either way.
///
/// # Safety
/// Every pointer is valid for the call, `room`'s for as long as `answer` is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_decide_change(
    what: What,
    caller: &Caller,
    file: &File,
    value: Bytes,
    flags: u32,
    room: &Room,
    answer: &mut Answer,
) -> i32 {
    // SAFETY: as this function demands; the two buffers do not overlap.
    let (before, value, entries, tables) = unsafe {
        (
            file.before(),
            value.get().unwrap_or(&[]),
            core::slice::from_raw_parts_mut(room.entries, room.entries_len),
            core::slice::from_raw_parts_mut(room.tables, room.tables_len),
        )
    };
    let (cred, inode, stored) = (caller.cred(), file.view(), stored(&before));
    let request = Request { policy: caller.policy(), cred: &cred, inode: &inode, stored: &stored };
    let flags = SetFlags { create: flags & 1 != 0, replace: flags & 2 != 0 };
    answer.steps = [const { CStep::END }; storage::MAX_STEPS];
    let decision = match what {
        What::SetCapability => nscap_core::set_capability(&request, value, flags, entries),
        What::RemoveCapability => nscap_core::remove_capability(&request, entries),
        What::SetNscapability => nscap_core::set_nscapability(&request, value, flags, entries),
        What::RemoveNscapability => nscap_core::remove_nscapability(&request, entries),
    };
    answer.clause = decision.why().code();
    answer.logged = decision.logged();
    answer.over_superblock = decision.why().is_over_superblock();
    match decision {
        Decision::Deny(errno, _) => -errno.raw(),
        Decision::Keep(_) => 0,
        Decision::Write(next, _) => match storage::plan(&before, &next, room.random, tables) {
            None => -Errno::ENOSPC.raw(),
            Some(steps) => {
                let slots = answer.steps.iter_mut().zip(steps.into_iter().flatten());
                slots.for_each(|(slot, step)| *slot = CStep::of(step));
                0
            }
        },
    }
}

/// getxattr of security.capability. Gives the length of what is in `out`, or a negative errno.
///
/// # Safety
/// Every pointer is valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_decide_get_capability(
    ns: *const c_void,
    file: &File,
    out: &mut [u8; 24],
) -> isize {
    // SAFETY: as this function demands.
    let before = unsafe { file.before() };
    let (ns, inode) = (Ns(ns), file.view());
    if let Some(plain) = before.capability.and_then(|value| get_plainly(ns, &inode, value)) {
        if let Some(slot) = out.first_chunk_mut() {
            *slot = plain;
            return plain.len() as isize;
        }
    }
    match nscap_core::get_capability(ns, &inode, &stored(&before)) {
        Err(no) => errno(no),
        Ok((value, _)) => put(value, out),
    }
}

/// Writes the value down and gives its length.
fn put(value: VfsCaps, out: &mut [u8; 24]) -> isize {
    let value = value.encode();
    let (bytes, len) = value.padded();
    *out = *bytes;
    len as isize
}

/// getxattr of security.nscapability. Gives the length or a negative errno; with `out` null only
/// that.
///
/// # Safety
/// Every pointer is valid for the call; `out` is null or has `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_decide_get_nscapability(
    ns: *const c_void,
    file: &File,
    out: *mut u8,
    room: usize,
) -> isize {
    // SAFETY: as this function demands.
    let before = unsafe { file.before() };
    let (inode, stored) = (file.view(), stored(&before));
    let len = if out.is_null() {
        nscap_core::nscapability_len(Ns(ns), &inode, &stored)
    } else {
        // SAFETY: as this function demands.
        let out = unsafe { core::slice::from_raw_parts_mut(out, room) };
        nscap_core::get_nscapability(Ns(ns), &inode, &stored, out)
    };
    len.map_or_else(errno, |len| len as isize)
}

/// W: the entry that a layer's file has alone, as revision 3 in the terms of `above`, the owner of
/// the superblock above. Gives the length of what is in `out`, or -ENODATA.
///
/// # Safety
/// Every pointer is valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_decide_entry_above(
    above: *const c_void,
    file: &File,
    out: &mut [u8; 24],
) -> isize {
    // SAFETY: as this function demands.
    let capability = unsafe { file.capability.get() }.unwrap_or_default();
    entry_above(Ns(above), &file.view(), capability).map_or(NO_DATA, |value| put(value, out))
}

/// W: leaves in a value of security.nscapability the entries that its reader can name. Gives the
/// new length, or -ENODATA.
///
/// # Safety
/// `value` has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_keep_named(value: *mut u8, len: usize) -> isize {
    // SAFETY: as this function demands.
    let value = unsafe { core::slice::from_raw_parts_mut(value, len) };
    keep_named(value).map_or(NO_DATA, |len| len as isize)
}

/// W: the `index`th entry of a value of security.nscapability, alone in `out`; false where there
/// are fewer.
///
/// # Safety
/// `value` is readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_entry_alone(value: Bytes, index: usize, out: &mut [u8; 32]) -> bool {
    // SAFETY: as this function demands.
    let value = unsafe { value.get() }.unwrap_or_default();
    entry_alone(value, index, out)
}

const NO_DATA: isize = -(Errno::ENODATA.raw() as isize);

fn errno(no: Denied) -> isize {
    -(no.errno.raw() as isize)
}

/// listxattr: bit 0 security.capability, bit 1 security.nscapability. Bit 2: the file has a host
/// value.
///
/// # Safety
/// Every pointer is valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_decide_list(ns: *const c_void, file: &File) -> u32 {
    // SAFETY: as this function demands.
    let before = unsafe { file.before() };
    let (ns, inode, stored) = (Ns(ns), file.view(), stored(&before));
    let listed = nscap_core::list(ns, &inode, &stored);
    let host = stored.seen_from(ns, &inode).host() != HostValue::Absent;
    u32::from(listed.capability) | u32::from(listed.nscapability) << 1 | u32::from(host) << 2
}

/// `struct nscap_grant`: what the file gives at execve.
#[repr(C)]
pub struct CGrant {
    permitted: u64,
    inheritable: u64,
    /// The first word of the value of security.capability that says the same.
    magic: u32,
    rootid: u32,
}

/// R8, R3, A at execve: 1 where `grant` is filled, 0 where the file gives nothing, or a negative
/// errno.
///
/// # Safety
/// Every pointer is valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_decide_exec(
    ns: *const c_void,
    file: &File,
    grant: &mut CGrant,
) -> i32 {
    // SAFETY: as this function demands.
    let before = unsafe { file.before() };
    let inode = file.view();
    let found = match file_grant(Ns(ns), &inode, &stored(&before)) {
        Ok(found) => found,
        Err(no) => return -no.errno.raw(),
    };
    let (revision, rootid) = match found {
        Grant::Nothing(_) => return 0,
        Grant::Host(_) => (0x0200_0000, inode.kuid_of(Uid::ROOT).map_or(u32::MAX, Kuid::get)),
        Grant::Entry { kuid, .. } => (0x0300_0000, kuid.get()),
    };
    let caps = found.caps().unwrap_or_default();
    *grant = CGrant {
        permitted: caps.permitted.bits(),
        inheritable: caps.inheritable.bits(),
        magic: revision | u32::from(caps.effective),
        rootid,
    };
    1
}

/// Whether security.nscapability has to be read, too. The table of `file` need not be set.
///
/// # Safety
/// Every pointer is valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nscap_needs_table(question: Question, file: &File) -> bool {
    // SAFETY: as this function demands.
    let capability = unsafe { file.capability.get() };
    storage::needs_table(question, capability, !file.idmap.is_null())
}

/// W: whether a grant that a copy-up could not make, for this reason, is left out.
#[unsafe(no_mangle)]
pub extern "C" fn nscap_left_behind(errno: i32) -> bool {
    left_behind(errno)
}

#[panic_handler]
fn never(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: cannot be linked, see there.
    unsafe { nscap_panics() }
}
