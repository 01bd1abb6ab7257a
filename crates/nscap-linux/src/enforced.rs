// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files behind an enforcer of the rules: a mount of nscap, or the reference kernel (`kernel/`).
//! There the two attributes read as R4, T and R6 say, and accept writes and removals that R5, R7,
//! R8 and D allow. The enforcer alone stores them; no task can write a table.

use std::os::fd::AsFd;
use std::path::Path;

use nscap_core::storage::{self, Form, Table};
use nscap_core::{
    Entries, FileCaps, HostValue, NsCaps, Record, Stored, Uid, UserNs as _, VfsCaps, get_capability,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::file::{CapFile, FileState, Hidden};
use crate::names::{CAPABILITY, INNER, TABLE};
use crate::ns::Namespaces;
use crate::xattr::{self, Present};

/// Whether a server of nscap's answers for a file: only it has the name.
///
/// # Errors
/// getxattr(2)'s.
pub(crate) fn is_served(file: impl AsFd) -> std::result::Result<bool, Errno> {
    match xattr::get_into(file.as_fd(), INNER, &mut []) {
        Ok(_) | Err(Errno::NODATA | Errno::RANGE) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Fills in what the two names show, as [`FileState`] has it: the bytes that would be stored.
///
/// # Errors
/// [`Error::Unexpected`] where one is not in form F.
pub(crate) fn work_out(state: &mut FileState, path: &Path, namespaces: &Namespaces) -> Result<()> {
    let unexpected = |problem: &str| Error::unexpected(path, problem);
    // Only the kernel writes tables.
    state.mount.trusted = Some(true);
    let shown = match &state.shown.capability {
        Ok(shown) => shown.as_deref().map(VfsCaps::settable).transpose(),
        Err(Errno::OVERFLOW) => Ok(None).inspect(|_| state.hidden = Some(Hidden::Foreign)),
        Err(_) => Ok(None).inspect(|_| state.hidden = Some(Hidden::Malformed)),
    };
    let shown = shown.map_err(|_| unexpected("security.capability is malformed"))?;
    let listed = state.shown.table.clone();
    let listed = listed.as_deref().map(NsCaps::decode_shown).transpose();
    let listed = listed.map_err(|_| unexpected("security.nscapability is malformed"))?;
    let mut records = Vec::new();
    for record in listed.iter().flat_map(NsCaps::iter) {
        match stored_of(record, state, namespaces) {
            Some(rootid) => records.push(*Record::new(rootid.get(), record.caps()).as_bytes()),
            None => state.hidden = Some(Hidden::Foreign),
        }
    }
    records.sort_unstable_by_key(|bytes| Record::from_bytes(*bytes).rootid());
    let entries = Entries::decode(&records)
        .map_err(|_| unexpected("security.nscapability names the owner's root"))?;
    let host = host(shown, entries, state, namespaces);
    write_down(&Stored { host, entries }, state, namespaces);
    Ok(())
}

fn stored_of(record: Record, state: &FileState, namespaces: &Namespaces) -> Option<Uid> {
    let stored =
        state.view(namespaces).stored_from(Uid::new(record.rootid())?, namespaces.own_ns());
    stored.filter(|stored| *stored != Uid::ROOT)
}

/// Whether what R4 shows is the host value: from inside a namespace an entry looks the same. A
/// value that names a root is that root's entry (T), or the host value through an id map (M).
fn host(
    shown: Option<VfsCaps>,
    entries: Entries<'_>,
    state: &mut FileState,
    namespaces: &Namespaces,
) -> HostValue {
    let Some(value) = shown else {
        return HostValue::Absent;
    };
    let (own, view, caps) = (namespaces.own_ns(), state.view(namespaces), value.caps());
    if value.named().is_some() {
        let stored = value.translate(|uid| view.stored_from(uid, own));
        return if stored == Some(VfsCaps::v2(caps)) {
            HostValue::Present(caps)
        } else {
            HostValue::Absent
        };
    }
    if own.same(view.sb_ns) {
        return HostValue::Present(caps);
    }
    let without = Stored { host: HostValue::Absent, entries };
    let explained = get_capability(own, &view, &without);
    let is_entry = explained.is_ok_and(|(value, _)| value == VfsCaps::v2(caps));
    if is_entry {
        state.hidden = state.hidden.or(Some(Hidden::HostOrOwn));
        return HostValue::Absent;
    }
    // A value without a root applies to us, and is none of the entries that we see.
    if state.hidden == Some(Hidden::Foreign) {
        state.hidden = Some(Hidden::HostOrAbove);
    }
    HostValue::Present(caps)
}

/// The bytes that the file would have by SPEC's Storage.
pub(crate) fn write_down(stored: &Stored<'_>, state: &mut FileState, namespaces: &Namespaces) {
    let companion = match storage::form_of(stored) {
        Form::Alone(value) => {
            state.capability = Some(value.as_bytes().to_vec());
            return;
        }
        Form::TableBesideHost(value) => value,
        Form::TableBesideTripwire => storage::tripwire(0),
        Form::Nothing | Form::MalformedAlone | Form::TableBesideMalformed => return,
    };
    let mut table = vec![0; Table::encoded_len(stored.entries.len())];
    let facts = state.facts(namespaces);
    if Table::encode(&stored.entries, companion.as_bytes(), facts, &mut table).is_some() {
        state.capability = Some(companion.as_bytes().to_vec());
        state.table = Some(table);
    }
}

/// Makes the file hold `next`, by asking the enforcer. Entries can only be removed together (D), so
/// those that are to stay are written again; an end in between leaves less than before, not more.
///
/// # Errors
/// [`Error::Call`] with what the kernel says.
pub(crate) fn write(
    file: &CapFile,
    before: &FileState,
    next: &Stored<'_>,
    namespaces: &Namespaces,
) -> Result<()> {
    let name = if before.mount.is_nscap() { INNER } else { TABLE };
    let (had, _) = before.stored(namespaces);
    if had.host != next.host {
        write_host(file, next.host)?;
    }
    let goes = |(rootid, caps): (Uid, FileCaps)| next.entries.find(rootid) != Some(caps);
    let left;
    let mut present = had.entries;
    if had.entries.iter().any(goes) {
        xattr::remove(file, name).map_err(|e| file.error("removexattr", e))?;
        left = file.read_through(before.mount.clone(), namespaces)?;
        present = left.stored(namespaces).0.entries;
    }
    let (own, view) = (namespaces.own_ns(), before.view(namespaces));
    let named = |stored| view.uid_in(stored, own);
    let mut missing = Vec::new();
    for (rootid, caps) in next.entries.iter().filter(|(id, _)| present.find(*id).is_none()) {
        let named = named(rootid).ok_or_else(|| file.error("setxattr", Errno::OVERFLOW))?;
        missing.push(Record::new(named.get(), caps));
    }
    let mut value = vec![0; NsCaps::encoded_len(missing.len())];
    if NsCaps::encode(missing, &mut value).is_none() {
        return Ok(());
    }
    xattr::set(file, name, &value, Present::Any).map_err(|e| file.error("setxattr", e))
}

fn write_host(file: &CapFile, host: HostValue) -> Result<()> {
    match host {
        HostValue::Absent => {
            xattr::remove(file, CAPABILITY).map_err(|e| file.error("removexattr", e))
        }
        HostValue::Present(caps) => {
            let value = VfsCaps::v2(caps).encode();
            xattr::set(file, CAPABILITY, value.as_bytes(), Present::Any)
                .map_err(|e| file.error("setxattr", e))
        }
        HostValue::Malformed => Err(file.error("setxattr", Errno::INVAL)),
    }
}
