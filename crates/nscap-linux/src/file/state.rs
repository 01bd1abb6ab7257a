// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file held when it was read, and what that means: the bytes as they are stored, made from
//! what the kernel showed us of them.

use nscap_core::storage::{self, Seal, SealFacts, VoidReason};
use nscap_core::{HostValue, InodeView, Kuid, NsCaps, Stored, Uid, UserNs, VfsCaps};
use rustix::io::Errno;

use crate::enforced;
use crate::error::Result;
use crate::mount::{IdMap, Mount, Owner, maps_its_ids};
use crate::ns::{LiveNs, Namespaces};

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

/// What answers for the capabilities of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    /// An unmodified kernel, by its own rules alone.
    Kernel,
    /// A kernel that decides by the design.
    ReferenceKernel,
    /// A server of nscap's, which shows the file.
    Server,
    /// A server of nscap's below an overlayfs, in a layer of which the file is. A change makes a
    /// copy in the upper layer, which that server does not show.
    ServerBelow,
}

/// What the kernel did not show us of a file's capabilities, or showed in a way that is not clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hidden {
    /// The rootid of the value has no id in our namespace (EOVERFLOW): an entry that we cannot
    /// name, or a tripwire.
    Foreign,
    /// There are bytes that getxattr(2) does not take for a value (EINVAL): malformed, or
    /// revision 1, which execve(2) honours.
    Malformed,
    /// From inside a namespace a revision 2 value is the host value or our own root's entry; it is
    /// taken for the entry.
    HostOrOwn,
    /// From inside a namespace: a value that applies to us. It is the host value, or an entry for
    /// the root of a namespace above ours; it is taken for the host value.
    HostOrAbove,
    /// There is a table, and whether to trust it is not known: the owner of the superblock is not
    /// known, or the map by which the owner of the file is shown.
    Table,
}

/// Both names as the kernel gave them to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shown {
    pub(crate) capability: std::result::Result<Option<Vec<u8>>, Errno>,
    pub(crate) table: Option<Vec<u8>>,
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
    /// What answers for them.
    pub answers: Answers,
    pub(crate) shown: Shown,
}

impl FileState {
    /// Works out what the file holds from what the kernel showed. The ids that it showed may narrow
    /// down the owner of the superblock.
    ///
    /// # Errors
    /// [`Error::Unexpected`](crate::Error::Unexpected) where a server's answer is in no form that
    /// it may be in.
    pub(crate) fn of(
        inode: Inode,
        mount: Mount,
        answers: Answers,
        shown: Shown,
        path: &std::path::Path,
        namespaces: &Namespaces,
    ) -> Result<FileState> {
        let state =
            FileState { inode, mount, capability: None, table: None, hidden: None, answers, shown };
        state.with_narrowed_owner(namespaces).worked_out(path, namespaces)
    }

    fn worked_out(mut self, path: &std::path::Path, namespaces: &Namespaces) -> Result<FileState> {
        if self.by_design() {
            enforced::work_out(&mut self, path, namespaces)?;
            return Ok(self);
        }
        self.table = self.shown.table.clone();
        if self.table.is_some() && !self.knows_seals() {
            self.hidden = Some(Hidden::Table);
        }
        match self.shown.capability.clone() {
            Ok(None) => {}
            Ok(Some(shown)) => self.undo_translation(&shown, namespaces),
            Err(Errno::OVERFLOW) => self.hidden = Some(Hidden::Foreign),
            Err(_) => self.hidden = Some(Hidden::Malformed),
        }
        Ok(self)
    }

    /// For a superblock whose owner is not known, if we are in the initial namespace: the owner
    /// maps every id that the kernel shows.
    fn with_narrowed_owner(self, namespaces: &Namespaces) -> FileState {
        /// The id that the kernel shows for one that has none here.
        const OVERFLOW: u32 = 65_534;
        let mount = &self.mount;
        let told = mount.idmap == IdMap::Absent && namespaces.own_ns().is_initial();
        if mount.trusted.is_some() || !told {
            return self;
        }
        let valid = |id: &u32| maps_its_ids(&mount.fs_type) && *id != OVERFLOW;
        let uid = Some(self.inode.uid).filter(valid).and_then(|uid| namespaces.shown_uid(uid));
        let gid = Some(self.inode.gid).filter(valid).and_then(|gid| namespaces.shown_gid(gid));
        let value = self.shown.capability.as_ref().ok().and_then(Option::as_deref);
        let root = value.and_then(|value| named(value, namespaces));
        let owner = mount.owner.clone().narrowed((uid, gid), root, namespaces);
        FileState { mount: self.mount.owned_by(owner, namespaces), ..self }
    }

    /// The state for each namespace that may own the superblock; one state where the owner is
    /// known. An answer counts only where it is the same for each.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let state = file.read(&mut namespaces)?;
    /// let all = state.readings(&namespaces)?;
    /// assert_eq!(all.len(), state.mount.owner.possible().len());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unexpected`](crate::Error::Unexpected) where a server's answer is in no form that
    /// it may be in.
    pub fn readings(&self, namespaces: &Namespaces) -> Result<Vec<FileState>> {
        let possible = self.mount.owner.possible();
        if possible.len() == 1 {
            return Ok(vec![self.clone()]);
        }
        let reading = |ns: &crate::ns::NsIndex| {
            let mount = self.mount.clone().owned_by(Owner::assuming(*ns), namespaces);
            let state =
                FileState { mount, capability: None, table: None, hidden: None, ..self.clone() };
            state.worked_out(std::path::Path::new("a file"), namespaces)
        };
        possible.iter().map(reading).collect()
    }

