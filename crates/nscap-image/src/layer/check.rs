// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capabilities in a layer that its consumer would not expect.

use std::io::{self, Read};

use nscap_core::translate::{ArchiveGrant, expected};
use nscap_core::{Denied, Errno, IdMap, Why};

use super::attr;
use super::attributes::Attributes;
use super::error::{Error, Result};
use super::format::ImageFormat;
use super::member::{Head, Visit, walk};
use super::names::{Fingerprint, Names};

/// A kind of finding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Trouble {
    /// A grant for an id that is not one of the consumer's.
    Foreign,
    /// Attributes without a meaning: exec would fail, or one program reads this and another that.
    Malformed,
    /// A set-user-ID file with capabilities.
    Setuid,
    /// The same, of root: execve gives root's capabilities, and the file's do not limit them.
    SetuidRoot,
    /// The effective bit: execve fails (EPERM) in a container without one of the capabilities.
    Effective,
    /// An attribute of `security.` that a task in a user namespace cannot set.
    Unsettable,
    /// Users other than the owner may write the file.
    Writable,
    /// Capabilities on a member that is not a regular file.
    NotRegular,
    /// A hard link that changes its target's capabilities, or whose target is not in this layer.
    HardLink,
    /// A path that occurs twice, once with capabilities.
    Duplicate,
    /// A whiteout with capabilities, or one for a file with capabilities in this very layer.
    Whiteout,
    /// An absolute path, or one with `..`.
    Path,
    /// A record that occurs twice.
    Repeated,
    /// Capabilities in a global header, for every member after it.
    Global,
    /// Capabilities after the end of the archive, where some programs still read.
    AfterEnd,
    /// An archive without an end mark.
    Unterminated,
    /// Too many names: later members are compared with the earlier ones only.
    Unchecked,
}

impl Trouble {
    /// Every kind.
    pub const ALL: &'static [Trouble] = &[
        Trouble::Foreign,
        Trouble::Malformed,
        Trouble::Setuid,
        Trouble::SetuidRoot,
        Trouble::Effective,
        Trouble::Unsettable,
        Trouble::Writable,
        Trouble::NotRegular,
        Trouble::HardLink,
        Trouble::Duplicate,
        Trouble::Whiteout,
        Trouble::Path,
        Trouble::Repeated,
        Trouble::Global,
        Trouble::AfterEnd,
        Trouble::Unterminated,
        Trouble::Unchecked,
    ];

    /// One word for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Trouble::Foreign => "foreign",
            Trouble::Malformed => "malformed",
            Trouble::Setuid => "setuid",
            Trouble::SetuidRoot => "setuid-root",
            Trouble::Effective => "effective",
            Trouble::Unsettable => "unsettable",
            Trouble::Writable => "writable",
            Trouble::NotRegular => "not-regular",
            Trouble::HardLink => "hard-link",
            Trouble::Duplicate => "duplicate",
            Trouble::Whiteout => "whiteout",
            Trouble::Path => "path",
            Trouble::Repeated => "repeated",
            Trouble::Global => "global",
            Trouble::AfterEnd => "after-end",
            Trouble::Unterminated => "unterminated",
            Trouble::Unchecked => "unchecked",
        }
    }

    /// One phrase for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Trouble::Foreign => "for an id that the consumer does not have",
            Trouble::Malformed => "the capabilities have no one meaning",
            Trouble::Setuid => "capabilities on a set-user-ID file",
            Trouble::SetuidRoot => {
                "capabilities on a set-user-ID file of root: execve gives root's all"
            }
            Trouble::Effective => "the effective bit: execve fails where a capability is dropped",
            Trouble::Unsettable => "a security attribute that no container can set",
            Trouble::Writable => "capabilities on a file that others may write",
            Trouble::NotRegular => "capabilities on a member that is not a regular file",
            Trouble::HardLink => "a hard link with capabilities that its target does not have",
            Trouble::Duplicate => "the path occurs twice, with other capabilities",
            Trouble::Whiteout => "a whiteout and capabilities on one path",
            Trouble::Path => "capabilities on an absolute path, or one with `..`",
            Trouble::Repeated => "the same record twice",
            Trouble::Global => "capabilities for every member after a global header",
            Trouble::AfterEnd => "capabilities after the end of the archive",
            Trouble::Unterminated => "the archive has no end mark; it may be cut short",
            Trouble::Unchecked => "too many names to look for duplicates among all",
        }
    }
}

