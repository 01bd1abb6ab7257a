// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files opened and closed, and how: by the kernel itself on the source, or with the server in between.
//!
//! | open for | |
//! |---|---|
//! | reading | passthrough; nothing is kept here but its inode's backing id |
//! | writing | the server writes, so that it can stop for a grant (K). Beside a passthrough handle the kernel takes no other than a passthrough one, which is a writer until it is closed |
//! | both | passthrough: it can be mapped |
//!
//! The kernel takes set-id bits away itself before each of these writes, from the mode that it has: a task that is in
//! execve(2) at that moment gets none. Before a direct write (FOPEN_DIRECT_IO) it takes none.
//!
//! Of a file that is append-only the server makes every write, by a descriptor that can do nothing else. Where the kernel
//! would write or map it past the server, the handle is one for direct writes.
//! Where there is no passthrough all of this is the server's, and the kernel caches.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use nscap_linux::server::FuseDevice;
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, fstat, openat, statx};
use rustix::io::Errno;

use crate::backing::Way;
use crate::caps::{Access, Writer};
use crate::inodes::Found;
use crate::opener::Opener;
use crate::proto::abi::fopen;
use crate::proto::{Header, Opens};
use crate::setid::is_marked;
use crate::tree::{Known, OpenFile, Tree};

/// The number of every handle for reading that is passthrough: nothing is kept of them.
const READS_THROUGH: u64 = 1;

/// What is made open is open for this, and what it was made with.
const MAKING: OFlags = OFlags::ACCMODE.union(OFlags::NOATIME);

/// How a file is to be opened.
struct Opening {
    flags: OFlags,
    /// `None`: to read.
    access: Option<Access>,
    appends_only: bool,
    mode: u32,
}

impl Opening {
    fn new(flags: OFlags, inode: &Found) -> Result<Opening, Errno> {
        if !inode.regular {
            // Opening it could wait, or do something.
            return Err(Errno::INVAL);
        }
        let access = match flags & OFlags::ACCMODE {
            OFlags::RDONLY => None,
            OFlags::WRONLY => Some(Access::WriteOnly),
            // O_RDWR; and whatever the fourth mode may come to mean.
            _ => Some(Access::Mapped),
        };
        let facts = statx(inode, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
        let appends_only = facts.stx_attributes.contains(StatxAttributes::APPEND);
        if appends_only && access.is_some() && !flags.contains(OFlags::APPEND) {
            return Err(Errno::PERM);
        }
        Ok(Opening { flags, access, appends_only, mode: facts.stx_mode.into() })
    }

    /// Whether passthrough will do.
    fn may_pass(&self) -> bool {
        self.access != Some(Access::WriteOnly) && !self.appends_only
    }

    fn appends(&self) -> bool {
        self.flags.contains(OFlags::APPEND)
    }

    /// Whether a task can change the source past the server, by a mapping.
    fn maps(&self, way: &Way) -> bool {
        self.access == Some(Access::Mapped) && matches!(way, Way::Through(_))
    }

    fn reads(&self) -> bool {
        self.access != Some(Access::WriteOnly)
    }
}

/// Counts a handle with an inode, until it is open.
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
        caller: &Header,
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<Opens, Errno> {
        let inode = self.inodes.find(caller.node)?;
        let opening = Opening::new(flags, &inode)?;
        if opening.access == Some(Access::Mapped) && is_marked(opening.mode) {
            // Later writes may be the kernel's.
            self.drop_mark(caller.tid, caller.node, &inode, device)?;
        }
        // The kernel says of no open who it is for.
        let opener = || {
            let caller = self.caps.caller(caller.tid);
            caller.map_or(Opener::UNKNOWN, |caller| Opener::of_caller(&caller))
        };
        self.opens(caller.node, &inode, &opening, opener, None, device)
    }

