// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identity of a waiting thread: real threads and real namespaces, also some that end.

use std::sync::mpsc;

use nscap_core::{Capability, Kuid, UserNs as _, root_kuid};
use nscap_linux::{Callers, Lineage};
use nscap_testing::{Container, Process, WAIT, is_root};
use rustix::thread::{CapabilitySet, gettid};

fn kuid(id: u32) -> Option<Kuid> {
    Kuid::new(id)
}

/// The root kuids from the namespace to the initial one.
fn roots(lineage: &Lineage) -> Vec<Option<Kuid>> {
    nscap_core::path_to_initial(lineage.ns()).map(root_kuid).collect()
}

fn own_thread() -> u32 {
    gettid().as_raw_nonzero().get().cast_unsigned()
}

#[test]
fn a_thread_is_known_by_its_own_credentials_and_not_by_its_leaders() {
    if !is_root("a_thread_is_known_by_its_own_credentials") {
        return;
    }
    let callers = Callers::new().unwrap();
    let (tell, told) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::SETFCAP);
        rustix::thread::set_capabilities(None, sets).unwrap();
        tell.send(own_thread()).unwrap();
        let _ = wait.recv();
    });
    let tid = told.recv().unwrap();
    assert_ne!(tid, std::process::id());
    let caller = callers.caller(tid).unwrap();
    assert!(!caller.cred().has_cap(Capability::Setfcap));
    assert!(caller.cred().has_cap(Capability::SysAdmin));
    let other = callers.caller(own_thread()).unwrap();
    assert!(other.cred().has_cap(Capability::Setfcap));
    assert!(caller.is_there());
    drop(release);
    thread.join().unwrap();
    assert!(!caller.is_there());
    for tid in [tid, 0, u32::MAX] {
        let error = callers.caller(tid).unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
    }
}

#[test]
fn a_map_that_is_written_later_is_seen() {
    if !is_root("a_map_that_is_written_later_is_seen") {
        return;
    }
    let callers = Callers::new().unwrap();
    let process = Process::start(&["unshare", "-U", "sh", "-c", WAIT]);
    let root = || root_kuid(callers.lineage(process.pid()).unwrap().ns());
    assert_eq!(root(), None);
    let write = |name: &str| {
        std::fs::write(format!("/proc/{}/{name}", process.pid()), "0 830000 10").unwrap();
    };
    write("uid_map");
    assert_eq!(root(), kuid(830_000));
    let gid = |gid| nscap_core::Kgid::new(gid).unwrap();
    let lineage = callers.lineage(process.pid()).unwrap();
    assert_eq!(lineage.ns().gid(gid(830_003)), None);
    write("gid_map");
    let lineage = callers.lineage(process.pid()).unwrap();
    assert!(lineage.ns().gid(gid(830_003)).is_some());
}

#[test]
fn two_namespaces_with_the_same_maps_are_two() {
    if !is_root("two_namespaces_with_the_same_maps_are_two") {
        return;
    }
    let callers = Callers::new().unwrap();
    let (one, other) = (Container::new("0 831000 10"), Container::new("0 831000 10"));
    let [one, other] = [&one, &other].map(|c| callers.lineage(c.pid()).unwrap());
    assert_eq!(roots(&one), roots(&other));
    assert_ne!(one.ns().inode(), other.ns().inode());
}

