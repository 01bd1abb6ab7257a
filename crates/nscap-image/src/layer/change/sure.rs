// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes a layer one of which programs unpack something else than its names say, or nothing.

use std::collections::HashSet;

use super::merged::{Name, above};
use crate::layer::error::{Error, Problem, Result};
use crate::layer::member::{Head, Visit};
use crate::layer::oci::normal;

/// Shows another visitor the heads of a layer as long as each is unpacked under its own name.
pub(crate) struct Sure<'v> {
    visit: &'v mut dyn Visit,
    links: Links,
}

impl<'v> Sure<'v> {
    pub(crate) fn new(visit: &'v mut dyn Visit) -> Sure<'v> {
        Sure { visit, links: Links::default() }
    }
}

impl Visit for Sure<'_> {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        if head.after_end {
            return Err(head.error(Problem::AfterEnd));
        }
        if !head.is_global() {
            check_kind(head)?;
            self.links.see(head)?;
        }
        self.visit.head(head)
    }
}

/// Programs of containers refuse a layer with a member of a kind that is not POSIX's, and with one
/// of those that are: a contiguous file. Of GNU tar's they take none (an old sparse file, a label).
fn check_kind(head: &Head<'_>) -> Result<()> {
    match head.header.kind() {
        b'\0' | b'0'..=b'6' => Ok(()),
        kind => Err(Error::Lookup {
            path: head.name().into_owned(),
            problem: format!(
                "a member of the kind '{}'; programs that unpack images refuse the layer",
                kind.escape_ascii()
            ),
        }),
    }
}

/// The symbolic links of one layer so far. Programs unpack what comes below one through it, onto
/// another name.
#[derive(Default)]
struct Links {
    names: HashSet<Name>,
    /// The bytes of them.
    size: usize,
}

impl Links {
    /// As much as the links of a million files.
    const MOST: usize = 64 << 20;

    fn see(&mut self, head: &Head<'_>) -> Result<()> {
        let name = normal(&head.name());
        if !self.names.is_empty() && above(&name).any(|above| self.names.contains(above)) {
            return Err(Error::lookup(
                &name,
                "is below a link of its layer, and unpacked through it",
            ));
        }
        let is_link = match head.header.kind() {
            b'2' => true,
            b'1' => self.names.contains(&normal(&head.link_name())),
            _ => false,
        };
        if !is_link {
            self.names.remove(&name);
            return Ok(());
        }
        self.size += name.len();
        if self.size > Links::MOST {
            return Err(Error::lookup(&name, "a layer has links of more than 64 MiB of names"));
        }
        self.names.insert(name);
        Ok(())
    }
}
