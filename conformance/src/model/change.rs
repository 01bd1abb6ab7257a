// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of content, owner, mode and name: what of them drops capabilities (K), and what an
//! unmodified kernel keeps.

use nscap_core::{Capability, Decision, Gid, Kgid, Kuid, Operation, Uid, UserNs, content_change};

use super::access::{Access, READ, WRITE};
use super::{At, Model, Rules, can_own, stored_gid};
use crate::outcome::Outcome;
use crate::scenario::{FsKind, Op};
use crate::stored::Attributes;
use crate::text::Problem;

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o0010;

/// What a change does to a file.
#[derive(Clone, Copy, Default)]
struct Effect {
    /// New owner and group in memory, where they change.
    owner: Option<Kuid>,
    group: Option<Kgid>,
    /// The new mode, where it changes.
    mode: Option<u32>,
    /// What decides about capabilities.
    operation: Option<Operation>,
}

impl Model<'_> {
    pub(super) fn change(&mut self, by: &str, op: &Op) -> Result<Outcome, Problem> {
        if let Op::Rename(from, to) | Op::Link(from, to) = op {
            return self.name(by, op, from, to);
        }
        let files = op.files();
        let Some(file) = files.last().map(|file| (*file).to_owned()) else {
            return Err("an operation without a file".to_owned());
        };
        let effect = match self.effect(by, op, &file)? {
            Ok(effect) => effect,
            Err(errno) => return Ok(Outcome::Failed(errno)),
        };
        let drops = effect.operation.is_some_and(|operation| self.drops(operation));
        let rules = self.rules;
        let inode = self.inode_mut(&file)?;
        inode.owner = effect.owner.unwrap_or(inode.owner);
        inode.group = effect.group.unwrap_or(inode.group);
        inode.mode = effect.mode.unwrap_or(inode.mode);
        if drops {
            let nscap = inode.attributes.nscap.take();
            inode.attributes = match rules {
                Rules::Design => Attributes::default(),
                Rules::Bare => Attributes { cap: None, nscap },
            };
        }
        Ok(Outcome::Done)
    }

    /// K; an unmodified kernel does not see a write through a mapping.
    fn drops(&self, operation: Operation) -> bool {
        match self.rules {
            Rules::Design => matches!(content_change(operation), Decision::Write(..)),
            Rules::Bare => {
                operation != Operation::SharedWritableMap
                    && matches!(content_change(operation), Decision::Write(..))
            }
        }
    }

    fn effect(&self, by: &str, op: &Op, file: &str) -> Result<Result<Effect, i32>, Problem> {
        let proc = self.proc(by)?;
        let cred = proc.cred(&self.tree);
        let inode = self.inode(file)?;
        let view = self.view(inode);
        let access = Access { cred: &cred, groups: &proc.groups, view: &view, mode: inode.mode };
        let written = |want, operation| {
            access.open(want).map(|()| Effect {
                mode: Some(access.without_set_ids()),
                operation: Some(operation),
                ..Effect::default()
            })
        };
        Ok(match op {
            Op::Write(_) => written(WRITE, Operation::Write),
            Op::Truncate(_) => written(WRITE, Operation::Truncate),
            Op::Fallocate(_) => written(WRITE, Operation::Fallocate),
            Op::Mmap(_) => access.open(READ | WRITE).map(|()| Effect {
                operation: Some(Operation::SharedWritableMap),
                ..Effect::default()
            }),
            Op::CopyInto { from, .. } => {
                let source = self.inode(from)?;
                let view = self.view(source);
                Access { view: &view, mode: source.mode, ..access }
                    .open(READ)
                    .and_then(|()| written(WRITE, Operation::CopyInto))
            }
            Op::Chown { uid, gid, .. } => {
                let strict = self.fs().kind == FsKind::Ext4;
                chown(&access, *uid, *gid, strict)
            }
            Op::Chmod(_, mode) => chmod(&access, *mode),
            Op::Utimes(_) => utimes(&access),
            _ => return Err("not a change of a file".to_owned()),
        })
    }

    /// rename(2) and link(2) in the one directory, which every task may change.
    fn name(&mut self, by: &str, op: &Op, from: &str, to: &str) -> Result<Outcome, Problem> {
        let number = self.number(from)?;
        let there = self.names.get(to).copied();
        let allowed = match op {
            Op::Link(..) if there.is_some() => Err(libc::EEXIST),
            Op::Rename(..) => self.may_rename(by, from, there.map(|_| to))?,
            _ => self.may_link(by, from)?,
        };
        if let Err(errno) = allowed {
            return Ok(Outcome::Failed(errno));
        }
        if there == Some(number) {
            // Two names of one file: rename(2) does nothing.
            return Ok(Outcome::Done);
        }
        self.names.insert(to.to_owned(), number);
        if let Op::Rename(..) = op {
            self.names.remove(from);
        }
        Ok(Outcome::Done)
    }

    fn may_rename(
        &self,
        by: &str,
        from: &str,
        over: Option<&str>,
    ) -> Result<Result<(), i32>, Problem> {
        if over.is_some_and(|over| self.names.get(over) == self.names.get(from)) {
            return Ok(Ok(()));
        }
        for file in [Some(from), over].into_iter().flatten() {
            let view = self.view(self.inode(file)?);
            if view.owner.is_none() || view.group.is_none() {
                return Ok(Err(libc::EOVERFLOW));
            }
            if !self.may_change_directory() {
                return Ok(Err(libc::EACCES));
            }
            if view.immutable {
                return Ok(Err(libc::EPERM));
            }
        }
        let cred = self.proc(by)?.cred(&self.tree);
        let creates = over.is_none() && !can_own(&self.mount(), cred.fsuid, cred.fsgid);
        Ok(if creates { Err(libc::EOVERFLOW) } else { Ok(()) })
    }

    /// Every task may, unless the mount's map has no image for root, which owns the directory on
    /// disk.
    fn may_change_directory(&self) -> bool {
        self.mount().idmap.is_none_or(|map| map.kuid(Uid::ROOT).is_some())
    }

    /// With fs.protected_hardlinks, as Linux distributions have it.
    fn may_link(&self, by: &str, from: &str) -> Result<Result<(), i32>, Problem> {
        if self.fs().read_only {
            return Ok(Err(libc::EROFS));
        }
        let proc = self.proc(by)?;
        let cred = proc.cred(&self.tree);
        let inode = self.inode(from)?;
        let view = self.view(inode);
        let access = Access { cred: &cred, groups: &proc.groups, view: &view, mode: inode.mode };
        if !access.ids_valid() {
            return Ok(Err(libc::EOVERFLOW));
        }
        let special =
            inode.mode & S_ISUID != 0 || inode.mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP;
        let safe = !special && access.permission(READ | WRITE).is_ok();
        if !safe && !access.owner_or_capable() {
            return Ok(Err(libc::EPERM));
        }
        if !can_own(&self.mount(), cred.fsuid, cred.fsgid) {
            return Ok(Err(libc::EOVERFLOW));
        }
        if !self.may_change_directory() {
            return Ok(Err(libc::EACCES));
        }
        Ok(if view.immutable { Err(libc::EPERM) } else { Ok(()) })
    }
}

