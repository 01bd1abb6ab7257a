// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts as the rules see them (M, X): flags, id maps, and what is stored through them, held
//! against the kernel's own answers.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nscap_core::{FileCaps, HostValue, Kuid, Stored, Uid, root_kuid};
use nscap_linux::{CapFile, IdMap, Links, Namespaces};
use nscap_testing::{Container, cat, is_root, with_own_mounts};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

/// Mounts a directory over itself with these attributes; with the maps of a namespace, id-mapped.
fn remount(directory: &Path, attributes: u64, maps: Option<&OwnedFd>) {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, directory, clone).unwrap();
    let idmap = if maps.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 };
    let attr = libc::mount_attr {
        attr_set: attributes | idmap,
        attr_clr: 0,
        propagation: 0,
        userns_fd: maps.map_or(0, |fd| fd.as_raw_fd().unsigned_abs().into()),
    };
    // SAFETY: a constant C string and a live mount_attr of the size that is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", CWD, directory, flags).unwrap();
}

fn caps(text: &str) -> FileCaps {
    FileCaps::from_text(text.as_bytes()).unwrap()
}

fn getxattr(path: &PathBuf) -> Vec<u8> {
    let mut value = [0; 64];
    let len = rustix::fs::getxattr(path, "security.capability", value.as_mut_slice()).unwrap();
    value[..len].to_vec()
}

#[test]
fn an_id_mapped_mount_maps_owners_and_rootids() {
    if !is_root("an_id_mapped_mount_maps_owners_and_rootids") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = cat(directory.path(), 5);
    let container = Container::new("0 720000 65536");
    let maps = std::fs::File::open(format!("/proc/{}/ns/user", container.pid())).unwrap().into();
    let kuid = |id| Kuid::new(id).unwrap();
    let before = CapFile::open(&path, Links::Refuse).unwrap();
    let mut namespaces = Namespaces::own().unwrap();
    let state = before.read(&mut namespaces).unwrap();
    before.write(&state, &Stored::host(caps("cap_net_raw=ep")), &namespaces).unwrap();
    with_own_mounts(|| {
        remount(directory.path(), 0, Some(&maps));
        let mut namespaces = Namespaces::own().unwrap();
        let file = CapFile::open(&path, Links::Refuse).unwrap();
        let state = file.read(&mut namespaces).unwrap();
        let view = state.view(&namespaces);
        assert_eq!(view.owner, Some(kuid(720_005)));
        assert_eq!(view.idmap.and_then(root_kuid), Some(kuid(720_000)));
        assert_eq!(view.kuid_of(Uid::new(7).unwrap()), Some(kuid(720_007)));
        assert_eq!(view.stored_of(kuid(5)), None);
        // The kernel shows revision 3 here; on disk it is the host value.
        assert_eq!(getxattr(&path).len(), 24);
        assert_eq!(state.stored(&namespaces).0.host, HostValue::Present(caps("cap_net_raw=ep")));
        // An entry for a root kuid inside, written through the mount.
        let next = Stored::one(Uid::new(7).unwrap(), caps("cap_kill=p"));
        file.write(&state, &next, &namespaces).unwrap();
        assert_eq!(getxattr(&path)[20..], 720_007_u32.to_le_bytes());
        let state = file.read(&mut namespaces).unwrap();
        assert_eq!(state.stored(&namespaces).0, next);
    });
    assert_eq!(getxattr(&path)[20..], 7_u32.to_le_bytes());
    let state = before.read(&mut namespaces).unwrap();
    assert_eq!(state.mount.idmap, IdMap::Absent);
}

#[test]
fn the_flags_of_a_mount_are_read() {
    if !is_root("the_flags_of_a_mount_are_read") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = cat(directory.path(), 0);
    let cases = [
        (0, (false, false, false)),
        (libc::MOUNT_ATTR_NOSUID, (true, false, false)),
        (libc::MOUNT_ATTR_NOEXEC, (false, true, false)),
        (libc::MOUNT_ATTR_RDONLY, (false, false, true)),
    ];
    for (attributes, expected) in cases {
        with_own_mounts(|| {
            remount(directory.path(), attributes, None);
            let mut namespaces = Namespaces::own().unwrap();
            let mount = CapFile::open(&path, Links::Refuse)
                .and_then(|file| file.read(&mut namespaces))
                .unwrap()
                .mount;
            assert_eq!((mount.nosuid, mount.noexec, mount.read_only), expected);
            assert!(!mount.foreign && mount.trusted == Some(true) && mount.owner.ns().is_some());
            assert_eq!(mount.point.as_deref(), Some(directory.path()));
        });
    }
}
