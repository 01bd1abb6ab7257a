// SPDX-License-Identifier: MIT OR Apache-2.0
//! FUSE_INIT: the features that the kernel and the server agree on.

use std::sync::atomic::Ordering;

use nscap_linux::server::{FuseDevice, FuseQueue};
use rustix::io::{Errno, write};

use crate::proto::abi::{self, init};
use crate::proto::{Arguments, Header, Reply};
use crate::requests::{DATA_MAX, Failed, FromDevice, Requests};
use crate::tree::Tree;

/// Background requests (readahead) at a time.
const BACKGROUND: u16 = 64;

/// Answers FUSE_INIT. Returns the queues if the kernel accepts them, and none otherwise.
pub(crate) fn agree(
    tree: &Tree,
    device: &FuseDevice,
    queues: Vec<FuseQueue>,
) -> Result<Vec<FuseQueue>, Failed> {
    let nothing = ("read(/dev/fuse)", Errno::PROTO);
    let mut requests = FromDevice::new(device.clone());
    let request = requests.next()?.ok_or(nothing)?;
    let (header, offer) = Header::parse(request).ok_or(nothing)?;
    let mut reply = Reply::default();
    reply.clear();
    let answered = if header.opcode == abi::INIT {
        negotiate(tree, offer, !queues.is_empty(), &mut reply)
    } else {
        Err(Errno::PROTO)
    };
    let error = answered.err().map_or(0, Errno::raw_os_error);
    write(device, reply.finish(header.unique, error))
        .map_err(|errno| ("write(/dev/fuse)", errno))?;
    let agreed = answered.map_err(|errno| ("FUSE_INIT", errno))?;
    Ok(if agreed & init::OVER_IO_URING == 0 { Vec::new() } else { queues })
}

/// Never FUSE_WRITEBACK_CACHE: pages that are written back later would strip a grant that was made
/// meanwhile (K).
///
/// Not FUSE_HANDLE_KILLPRIV_V2. With it a write asks nothing about `security.capability`, but the
/// kernel keeps its cached mode: after uid 1000 writes to a file of mode 4777, the kernel still
/// shows and executes 4777, whatever the source says (measured on 6.18). Not FUSE_ATOMIC_O_TRUNC
/// for the same reason.
fn negotiate(
    tree: &Tree,
    mut offer: Arguments<'_>,
    queues: bool,
    reply: &mut Reply,
) -> Result<u64, Errno> {
    let (major, minor, readahead) = (offer.u32()?, offer.u32()?, offer.u32()?);
    let mut offered = u64::from(offer.u32()?);
    if major != abi::MAJOR || minor < abi::MINOR_MIN {
        return Err(Errno::PROTO);
    }
    if offered & init::INIT_EXT != 0 {
        offered |= u64::from(offer.u32()?) << 32;
    }
    let agreed = wanted(tree, queues) & offered;
    let needed = init::DONT_MASK | init::POSIX_ACL | init::MAX_PAGES;
    if agreed & needed != needed {
        return Err(Errno::PROTO);
    }
    // 1: passthrough to files of a file system that is not stacked; an overlayfs still fits on top.
    let stack_depth = u32::from(agreed & init::PASSTHROUGH != 0);
    if stack_depth == 0 {
        tree.backings.give_up();
    }
    tree.caps.idmaps.store(agreed & init::ALLOW_IDMAP != 0, Ordering::Relaxed);
    tree.extended_setxattr.store(agreed & init::SETXATTR_EXT != 0, Ordering::Relaxed);
    let halves = |bits: u64| ((bits & 0xffff_ffff) as u32, (bits >> 32) as u32);
    let (low, high) = halves(agreed);
    let pages = DATA_MAX as usize / rustix::param::page_size();
    reply.u32(abi::MAJOR).u32(abi::MINOR).u32(readahead).u32(low);
    reply.data(&BACKGROUND.to_ne_bytes()).data(&(BACKGROUND * 3 / 4).to_ne_bytes());
    // Times are in nanoseconds.
    reply.u32(DATA_MAX).u32(1);
    reply.data(&u16::try_from(pages).unwrap_or(u16::MAX).to_ne_bytes()).data(&[0; 2]);
    reply.u32(high).u32(stack_depth).data(&[0; 24]);
    Ok(agreed)
}

/// Not FUSE_READDIRPLUS_AUTO: when find(1) reads a directory, the kernel would ask for the first
/// part with attributes, and then for each name alone. Not FUSE_ASYNC_DIO: without it the kernel
/// locks the inode until a write is answered, so no chmod(2) can set set-id bits meanwhile.
fn wanted(tree: &Tree, queues: bool) -> u64 {
    let mut wanted = init::ASYNC_READ
        | init::BIG_WRITES
        | init::DONT_MASK
        | init::HAS_IOCTL_DIR
        | init::DO_READDIRPLUS
        | init::PARALLEL_DIROPS
        | init::POSIX_ACL
        | init::MAX_PAGES
        | init::SETXATTR_EXT
        | init::INIT_EXT
        | init::NO_EXPORT_SUPPORT
        | init::ALLOW_IDMAP;
    if !tree.options.reachable_ok {
        wanted |= init::CACHE_SYMLINKS | init::EXPLICIT_INVAL_DATA | init::NO_OPENDIR_SUPPORT;
    }
    if tree.options.passthrough {
        wanted |= init::PASSTHROUGH;
    }
    if queues {
        wanted |= init::OVER_IO_URING;
    }
    wanted
}
