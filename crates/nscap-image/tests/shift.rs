// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shift of a whole tree, held against a tree that was made where the other is moved to, real
//! programs executed in real namespaces, and a kill after each step.

mod sample;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nscap_image::shift::Direction;
use nscap_linux::Namespaces;
use nscap_testing::{Container, is_root};
use sample::run::{A, B, Notes, again, forward, map, moved, options, same};
use sample::{PROGRAMS, Sample};

#[test]
fn a_tree_that_moves_is_as_if_made_there_and_comes_back_as_it_was() {
    if !is_root("a_tree_that_moves_is_as_if_made_there_and_comes_back_as_it_was") {
        return;
    }
    let (sample, made_there) = (Sample::new(A), Sample::new(B));
    let before = sample.dump(true);
    let mut notes = Notes::default();
    let changed = moved(forward(&sample.tree, &options(&map(A), &map(B)), &mut notes).unwrap());
    same(&sample.dump(false), &made_there.dump(false));
    // Each name but the two that are names of one inode.
    assert_eq!(changed as usize, sample::walk(&sample.tree).len() - 2);
    assert_eq!(moved(again(&sample.tree, Direction::Forward, &mut notes).unwrap()), 0);
    assert_eq!(moved(again(&sample.tree, Direction::Back, &mut notes).unwrap()), changed);
    same(&sample.dump(true), &before);
    let left: Vec<_> = std::fs::read_dir(sample.directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// Not a test: what the next one kills.
#[test]
#[ignore = "a child of other tests"]
fn child() {
    let Ok(told) = std::env::var("NSCAP_SHIFT_CHILD") else { return };
    let words: Vec<&str> = told.split(' ').collect();
    let [what, after, tree] = words.as_slice() else { panic!("{told}") };
    let mut notes = Notes { kill_after: after.parse().ok(), ..Notes::default() };
    match *what {
        "forward" => forward(tree.as_ref(), &options(&map(A), &map(B)), &mut notes),
        "resume" => again(tree.as_ref(), Direction::Forward, &mut notes),
        _ => again(tree.as_ref(), Direction::Back, &mut notes),
    }
    .unwrap();
}

/// Whether the child was killed; if not, it has finished.
fn killed(what: &str, after: usize, tree: &Path) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("NSCAP_SHIFT_CHILD", format!("{what} {after} {}", tree.display()))
        .output()
        .unwrap();
    assert!(output.status.success() || output.status.signal() == Some(9), "{output:?}");
    output.status.signal() == Some(9)
}

/// What a user gets from the tree: from a program capabilities, effective uid and gid; for a file
/// whether it can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gets {
    Program { permitted: u64, uid: u32, gid: u32 },
    Reads(bool),
    Nothing,
}

/// What the kernel gives each user that could get anything, by a real execve(2) and a real open(2).
struct Lookers {
    containers: [Container; 2],
    tree: PathBuf,
}

impl Lookers {
    fn new(tree: &Path) -> Lookers {
        let containers = [A, B].map(|base| Container::new(&format!("0 {base} 65536")));
        Lookers { containers, tree: tree.to_owned() }
    }

    fn look(&self) -> BTreeMap<String, Gets> {
        let bin = self.tree.join("bin");
        let script = format!(
            "cd {} && for p in {}; do echo \"== $p\"; ./$p /proc/self/status; done 2>/dev/null; true",
            bin.display(),
            PROGRAMS.join(" ")
        );
        let mut all = BTreeMap::new();
        let host = Command::new("setpriv")
            .args(["--reuid=7", "--regid=7", "--clear-groups", "sh", "-c", &script])
            .output()
            .unwrap();
        self.programs("host", &host.stdout, &mut all);
        for (container, name) in self.containers.iter().zip(["a", "b"]) {
            self.programs(name, &container.run(&["sh", "-c", &script], "7").stdout, &mut all);
        }
        for (base, name) in [(A, "a"), (B, "b")] {
            for (uid, gid) in [(0, 0), (7, 8), (100, 8), (100, 42)] {
                self.reads(name, base + uid, base + gid, &mut all);
            }
        }
        all
    }

    fn programs(&self, who: &str, said: &[u8], all: &mut BTreeMap<String, Gets>) {
        let said = String::from_utf8_lossy(said);
        for status in said.split("== ").filter(|status| !status.is_empty()) {
            let mut lines = status.lines();
            let program = lines.next().unwrap();
            let word = |field: &str, at: usize| {
                let line = lines.clone().find_map(|line| line.strip_prefix(field));
                line.and_then(|line| line.split_whitespace().nth(at))
            };
            let gets = (|| {
                Some(Gets::Program {
                    permitted: u64::from_str_radix(word("CapPrm:", 0)?, 16).ok()?,
                    uid: word("Uid:", 1)?.parse().ok()?,
                    gid: word("Gid:", 1)?.parse().ok()?,
                })
            })();
            all.insert(format!("{who} {program}"), gets.unwrap_or(Gets::Nothing));
        }
    }