/// One finding.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// Where the member begins, in bytes of the uncompressed archive.
    pub offset: u64,
    /// The member's name; empty for a finding about the whole archive.
    pub member: &'a [u8],
    /// The kind.
    pub trouble: Trouble,
    /// The grant, if the finding is about one.
    pub grant: Option<ArchiveGrant>,
    /// The answer of a rule, if one decided.
    pub denied: Option<Denied>,
}

/// Called for each finding; an error ends the work.
pub type HearFinding<'h> = dyn FnMut(&Finding<'_>) -> io::Result<()> + 'h;

/// Reports each grant of an uncompressed layer that its consumer would not expect. `consumer` maps
/// the consumer's ids to the layer's numbers: the container's root is 0 in a layer with a
/// container's own ids, and its root kuid in a layer with the host's ids. Returns the format if the
/// archive is an image, whose layers are members of it and were not read.
///
/// # Errors
/// As [`list`](super::list()).
///
/// ```
/// use nscap_core::{Extent, IdMap};
/// use nscap_image::layer::{self, Trouble};
/// let own = [Extent { inside: 0, outside: 0, count: 1 }];
/// let mut found = Vec::new();
/// let hear = &mut |finding: &layer::Finding<'_>| { found.push(finding.trouble); Ok(()) };
/// layer::check(&[][..], IdMap::from_sorted(&own, &own), hear)?;
/// assert_eq!(found, [Trouble::Unterminated]);
/// # Ok::<(), layer::Error>(())
/// ```
pub fn check(
    input: impl Read,
    consumer: IdMap<'_>,
    hear: &mut HearFinding<'_>,
) -> Result<Option<ImageFormat>> {
    let mut checker = Checker { consumer, hear, names: Names::new(), full: false };
    let (_, end) = walk(input, io::sink(), &mut checker)?;
    if !end.terminated {
        checker.tell(end.offset, b"", Trouble::Unterminated, None, None)?;
    }
    Ok(end.image)
}

/// How many foreign grants of one member are reported.
const FOREIGN: usize = 16;

struct Checker<'m, 'h, 'f> {
    consumer: IdMap<'m>,
    hear: &'h mut HearFinding<'f>,
    names: Names,
    full: bool,
}

impl Visit for Checker<'_, '_, '_> {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        let attributes = Attributes::of(head)?;
        let name = head.name();
        let path = self.names.of(&name);
        self.unsettable(head, &name)?;
        if let Some(attributes) = &attributes {
            self.grants(head, &name, attributes)?;
            for trouble in self.file(head, &name)? {
                self.tell(head.offset, &name, trouble, None, None)?;
            }
        }
        if !head.is_global() {
            self.place(head, &name, path, attributes.as_ref())?;
        }
        Ok(None)
    }
}

