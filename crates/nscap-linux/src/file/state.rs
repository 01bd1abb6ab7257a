// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file held when it was read, and what that means: the bytes as they are stored, made from
//! what the kernel showed us of them.

use std::sync::OnceLock;

use nscap_core::storage::{self, Seal, SealFacts};
use nscap_core::{Host, Place, Revision, Stored, Uid, UserNs, VfsCaps, root_kuid};

use crate::mount::Mount;
use crate::ns::{LiveNs, Namespaces};
use crate::probe;

/// Owner, mode and size as the kernel shows them to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inode {
    /// Size in bytes.
    pub size: u64,
    /// Owner, in our namespace's terms.
    pub uid: u32,
    /// Group, in our namespace's terms.
    pub gid: u32,
    /// `st_mode`: type, set-id bits and permissions.
    pub mode: u32,
    /// Whether it is immutable or append-only (chattr(1)).
    pub immutable: bool,
}

/// Whether the kernel that runs decides by the design. Which one runs does not change.
pub(crate) fn kernel_decides() -> bool {
    static KERNEL: OnceLock<bool> = OnceLock::new();
    *KERNEL.get_or_init(|| probe::kernel_policy().is_some())
}

/// What the kernel did not show us of `security.capability`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hidden {
    /// There is a value whose rootid has no id in our namespace (EOVERFLOW): an entry of
    /// somebody's whom we cannot name, or a tripwire.
    Foreign,
    /// There are bytes that getxattr(2) does not take for a value (EINVAL): malformed, or
    /// revision 1, which execve(2) honours.
    Malformed,
    /// From inside a namespace a revision 2 value is the host value or our own root's entry; it is
    /// taken for the entry.
    HostOrOwn,
}

/// What a file held when it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileState {
    /// Owner, mode and size.
    pub inode: Inode,
    /// The mount that it was reached through.
    pub mount: Mount,
    /// The bytes of `security.capability` as they are stored.
    pub capability: Option<Vec<u8>>,
    /// The bytes of `security.nscapability` as they are stored.
    pub table: Option<Vec<u8>>,
    /// What could not be seen.
    pub hidden: Option<Hidden>,
}

impl FileState {
    /// The file as one caller reaches it, for the decisions of `nscap_core`.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let state = file.read(&mut namespaces)?;
    /// assert_eq!(state.place(&namespaces).immutable, state.inode.immutable);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn place<'n>(&self, namespaces: &'n Namespaces) -> Place<LiveNs<'n>> {
        Place {
            sb_ns: namespaces.get(self.mount.sb_owner),
            idmap: self.mount.idmap.map(|maps| namespaces.get(maps)),
            owner: namespaces.shown_uid(self.inode.uid),
            group: namespaces.shown_gid(self.inode.gid),
            read_only: self.mount.read_only,
            immutable: self.inode.immutable,
        }
    }

    /// Whether the design's rules decide about the file, and not an unmodified kernel's own alone:
    /// on a mount of nscap's, and everywhere on the reference kernel.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let state = file.read(&mut namespaces)?;
    /// assert_eq!(state.by_design(), probe::kernel_policy().is_some());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn by_design(&self) -> bool {
        self.mount.is_nscap() || kernel_decides()
    }

    /// What the two attributes mean, and whether a table counts.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// use nscap_core::storage::Seal;
    /// let state = file.read(&mut namespaces)?;
    /// let (stored, seal) = state.stored(&namespaces);
    /// assert!(stored.is_empty() && seal == Seal::None);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn stored(&self, namespaces: &Namespaces) -> (Stored<'_>, Seal) {
        let capability = self.capability.as_deref();
        let (facts, trusted) = (self.facts(namespaces), self.mount.trusted);
        let (mut stored, seal) = storage::read(capability, self.table.as_deref(), facts, trusted);
        if self.hidden == Some(Hidden::Malformed) {
            stored.host = Host::Malformed;
        }
        (stored, seal)
    }

    /// Whether nothing that decides about capabilities has changed between two readings.
    pub(crate) fn holds_the_same(&self, other: &FileState) -> bool {
        let content = |state: &FileState| (state.inode.size, state.inode.uid, state.inode.gid);
        content(self) == content(other)
            && (&self.capability, &self.table) == (&other.capability, &other.table)
            && self.hidden == other.hidden
    }

    /// What a seal is made over. Ids that have no image on disk are -1, which no seal has.
    pub(crate) fn facts(&self, namespaces: &Namespaces) -> SealFacts {
        let place = self.place(namespaces);
        let uid = place.owner.and_then(|kuid| place.stored_of(kuid));
        let gid = place.group.and_then(|kgid| match place.idmap {
            None => place.sb_ns.gid(kgid),
            Some(map) => map.gid(kgid),
        });
        SealFacts {
            size: self.inode.size,
            uid: uid.map_or(u32::MAX, Uid::get),
            gid: gid.map_or(u32::MAX, nscap_core::Gid::get),
        }
    }

    /// Sets `capability` to what is stored, from what the kernel showed us of it.
    pub(super) fn undo_translation(&mut self, shown: &[u8], namespaces: &Namespaces) {
        let own = namespaces.own_ns();
        let place = self.place(namespaces);
        let Ok(value) = VfsCaps::settable(shown) else {
            self.capability = Some(shown.to_vec());
            return;
        };
        let named = match value.revision() {
            Revision::V3 { rootid } => Uid::new(rootid).and_then(|uid| own.kuid(uid)),
            Revision::V1 | Revision::V2 => root_kuid(own),
        };
        let rootid = named.and_then(|kuid| place.stored_of(kuid));
        let plain = VfsCaps::v2(value.caps()).encode().as_bytes().to_vec();
        self.capability = Some(match rootid {
            Some(Uid::ROOT) => plain.clone(),
            Some(rootid) => VfsCaps::v3(rootid.get(), value.caps()).encode().as_bytes().to_vec(),
            None => shown.to_vec(),
        });
        if own.is_initial() || own.same(place.sb_ns) || value.revision() != Revision::V2 {
            return;
        }
        // Of the values that look like this from here, the one that a table was sealed with.
        let facts = self.facts(namespaces);
        let host = storage::read(Some(&plain), self.table.as_deref(), facts, self.mount.trusted);
        if host.1 == Seal::Sealed {
            self.capability = Some(plain);
        } else {
            self.hidden = Some(Hidden::HostOrOwn);
        }
    }
}
