// SPDX-License-Identifier: MIT OR Apache-2.0
//! OPEN, CREATE, TMPFILE, RELEASE: which handles are passthrough, and which the server reads and
//! writes.
//!
//! | open for | |
//! |---|---|
//! | reading | passthrough; the server keeps only the inode's backing id |
//! | writing | the server writes, so it can stop for a grant (K). While a passthrough handle is open, the kernel allows only passthrough handles; such a handle is a writer until it is closed |
//! | both | passthrough, since the file can be mapped |
//!
//! Before each of these writes the kernel drops set-id bits itself, from its cached mode: a task in
//! execve(2) at that moment gets none. Before a direct write (FOPEN_DIRECT_IO) the kernel drops
//! none.
//!
//! The server makes every write to an append-only file, by an O_APPEND descriptor. Where the kernel
//! would write or map such a file without the server, the handle is for direct writes. Without
//! passthrough the server reads and writes everything, and the kernel caches.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use nscap_linux::server::FuseDevice;
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, fstat, openat, statx};
use rustix::io::Errno;

use crate::backing::Way;
use crate::caps::{Access, Append, Writer};
use crate::data::TO_READ;
use crate::inodes::InodeRef;
use crate::opener::Opener;
use crate::proto::abi::fopen;
use crate::proto::{Header, Opens};
use crate::setid::is_marked;
use crate::tree::{Entry, OpenFile, Tree};

/// The number of every passthrough handle for reading: the server keeps no state for these.
const READS_THROUGH: u64 = 1;

/// The flags of CREATE and TMPFILE that the new descriptor gets.
const MAKING: OFlags = OFlags::ACCMODE.union(OFlags::NOATIME);

/// How a file is to be opened.
struct Opening {
    flags: OFlags,
    /// `None`: for reading alone.
    access: Option<Access>,
    appends_only: bool,
    mode: u32,
}

impl Opening {
    fn new(flags: OFlags, inode: &InodeRef) -> Result<Opening, Errno> {
        if !inode.regular {
            // To open another type could block, or act on a device.
            return Err(Errno::INVAL);
        }
        let access = match flags & OFlags::ACCMODE {
            OFlags::RDONLY => None,
            OFlags::WRONLY => Some(Access::WriteOnly),
            // O_RDWR; and access mode 3, if it ever gets a meaning.
            _ => Some(Access::Mapped),
        };
        let facts = statx(inode, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
        let appends_only = facts.stx_attributes.contains(StatxAttributes::APPEND);
        if appends_only && access.is_some() && !flags.contains(OFlags::APPEND) {
            return Err(Errno::PERM);
        }
        Ok(Opening { flags, access, appends_only, mode: facts.stx_mode.into() })
    }

    /// Whether the handle may be passthrough.
    fn may_pass(&self) -> bool {
        self.access != Some(Access::WriteOnly) && !self.appends_only
    }

    fn append(&self) -> Append {
        match (self.appends_only, self.flags.contains(OFlags::APPEND)) {
            (true, _) => Append::Only,
            (false, true) => Append::Asked,
            (false, false) => Append::No,
        }
    }

    /// Whether a mapping can change the source without a request to the server.
    fn maps(&self, way: &Way) -> bool {
        self.access == Some(Access::Mapped) && matches!(way, Way::Through(_))
    }

    fn reads(&self) -> bool {
        self.access != Some(Access::WriteOnly)
    }
}

/// One handle of an inode; uncounted when dropped, unless it was opened.
struct Counted<'t> {
    tree: &'t Tree,
    node: u64,
    way: Way,
    is_open: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            self.tree.backings.release(self.node);
        }
    }
}