impl Access<'_, '_> {
    /// The mode after a write: a writer without CAP_FSETID on the host drops the set-id bits.
    fn without_set_ids(&self) -> u32 {
        let on_host = self.cred.ns.parent().is_none() && self.cred.has_cap(Capability::Fsetid);
        if on_host { self.mode } else { self.mode & !(S_ISUID | self.set_gid_that_goes()) }
    }

    /// Set-group-ID, where a change of the file takes it away.
    fn set_gid_that_goes(&self) -> u32 {
        let ours = self.view.group.is_some_and(|group| self.in_group(group));
        let keeps = self.mode & S_IXGRP == 0 && (ours || self.capable(Capability::Fsetid));
        if keeps { 0 } else { self.mode & S_ISGID }
    }

    /// What every change of attributes asks first.
    fn may_change(&self) -> Result<(), i32> {
        if self.view.read_only {
            Err(libc::EROFS)
        } else if self.view.immutable {
            Err(libc::EPERM)
        } else {
            Ok(())
        }
    }
}

/// `strict` says that the file system lets nothing of an immutable file change; others let a chown
/// that names no id take the set-id bits.
fn chown(
    access: &Access<'_, '_>,
    uid: Option<u32>,
    gid: Option<u32>,
    strict: bool,
) -> Result<Effect, i32> {
    let ns = access.cred.ns;
    let kuid = uid.map(|id| Uid::new(id).and_then(|id| ns.kuid(id)).ok_or(libc::EINVAL));
    let kgid = gid.map(|id| Gid::new(id).and_then(|id| ns.kgid(id)).ok_or(libc::EINVAL));
    if access.view.read_only {
        return Err(libc::EROFS);
    }
    let (kuid, kgid): (Option<Kuid>, Option<Kgid>) = (kuid.transpose()?, kgid.transpose()?);
    let mode = access.mode & !(S_ISUID | access.set_gid_that_goes());
    let changes_mode = mode != access.mode;
    if access.view.immutable && (kuid.is_some() || kgid.is_some()) {
        return Err(libc::EPERM);
    }
    let (owner, group) = in_memory(access.view, kuid, kgid).ok_or(libc::EOVERFLOW)?;
    let valid = |now: bool, next: bool| now || next;
    if !valid(access.view.owner.is_some(), kuid.is_some())
        || !valid(access.view.group.is_some(), kgid.is_some())
    {
        return Err(libc::EOVERFLOW);
    }
    if access.view.immutable && strict {
        return Err(libc::EPERM);
    }
    if kuid.is_some_and(|kuid| !access.may_chown(kuid))
        || kgid.is_some_and(|kgid| !access.may_chgrp(kgid))
        || (changes_mode && !access.owner_or_capable())
    {
        return Err(libc::EPERM);
    }
    Ok(Effect { owner, group, mode: Some(mode), operation: Some(Operation::Chown) })
}