    fn reads(&self, who: &str, uid: u32, gid: u32, all: &mut BTreeMap<String, Gets>) {
        let files = ["etc/shadow", "etc/listed", "etc/denied", "etc/new\nline", "bin/two"];
        let script = "for f; do if true 2>/dev/null <\"$f\"; then echo yes; else echo no; fi; done";
        let output = Command::new("setpriv")
            .args([format!("--reuid={uid}"), format!("--regid={gid}")])
            .args(["--clear-groups", "sh", "-c", script, "sh"])
            .args(files)
            .current_dir(&self.tree)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.lines().count(), files.len(), "{said}");
        for (file, line) in files.iter().zip(said.lines()) {
            all.insert(format!("{who} {uid}:{gid} {file}"), Gets::Reads(line == "yes"));
        }
    }
}

/// Whether each user gets at most the old or the new grant.
fn never_more(
    now: &BTreeMap<String, Gets>,
    before: &BTreeMap<String, Gets>,
    after: &BTreeMap<String, Gets>,
) -> Result<(), String> {
    for (key, gets) in now {
        let within = |all: &BTreeMap<String, Gets>| match (*gets, all[key]) {
            (Gets::Nothing | Gets::Reads(false), _) => true,
            (Gets::Reads(true), most) => most == Gets::Reads(true),
            (
                Gets::Program { permitted, uid, gid },
                Gets::Program { permitted: p, uid: u, gid: g },
            ) => permitted & !p == 0 && (uid == u || uid == 7) && (gid == g || gid == 7),
            (Gets::Program { .. }, _) => false,
        };
        if !within(before) && !within(after) {
            return Err(format!(
                "{key}: {gets:?}, {:?} before, {:?} after",
                before[key], after[key]
            ));
        }
    }
    Ok(())
}

/// By the rules of the design, for what a bare kernel does not honour.
fn entries_are_old_or_new(sample: &Sample, before: &Sample, after: &Sample) {
    let held = |path: &Path| {
        let mut namespaces = Namespaces::own().unwrap();
        let file = nscap_linux::CapFile::open(path, nscap_linux::Links::Refuse).unwrap();
        let state = file.read(&mut namespaces).unwrap();
        let stored = state.stored(&namespaces).0;
        (stored.host, stored.entries.iter().collect::<Vec<_>>())
    };
    for program in PROGRAMS {
        let [now, before, after] =
            [sample, before, after].map(|s| held(&s.path("bin").join(program)));
        let nothing = (nscap_core::HostValue::Absent, Vec::new());
        assert!(now == nothing || now == before || now == after, "{program}: {now:?}");
    }
}

#[test]
fn killed_after_each_step_nobody_ever_gets_more_and_it_can_be_resumed_and_undone() {
    let test = "killed_after_each_step_nobody_ever_gets_more_and_it_can_be_resumed_and_undone";
    if !is_root(test) {
        return;
    }
    // On a tmpfs: each of some 200 shifts waits until its file system is synced, the machine's own
    // with all that others write to it.
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o mode=755 none \"$2\" && NSCAP_SHIFT_PLACE=$2 exec \"$1\" --exact \
        killed_after_each_step --ignored --nocapture";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"])
        .args([std::env::current_exe().unwrap().as_path(), directory.path()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

/// Not a test: runs in a mount namespace of its own.
#[test]
#[ignore = "a child of another test"]
fn killed_after_each_step() {
    let Some(place) = std::env::var_os("NSCAP_SHIFT_PLACE") else { return };
    let new = |base| Sample::below(place.as_ref(), base);
    let (sample, at_a, at_b) = (new(A), new(A), new(B));
    let tree = &sample.tree;
    let (exact, there) = (sample.dump(true), at_b.dump(false));
    let entry = &exact[Path::new("attributes # file: bin/entry")];
    assert!(entry.contains("security.capability=0x0100000300200000"), "{entry}");
    let looks = |tree: &Path| Lookers::new(tree).look();
    let (before, after) = (looks(&at_a.tree), looks(&at_b.tree));
    // The probe must see the grants that exist.
    assert_eq!(before.len(), 3 * PROGRAMS.len() + 2 * 4 * 5);
    let net_raw = Gets::Program { permitted: 1 << 13, uid: 7, gid: 7 };
    assert_eq!((before["a entry"], after["b entry"]), (net_raw, net_raw));
    assert!(before["b entry"] == after["a entry"] && before["b entry"] != net_raw);
    assert_eq!(before["host suid"], Gets::Program { permitted: 0, uid: A, gid: 7 });
    assert_eq!(before[&format!("a {}:{} etc/denied", A + 7, A + 8)], Gets::Reads(false));

    let lookers = Lookers::new(tree);
    let check = |what: &str| {
        entries_are_old_or_new(&sample, &at_a, &at_b);
        never_more(&lookers.look(), &before, &after).unwrap_or_else(|e| panic!("{what}: {e}"));
    };
    let finish = |direction| {
        moved(again(tree, direction, &mut Notes::default()).unwrap());
    };
    let mut steps = 0;
    loop {
        steps += 1;
        if !killed("forward", steps, tree) {
            break;
        }
        check(&format!("forward {steps}"));
        finish(Direction::Back);
        same(&sample.dump(true), &exact);
        assert!(killed("forward", steps, tree));
        finish(Direction::Forward);
        same(&sample.dump(false), &there);
        if killed("back", steps, tree) {
            check(&format!("back {steps}"));
            // The last step removes the journal.
            if std::fs::read_dir(sample.directory.path()).unwrap().count() > 1 {
                finish(Direction::Back);
            }
        }
        same(&sample.dump(true), &exact);
    }
    assert!(steps > 50, "only {steps} steps were met");
    same(&sample.dump(false), &there);
}
