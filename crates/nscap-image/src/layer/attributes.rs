// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capabilities in a head: both attributes, in any form of record.

use std::borrow::Cow;

use nscap_core::storage::SealFacts;
use nscap_core::translate::Carried;
use nscap_core::{Denied, Errno, Why};

use super::attr::{self, Coding, Name};
use super::error::Result;
use super::member::Head;

/// The attributes of one head.
pub(crate) struct Attributes<'a> {
    capability: Option<Cow<'a, [u8]>>,
    nscapability: Option<Cow<'a, [u8]>>,
    facts: SealFacts,
    /// How records carry them.
    pub(crate) codings: Vec<Coding>,
    /// Whether one record occurs twice.
    pub(crate) repeated: bool,
    /// Why the records are ambiguous.
    denied: Option<Denied>,
}

impl<'a> Attributes<'a> {
    /// `None` if there is neither.
    pub(crate) fn of(head: &Head<'a>) -> Result<Option<Attributes<'a>>> {
        let mut seen: Vec<(Name, Coding)> = Vec::new();
        let mut found = Attributes::none();
        let records = head.records().filter_map(std::result::Result::ok);
        for record in records {
            let Some((name, coding)) = attr::of(record.key) else {
                continue;
            };
            found.repeated |= seen.contains(&(name, coding));
            seen.push((name, coding));
            if !found.codings.contains(&coding) {
                found.codings.push(coding);
            }
            match coding.decode(record.value) {
                Ok(value) => found.put(name, value),
                Err(_) => found.denied = Some(malformed(name)),
            }
        }
        if seen.is_empty() {
            return Ok(None);
        }
        found.facts = head.facts().map_err(|problem| head.error(problem))?;
        Ok(Some(found))
    }

    fn none() -> Attributes<'a> {
        Attributes {
            capability: None,
            nscapability: None,
            facts: SealFacts { size: 0, uid: 0, gid: 0 },
            codings: Vec::new(),
            repeated: false,
            denied: None,
        }
    }

    /// Programs disagree about which of two values applies.
    fn put(&mut self, name: Name, value: Cow<'a, [u8]>) {
        let slot = match name {
            Name::Capability => &mut self.capability,
            Name::NsCapability => &mut self.nscapability,
        };
        if slot.as_ref().is_some_and(|other| *other != value) {
            self.denied = Some(Denied::new(Errno::EINVAL, Why::GrantsDiffer));
        }
        *slot = Some(value);
    }

    /// Both values as they are.
    pub(crate) fn bytes(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        (self.capability.as_deref(), self.nscapability.as_deref())
    }

    /// The grants that the attributes hold.
    ///
    /// # Errors
    /// EINVAL where records contradict each other, or one is not base64.
    pub(crate) fn carried(&self) -> std::result::Result<Carried<'_>, Denied> {
        match self.denied {
            Some(denied) => Err(denied),
            None => Ok(Carried {
                capability: self.capability.as_deref(),
                nscapability: self.nscapability.as_deref(),
                facts: self.facts,
            }),
        }
    }
}

fn malformed(name: Name) -> Denied {
    Denied::new(
        Errno::EINVAL,
        match name {
            Name::Capability => Why::ValueMalformed,
            Name::NsCapability => Why::NsValueMalformed,
        },
    )
}