/// What the kernel keeps of new ids: through an id-mapped mount, those that they are mapped from.
#[allow(clippy::type_complexity, reason = "two optional ids, or neither")]
fn in_memory(
    view: &At<'_>,
    kuid: Option<Kuid>,
    kgid: Option<Kgid>,
) -> Option<(Option<Kuid>, Option<Kgid>)> {
    if view.idmap.is_none() {
        return Some((kuid, kgid));
    }
    let owner = |kuid| view.sb_ns.kuid(view.stored_of(kuid)?);
    let group = |kgid| view.sb_ns.kgid(stored_gid(view, kgid)?);
    let all = |given: bool, kept: bool| !given || kept;
    let (uid, gid) = (kuid.and_then(owner), kgid.and_then(group));
    (all(kuid.is_some(), uid.is_some()) && all(kgid.is_some(), gid.is_some())).then_some((uid, gid))
}

fn chmod(access: &Access<'_, '_>, mode: u32) -> Result<Effect, i32> {
    access.may_change()?;
    if !access.ids_valid() {
        return Err(libc::EOVERFLOW);
    }
    if !access.owner_or_capable() {
        return Err(libc::EPERM);
    }
    let ours = access.view.group.is_some_and(|group| access.in_group(group));
    let keeps = ours || access.capable(Capability::Fsetid);
    let mode = if keeps { mode } else { mode & !S_ISGID };
    Ok(Effect { mode: Some(mode), operation: Some(Operation::Chmod), ..Effect::default() })
}

fn utimes(access: &Access<'_, '_>) -> Result<Effect, i32> {
    access.may_change()?;
    if !access.owner_or_capable() {
        access.permission(WRITE)?;
    }
    if !access.ids_valid() {
        return Err(libc::EOVERFLOW);
    }
    Ok(Effect { operation: Some(Operation::Utimes), ..Effect::default() })
}
