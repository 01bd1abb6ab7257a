// SPDX-License-Identifier: MIT OR Apache-2.0
//! RELEASE reaches the server after close(2) has returned: a grant by a task that has just closed
//! the file that it wrote, as rsync does. This is its own test program: forks of other tests would
//! have the file open for a moment.

use std::fs::File;
use std::io::Write as _;

use nscap_core::{FileCaps, NsCaps, Record};
use rustix::fs::{Mode, OFlags, XattrFlags};

mod support;
use support::on_mounts;

#[test]
fn a_task_that_has_just_closed_a_file_may_grant_on_it() {
    // As rsync does: O_RDWR, write, close, setxattr by path.
    on_mounts("a_task_that_has_just_closed_a_file", |ground| {
        let path = ground.at("file");
        for round in 0..300 {
            let flags = OFlags::RDWR | OFlags::CREATE;
            let mut file: File = rustix::fs::open(&path, flags, Mode::RWXU).unwrap().into();
            file.write_all(b"content").unwrap();
            drop(file);
            let caps = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
            let mut value = [0; NsCaps::encoded_len(1)];
            NsCaps::encode([Record::new(410_000, caps)], &mut value).unwrap();
            let name = "security.nscapability";
            let granted = rustix::fs::setxattr(&path, name, &value, XattrFlags::empty());
            assert_eq!(granted, Ok(()), "{round}");
            if round % 2 == 0 {
                std::fs::remove_file(&path).unwrap();
            }
        }
    });
}
