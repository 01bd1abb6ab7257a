// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capabilities of real files: what is read back, what each step of a change grants to a real
//! execve, what content changes leave, and whether setcap and getcap agree.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nscap_core::storage::{Seal, VoidReason};
use nscap_core::{Entries, FileCaps, HostValue, Record, Stored, Uid};
use nscap_linux::{CapFile, FileState, Hidden, Links, Namespaces, OwnedStep};
use nscap_testing::{Container, cat, host_gains, is_root, own_program};

const NET_RAW: u64 = 1 << 13;
const CHOWN: u64 = 1;

fn caps(text: &str) -> FileCaps {
    FileCaps::from_text(text.as_bytes()).unwrap()
}

struct Subject {
    _directory: tempfile::TempDir,
    path: PathBuf,
    file: CapFile,
}

impl Subject {
    fn new(owner: u32) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let path = cat(directory.path(), owner);
        let file = CapFile::open(&path, Links::Refuse).unwrap();
        Subject { _directory: directory, path, file }
    }

    fn read(&self) -> (FileState, Namespaces) {
        let mut namespaces = Namespaces::own().unwrap();
        let state = self.file.read(&mut namespaces).unwrap();
        (state, namespaces)
    }

    fn seal(&self) -> Seal {
        let (state, namespaces) = self.read();
        state.stored(&namespaces).1
    }

    fn write(&self, next: &Stored<'_>) -> nscap_linux::Result<()> {
        let (before, namespaces) = self.read();
        self.file.write(&before, next, &namespaces)
    }

    fn holds(&self, expected: &Stored<'_>) -> bool {
        let (state, namespaces) = self.read();
        state.stored(&namespaces).0 == *expected
    }

    fn getfattr(&self, name: &str) -> Option<Vec<u8>> {
        let output = Command::new("getfattr")
            .args(["--absolute-names", "--only-values", "-n", name])
            .arg(&self.path)
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    }
}

fn records(entries: &[(u32, &str)]) -> Vec<[u8; 24]> {
    entries.iter().map(|(id, text)| *Record::new(*id, caps(text)).as_bytes()).collect()
}

fn host(text: Option<&str>) -> HostValue {
    text.map_or(HostValue::Absent, |text| HostValue::Present(caps(text)))
}