    /// Whether a seal can be checked: the owner of the superblock is known, and so is the owner of
    /// the file as it is stored.
    pub(crate) fn knows_seals(&self) -> bool {
        self.mount.trusted.is_some() && self.mount.idmap != IdMap::Unknown
    }

    /// The entries of a list in form F that a tool copied to where nothing honours it (SPEC, F):
    /// from a mount, or from a kernel that decides by the design, to a bare file system. Rootids
    /// are in the terms of the namespace in which the list was copied.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// assert!(file.read(&mut namespaces)?.copied_list().is_none());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn copied_list(&self) -> Option<NsCaps<'_>> {
        let bytes = self.table.as_deref().filter(|_| !self.by_design())?;
        NsCaps::decode_shown(bytes).ok()
    }

    /// The file as one caller reaches it, for the decisions of `nscap_core`.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let state = file.read(&mut namespaces)?;
    /// assert_eq!(state.view(&namespaces).immutable, state.inode.immutable);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn view<'n>(&self, namespaces: &'n Namespaces) -> InodeView<LiveNs<'n>> {
        let idmap = self.mount.maps().map(|maps| namespaces.get(maps));
        // An id that the map of the mount lacks is shown as an id that the map may lack too.
        let owner = namespaces.shown_uid(self.inode.uid);
        let owner = owner.filter(|kuid| idmap.is_none_or(|map| map.uid(*kuid).is_some()));
        let group = namespaces.shown_gid(self.inode.gid);
        let group = group.filter(|kgid| idmap.is_none_or(|map| map.gid(*kgid).is_some()));
        InodeView {
            sb_ns: namespaces.get(self.mount.owner.assumed()),
            idmap,
            owner,
            group,
            read_only: self.mount.read_only,
            immutable: self.inode.immutable,
        }
    }

    /// Whether the design's rules decide about the file, and not an unmodified kernel's own alone:
    /// on a mount of nscap's, on an overlayfs over one, and everywhere on the reference kernel.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let state = file.read(&mut namespaces)?;
    /// assert_eq!(state.by_design(), kernel_policy().is_some());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn by_design(&self) -> bool {
        self.answers != Answers::Kernel
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
        let facts = self.facts(namespaces);
        // This says nothing of a table that may or may not be trusted: see `hidden`.
        let table = self.table.as_deref().filter(|_| self.by_design() || self.knows_seals());
        let (mut stored, seal) = storage::read(capability, table, facts, self.is_trusted());
        let seal = match seal {
            Seal::Void(_) if self.copied_list().is_some() => Seal::Void(VoidReason::Copied),
            seal => seal,
        };
        if self.hidden == Some(Hidden::Malformed) {
            stored.host = HostValue::Malformed;
        }
        (stored, seal)
    }

    /// What these bytes of both attributes would mean on the file as it is now, with a trusted
    /// table: for a caller that has kept them.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let state = file.read(&mut namespaces)?;
    /// assert!(state.would_mean(None, None, &namespaces).0.is_empty());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn would_mean<'b>(
        &self,
        capability: Option<&[u8]>,
        table: Option<&'b [u8]>,
        namespaces: &Namespaces,
    ) -> (Stored<'b>, Seal) {
        storage::read(capability, table, self.facts(namespaces), true)
    }

    /// Whether tables are trusted.
    pub(crate) fn is_trusted(&self) -> bool {
        self.mount.trusted == Some(true)
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
        let view = self.view(namespaces);
        let uid = view.owner.and_then(|kuid| view.stored_of(kuid));
        let gid = view.group.and_then(|kgid| match view.idmap {
            None => view.sb_ns.gid(kgid),
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
        let view = self.view(namespaces);
        let Ok(value) = VfsCaps::settable(shown) else {
            self.capability = Some(shown.to_vec());
            return;
        };
        let stored = value.translate(|uid| view.stored_from(uid, own)).unwrap_or(value);
        self.capability = Some(stored.encode().as_bytes().to_vec());
        let plain = VfsCaps::v2(value.caps()).encode().as_bytes().to_vec();
        if own.is_initial() || own.same(view.sb_ns) || value.named().is_some() {
            return;
        }
        // Several values look like this from here: take the one that a table was sealed with.
        let facts = self.facts(namespaces);
        let host = storage::read(Some(&plain), self.table.as_deref(), facts, self.is_trusted());
        if host.1 == Seal::Sealed {
            self.capability = Some(plain);
        } else {
            self.hidden = self.hidden.or(Some(Hidden::HostOrOwn));
        }
    }
}

/// The root that a value is for, as the kernel shows it to us.
fn named(shown: &[u8], namespaces: &Namespaces) -> Option<Kuid> {
    namespaces.own_ns().kuid(VfsCaps::settable(shown).ok()?.rootid()?)
}
