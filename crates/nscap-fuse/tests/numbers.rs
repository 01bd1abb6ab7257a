// SPDX-License-Identifier: MIT OR Apache-2.0
//! One number is one inode: an inode that is gone does not become the one that has its number now,
//! and two inodes of a source that calls them by one number are two.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};

mod support;
use support::{Ground, on_ground};

#[test]
fn an_inode_that_is_gone_is_none_of_those_that_get_its_number() {
    on_ground("an_inode_that_is_gone", |ground| {
        if !few_numbers(ground) {
            return println!("skipped: no ext4 here");
        }
        ground.serve("reachable");
        fs::write(ground.beneath("old"), "old").unwrap();
        let mode = Mode::empty();
        let old = rustix::fs::open(ground.at("old"), OFlags::PATH, mode).unwrap();
        let number = rustix::fs::fstat(&old).unwrap().st_ino;
        fs::remove_file(ground.beneath("old")).unwrap();
        let again = (0..40).map(|n| format!("new{n}")).find(|name| {
            fs::write(ground.beneath(name), "new").unwrap();
            fs::metadata(ground.beneath(name)).unwrap().ino() == number
        });
        let again = again.unwrap();
        let new = fs::metadata(ground.at(&again)).unwrap();
        assert_ne!(new.ino(), number);
        let by_old = PathBuf::from(format!("/proc/self/fd/{}", old.as_raw_fd()));
        let stale = Some(libc::ESTALE);
        assert_eq!(fs::read(&by_old).unwrap_err().raw_os_error(), stale);
        assert_eq!(fs::write(&by_old, "x").unwrap_err().raw_os_error(), stale);
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        assert_eq!(fs::set_permissions(&by_old, open_to_all).unwrap_err().raw_os_error(), stale);
        let value = rustix::fs::getxattr(&by_old, "security.capability", &mut [0; 0]);
        assert_eq!(value, Err(rustix::io::Errno::STALE));
        assert_eq!(fs::read(ground.at(&again)).unwrap(), b"new");
        assert_eq!(fs::metadata(ground.beneath(&again)).unwrap().mode() & 0o777, 0o644);
    });
}

/// Makes the source a file system that soon has to give a number again.
fn few_numbers(ground: &Ground) -> bool {
    let image = ground.native.join("image");
    File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let done = |program: &str, arguments: &[&str], more: &[&Path]| {
        let done = Command::new(program).args(arguments).args(more).output();
        done.is_ok_and(|done| done.status.success())
    };
    done("mkfs.ext4", &["-q", "-F", "-N", "48"], &[&image])
        && done("mount", &["-o", "loop"], &[&image, &ground.source])
}

/// overlayfs without an index: each name of a lower file is a file of its own once it is written.
#[test]
fn two_names_of_a_lower_file_are_two_inodes() {
    on_ground("two_names_of_a_lower_file_are_two_inodes", |ground| {
        let layers = ["lower", "upper", "work"].map(|name| ground.native.join(name));
        for layer in &layers {
            fs::create_dir(layer).unwrap();
        }
        fs::write(layers[0].join("a"), "both").unwrap();
        for name in ["b", "c"] {
            fs::hard_link(layers[0].join("a"), layers[0].join(name)).unwrap();
        }
        let [lower, upper, work] = layers.each_ref().map(|layer| layer.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work},index=off");
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(&ground.source);
        let mounted = mount.output().unwrap();
        if !mounted.status.success() {
            return println!("skipped: {}", String::from_utf8_lossy(&mounted.stderr));
        }
        ground.serve("");
        let numbers = ["a", "b", "c"].map(|name| fs::metadata(ground.at(name)).unwrap().ino());
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2] && numbers[0] != numbers[2]);
        let again = ["a", "b", "c"].map(|name| fs::metadata(ground.at(name)).unwrap().ino());
        assert_eq!(numbers, again);
        fs::write(ground.at("b"), "b").unwrap();
        let open_to_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(ground.at("c"), open_to_owner).unwrap();
        for (name, content, mode) in [("a", "both", 0o644), ("b", "b", 0o644), ("c", "both", 0o600)]
        {
            for path in [ground.at(name), ground.beneath(name)] {
                assert_eq!(fs::read_to_string(&path).unwrap(), content, "{}", path.display());
                let now = fs::metadata(&path).unwrap().mode() & 0o777;
                assert_eq!(now, mode, "{}", path.display());
            }
        }
    });
}
