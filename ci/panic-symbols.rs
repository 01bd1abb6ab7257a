// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel would link: every decision of nscap-core behind a C function, over a namespace
//! that is a pointer and callbacks. `ci/panic-symbols` compiles this and looks at what the object
//! still needs.
#![no_std]

use core::ffi::c_void;

use nscap_core::{
    Checked, Cred, Decision, Denied, Entries, EntryBuffer, Executed, FileCaps, Gid, Kgid, Kuid, NsCaps, Operation,
    InodeView, Program, Request, SetFlags, Stored, System, Task, Uid, UserNs, bare, storage,
};

unsafe extern "C" {
    fn nscap_ns_parent(ns: *const c_void) -> *const c_void;
    fn nscap_ns_owner(ns: *const c_void) -> u32;
    fn nscap_ns_map(ns: *const c_void, kind: u32, id: u32) -> u32;
}

/// A namespace of the kernel's.
#[derive(Clone, Copy)]
pub struct Ns(*const c_void);

fn map(ns: Ns, kind: u32, id: u32) -> u32 {
    // SAFETY: the program that links this object passes pointers that its own callback accepts.
    unsafe { nscap_ns_map(ns.0, kind, id) }
}

impl UserNs for Ns {
    fn same(self, other: Ns) -> bool {
        self.0 == other.0
    }
    fn parent(self) -> Option<Ns> {
        // SAFETY: as in `map`.
        let parent = unsafe { nscap_ns_parent(self.0) };
        if parent.is_null() { None } else { Some(Ns(parent)) }
    }
    fn owner(self) -> Kuid {
        // SAFETY: as in `map`.
        Kuid::new(unsafe { nscap_ns_owner(self.0) }).unwrap_or(Kuid::ROOT)
    }
    fn kuid(self, uid: Uid) -> Option<Kuid> {
        Kuid::new(map(self, 0, uid.get()))
    }
    fn uid(self, kuid: Kuid) -> Option<Uid> {
        Uid::new(map(self, 1, kuid.get()))
    }
    fn kgid(self, gid: Gid) -> Option<Kgid> {
        Kgid::new(map(self, 2, gid.get()))
    }
    fn gid(self, kgid: Kgid) -> Option<Gid> {
        Gid::new(map(self, 3, kgid.get()))
    }
}

fn errno(decision: &Decision<Stored<'_>>) -> i32 {
    decision.errno().map_or(0, |errno| errno.raw())
}

#[unsafe(no_mangle)]
pub extern "Rust" fn nscap_exec(
    task: &Task<'_, Ns>,
    program: &Program<Ns>,
    stored: &Stored<'_>,
    bytes: Option<&[u8]>,
) -> [Result<Executed<Ns>, Denied>; 2] {
    let system = System::kernel(6, 18);
    [nscap_core::exec(system, task, program, stored), bare::exec(system, task, program, bytes)]
}

#[unsafe(no_mangle)]
pub extern "Rust" fn nscap_write(
    request: &Request<'_, '_, Ns>,
    value: &[u8],
    flags: SetFlags,
    which: u32,
    out: &mut EntryBuffer,
) -> i32 {
    errno(&match which {
        0 => nscap_core::set_capability(request, value, flags, out),
        1 => nscap_core::set_nscapability(request, value, flags, out),
        2 => nscap_core::remove_capability(request, out),
        3 => nscap_core::remove_nscapability(request, out),
        4 => nscap_core::remove_entry(request, Kuid::ROOT, out),
        5 => nscap_core::remove_own(request, out),
        6 => nscap_core::remove_all(request, out),
        7 => nscap_core::remove_or_strip(request, out),
        8 => nscap_core::set_entry(request, Kuid::ROOT, FileCaps::default(), flags, out),
        9 => nscap_core::set_own(request, FileCaps::default(), flags, out),
        10 => nscap_core::set_relayed(request, Checked::NsCapability, value, flags, out),
        11 => {
            let name = Checked::Capability { idmapped: flags.create };
            nscap_core::set_relayed(request, name, value, flags, out)
        }
        _ => nscap_core::content_change(Operation::Write),
    })
}