#[test]
fn an_ancestor_without_a_process_is_looked_at_once_and_not_kept_alive() {
    if !is_root("an_ancestor_without_a_process") {
        return;
    }
    let callers = Callers::new().unwrap();
    let outer = Container::new("0 832000 1000");
    let middle = Container::below(Some(&outer), "0 100 100");
    let (inner, beside) =
        (Container::below(Some(&middle), "0 10 10"), Container::below(Some(&middle), "0 20 10"));
    drop((outer, middle));
    let expected = |root| [root, 832_100, 832_000, 0].map(kuid);
    let lineage = callers.lineage(inner.pid()).unwrap();
    assert_eq!(roots(&lineage), expected(832_110));
    assert!(nscap_core::path_to_initial(lineage.ns()).all(|ns| ns.maps_known()));
    assert_eq!(roots(&callers.lineage(beside.pid()).unwrap()), expected(832_120));
    // The kernel may take the namespaces back although they are remembered.
    let held = |inode: u64| {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let name = format!("user:[{inode}]");
        links.into_iter().any(|link| link.as_os_str() == name.as_str())
    };
    if lineage.ns().id().is_some() {
        assert!(
            nscap_core::path_to_initial(lineage.ns())
                .all(|ns| { ns.is_initial() || !held(ns.inode()) })
        );
    }
}

#[test]
fn a_number_that_is_used_again_is_another_namespace() {
    if !is_root("a_number_that_is_used_again") {
        return;
    }
    let callers = Callers::new().unwrap();
    let first = Container::new("0 833000 10");
    let dead = callers.lineage(first.pid()).unwrap().ns().inode();
    drop(first);
    // Others make namespaces at the same time, so the number may come back to them first.
    for _ in 0..200 {
        let next = Container::new("0 834000 10");
        let lineage = callers.lineage(next.pid()).unwrap();
        assert_eq!(root_kuid(lineage.ns()), kuid(834_000));
        if lineage.ns().inode() == dead {
            return;
        }
    }
    println!("the number {dead} did not come back in 200 namespaces; each was told rightly");
}

#[test]
fn a_caller_in_a_namespace_has_its_ids_and_capabilities_there() {
    if !is_root("a_caller_in_a_namespace_has_its_ids") {
        return;
    }
    let callers = Callers::new().unwrap();
    let container = Container::new("0 835000 10");
    let (root, user) = (container.enter("0"), container.enter("7"));
    let root = callers.caller(root.pid()).unwrap();
    assert_eq!(Some(root.cred().euid), kuid(835_000));
    assert!(root.cred().has_cap(Capability::Setfcap));
    let initial = root.lineage().namespaces().initial();
    assert!(!root.cred().has_cap_over(Capability::Setfcap, initial));
    let user = callers.caller(user.pid()).unwrap();
    assert_eq!(Some(user.cred().fsuid), kuid(835_007));
    assert!(user.cred().effective.is_empty());
}

#[test]
fn who_stops_the_visitor_stops_only_themselves_and_for_a_moment() {
    if !is_root("who_stops_the_visitor") {
        return;
    }
    let callers = Callers::new().unwrap();
    let outer = Container::new("0 842000 1000");
    let middle = Container::below(Some(&outer), "0 100 100");
    let inner = Container::below(Some(&middle), "0 10 10");
    let innocent = Container::new("0 843000 10");
    // A task with CAP_KILL in a namespace may stop processes in it, also this one.
    let target = outer.pid().to_string();
    let stops = "echo up; while :; do kill -STOP -1; done";
    let hostile =
        Process::start(&["nsenter", "-U", "-S", "0", "-G", "0", "-t", &target, "sh", "-c", stops]);
    drop(middle);
    let mut failed = 0;
    for _ in 0..20 {
        let begun = std::time::Instant::now();
        match callers.lineage(inner.pid()) {
            Ok(lineage) => {
                assert_eq!(roots(&lineage), [842_110, 842_100, 842_000, 0].map(kuid));
                break;
            }
            Err(error) => {
                assert!(error.is_shortage(), "{error}");
                failed += 1;
            }
        }
        // No other caller waits, and the second time none does.
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
        assert!(callers.lineage(innocent.pid()).is_ok());
    }
    println!("the visitor was stopped {failed} times");
    drop(hostile);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let lineage = callers.lineage(inner.pid()).unwrap();
    assert_eq!(roots(&lineage), [842_110, 842_100, 842_000, 0].map(kuid));
}