    /// `made`: what this request has made the file by, open as it is to be.
    fn opens(
        &self,
        node: u64,
        inode: &Found,
        opening: &Opening,
        opener: impl FnOnce() -> Opener,
        made: Option<Arc<OwnedFd>>,
        device: &FuseDevice,
    ) -> Result<Opens, Errno> {
        self.stats.opens.add();
        let way = self.backings.open(node, inode, opening.may_pass(), device);
        let mut counted = Counted { tree: self, node, way, is_open: false };
        let handle = match (&counted.way, opening.access) {
            (Way::Through(_), None) => READS_THROUGH,
            // It could be mapped, and written anywhere.
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

    /// From here on the kernel keeps no attributes of an inode that can be mapped, and none that it has.
    fn tell_of_mapping(&self, counted: &Counted<'_>, opening: &Opening, device: &FuseDevice) {
        let node = counted.node;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let reader = || self.inodes.open(node, flags).ok().map(File::from);
        if opening.maps(&counted.way) && self.times.open(node, reader) {
            device.forget_attributes(node);
        }
    }

    /// A handle of which something is kept open: what it needs is its opener's share.
    fn served(
        &self,
        counted: &Counted<'_>,
        inode: &Found,
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
        let appends = opening.appends();
        let fresh = made.is_some();
        let opened = opening.access.map(|access| {
            let open = || match made {
                Some(file) => Ok(Writer::new(file, false)),
                None => self.open_writer(node, appends),
            };
            self.caps.opening(inode.as_fd(), node, (access, fresh), appends, open)
        });
        let opened = opened.transpose()?;
        let file = OpenFile { node, opener, appends, maps, _opened: opened, _share: share };
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
        caller: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Known, Opens), Errno> {
        self.stats.creates.add();
        match self.open_new(caller, name, (mode, umask), flags) {
            // The kernel has not asked whether the caller may open what the name stands for; it does
            // when it looks again.
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => Err(Errno::STALE),
            made => self.made(caller, made?, flags, device),
        }
    }

    /// Makes a file as the caller: what this opens did not exist before.
    pub(crate) fn open_new(
        &self,
        caller: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        let directory = self.inodes.find(caller.node)?;
        let file = {
            let _caller = self.as_caller(caller, umask)?;
            let how = making(flags) | OFlags::CREATE | OFlags::EXCL;
            openat(&directory, name, how, Mode::from_raw_mode(mode & 0o7777))?
        };
        self.streams.drop_of(caller.node);
        Ok(file)
    }

    /// O_TMPFILE. The file has no name, and stays open until it has one or is forgotten.
    pub(crate) fn create_nameless(
        &self,
        caller: &Header,
        (mode, umask): (u32, u32),
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Known, Opens), Errno> {
        self.stats.creates.add();
        let directory = self.inodes.find(caller.node)?;
        let file = {
            let _caller = self.as_caller(caller, umask)?;
            let excl = flags & OFlags::EXCL;
            let how = (making(flags) | OFlags::TMPFILE | excl) - OFlags::NOFOLLOW;
            openat(&directory, c".", how, Mode::from_raw_mode(mode & 0o7777))?
        };
        self.made(caller, file, flags, device)
    }

    /// A file that has just been made. It is what this descriptor leads to, whatever its name stands
    /// for by now; of nothing else is it believed that it is new.
    fn made(
        &self,
        caller: &Header,
        file: OwnedFd,
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Known, Opens), Errno> {
        let stat = fstat(&file)?;
        let node = self.inodes.know_open(&file, &stat)?;
        let file = Arc::new(file);
        let inode = Found::made(file.clone());
        let opened = Opening::new(flags, &inode).and_then(|opening| {
            let opener = || Opener::of_request(caller);
            self.opens(node, &inode, &opening, opener, Some(file), device)
        });
        let opens = opened.inspect_err(|_| self.forget(node, 1))?;
        Ok((Known { node, stat }, opens))
    }

    pub(crate) fn release(&self, node: u64, handle: u64) {
        // What it has open is closed before its inode can be open in another way.
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