impl Tree {
    pub(crate) fn open(
        &self,
        header: &Header,
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<Opens, Errno> {
        let inode = self.inodes.find(header.node)?;
        let opening = Opening::new(flags, &inode)?;
        if opening.access == Some(Access::Mapped) && is_marked(opening.mode) {
            // The kernel may make the later writes itself.
            self.drop_mark(header.tid, header.node, &inode, device)?;
        }
        // An OPEN request has no valid ids where the kernel allows id-mapped mounts.
        let opener = || {
            let caller = self.caps.caller(header.tid);
            caller.map_or(Opener::UNKNOWN, |caller| Opener::of_caller(&caller))
        };
        self.opens(header.node, &inode, &opening, opener, None, device)
    }

    /// `made`: the descriptor by which this request made the file, with its final flags.
    fn opens(
        &self,
        node: u64,
        inode: &InodeRef,
        opening: &Opening,
        opener: impl FnOnce() -> Opener,
        made: Option<Arc<OwnedFd>>,
        device: &FuseDevice,
    ) -> Result<Opens, Errno> {
        self.stats.opens.add();
        let reader = || self.inodes.open(node, TO_READ);
        let way = self.backings.open(node, reader, opening.may_pass(), device);
        let mut counted = Counted { tree: self, node, way, is_open: false };
        let handle = match (&counted.way, opening.access) {
            (Way::Through(_), None) => READS_THROUGH,
            // A mapping could write anywhere in an append-only file.
            (Way::Through(_), Some(Access::Mapped)) if opening.appends_only => {
                return Err(Errno::TXTBSY);
            }
            _ => self.served(&counted, inode, opening, opener(), made)?,
        };
        self.tell_of_mapping(&counted, opening, device);
        let reply = self.reply(&counted.way, opening);
        let backing = match &counted.way {
            Way::Through(backing) => backing.id(),
            Way::Plain => 0,
        };
        counted.is_open = true;
        Ok(Opens { handle, flags: reply, backing })
    }

    /// Makes the kernel drop its cached attributes of an inode that can be mapped, and cache none
    /// from here on.
    fn tell_of_mapping(&self, counted: &Counted<'_>, opening: &Opening, device: &FuseDevice) {
        let node = counted.node;
        let reader = || self.inodes.open(node, TO_READ).ok().map(File::from);
        if opening.maps(&counted.way) && self.times.open(node, reader) {
            device.forget_attributes(node);
        }
    }

    /// A handle for which the server keeps descriptors open; they count for its opener.
    fn served(
        &self,
        counted: &Counted<'_>,
        inode: &InodeRef,
        opening: &Opening,
        opener: Opener,
        made: Option<Arc<OwnedFd>>,
    ) -> Result<u64, Errno> {
        let node = counted.node;
        let reads = opening.reads() && matches!(counted.way, Way::Plain);
        let maps = opening.maps(&counted.way);
        let needed = usize::from(reads || maps) + usize::from(opening.access.is_some());
        let share = self.descriptors.take(opener.uid(), needed)?;
        if reads {
            self.reader(node)?;
        }
        let append = opening.append();
        let fresh = made.is_some();
        let opened = opening.access.map(|access| {
            let open = || match made {
                Some(file) => Ok(Writer::new(file, false)),
                None => self.open_writer(node, append),
            };
            self.caps.opening(inode.as_fd(), node, (access, fresh), append, open)
        });
        let opened = opened.transpose()?;
        let file = OpenFile { node, opener, append, maps, _opened: opened, _share: share };
        Ok(self.files.add(file))
    }

    fn reply(&self, way: &Way, opening: &Opening) -> u32 {
        let mut reply = fopen::NOFLUSH;
        let past = |access| access == Access::Mapped || matches!(way, Way::Through(_));
        let direct = opening.appends_only && opening.access.is_some_and(past);
        if direct {
            reply |= fopen::DIRECT_IO;
        }
        match way {
            Way::Through(_) => {
                self.stats.passthrough_opens.add();
                reply |= fopen::PASSTHROUGH;
            }
            Way::Plain => {
                if !direct && !self.options.reachable_ok && self.backings.pages_are_true() {
                    reply |= fopen::KEEP_CACHE;
                }
            }
        }
        reply
    }

    pub(crate) fn create(
        &self,
        header: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Entry, Opens), Errno> {
        self.stats.creates.add();
        match self.open_new(header, name, (mode, umask), flags) {
            // The kernel has not checked whether the caller may open the existing file. After
            // ESTALE it looks up again, and checks.
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => Err(Errno::STALE),
            made => self.made(header, made?, flags, device),
        }
    }

    /// Makes a file as the caller. O_EXCL: the file did not exist before.
    pub(crate) fn open_new(
        &self,
        header: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        let directory = self.inodes.find(header.node)?;
        let file = {
            let _caller = self.as_caller(header, umask)?;
            let how = making(flags) | OFlags::CREATE | OFlags::EXCL;
            openat(&directory, name, how, Mode::from_raw_mode(mode & 0o7777))?
        };
        self.streams.drop_of(header.node);
        Ok(file)
    }

    /// O_TMPFILE. The file stays open until it gets a name or the kernel forgets it.
    pub(crate) fn tmpfile(
        &self,
        header: &Header,
        (mode, umask): (u32, u32),
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Entry, Opens), Errno> {
        self.stats.creates.add();
        let directory = self.inodes.find(header.node)?;
        let file = {
            let _caller = self.as_caller(header, umask)?;
            let excl = flags & OFlags::EXCL;
            let how = (making(flags) | OFlags::TMPFILE | excl) - OFlags::NOFOLLOW;
            openat(&directory, c".", how, Mode::from_raw_mode(mode & 0o7777))?
        };
        self.made(header, file, flags, device)
    }

    /// Opens a handle on a file that was just made. Only the inode of this descriptor is new: its
    /// name may lead to another one by now.
    fn made(
        &self,
        header: &Header,
        file: OwnedFd,
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Entry, Opens), Errno> {
        let stat = fstat(&file)?;
        let node = self.inodes.know_open(&file, &stat)?;
        let file = Arc::new(file);
        let inode = InodeRef::made(file.clone());
        let opened = Opening::new(flags, &inode).and_then(|opening| {
            let opener = || Opener::of_request(header);
            self.opens(node, &inode, &opening, opener, Some(file), device)
        });
        let opens = opened.inspect_err(|_| self.forget(node, 1))?;
        Ok((Entry { node, stat }, opens))
    }

    pub(crate) fn release(&self, node: u64, handle: u64) {
        // Its descriptors are closed before the inode can be opened in the other way.
        let open = self.files.remove(handle);
        let (known, maps) = (open.is_some(), open.as_ref().is_some_and(|open| open.maps));
        drop(open);
        if maps {
            self.times.close(node);
        }
        if known || handle == READS_THROUGH {
            self.backings.release(node);
        }
    }
}

fn making(flags: OFlags) -> OFlags {
    (flags & MAKING) | OFlags::NOFOLLOW | OFlags::CLOEXEC
}
