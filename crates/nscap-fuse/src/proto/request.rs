// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests: the header and the arguments of each operation, parsed from bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{OFlags, Timespec};
use rustix::io::Errno;

use super::abi::{self, fattr};

/// `struct fuse_in_header`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) opcode: u32,
    pub(crate) unique: u64,
    pub(crate) node: u64,
    /// The caller's ids, as the server's user namespace sees them. -1 where the kernel allows
    /// id-mapped mounts and the request makes no file.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The calling thread's id in the server's pid namespace; 0 if it has none there.
    pub(crate) tid: u32,
}

/// The rest of a request, after its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments<'r>(&'r [u8]);

impl Header {
    /// Splits a request into header and arguments. `None` if it is shorter than a header.
    pub(crate) fn parse(request: &[u8]) -> Option<(Header, Arguments<'_>)> {
        let (header, rest) = request.split_at_checked(abi::IN_HEADER)?;
        let mut header = Arguments(header);
        let _length = header.u32().ok()?;
        let header = Header {
            opcode: header.u32().ok()?,
            unique: header.u64().ok()?,
            node: header.u64().ok()?,
            uid: header.u32().ok()?,
            gid: header.u32().ok()?,
            tid: header.u32().ok()?,
        };
        Some((header, Arguments(rest)))
    }
}

/// SETATTR; `None`: unchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetAttr {
    pub(crate) handle: Option<u64>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<Timespec>,
    pub(crate) mtime: Option<Timespec>,
}

impl SetAttr {
    /// Whether this is a chown(2) without ids: it changes no owner, but is still a chown for K.
    pub(crate) fn is_of_nothing(&self) -> bool {
        let Self { handle: _, mode, uid, gid, size, atime, mtime } = self;
        let ids = mode.is_none() && uid.is_none() && gid.is_none();
        ids && size.is_none() && atime.is_none() && mtime.is_none()
    }

    /// chmod(2), which names neither an owner nor a size.
    pub(crate) fn is_chmod(&self) -> bool {
        let ids = self.uid.is_some() || self.gid.is_some();
        self.mode.is_some() && !ids && self.size.is_none()
    }
}

/// SETXATTR.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'r> {
    pub(crate) name: &'r OsStr,
    pub(crate) value: &'r [u8],
    pub(crate) flags: u32,
    /// This ACL drops the set-group-ID bit: the caller is not in the group.
    pub(crate) kill_set_group_id: bool,
}

/// WRITE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing<'r> {
    pub(crate) handle: u64,
    pub(crate) offset: u64,
    pub(crate) data: &'r [u8],
    /// The open(2) flags of the handle, as fcntl(2) set them last.
    pub(crate) flags: OFlags,
    /// The data were stored through a mapping; `handle` is any handle of the inode.
    pub(crate) cached: bool,
    /// The writer has no CAP_FSETID: the write drops set-id bits.
    pub(crate) kills_set_id: bool,
}

