// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a question costs: `cargo test --release -p nscap-fuse costs -- --ignored --nocapture`.

use std::os::fd::AsFd as _;
use std::time::Duration;

use nscap_core::Operation;
use rustix::fs::OFlags;

use super::{CAPABILITY, NSCAPABILITY, Source, us};
use nscap_testing::{Container, is_root};

fn spent() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap()
}

/// The best of several rounds, in microseconds of this thread's time for one call: others run at
/// the same time.
fn cost(name: &str, mut call: impl FnMut()) {
    const CALLS: u32 = 2000;
    let round = |_| {
        let start = spent();
        (0..CALLS).for_each(|_| call());
        (spent() - start).as_secs_f64() * 1e6 / f64::from(CALLS)
    };
    let best = (0..9).map(round).fold(f64::INFINITY, f64::min);
    println!("{name:<44} {best:6.2} us");
}

#[test]
#[ignore = "a measurement"]
fn costs() {
    if !is_root("costs") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let container = Container::new("0 410000 1000");
    let root = container.enter("0");
    let tid = root.pid();
    cost("caller's namespace, known", || drop(source.caps.callers.lineage(tid).unwrap()));
    cost("caller with credentials", || drop(source.caps.callers.caller(tid).unwrap()));
    let file = source.file("file");
    cost("get, no capabilities", || drop(file.get(CAPABILITY, tid)));
    file.grant_host().unwrap();
    cost("get, host value", || drop(file.get(CAPABILITY, tid).unwrap()));
    file.remove(CAPABILITY, us()).unwrap();
    file.grant(&[410_000]).unwrap();
    cost("get, one entry", || drop(file.get(CAPABILITY, tid).unwrap()));
    let many: Vec<u32> = (1..64).collect();
    file.grant(&many).unwrap();
    cost("get, 64 entries", || drop(file.get(CAPABILITY, tid).unwrap()));
    cost("get security.nscapability, 64 entries", || drop(file.get(NSCAPABILITY, tid).unwrap()));
    let other = source.file("other");
    cost("set and remove one entry", || {
        other.grant(&[410_000]).unwrap();
        other.remove(NSCAPABILITY, us()).unwrap();
    });
    cost("a write's check, nothing held", || {
        drop(other.caps.changing(other.fd.as_fd(), other.node, Operation::Write).unwrap());
    });
    cost("an open for writing and its end", || drop(other.opening(OFlags::WRONLY)));
    let opened = other.opening(OFlags::WRONLY);
    cost("set and remove one entry on what is open", || {
        other.grant(&[410_000]).unwrap();
        other.remove(NSCAPABILITY, us()).unwrap();
        other.writes();
    });
    drop(opened);
}