impl Checker<'_, '_, '_> {
    fn tell(
        &mut self,
        offset: u64,
        member: &[u8],
        trouble: Trouble,
        grant: Option<ArchiveGrant>,
        denied: Option<Denied>,
    ) -> Result<()> {
        let finding = Finding { offset, member, trouble, grant, denied };
        (self.hear)(&finding).map_err(Error::Write)
    }

    /// The kernel's rule for every other name of `security.`.
    fn unsettable(&mut self, head: &Head<'_>, name: &[u8]) -> Result<()> {
        let mut records = head.records().flatten();
        if records.any(|record| attr::for_hosts_root_only(record.key)) {
            let denied = Denied::new(Errno::EPERM, Why::KernelSysAdmin);
            self.tell(head.offset, name, Trouble::Unsettable, None, Some(denied))?;
        }
        Ok(())
    }

    /// Findings about the attributes themselves.
    fn grants(&mut self, head: &Head<'_>, name: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        if attributes.repeated {
            self.tell(head.offset, name, Trouble::Repeated, None, None)?;
        }
        let carried = attributes.carried();
        match carried.and_then(|carried| carried.grants()) {
            Err(denied) => self.tell(head.offset, name, Trouble::Malformed, None, Some(denied)),
            Ok(grants) => {
                let foreign = |grant: ArchiveGrant| {
                    expected(self.consumer, grant.id).err().map(|denied| (grant, denied))
                };
                let foreign: Vec<_> = grants.iter().filter_map(foreign).take(FOREIGN).collect();
                for (grant, denied) in foreign {
                    let (grant, denied) = (Some(grant), Some(denied));
                    self.tell(head.offset, name, Trouble::Foreign, grant, denied)?;
                }
                // execve asks for what is permitted; once for each file.
                let fails = |g: &ArchiveGrant| g.caps.effective && !g.caps.permitted.is_empty();
                match grants.iter().find(fails) {
                    Some(grant) => {
                        let denied = Denied::new(Errno::EPERM, Why::CapsMissing);
                        let (grant, denied) = (Some(grant), Some(denied));
                        self.tell(head.offset, name, Trouble::Effective, grant, denied)
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Findings about members that should have no capabilities.
    fn file(&self, head: &Head<'_>, name: &[u8]) -> Result<Vec<Trouble>> {
        let mut found = Vec::new();
        if head.after_end {
            found.push(Trouble::AfterEnd);
        }
        if head.is_global() {
            found.push(Trouble::Global);
            return Ok(found);
        }
        let number = |number: std::result::Result<u64, _>| number.map_err(|p| head.error(p));
        let mode = number(head.header.mode())?;
        let private_group = || Ok::<_, Error>(number(head.uid())? == number(head.gid())?);
        if mode & 0o4000 != 0 {
            let root = number(head.uid())? == 0;
            found.push(if root { Trouble::SetuidRoot } else { Trouble::Setuid });
        }
        if mode & 0o002 != 0 || (mode & 0o020 != 0 && !private_group()?) {
            found.push(Trouble::Writable);
        }
        if !matches!(head.header.kind(), b'0' | b'\0' | b'7' | b'S' | b'1') || name.ends_with(b"/")
        {
            found.push(Trouble::NotRegular);
        }
        if name.starts_with(b"/") || name.split(|byte| *byte == b'/').any(|part| part == b"..") {
            found.push(Trouble::Path);
        }
        Ok(found)
    }

    /// Findings about other members with the same path.
    fn place(
        &mut self,
        head: &Head<'_>,
        name: &[u8],
        path: Fingerprint,
        attributes: Option<&Attributes<'_>>,
    ) -> Result<()> {
        let values = attributes.map(|attributes| self.names.values(attributes.bytes()));
        let before = self.names.capabilities(path);
        let mut found = Vec::new();
        if head.header.kind() == b'1' && values.is_some() {
            let target = self.names.of(&head.link_name());
            if self.names.capabilities(target) != values {
                found.push(Trouble::HardLink);
            }
        }
        if self.names.has(path) && before != values {
            found.push(Trouble::Duplicate);
        }
        let whiteout_before = self.names.has(self.names.whiteout_of(path));
        let removes = whiteout(name).map(|removed| self.names.of(&removed));
        let removes_capable = removes.is_some_and(|path| self.names.capabilities(path).is_some());
        if removes_capable || (values.is_some() && (whiteout_before || removes.is_some())) {
            found.push(Trouble::Whiteout);
        }
        let mut kept = self.names.insert(path) && self.names.set_capabilities(path, values);
        if let Some(removed) = removes {
            kept &= self.names.insert(self.names.whiteout_of(removed));
        }
        if !kept && !std::mem::replace(&mut self.full, true) {
            found.push(Trouble::Unchecked);
        }
        for trouble in found {
            self.tell(head.offset, name, trouble, None, None)?;
        }
        Ok(())
    }
}

/// The path that a whiteout removes.
fn whiteout(name: &[u8]) -> Option<Vec<u8>> {
    let begin = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (directory, file) = name.split_at(begin);
    file.strip_prefix(b".wh.").map(|file| [directory, file].concat())
}
