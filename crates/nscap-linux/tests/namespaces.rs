// SPDX-License-Identifier: MIT OR Apache-2.0
//! Live namespaces, as this process sees them and as one inside a namespace does.

use std::process::Command;

use nscap_core::{Kuid, Uid, UserNs, is_same_or_below, root_kuid};
use nscap_linux::{LiveTask, Namespaces, Origin, Who};
use nscap_testing::{Container, is_root, own_program};

fn kuid(id: u32) -> Kuid {
    Kuid::new(id).unwrap()
}

#[test]
fn a_scan_finds_nested_namespaces_with_maps_in_initial_terms() {
    if !is_root("a_scan_finds_nested_namespaces") {
        return;
    }
    let outer = Container::new("0 310000 65536");
    let inner = Container::below(Some(&outer), "0 1000 10\n20 2000 5");
    let namespaces = Namespaces::scan().unwrap();
    let find = |pid: u32| {
        let is = |ns: &nscap_linux::LiveNs<'_>| ns.first_process().is_some_and(|p| p.pid == pid);
        namespaces.iter().find(is).unwrap()
    };
    let (outer_ns, inner_ns) = (find(outer.pid()), find(inner.pid()));
    assert_eq!(root_kuid(outer_ns), Some(kuid(310_000)));
    assert_eq!(root_kuid(inner_ns), Some(kuid(311_000)));
    assert_eq!(inner_ns.kuid(Uid::new(22).unwrap()), Some(kuid(312_002)));
    assert!(inner_ns.parent().unwrap().same(outer_ns));
    assert!(is_same_or_below(inner_ns, namespaces.initial()));
    assert_eq!(inner_ns.owner_kuid(), Some(kuid(310_000)));
    assert_eq!(outer_ns.children().count(), 1);
    assert_eq!(*inner_ns.origin(), Origin::Process);
    assert_ne!(outer_ns.id(), inner_ns.id().or(Some(0)));
    assert_eq!(namespaces.rooted(kuid(310_000)).count(), 1);
    assert_eq!(inner_ns.first_process().unwrap().comm, b"sleep");
}

#[test]
fn a_namespace_without_a_process_is_known_by_its_file() {
    if !is_root("a_namespace_without_a_process") {
        return;
    }
    let container = Container::new("0 320000 1000");
    let link = format!("/proc/{}/ns/user", container.pid());
    let file = std::fs::File::open(&link).unwrap();
    drop(container);
    let mut namespaces = Namespaces::scan().unwrap();
    let index = namespaces.add_fd(file.into(), link.as_ref()).unwrap();
    let ns = namespaces.get(index);
    assert!(ns.maps_known());
    assert_eq!(root_kuid(ns), Some(kuid(320_000)));
    assert_eq!(ns.process_count(), 0);
    assert!(ns.parent().unwrap().same(namespaces.initial()));
}

#[test]
fn who_is_resolved_and_what_is_gone_is_said() {
    if !is_root("who_is_resolved") {
        return;
    }
    let container = Container::new("0 330000 1000");
    let rootless = Container::new("5 340000 1000");
    let mut namespaces = Namespaces::own().unwrap();
    let who = |text: String| Who::parse(text.as_ref()).unwrap();
    let by_pid = who(format!("pid:{}", container.pid())).resolve(&mut namespaces).unwrap();
    assert_eq!(by_pid.kuid, kuid(330_000));
    let path = format!("ns:/proc/{}/ns/user", container.pid());
    assert_eq!(who(path).resolve(&mut namespaces).unwrap(), by_pid);
    assert_eq!(who("330000".into()).resolve(&mut namespaces).unwrap(), by_pid);
    assert_eq!(who("host".into()).resolve(&mut namespaces).unwrap().kuid, kuid(0));
    let no_root = who(format!("pid:{}", rootless.pid())).resolve(&mut namespaces).unwrap_err();
    assert!(no_root.to_string().contains("maps no uid 0"), "{no_root}");
    let not_ns = who("ns:/etc/passwd".into()).resolve(&mut namespaces).unwrap_err();
    assert!(not_ns.to_string().contains("not a user namespace"), "{not_ns}");
    let pid = container.pid();
    drop(container);
    let gone = who(format!("pid:{pid}")).resolve(&mut namespaces).unwrap_err();
    assert_eq!(gone.errno(), libc::ESRCH, "{gone}");
}

#[test]
fn a_task_is_read_in_initial_terms() {
    if !is_root("a_task_is_read") {
        return;
    }
    let container = Container::new("0 350000 1000");
    let mut child = Command::new("nsenter")
        .args(["-U", "-S", "7", "-G", "8", "-t", &container.pid().to_string()])
        .args(["setpriv", "--no-new-privs", "--bounding-set", "-all,+net_raw", "sleep", "infinity"])
        .spawn()
        .unwrap();
    // nsenter and setpriv have to become sleep first.
    let comm = format!("/proc/{}/comm", child.id());
    while std::fs::read(&comm).unwrap() != b"sleep\n" {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let mut namespaces = Namespaces::own().unwrap();
    let task = LiveTask::read(child.id(), &mut namespaces);
    child.kill().unwrap();
    child.wait().unwrap();
    let task = task.unwrap();
    let cred = task.cred(&namespaces);
    assert_eq!((cred.euid, cred.egid.get()), (kuid(350_007), 350_008));
    assert_eq!(cred.permitted.bits(), 0);
    assert!(task.task(&namespaces).no_new_privs && task.shares_fs() == Some(false));
    assert_eq!(root_kuid(cred.ns), Some(kuid(350_000)));
    assert_eq!(task.name(), b"sleep");
    assert_eq!(LiveTask::read(child.id(), &mut namespaces).unwrap_err().errno(), libc::ESRCH);
}

/// Prints what a process inside a namespace makes of itself; run by the test below only.
#[test]
fn seen_from_inside() {
    if std::env::var_os("NSCAP_TEST_INSIDE").is_none() {
        return;
    }
    let namespaces = Namespaces::scan().unwrap();
    let own = namespaces.own_ns();
    assert!(!own.is_initial() && own.parent().unwrap().is_initial());
    let below = namespaces.iter().find(|ns| ns.parent().is_some_and(|up| up.same(own))).unwrap();
    println!("inside: {} {}", root_kuid(own).unwrap(), root_kuid(below).map_or(0, Kuid::get));
}

#[test]
fn inside_a_namespace_the_numbers_are_the_same() {
    if !is_root("inside_a_namespace") {
        return;
    }
    let outer = Container::new("0 360000 65536");
    let _inner = Container::below(Some(&outer), "0 1000 10");
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("nsenter")
        .args(["-U", "-S0", "-G0", "-t", &outer.pid().to_string()])
        .arg(own_program(directory.path()))
        .args(["--exact", "seen_from_inside", "--nocapture"])
        .env("NSCAP_TEST_INSIDE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("inside: 360000 361000"), "{text}");
}
