// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file of a mount holds, and until when: K as the kernel's requests come, with what it does
//! itself (passthrough, RELEASE after close(2), SETATTR that says nothing), and an overlayfs that
//! copies up onto the mount.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nscap_core::{FileCaps, NsCaps, Record};
use nscap_fuse::{Mount, Options};
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

mod support;
use nscap_testing::{Container, Mapping, is_root};
use support::{on_ground, on_mounts};

const ROOT: u32 = 410_000;
const NAME: &str = "security.nscapability";

fn grant(path: &Path) -> Result<(), Errno> {
    let caps = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    let mut value = [0; NsCaps::encoded_len(2)];
    NsCaps::encode([ROOT, 420_000].map(|root| Record::new(root, caps)), &mut value).unwrap();
    rustix::fs::setxattr(path, NAME, &value, XattrFlags::empty())
}

fn revoke(path: &Path) {
    rustix::fs::removexattr(path, NAME).unwrap();
}

fn is_held(path: &Path) -> bool {
    match rustix::fs::getxattr(path, NAME, &mut [0; 0]) {
        Ok(_) => true,
        Err(errno) => {
            assert_eq!(errno, Errno::NODATA);
            false
        }
    }
}

fn make(path: &Path) {
    std::fs::write(path, [7; 8192]).unwrap();
}

fn open(path: &Path, flags: OFlags) -> File {
    rustix::fs::open(path, flags, Mode::empty()).unwrap().into()
}

/// Until the server has heard of what was closed.
fn wait_for_releases() {
    std::thread::sleep(Duration::from_millis(100));
}

/// A mapping of the file beneath. A new handle is a passthrough one only after the server has heard
/// that the earlier one is closed. Until then the pages that are mapped are the mount's own.
fn map_beneath(path: &Path, beneath: &Path) -> (File, Mapping) {
    for _ in 0..100 {
        let file = open(path, OFlags::RDWR);
        let mapping = Mapping::of(&file);
        mapping.write(1);
        if std::fs::read(beneath).unwrap()[0] == 1 {
            return (file, mapping);
        }
        drop((file, mapping));
        wait_for_releases();
    }
    panic!("{}: no passthrough", path.display());
}

#[test]
fn a_writer_that_has_closed_prevents_no_grant() {
    on_mounts("a_writer_that_is_gone", |ground| {
        let path = ground.at("file");
        make(&path);
        let writer = open(&path, OFlags::WRONLY);
        let reader = open(&path, OFlags::RDONLY);
        drop(writer);
        wait_for_releases();
        assert_eq!(grant(&path), Ok(()));
        drop(reader);
        assert!(is_held(&path));
    });
}

#[test]
fn a_mapping_forbids_grants_as_long_as_it_lives() {
    on_ground("a_mapping_forbids_grants", |ground| {
        ground.serve("");
        let path = ground.at("file");
        make(&path);
        let busy = Err(Errno::TXTBSY);
        assert_eq!(grant(&path), Ok(()));
        let (file, mapping) = map_beneath(&path, &ground.beneath("file"));
        assert!(!is_held(&path));
        assert_eq!(grant(&path), busy);
        drop(file);
        wait_for_releases();
        assert_eq!(grant(&path), busy);
        ground.kill();
        rustix::mount::unmount(&ground.target, rustix::mount::UnmountFlags::DETACH).unwrap();
        ground.serve("");
        assert_eq!(grant(&path), busy);
        mapping.write(2);
        assert_eq!(std::fs::read(ground.beneath("file")).unwrap()[0], 2);
        drop(mapping);
        // A process that another test is just starting has the mapping until it executes.
        let granted = (0..100).any(|_| grant(&path) != busy);
        assert!(granted && is_held(&path));
    });
}

#[test]
fn a_chown_of_no_id_is_a_chown() {
    on_mounts("a_chown_of_no_id_is_a_chown", |ground| {
        let path = ground.at("file");
        make(&path);
        grant(&path).unwrap();
        rustix::fs::chown(&path, None, None).unwrap();
        assert!(!is_held(&path));
        // These are none.
        grant(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(&path, mode).unwrap();
        File::open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        std::fs::rename(&path, ground.at("other")).unwrap();
        assert!(is_held(&ground.at("other")));
        revoke(&ground.at("other"));
    });
}

#[test]
fn a_tree_is_shown_by_one_server() {
    on_ground("a_tree_is_shown_by_one_server", |ground| {
        ground.serve("");
        let again = || Mount::new(&ground.source, &ground.native, &Options::default());
        let error = again().unwrap_err();
        assert_eq!(error.errno(), libc::EBUSY);
        assert!(error.to_string().contains("is the source of another mount already"), "{error}");
        let allowed = Options { reachable_ok: true, ..Options::default() };
        let error = Mount::new(&ground.source, &ground.native, &allowed).unwrap_err();
        assert_eq!(error.errno(), libc::EBUSY, "{error}");
        // A dead server has no claim.
        ground.kill();
        ground.serve("");
    });
}

/// W: with the mount as the upper layer, what is copied up comes with its mounter's credentials, on
/// a file that is the mounter's still.
#[test]
fn an_overlay_copies_up_onto_the_mount() {
    if !is_root("an_overlay_copies_up_onto_the_mount") {
        return;
    }
    on_ground("an_overlay_copies_up_onto_the_mount", |ground| {
        ground.serve("");
        let container = Container::new(&format!("0 {ROOT} 1000"));
        let cat = nscap_testing::cat(&ground.native, ROOT);
        let setcap = |path: &Path, caps: &str| {
            let done = container.run(&["setcap", caps, path.to_str().unwrap()], "0");
            assert!(done.status.success(), "{done:?}");
        };
        setcap(&cat, "cap_net_raw=ep");
        for name in ["upper", "work", "over"] {
            std::fs::create_dir(ground.at(name)).unwrap();
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            ground.native.display(),
            ground.at("upper").display(),
            ground.at("work").display()
        );
        let over = tempfile::tempdir_in(ground.native.parent().unwrap()).unwrap();
        let mount = |program: &str, args: &[&str]| {
            let done = Command::new(program).args(args).arg(over.path()).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        mount("mount", &["-t", "overlay", "overlay", "-o", &options]);
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(over.path(), open_to_all).unwrap();
        let file = over.path().join("cat");
        assert_eq!(container.gains(&file), Some(1 << 13));
        // Copying up goes on; a new owner ends what was there (K), for the host too.
        let touched = container.run(&["touch", file.to_str().unwrap()], "0");
        assert!(touched.status.success(), "{touched:?}");
        assert_eq!((container.gains(&file), nscap_testing::host_gains(&file)), (Some(0), Some(0)));
        setcap(&file, "cap_net_raw=ep");
        let gains = (container.gains(&file), nscap_testing::host_gains(&file));
        assert_eq!(gains, (Some(1 << 13), Some(0)));
        mount("umount", &[]);
    });
}
