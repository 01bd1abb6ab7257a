// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests by the queues of io_uring: that they are used, and that a mount with them ends, is
//! killed and waits as one without.

use std::fs::{self, File};
use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

use nscap_fuse::STATS_NAME;
use nscap_linux::server::{FuseQueue, stay_on};
use rustix::fs::{AtFlags, CWD, StatxFlags, XattrFlags, statx};

mod support;
use support::{Ground, on_ground};

/// A mount with queues, if the kernel offers them.
fn on_queues(test: &str, options: &str, body: impl FnOnce(&mut Ground) + Send) {
    if FuseQueue::count().is_none() {
        println!("skipped: {test}: needs Linux 6.14 with the parameter enable_uring of fuse");
        return;
    }
    on_ground(test, |ground| {
        ground.serve(options);
        body(ground);
    });
}

fn counter(ground: &Ground, name: &str) -> u64 {
    let mut value = [0; 4096];
    let length = rustix::fs::getxattr(&ground.target, STATS_NAME, &mut value).unwrap();
    let value = String::from_utf8(value[..length].to_vec()).unwrap();
    let count = value.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    count.unwrap().parse().unwrap()
}

#[test]
fn requests_come_by_them() {
    on_queues("requests_come_by_them", "", |ground| {
        for number in 0..100 {
            fs::write(ground.at(&format!("{number}")), "content").unwrap();
        }
        // An open, a name and a release each, at least.
        assert!(counter(ground, "by_io_uring") > 300);
        assert_eq!(fs::read(ground.at("99")).unwrap(), b"content");
    });
}

#[test]
fn none_do_where_that_is_off() {
    on_queues("none_do_where_that_is_off", "device", |ground| {
        fs::write(ground.at("file"), "content").unwrap();
        assert_eq!(counter(ground, "by_io_uring"), 0);
    });
}

/// The largest of everything goes through: names, attributes, data, directories.
#[test]
fn large_requests_fit() {
    on_queues("large_requests_fit", "plain", |ground| {
        let name = "n".repeat(255);
        let data: Vec<u8> = (0..3 << 20).map(|n: u32| (n / 7) as u8).collect();
        fs::write(ground.at(&name), &data).unwrap();
        assert!(counter(ground, "writes") > 0);
        assert!(fs::read(ground.beneath(&name)).unwrap() == data);
        // Another server's pages are not there to be read.
        ground.unmount();
        ground.serve("plain");
        assert!(fs::read(ground.at(&name)).unwrap() == data);
        assert!(counter(ground, "reads") > 0);
        let long = "x".repeat(4000);
        std::os::unix::fs::symlink(&long, ground.at("link")).unwrap();
        assert_eq!(fs::read_link(ground.at("link")).unwrap().as_os_str(), long.as_str());
        fs::create_dir(ground.at("many")).unwrap();
        for number in 0..5000 {
            File::create(ground.beneath(&format!("many/{number:0200}"))).unwrap();
        }
        assert_eq!(fs::read_dir(ground.at("many")).unwrap().count(), 5000);
        // ext4 keeps what fits in a block; tmpfs has the most that there can be.
        let value = vec![7; 3000];
        rustix::fs::setxattr(ground.at("many"), "trusted.large", &value, XattrFlags::empty())
            .unwrap();
        let mut read = vec![0; 65536];
        let length = rustix::fs::getxattr(ground.at("many"), "trusted.large", &mut read).unwrap();
        assert!(read[..length] == value);
    });
}

/// A task that waits in a call when the server is killed gets an error, and so does a later caller.
#[test]
fn nobody_waits_for_a_dead_server() {
    on_queues("nobody_waits_for_a_dead_server", "", |ground| {
        fs::write(ground.at("file"), "content").unwrap();
        let target = ground.target.clone();
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let target = target.clone();
                thread::spawn(move || {
                    let flags = AtFlags::STATX_FORCE_SYNC;
                    loop {
                        let file = target.join("file");
                        if let Err(errno) = statx(CWD, &file, flags, StatxFlags::BASIC_STATS) {
                            return errno.raw_os_error();
                        }
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(100));
        ground.kill();
        for caller in callers {
            let errno = caller.join().unwrap();
            let ends = [libc::ENOTCONN, libc::ECONNABORTED, libc::ECANCELED];
            assert!(ends.contains(&errno), "{errno}");
        }
        let gone = fs::read(ground.at("file")).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ENOTCONN));
        ground.unmount();
        ground.serve("");
        assert_eq!(fs::read(ground.at("file")).unwrap(), b"content");
    });
}

/// An unmounted file system's server ends by itself, again and again, with something under way.
#[test]
fn the_server_ends_with_its_mount() {
    on_queues("the_server_ends_with_its_mount", "", |ground| {
        for _ in 0..20 {
            fs::write(ground.at("file"), "content").unwrap();
            let mut open = File::open(ground.at("file")).unwrap();
            open.read_to_end(&mut Vec::new()).unwrap();
            drop(open);
            let before = Instant::now();
            ground.unmount();
            assert!(before.elapsed() < Duration::from_secs(10));
            ground.serve("");
        }
    });
}

/// CAP_NET_RAW, permitted and effective, as setcap writes it (linux/capability.h, revision 2).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A grant that waits for a file to be closed does not block its queue: the RELEASE comes through
/// the same one. A writer that a busy machine lets close too late is met with ETXTBSY; if the
/// queue were blocked, each would be.
#[test]
fn a_thread_that_waits_does_not_keep_its_queue() {
    on_queues("a_thread_that_waits_does_not_keep_its_queue", "", |ground| {
        let file = ground.at("file");
        fs::write(&file, "content").unwrap();
        let mut granted = 0;
        for _ in 0..20 {
            let open = File::options().read(true).write(true).open(&file).unwrap();
            let set = thread::scope(|scope| {
                scope.spawn(|| {
                    stay_on(0);
                    thread::sleep(Duration::from_millis(10));
                    drop(open);
                });
                let grant = scope.spawn(|| {
                    stay_on(0);
                    let flags = XattrFlags::empty();
                    rustix::fs::setxattr(&file, "security.capability", &NET_RAW, flags)
                });
                grant.join().unwrap()
            });
            match set {
                Ok(()) => granted += 1,
                Err(errno) => assert_eq!(errno, rustix::io::Errno::TXTBSY),
            }
            if granted == 5 {
                return;
            }
            let _ = rustix::fs::removexattr(&file, "security.capability");
        }
        panic!("{granted} of 20 grants did not meet ETXTBSY");
    });
}