#[unsafe(no_mangle)]
pub extern "Rust" fn nscap_read(
    ns: Ns,
    inode: &InodeView<Ns>,
    stored: &Stored<'_>,
    out: &mut [u8],
) -> i32 {
    let errno = |denied: Denied| denied.errno.raw();
    let capability = nscap_core::get_capability(ns, inode, stored).map_or_else(errno, |_| 0);
    let len = nscap_core::get_nscapability(ns, inode, stored, out).map_or_else(errno, |_| 0);
    let kernel = nscap_core::handed_to_kernel(ns, inode, stored).map_or_else(errno, |_| 0);
    let listed = nscap_core::list(ns, inode, stored);
    let plain = nscap_core::get_plainly(ns, inode, out).is_some();
    let mut slots = [[0; 24]; 4];
    let other = stored.translate(|uid| inode.stored_from(uid, ns), &mut slots).is_some();
    i32::from(plain) ^ i32::from(other) ^ capability ^ len ^ kernel ^ i32::from(listed.capability) ^ i32::from(listed.nscapability)
}

#[unsafe(no_mangle)]
pub extern "Rust" fn nscap_bare(
    cred: &Cred<Ns>,
    inode: &InodeView<Ns>,
    stored: Option<&[u8]>,
    value: &[u8],
) -> i32 {
    let errno = |denied: Denied| denied.errno.raw();
    let flags = SetFlags::default();
    bare::set_capability(cred, inode, stored, value, flags).map_or_else(errno, |_| 0)
        ^ bare::get_capability(cred.ns, inode, stored).map_or_else(errno, |_| 0)
        ^ bare::remove_capability(cred, inode, stored).map_or_else(errno, |()| 0)
        ^ bare::set_other(cred, inode, false, flags).map_or_else(errno, |()| 0)
}

#[unsafe(no_mangle)]
pub extern "Rust" fn nscap_storage(
    capability: Option<&[u8]>,
    table: Option<&[u8]>,
    facts: storage::SealFacts,
    entries: &Entries<'_>,
    out: &mut [u8],
) -> usize {
    let (stored, _) = storage::read(capability, table, facts, true);
    let _ = storage::form_of(&stored);
    let before = storage::Before { capability, hidden: false, table, facts, trusted: true };
    let steps = storage::plan(&before, &stored, 0, out).map_or(0, |steps| steps.len());
    let encoded = steps ^ storage::Table::encode(entries, &[], facts, out).unwrap_or(0);
    encoded ^ NsCaps::decode(out).map_or(0, |caps| caps.len())
}

#[unsafe(no_mangle)]
pub extern "Rust" fn nscap_shift(
    stored: &Stored<'_>,
    offset: u32,
    which: nscap_core::Unmapped,
    out: &mut EntryBuffer,
) -> usize {
    let image = |id: Uid| id.get().checked_add(offset).and_then(Uid::new);
    let how = nscap_core::Shift { image, from_host: true, to_host: false, unmapped: which };
    nscap_core::shift(stored, &how, out).map_or(0, |moved| moved.stored.entries.len())
}

#[unsafe(no_mangle)]
pub extern "Rust" fn nscap_translate(
    carried: &nscap_core::translate::Carried<'_>,
    translation: &nscap_core::translate::Translation<'_>,
    out: &mut EntryBuffer,
) -> i32 {
    match carried.grants() {
        Err(denied) => denied.errno.raw(),
        Ok(grants) => {
            let same = grants.stored(out).is_ok();
            translation.stored(&grants, out).errno().map_or(i32::from(same), |errno| errno.raw())
        }
    }
}

/// What the check must catch.
#[cfg(planted)]
#[unsafe(no_mangle)]
pub extern "Rust" fn nscap_planted(bytes: &[u8], at: usize) -> u8 {
    bytes[at]
}