impl<'r> Arguments<'r> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'r [u8], Errno> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Errno::IO)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Errno> {
        let bytes = self.take(4)?;
        bytes.try_into().map(u32::from_ne_bytes).map_err(|_| Errno::IO)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Errno> {
        let bytes = self.take(8)?;
        bytes.try_into().map(u64::from_ne_bytes).map_err(|_| Errno::IO)
    }

    /// Skips so many bytes.
    pub(crate) fn skip(&mut self, length: usize) -> Result<(), Errno> {
        self.take(length).map(|_| ())
    }

    /// A string up to its NUL.
    pub(crate) fn string(&mut self) -> Result<&'r OsStr, Errno> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Errno::IO)?;
        let string = self.take(end)?;
        self.skip(1)?;
        Ok(OsStr::from_bytes(string))
    }

    /// A name in a directory: not empty, `.` or `..` (ESTALE), and without a slash (EINVAL).
    pub(crate) fn name(&mut self) -> Result<&'r OsStr, Errno> {
        let name = self.string()?;
        match name.as_bytes() {
            b"" | b"." | b".." => Err(Errno::STALE),
            bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
            _ => Ok(name),
        }
    }

    pub(crate) fn set_attr(&mut self) -> Result<SetAttr, Errno> {
        let valid = self.u32()?;
        let if_valid = |bit: u32| valid & bit != 0;
        self.skip(4)?;
        let (handle, size) = (self.u64()?, self.u64()?);
        self.skip(8)?;
        let (atime, mtime, _ctime) = (self.u64()?, self.u64()?, self.u64()?);
        let (atime_nsec, mtime_nsec, _ctime_nsec) = (self.u32()?, self.u32()?, self.u32()?);
        let mode = self.u32()?;
        self.skip(4)?;
        let (uid, gid) = (self.u32()?, self.u32()?);
        self.skip(4)?;
        let time = |bit, now, seconds: u64, nanoseconds: u32| {
            let given = Timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanoseconds.into() };
            let present = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
            if_valid(bit).then_some(if if_valid(now) { present } else { given })
        };
        Ok(SetAttr {
            handle: if_valid(fattr::FH).then_some(handle),
            mode: if_valid(fattr::MODE).then_some(mode),
            uid: if_valid(fattr::UID).then_some(uid),
            gid: if_valid(fattr::GID).then_some(gid),
            size: if_valid(fattr::SIZE).then_some(size),
            atime: time(fattr::ATIME, fattr::ATIME_NOW, atime, atime_nsec),
            mtime: time(fattr::MTIME, fattr::MTIME_NOW, mtime, mtime_nsec),
        })
    }

    pub(crate) fn writing(&mut self) -> Result<Writing<'r>, Errno> {
        let (handle, offset) = (self.u64()?, self.u64()?);
        let (size, how) = (self.u32()?, self.u32()?);
        self.skip(8)?;
        let flags = OFlags::from_bits_retain(self.u32()?);
        self.skip(4)?;
        Ok(Writing {
            handle,
            offset,
            data: self.take(usize::try_from(size).map_err(|_| Errno::IO)?)?,
            flags,
            cached: how & abi::write::CACHE != 0,
            kills_set_id: how & abi::write::KILL_SUIDGID != 0,
        })
    }

    /// `extended`: the kernel uses FUSE_SETXATTR_EXT.
    pub(crate) fn setting(&mut self, extended: bool) -> Result<Setting<'r>, Errno> {
        let (size, flags) = (self.u32()?, self.u32()?);
        let mut more = 0;
        if extended {
            more = self.u32()?;
            self.skip(4)?;
        }
        let name = self.string()?;
        let value = self.take(usize::try_from(size).map_err(|_| Errno::IO)?)?;
        let kill_set_group_id = more & abi::SETXATTR_ACL_KILL_SGID != 0;
        Ok(Setting { name, value, flags, kill_set_group_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_requests_are_errors() {
        assert!(Header::parse(&[0; 39]).is_none());
        let (header, mut rest) = Header::parse(&[0; 44]).unwrap();
        assert_eq!((header.opcode, header.node), (0, 0));
        assert_eq!(rest.u64(), Err(Errno::IO));
        assert_eq!(rest.u32(), Ok(0));
        for length in 0..88 {
            assert!(Arguments(&[0xff; 88][..length]).set_attr().is_err(), "{length}");
        }
        assert!(Arguments(&[0xff; 88]).set_attr().is_ok());
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let name = |bytes: &'static [u8]| Arguments(bytes).name();
        assert_eq!(name(b"a\0"), Ok(OsStr::new("a")));
        assert_eq!(name(b"..a\0"), Ok(OsStr::new("..a")));
        for bad in [&b"..\0"[..], b".\0", b"\0", b"a/b\0", b"/\0", b"unended"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_value_is_as_long_as_it_says() {
        let mut request = Vec::new();
        request.extend(3u32.to_ne_bytes());
        request.extend(1u32.to_ne_bytes());
        request.extend(b"user.x\0abc");
        let set = Arguments(&request).setting(false).unwrap();
        assert_eq!((set.name, set.value, set.flags), (OsStr::new("user.x"), &b"abc"[..], 1));
        request.pop();
        assert!(Arguments(&request).setting(false).is_err());
    }
}
