// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two attributes: by SPEC through the decisions and SPEC's Storage, by the bare kernel as raw
//! bytes.

use nscap_core::storage::{self, Before, SealFacts, Step};
use nscap_core::{
    Decision, Denied, Errno, MAX_ENTRIES, RECORD_LEN, Request, SetFlags, Stored, Why, bare,
};

use super::{Inode, Model, Rules};
use crate::outcome::Outcome;
use crate::scenario::{Attr, Flag, Op};
use crate::stored::Attributes;
use crate::text::Problem;
use crate::tree::Ns;

/// What an operation makes of a file, and what it answers.
type Effect = Result<(Option<Attributes>, Outcome), Denied>;

impl Model<'_> {
    pub(super) fn attribute(&mut self, by: &str, op: &Op) -> Result<Outcome, Problem> {
        let Some(file) = op.files().first().map(|file| (*file).to_owned()) else {
            return Err("an operation without a file".to_owned());
        };
        let answer = match self.rules {
            Rules::Design => self.by_design(by, op, self.inode(&file)?)?,
            Rules::Bare => self.by_kernel(by, op, self.inode(&file)?)?,
        };
        match answer {
            Err(no) => Ok(Outcome::Failed(no.errno.raw())),
            Ok((next, outcome)) => {
                if let Some(next) = next {
                    self.inode_mut(&file)?.attributes = next;
                }
                Ok(outcome)
            }
        }
    }

    /// What the file holds by SPEC.
    pub(super) fn held<'i>(&self, inode: &'i Inode) -> Stored<'i> {
        let Attributes { cap, nscap } = &inode.attributes;
        let facts = inode.facts(self.tree.ns(self.sb));
        storage::read(cap.as_deref(), nscap.as_deref(), facts, true).0
    }

    /// What a caller in `ns` reads by SPEC.
    pub(super) fn read(&self, ns: Ns<'_>, op: &Op, inode: &Inode) -> Result<Outcome, Problem> {
        let (view, stored) = (self.view(inode), self.held(inode));
        let get = |attr| match attr {
            Attr::Cap => nscap_core::get_capability(ns, &view, &stored)
                .map(|(value, _)| value.encode().as_bytes().to_vec()),
            Attr::Nscap => {
                let len = nscap_core::nscapability_len(ns, &view, &stored)?;
                let mut value = vec![0; len];
                nscap_core::get_nscapability(ns, &view, &stored, &mut value)?;
                Ok(value)
            }
        };
        let answer: Result<Outcome, Denied> = match op {
            Op::Get(attr, _) => get(*attr).map(Outcome::Value),
            Op::Size(attr, _) => get(*attr).map(|value| Outcome::Length(value.len())),
            Op::List(_) => {
                let listed = nscap_core::list(ns, &view, &stored);
                Ok(Outcome::Listed { cap: listed.capability, nscap: listed.nscapability })
            }
            _ => return Err("it reads no attribute".to_owned()),
        };
        Ok(answer.unwrap_or_else(|no| Outcome::Failed(no.errno.raw())))
    }

    fn by_design(&self, by: &str, op: &Op, inode: &Inode) -> Result<Effect, Problem> {
        let cred = self.proc(by)?.cred(&self.tree);
        let (view, stored) = (self.view(inode), self.held(inode));
        let request = Request { policy: self.policy, cred: &cred, inode: &view, stored: &stored };
        let facts = inode.facts(self.tree.ns(self.sb));
        let mut out = vec![[0; RECORD_LEN]; MAX_ENTRIES];
        let decision = match op {
            Op::Get(..) | Op::Size(..) | Op::List(_) => {
                return self.read(cred.ns, op, inode).map(|outcome| Ok((None, outcome)));
            }
            Op::Set { attr: Attr::Cap, value, flag, .. } => {
                nscap_core::set_capability(&request, value, flags(*flag), &mut out)
            }
            Op::Set { attr: Attr::Nscap, value, flag, .. } => {
                nscap_core::set_nscapability(&request, value, flags(*flag), &mut out)
            }
            Op::Remove(Attr::Cap, _) => nscap_core::remove_capability(&request, &mut out),
            Op::Remove(Attr::Nscap, _) => nscap_core::remove_nscapability(&request, &mut out),
            _ => return Err("not about an attribute".to_owned()),
        };
        Ok(match decision {
            Decision::Write(next, _) => match inode.with(&next, facts) {
                Some(next) => Ok((Some(next), Outcome::Done)),
                None => Err(Denied::new(Errno::ENOSPC, Why::NoRoom)),
            },
            Decision::Keep(_) => Ok((None, Outcome::Done)),
            Decision::Deny(errno, why) => Err(Denied::new(errno, why)),
        })
    }

    fn by_kernel(&self, by: &str, op: &Op, inode: &Inode) -> Result<Effect, Problem> {
        let cred = self.proc(by)?.cred(&self.tree);
        let view = self.view(inode);
        let Attributes { cap, nscap } = &inode.attributes;
        let (stored, exists) = (cap.as_deref(), nscap.is_some());
        let absent = Denied::new(Errno::ENODATA, Why::KernelAbsent);
        let get = |attr| match attr {
            Attr::Cap => bare::get_capability(cred.ns, &view, stored)
                .map(|value| value.encode().as_bytes().to_vec()),
            Attr::Nscap => nscap.clone().ok_or(absent),
        };
        let with_cap = |cap| Some(Attributes { cap, nscap: nscap.clone() });
        let with_nscap = |nscap| Some(Attributes { cap: cap.clone(), nscap });
        let next = match op {
            Op::Get(attr, _) => return Ok(get(*attr).map(|value| (None, Outcome::Value(value)))),
            Op::Size(attr, _) => {
                return Ok(get(*attr).map(|value| (None, Outcome::Length(value.len()))));
            }
            Op::List(_) => {
                return Ok(Ok((None, Outcome::Listed { cap: cap.is_some(), nscap: exists })));
            }
            Op::Set { attr: Attr::Cap, value, flag, .. } => {
                bare::set_capability(&cred, &view, stored, value, flags(*flag))
                    .map(|value| with_cap(Some(value.encode().as_bytes().to_vec())))
            }
            Op::Set { attr: Attr::Nscap, value, flag, .. } => {
                bare::set_other(&cred, &view, exists, flags(*flag))
                    .map(|()| with_nscap(Some(value.clone())))
            }
            Op::Remove(Attr::Cap, _) => {
                bare::remove_capability(&cred, &view, stored).map(|()| with_cap(None))
            }
            Op::Remove(Attr::Nscap, _) => {
                bare::remove_other(&cred, &view, exists).map(|()| with_nscap(None))
            }
            _ => return Err("not about an attribute".to_owned()),
        };
        Ok(next.map(|next| (next, Outcome::Done)))
    }
}

impl Inode {
    /// The attributes after the steps that make the file hold this; `None` where a malformed value
    /// is to stay that is too long to be a companion.
    fn with(&self, next: &Stored<'_>, facts: SealFacts) -> Option<Attributes> {
        let mut attributes = self.attributes.clone();
        let before = Before {
            capability: self.attributes.cap.as_deref(),
            hidden: false,
            table: self.attributes.nscap.as_deref(),
            facts,
            trusted: true,
        };
        let mut tables = vec![0; storage::PLAN_LEN];
        for step in storage::plan(&before, next, 0, &mut tables)?.into_iter().flatten() {
            match step {
                Step::SetTable(table) => attributes.nscap = Some(table.to_vec()),
                Step::RemoveTable => attributes.nscap = None,
                Step::CreateCapability(value) | Step::ReplaceCapability(value) => {
                    attributes.cap = Some(value.as_bytes().to_vec());
                }
                Step::RemoveCapability => attributes.cap = None,
            }
        }
        Some(attributes)
    }
}

fn flags(flag: Flag) -> SetFlags {
    SetFlags { create: flag == Flag::Create, replace: flag == Flag::Replace }
}