/// A host value and entries by rootid, as text.
type Contents = (Option<&'static str>, &'static [(u32, &'static str)]);

/// What a file may hold. The tests below go from each state to each.
const STATES: [Contents; 8] = [
    (None, &[]),
    (Some("cap_chown=ep"), &[]),
    (None, &[(410_000, "cap_net_raw=ep")]),
    (None, &[(410_000, "cap_net_raw=ep"), (420_000, "cap_chown=ep")]),
    (None, &[(410_000, "cap_chown=ep"), (420_000, "cap_chown=ep"), (430_000, "=")]),
    (Some("cap_chown=ep"), &[(410_000, "cap_net_raw=ep")]),
    (Some("cap_net_raw=ep"), &[(410_000, "cap_net_raw=ep"), (420_000, "cap_chown=ep")]),
    (Some("cap_net_raw=ep"), &[(420_000, "cap_chown=ep")]),
];

/// Calls this with a file in each of the states, and each state that it may go to.
fn each_change(f: impl Fn(&Subject, &Stored<'_>, &Stored<'_>)) {
    for (from_host, from) in STATES {
        for (to_host, to) in STATES {
            let (from, to) = (records(from), records(to));
            let before = Stored { host: host(from_host), entries: Entries::decode(&from).unwrap() };
            let after = Stored { host: host(to_host), entries: Entries::decode(&to).unwrap() };
            let subject = Subject::new(0);
            subject.write(&before).unwrap();
            f(&subject, &before, &after);
        }
    }
}

#[test]
fn every_state_is_reached_from_every_other_and_no_step_grants_anything_else() {
    if !is_root("every_state_is_reached") {
        return;
    }
    each_change(|subject, before, after| {
        assert!(subject.holds(before), "{before:?}");
        walk(subject, before, after);
        subject.write(after).unwrap();
        assert!(subject.holds(after), "{before:?} to {after:?}");
    });
}

/// Takes the steps of a change one by one. Each leaves the old or the new state, and after the new
/// one never the old one. A writer that follows a killed one finishes or undoes the change.
fn walk(subject: &Subject, before: &Stored<'_>, after: &Stored<'_>) {
    let (state, namespaces) = subject.read();
    let steps = subject.file.plan(&state, after, &namespaces).unwrap();
    for killed_after in 0..=steps.len() {
        let mut committed = subject.holds(after);
        for step in steps.iter().take(killed_after) {
            subject.file.take(step, &state, &namespaces).unwrap();
            let now = subject.holds(after);
            assert!(now || subject.holds(before), "{step:?} of {steps:?}");
            assert!(now || !committed, "{step:?} undid {steps:?}");
            committed |= now;
        }
        subject.write(before).unwrap();
        assert!(subject.holds(before), "{killed_after} of {steps:?}");
        // A fresh tripwire or trimmed table would make the plan of `state` another.
        let (again, _) = subject.read();
        if (&again.capability, &again.table) != (&state.capability, &state.table) {
            restore(subject, &state);
        }
    }
    assert!(subject.file.write(&state, after, &namespaces).is_ok());
    subject.write(before).unwrap();
}

/// Puts back the very bytes.
fn restore(subject: &Subject, state: &FileState) {
    let set = |name: &str, value: &Option<Vec<u8>>| {
        let mut command = Command::new("setfattr");
        match value {
            Some(value) => {
                let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
                command.args(["-n", name, "-v", &format!("0x{hex}")]);
            }
            None => {
                command.args(["-x", name]);
            }
        }
        let output = command.arg(&subject.path).output().unwrap();
        assert!(output.status.success() || value.is_none(), "{output:?}");
    };
    set("security.nscapability", &state.table);
    set("security.capability", &state.capability);
}

#[test]
fn a_writer_killed_between_any_two_steps_grants_nothing_new_to_a_real_execve() {
    if !is_root("a_writer_killed_between_any_two_steps") {
        return;
    }
    let (one, other) = (Container::new("0 410000 1000"), Container::new("0 420000 1000"));
    // What an unmodified kernel gives: host, one, other.
    let gains = |path: &Path| [host_gains(path), one.gains(path), other.gains(path)];
    let nothing = [Some(0), Some(0), Some(0)];
    each_change(|subject, before, after| {
        let (state, namespaces) = subject.read();
        let first = gains(&subject.path);
        let steps = subject.file.plan(&state, after, &namespaces).unwrap();
        let mut seen = Vec::new();
        for step in &steps {
            subject.file.take(step, &state, &namespaces).unwrap();
            seen.push(gains(&subject.path));
        }
        let last = seen.last().copied().unwrap_or(first);
        assert!(
            seen.iter().all(|now| *now == first || *now == last || *now == nothing),
            "{before:?} to {after:?}: {steps:?} gave {first:?}, then {seen:?}"
        );
    });
    let subject = Subject::new(0);
    subject.write(&Stored::one(Uid::new(410_000).unwrap(), caps("cap_net_raw=ep"))).unwrap();
    assert_eq!(gains(&subject.path), [Some(0), Some(NET_RAW), Some(0)]);
    subject.write(&Stored::host(caps("cap_chown=ep"))).unwrap();
    assert_eq!(gains(&subject.path), [Some(CHOWN); 3]);
}

#[test]
fn a_change_of_content_or_owner_voids_what_stands_in_the_table() {
    if !is_root("a_change_of_content_or_owner") {
        return;
    }
    let records = records(&[(410_000, "cap_net_raw=ep"), (420_000, "cap_chown=ep")]);
    let entries = Entries::decode(&records).unwrap();
    for host_value in [HostValue::Absent, HostValue::Present(caps("cap_kill=ep"))] {
        let stored = Stored { host: host_value, entries };
        type Change<'c> = (&'static str, &'c dyn Fn(&Path));
        let changes: [Change<'_>; 4] = [
            ("write", &|path| {
                let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                file.write_all(&[0x7f]).unwrap();
            }),
            ("truncate", &|path| {
                std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(10).unwrap();
            }),
            ("chown", &|path| std::os::unix::fs::chown(path, Some(5), None).unwrap()),
            ("setcap", &|path| {
                let set = Command::new("setcap").arg("cap_bpf=ep").arg(path).status();
                assert!(set.unwrap().success());
            }),
        ];
        for (name, change) in changes {
            let subject = Subject::new(0);
            subject.write(&stored).unwrap();
            assert_eq!(subject.seal(), Seal::Sealed);
            change(&subject.path);
            let (state, namespaces) = subject.read();
            let (now, seal) = state.stored(&namespaces);
            assert!(now.entries.is_empty() && matches!(seal, Seal::Void(_)), "{name}: {seal:?}");
            // The next writer clears it away, and what was void stays so.
            subject.write(&Stored::host(caps("cap_kill=ep"))).unwrap();
            assert_eq!(subject.seal(), Seal::None, "{name}");
            assert!(subject.getfattr("security.nscapability").is_none());
        }
    }
}

#[test]
fn one_who_changes_the_file_meanwhile_is_noticed() {
    if !is_root("one_who_changes_the_file_meanwhile") {
        return;
    }
    let subject = Subject::new(0);
    let (before, namespaces) = subject.read();
    subject.write(&Stored::host(caps("cap_kill=ep"))).unwrap();
    let late = subject.file.write(&before, &Stored::host(caps("cap_bpf=ep")), &namespaces);
    assert_eq!(late.unwrap_err().errno(), libc::EAGAIN);
    assert!(subject.holds(&Stored::host(caps("cap_kill=ep"))));
    // A strip between two steps: the companion that must be there is not.
    let (state, namespaces) = subject.read();
    let records = records(&[(410_000, "cap_net_raw=ep"), (420_000, "cap_chown=ep")]);
    let next = Stored { host: HostValue::Absent, entries: Entries::decode(&records).unwrap() };
    let steps = subject.file.plan(&state, &next, &namespaces).unwrap();
    assert!(matches!(steps.as_slice(), [OwnedStep::SetTable(_), OwnedStep::ReplaceCapability(_)]));
    subject.file.take(&steps[0], &state, &namespaces).unwrap();
    std::fs::OpenOptions::new().append(true).open(&subject.path).unwrap().write_all(b"x").unwrap();
    let stripped = subject.file.take(&steps[1], &state, &namespaces).unwrap_err();
    assert_eq!(stripped.errno(), libc::EAGAIN);
    assert_eq!(subject.seal(), Seal::Void(VoidReason::CompanionAbsent));
}

#[test]
fn the_largest_array_fits_or_nothing_changes() {
    if !is_root("the_largest_array") {
        return;
    }
    let records: Vec<[u8; 24]> = (0..1024u32)
        .map(|n| *Record::new(500_000 + n, caps("cap_net_raw=ep")).as_bytes())
        .collect();
    let stored = Stored { host: HostValue::Absent, entries: Entries::decode(&records).unwrap() };
    let subject = Subject::new(0);
    match subject.write(&stored) {
        Ok(()) => assert!(subject.holds(&stored)),
        Err(error) => {
            assert_eq!(error.errno(), libc::ENOSPC, "{error}");
            assert!(subject.holds(&Stored::EMPTY));
            assert_eq!(subject.seal(), Seal::None);
        }
    }
}

#[test]
fn setcap_and_getcap_agree() {
    if !is_root("setcap_and_getcap_agree") {
        return;
    }
    let subject = Subject::new(0);
    let getcap = || {
        let output = Command::new("getcap").arg("-n").arg(&subject.path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let path = subject.path.display();
    subject.write(&Stored::host(caps("cap_net_raw,cap_chown=ep"))).unwrap();
    assert_eq!(getcap(), format!("{path} cap_chown,cap_net_raw=ep"));
    let entry = Stored::one(Uid::new(410_000).unwrap(), caps("cap_net_raw=ep"));
    subject.write(&entry).unwrap();
    assert_eq!(getcap(), format!("{path} cap_net_raw=ep [rootid=410000]"));
    let mut set = Command::new("setcap");
    assert!(
        set.args(["-n", "420000", "cap_kill=i"]).arg(&subject.path).status().unwrap().success()
    );
    assert!(subject.holds(&Stored::one(Uid::new(420_000).unwrap(), caps("cap_kill=i"))));
    assert!(Command::new("setcap").arg("-r").arg(&subject.path).status().unwrap().success());
    assert!(subject.holds(&Stored::EMPTY));
}

#[test]
fn what_is_no_regular_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink("/bin/cat", path("link")).unwrap();
    let error = |path: &Path, links| CapFile::open(path, links).unwrap_err();
    assert_eq!(error(directory.path(), Links::Follow).errno(), libc::EISDIR);
    let link = error(&path("link"), Links::Refuse);
    assert_eq!(link.errno(), libc::ELOOP);
    assert!(link.to_string().contains("is a symbolic link, not a regular file"), "{link}");
    assert!(CapFile::open(&path("link"), Links::Follow).is_ok());
    assert_eq!(error(&path("missing"), Links::Follow).errno(), libc::ENOENT);
    // In a root, neither links nor dots lead out.
    let root =
        rustix::fs::open(directory.path(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())
            .unwrap();
    std::os::unix::fs::symlink("/proc/self/exe", path("magic")).unwrap();
    for out in ["/link", "/../../../../../bin/cat", "/magic"] {
        assert!(CapFile::open_in_root(&root, out.as_ref()).is_err(), "{out}");
    }
}

/// Run by the test below inside a namespace.
#[test]
fn seen_from_inside() {
    let Some(path) = std::env::var_os("NSCAP_TEST_FILE") else {
        return;
    };
    let mut namespaces = Namespaces::own().unwrap();
    let file = CapFile::open(path.as_ref(), Links::Refuse).unwrap();
    let state = file.read(&mut namespaces).unwrap();
    let (stored, _) = state.stored(&namespaces);
    println!("inside: {:?} {:?}", state.hidden, stored.entries.iter().next());
    if std::env::var_os("NSCAP_TEST_WRITE").is_some() {
        let own = Uid::new(410_000).unwrap();
        file.write(&state, &Stored::one(own, caps("cap_net_raw=ep")), &namespaces).unwrap();
    }
}

#[test]
fn inside_a_namespace_the_stored_rootid_is_told_and_written() {
    if !is_root("inside_a_namespace_the_stored_rootid") {
        return;
    }
    let container = Container::new("0 410000 1000");
    let subject = Subject::new(410_000);
    let program = own_program(subject.path.parent().unwrap());
    let inside = |write: bool| {
        let mut command = Command::new("nsenter");
        command.args(["-U", "-S0", "-G0", "-t", &container.pid().to_string()]);
        command.arg(&program);
        command.args(["--exact", "seen_from_inside", "--nocapture"]);
        command.env("NSCAP_TEST_FILE", &subject.path);
        if write {
            command.env("NSCAP_TEST_WRITE", "1");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(inside(true).contains("inside: None None"));
    let entry = Stored::one(Uid::new(410_000).unwrap(), caps("cap_net_raw=ep"));
    assert!(subject.holds(&entry));
    assert_eq!(container.gains(&subject.path), Some(NET_RAW));
    assert_eq!(host_gains(&subject.path), Some(0));
    let own = format!("{:?}", Some(Hidden::HostOrOwn));
    let seen = inside(false);
    assert!(seen.contains(&own) && seen.contains("Uid(410000)"), "{seen}");
    subject.write(&Stored::one(Uid::new(420_000).unwrap(), caps("cap_chown=ep"))).unwrap();
    assert!(inside(false).contains(&format!("{:?}", Some(Hidden::Foreign))));
}
