// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a shift refuses and detects, and how it resists other users.

mod sample;

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nscap_core::{FileCaps, HostValue};
use nscap_image::shift::{Deviation, Direction, Error, Journal, Options, Tree, Unmapped};
use nscap_linux::{CapFile, Links, Namespaces};
use nscap_testing::is_root;
use sample::run::{A, B, Notes, again, forward, map, moved, options};
use sample::{Sample, copy_cat, tool};

/// A directory with a tree in it that has one file.
struct Small {
    directory: tempfile::TempDir,
    tree: PathBuf,
    file: PathBuf,
}

impl Small {
    fn new(owner: u32) -> Small {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let tree = directory.path().join("tree");
        let file = tree.join("file");
        std::fs::create_dir(&tree).unwrap();
        copy_cat(&file);
        for path in [&tree, &file] {
            lchown(path, Some(owner), Some(owner)).unwrap();
        }
        Small { directory, tree, file }
    }

    fn setcap(&self, root: u32) {
        let root = root.to_string();
        tool("setcap", &["-n", &root, "cap_net_raw=ep", self.file.to_str().unwrap()]);
    }

    fn getcap(&self) -> String {
        let said = tool("getcap", &["-n", self.file.to_str().unwrap()]);
        said.trim_end().rsplit_once("file ").map_or_else(String::new, |(_, caps)| caps.to_owned())
    }

    fn owner(&self) -> u32 {
        use std::os::unix::fs::MetadataExt as _;
        self.file.symlink_metadata().unwrap().uid()
    }

    fn mode(&self) -> u32 {
        self.file.symlink_metadata().unwrap().permissions().mode() & 0o7777
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join(".nscap-shift-tree.journal")
    }

    fn shift(&self, options: &Options) -> (Option<nscap_image::shift::Outcome>, Vec<String>) {
        let mut notes = Notes::default();
        let outcome = forward(&self.tree, options, &mut notes).ok();
        (outcome, notes.problems.into_iter().map(|(_, problem)| problem).collect())
    }

    /// Plans and writes the journal, and goes no further.
    fn begin(&self, options: &Options) {
        let mut namespaces = Namespaces::own().unwrap();
        let tree = Tree::open(&self.tree, &mut namespaces).unwrap();
        let plan = tree.plan(options, &mut namespaces, &mut ()).unwrap();
        drop(plan.start(&tree).unwrap());
    }

    /// Goes on by the journal; gives what was odd and whether nothing is left to do.
    fn go_on(&self, direction: Direction) -> (Vec<Deviation>, bool) {
        let mut notes = Notes::default();
        let outcome = again(&self.tree, direction, &mut notes).unwrap();
        (notes.odd.into_iter().map(|(_, odd)| odd).collect(), outcome.finished)
    }
}

/// A process that has a file open for writing.
struct Writer(Child);

impl Writer {
    fn of(file: &Path) -> Writer {
        let mut child = Command::new("sh")
            .args(["-c", "exec 3>>\"$1\"; echo open; read line", "sh"])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "open\n");
        Writer(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

thread_local! {
    static WRITER: RefCell<Option<Writer>> = const { RefCell::new(None) };
}

fn a_to_b() -> Options {
    options(&map(A), &map(B))
}

#[test]
fn what_stands_in_the_way_is_named_before_anything_is_changed() {
    if !is_root("what_stands_in_the_way_is_named_before_anything_is_changed") {
        return;
    }
    type Spoil = fn(&Small);
    let spoilers: [(&str, Spoil); 9] = [
        ("owner", |s| lchown(&s.file, Some(5), None).unwrap()),
        ("group", |s| lchown(&s.file, None, Some(5)).unwrap()),
        ("rootid", |s| s.setcap(5)),
        ("acl-id", |s| drop(tool("setfacl", &["-m", "u:5:r", s.file.to_str().unwrap()]))),
        ("acl-id", |s| drop(tool("setfacl", &["-m", "d:g:5:r", s.tree.to_str().unwrap()]))),
        ("other-names", |s| std::fs::hard_link(&s.file, s.directory.path().join("x")).unwrap()),
        ("busy", |s| {
            s.setcap(A);
            WRITER.with(|writer| *writer.borrow_mut() = Some(Writer::of(&s.file)));
        }),
        ("immutable", |s| drop(tool("chattr", &["+i", s.file.to_str().unwrap()]))),
        ("immutable", |s| drop(tool("chattr", &["+a", s.tree.to_str().unwrap()]))),
    ];
    for (what, spoil) in spoilers {
        let small = Small::new(A);
        spoil(&small);
        let dump = |small: &Small| {
            let stat = tool("stat", &["-c", "%u:%g %a %z", small.file.to_str().unwrap()]);
            stat + &tool("getfattr", &["-d", "-m", "-", "-e", "hex", small.file.to_str().unwrap()])
        };
        let before = dump(&small);
        let (outcome, problems) = small.shift(&a_to_b());
        if what == "immutable" {
            tool("chattr", &["-ia", small.file.to_str().unwrap(), small.tree.to_str().unwrap()]);
        }
        WRITER.take();
        assert!(outcome.is_none(), "{what}");
        assert!(problems.iter().any(|problem| problem == what), "{what}: {problems:?}");
        if what != "immutable" {
            assert_eq!(dump(&small), before, "{what}");
        }
        let left = std::fs::read_dir(small.directory.path()).unwrap();
        let hidden = left.filter(|e| e.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
        assert_eq!(hidden.count(), 0, "{what}");
    }
}

#[test]
fn what_has_no_image_is_skipped_or_given_away_but_grants_are_not() {
    if !is_root("what_has_no_image_is_skipped_or_given_away_but_grants_are_not") {
        return;
    }
    let stranger = || {
        let small = Small::new(A);
        lchown(&small.file, Some(5), Some(6)).unwrap();
        std::fs::set_permissions(&small.file, PermissionsExt::from_mode(0o6755)).unwrap();
        small.setcap(77);
        small
    };
    let skipped = stranger();
    let skip = Options { unmapped: Unmapped::Skip, ..a_to_b() };
    assert_eq!(moved(skipped.shift(&skip).0.unwrap()), 1);
    assert_eq!((skipped.owner(), skipped.mode()), (5, 0o6755));
    assert_eq!(skipped.getcap(), "cap_net_raw=ep [rootid=77]");

    let given = stranger();
    let to = Options { unmapped: Unmapped::Id(B + 3), ..a_to_b() };
    assert_eq!(moved(given.shift(&to).0.unwrap()), 2);
    assert_eq!((given.owner(), given.mode()), (B + 3, 0o755));
    assert_eq!(given.getcap(), "");
    assert_eq!(given.go_on(Direction::Back), (vec![], true));
    assert_eq!((given.owner(), given.mode()), (5, 0o6755));
    assert_eq!(given.getcap(), "cap_net_raw=ep [rootid=77]");
}

#[test]
fn a_grant_becomes_the_hosts_by_permission_only() {
    if !is_root("a_grant_becomes_the_hosts_by_permission_only") {
        return;
    }
    let to_host = options(&map(A), "host");
    let allowed = Options { to_host: true, ..to_host.clone() };
    let entry = Small::new(A);
    entry.setcap(A);
    assert_eq!(entry.shift(&to_host).1, ["host-value"]);
    assert_eq!(entry.getcap(), format!("cap_net_raw=ep [rootid={A}]"));
    assert_eq!(moved(entry.shift(&allowed).0.unwrap()), 2);
    assert_eq!((entry.getcap().as_str(), entry.owner()), ("cap_net_raw=ep", 0));
    // And back to a container: what was the host's root's is now its root's.
    let back = options("host", &map(B));
    assert_eq!(moved(entry.shift(&back).0.unwrap()), 2);
    assert_eq!(entry.getcap(), format!("cap_net_raw=ep [rootid={B}]"));

    let set_id = Small::new(A);
    std::fs::set_permissions(&set_id.file, PermissionsExt::from_mode(0o4755)).unwrap();
    assert_eq!(set_id.shift(&to_host).1, ["set-id-host"]);
    assert_eq!(moved(set_id.shift(&allowed).0.unwrap()), 2);
    assert_eq!((set_id.owner(), set_id.mode()), (0, 0o4755));
}

#[test]
fn content_that_changed_while_its_grant_was_away_does_not_get_it_back() {
    if !is_root("content_that_changed_while_its_grant_was_away_does_not_get_it_back") {
        return;
    }
    let prepared = || {
        let small = Small::new(A);
        std::fs::set_permissions(&small.file, PermissionsExt::from_mode(0o4755)).unwrap();
        small.setcap(A);
        small
    };
    // In the journal and not yet changed; then written to with the old size and time.
    let change = |small: &Small| {
        let script = "touch -r \"$1\" \"$1.t\"; printf x | dd of=\"$1\" bs=1 seek=100 conv=notrunc \
            status=none; touch -r \"$1.t\" \"$1\"; rm \"$1.t\"";
        tool("sh", &["-ec", script, "sh", small.file.to_str().unwrap()]);
    };
    let lost = (vec![Deviation::GrantLost], true);

    let taken = prepared();
    taken.begin(&a_to_b());
    // As a kill leaves it between taking and giving.
    tool("chmod", &["0755", taken.file.to_str().unwrap()]);
    tool("setcap", &["-r", taken.file.to_str().unwrap()]);
    change(&taken);
    assert_eq!(taken.go_on(Direction::Forward), lost);
    assert_eq!((taken.getcap().as_str(), taken.owner(), taken.mode()), ("", B, 0o755));

    let done = prepared();
    assert_eq!(moved(done.shift(&a_to_b()).0.unwrap()), 2);
    change(&done);
    assert_eq!(done.go_on(Direction::Back), (vec![Deviation::GrantLost], false));
    assert_eq!((done.getcap().as_str(), done.owner(), done.mode()), ("", A, 0o755));

    // Removed by another task after the shift: undoing the shift does not restore it.
    let sparse = prepared();
    tool("truncate", &["-s", "15T", sparse.file.to_str().unwrap()]);
    std::fs::set_permissions(&sparse.file, PermissionsExt::from_mode(0o4755)).unwrap();
    assert_eq!(moved(sparse.shift(&a_to_b()).0.unwrap()), 2);
    let removed = prepared();
    assert_eq!(moved(removed.shift(&a_to_b()).0.unwrap()), 2);
    tool("setcap", &["-r", removed.file.to_str().unwrap()]);
    assert_eq!(removed.go_on(Direction::Back), (vec![Deviation::GrantLost], false));
    assert_eq!((removed.getcap().as_str(), removed.owner(), removed.mode()), ("", A, 0o755));
}

#[test]
fn a_table_that_counts_for_nothing_is_not_woken_by_the_new_owner() {
    if !is_root("a_table_that_counts_for_nothing_is_not_woken_by_the_new_owner") {
        return;
    }
    // Sealed for an owner of the range it moves to, beside the same host value: void until then.
    let small = Small::new(B);
    tool("setcap", &["cap_chown=ep", small.file.to_str().unwrap()]);
    let file = CapFile::open(&small.file, Links::Refuse).unwrap();
    let mut namespaces = Namespaces::own().unwrap();
    let before = file.read(&mut namespaces).unwrap();
    let caps = FileCaps::from_text(b"cap_sys_admin=ep").unwrap();
    let record = [*nscap_core::Record::new(B, caps).as_bytes()];
    let entries = nscap_core::Entries::decode(&record).unwrap();
    let host = before.stored(&namespaces).0.host;
    let next = nscap_core::Stored { host, entries };
    file.write(&before, &next, &namespaces).unwrap();
    lchown(&small.file, Some(A), Some(A)).unwrap();
    lchown(&small.tree, Some(A), Some(A)).unwrap();
    tool("setcap", &["cap_chown=ep", small.file.to_str().unwrap()]);
    let stored = |file: &CapFile| {
        let mut namespaces = Namespaces::own().unwrap();
        let state = file.read(&mut namespaces).unwrap();
        let stored = state.stored(&namespaces).0;
        (matches!(stored.host, HostValue::Present(_)), stored.entries.len())
    };
    assert_eq!(stored(&file), (true, 0));
    assert_eq!(moved(small.shift(&a_to_b()).0.unwrap()), 2);
    assert_eq!((stored(&file), small.owner()), ((true, 0), B));
    assert_eq!(small.go_on(Direction::Back), (vec![], true));
    assert_eq!(stored(&file), (true, 0));
}

#[test]
fn whoever_writes_keeps_his_file_where_it_is_until_he_is_done() {
    if !is_root("whoever_writes_keeps_his_file_where_it_is_until_he_is_done") {
        return;
    }
    let small = Small::new(A);
    small.setcap(A);
    small.begin(&a_to_b());
    let writer = Writer::of(&small.file);
    assert_eq!(small.go_on(Direction::Forward), (vec![Deviation::Busy], false));
    assert_eq!(small.owner(), A);
    let open = forward(&small.tree, &a_to_b(), &mut Notes::default()).unwrap_err();
    assert!(matches!(open, Error::Open { .. }), "{open}");
    assert!(open.to_string().contains("--resume or --undo"), "{open}");
    drop(writer);
    assert_eq!(small.go_on(Direction::Forward), (vec![], true));
    assert_eq!((small.getcap(), small.owner()), (format!("cap_net_raw=ep [rootid={B}]"), B));
}

#[test]
fn whoever_writes_at_any_moment_leaves_no_grant_on_what_he_wrote() {
    if !is_root("whoever_writes_at_any_moment_leaves_no_grant_on_what_he_wrote") {
        return;
    }
    for round in 0..40 {
        let small = Small::new(A);
        std::fs::set_permissions(&small.file, PermissionsExt::from_mode(0o4755)).unwrap();
        small.setcap(A);
        let mut notes = Notes::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_micros(round * 400));
                // Waits where the file is leased, and writes then.
                let file = std::fs::OpenOptions::new().write(true).open(&small.file).unwrap();
                std::os::unix::fs::FileExt::write_at(&file, b"#", 100).unwrap();
            });
            let _ = forward(&small.tree, &a_to_b(), &mut notes);
        });
        assert_eq!(small.getcap(), "", "round {round}: {:?} {:?}", notes.problems, notes.odd);
        if small.journal().exists() {
            for direction in [Direction::Forward, Direction::Back] {
                let _ = again(&small.tree, direction, &mut notes);
                assert_eq!(small.getcap(), "", "round {round}, {direction:?}");
            }
        }
    }
}

#[test]
fn what_was_exchanged_or_changed_since_the_plan_is_left_alone() {
    if !is_root("what_was_exchanged_or_changed_since_the_plan_is_left_alone") {
        return;
    }
    type Meanwhile = fn(&Small);
    let all: [(Deviation, Meanwhile); 6] = [
        (Deviation::Gone, |s| std::fs::remove_file(&s.file).unwrap()),
        (Deviation::Replaced, |s| {
            std::fs::remove_file(&s.file).unwrap();
            copy_cat(&s.file);
        }),
        (Deviation::Replaced, |s| {
            std::fs::remove_file(&s.file).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", &s.file).unwrap();
        }),
        (Deviation::Changed, |s| lchown(&s.file, Some(9), None).unwrap()),
        (Deviation::Changed, |s| drop(tool("chmod", &["4711", s.file.to_str().unwrap()]))),
        (Deviation::Changed, |s| s.setcap(A)),
    ];
    for (odd, meanwhile) in all {
        let small = Small::new(A);
        small.begin(&a_to_b());
        meanwhile(&small);
        let stat = |small: &Small| {
            Command::new("stat")
                .args(["-c", "%u %g %a %i"])
                .arg(&small.file)
                .output()
                .unwrap()
                .stdout
        };
        let before = stat(&small);
        assert_eq!(small.go_on(Direction::Forward), (vec![odd], true));
        assert_eq!(stat(&small), before, "{odd:?}");
    }
}

#[test]
fn a_journal_that_somebody_else_could_have_written_is_not_followed() {
    if !is_root("a_journal_that_somebody_else_could_have_written_is_not_followed") {
        return;
    }
    let begun = || {
        let small = Small::new(A);
        small.begin(&a_to_b());
        small
    };
    let refused = |small: &Small, errno: i32, what: &str| {
        let error = again(&small.tree, Direction::Forward, &mut Notes::default()).unwrap_err();
        assert_eq!(error.errno(), errno, "{what}: {error}");
        assert_eq!(small.owner(), A, "{what}");
    };
    const EPERM: i32 = 1;
    const EIO: i32 = 5;
    const ELOOP: i32 = 40;
    const ESTALE: i32 = 116;
    let owned = begun();
    lchown(owned.journal(), Some(1000), None).unwrap();
    refused(&owned, EPERM, "another's");
    let open = begun();
    std::fs::set_permissions(open.journal(), PermissionsExt::from_mode(0o620)).unwrap();
    refused(&open, EPERM, "writable by a group");
    let linked = begun();
    std::fs::hard_link(linked.journal(), linked.directory.path().join("other")).unwrap();
    refused(&linked, EPERM, "two names");
    let link = begun();
    let elsewhere = link.directory.path().join("elsewhere");
    std::fs::rename(link.journal(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, link.journal()).unwrap();
    refused(&link, ELOOP, "a link");
    let (mine, other) = (begun(), begun());
    std::fs::copy(other.journal(), mine.journal()).unwrap();
    refused(&mine, ESTALE, "another tree's");
    // A plan that was never finished is none.
    let planned = Small::new(A);
    std::fs::write(planned.directory.path().join(".nscap-shift-tree.draft"), [1; 99]).unwrap();
    std::fs::set_permissions(
        planned.directory.path().join(".nscap-shift-tree.draft"),
        PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    assert_eq!(moved(planned.shift(&a_to_b()).0.unwrap()), 2);
    let damaged = begun();
    let bytes = std::fs::read(damaged.journal()).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        std::fs::write(damaged.journal(), &changed).unwrap();
        refused(&damaged, EIO, &format!("byte {at}"));
        std::fs::write(damaged.journal(), &bytes[..at]).unwrap();
        refused(&damaged, EIO, &format!("cut at {at}"));
    }
    std::fs::write(damaged.journal(), &bytes).unwrap();
    assert_eq!(damaged.go_on(Direction::Forward), (vec![], true));
    // A mark that was half written says nothing; what it said is then found out again.
    let marked = std::fs::read(damaged.journal()).unwrap();
    assert!(marked.len() > bytes.len());
    for at in bytes.len()..marked.len() {
        std::fs::write(damaged.journal(), &marked[..at]).unwrap();
        let tree = Tree::open(&damaged.tree, &mut Namespaces::own().unwrap()).unwrap();
        let journal = Journal::open(&tree).unwrap().unwrap();
        assert_eq!(journal.stage(), nscap_image::shift::Stage::Begun);
        drop(journal);
        assert_eq!(damaged.go_on(Direction::Forward), (vec![], true));
        assert_eq!(std::fs::read(damaged.journal()).unwrap(), marked);
    }
}

#[test]
fn nothing_outside_is_touched_while_directories_are_swapped_with_links_out() {
    if !is_root("nothing_outside_is_touched_while_directories_are_swapped_with_links_out") {
        return;
    }
    let (sample, outside) = (Sample::new(A), Sample::new(A));
    // What is changed and changed back has another ctime.
    let touched = || {
        use std::os::unix::fs::MetadataExt as _;
        let changed = |path: PathBuf| {
            let stat = path.symlink_metadata().unwrap();
            (path, stat.ctime(), stat.ctime_nsec())
        };
        sample::walk(&outside.tree).into_iter().map(changed).collect::<Vec<_>>()
    };
    let before = touched();
    // The same names are in both trees, so a shift that followed the link would find what it
    // expects.
    for name in ["bin", "etc"] {
        let link = sample.tree.join(format!("{name}.link"));
        std::os::unix::fs::symlink(outside.path(name), &link).unwrap();
        lchown(&link, Some(A), Some(A)).unwrap();
    }
    let stop = AtomicBool::new(false);
    let mut swaps = 0u64;
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0u64;
            while !stop.load(Ordering::Relaxed) {
                for name in ["bin", "etc"] {
                    let (dir, link) = (sample.path(name), sample.path(&format!("{name}.link")));
                    let cwd = rustix::fs::CWD;
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(cwd, &dir, cwd, &link, exchange).unwrap();
                    swaps += 1;
                }
            }
            swaps
        });
        let skip = |from: &str, to: &str| Options { unmapped: Unmapped::Skip, ..options(from, to) };
        for round in 0..60 {
            let (from, to) = if round % 2 == 0 { (map(A), map(B)) } else { (map(B), map(A)) };
            match forward(&sample.tree, &skip(&from, &to), &mut Notes::default()) {
                Ok(_) | Err(Error::Refused { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        swaps = swapper.join().unwrap();
    });
    assert!(swaps > 100, "{swaps}");
    assert_eq!(touched(), before);
}

#[test]
fn mounts_in_the_tree_are_left_and_depth_and_odd_places_are_none() {
    if !is_root("mounts_in_the_tree_are_left_and_depth_and_odd_places_are_none") {
        return;
    }
    let small = Small::new(A);
    // Deeper than the number of descriptors that are held, and longer than PATH_MAX.
    let script = "cd \"$1\"; i=0; while [ $i -lt 300 ]; do mkdir aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; \
        cd -P a*; i=$((i+1)); done; echo x > leaf";
    tool("bash", &["-ec", script, "sh", small.tree.to_str().unwrap()]);
    tool("chown", &["-hR", &format!("{A}:{A}"), small.tree.to_str().unwrap()]);
    assert_eq!(moved(small.shift(&a_to_b()).0.unwrap()), 303);
    let found = format!("find {} ! -uid {B}", small.tree.display());
    assert_eq!(tool("sh", &["-c", &found]), "");
    assert_eq!(small.go_on(Direction::Back), (vec![], true));
    let found = format!("find {} ! -uid {A}", small.tree.display());
    assert_eq!(tool("sh", &["-c", &found]), "");

    let link = small.directory.path().join("link");
    std::os::unix::fs::symlink(&small.tree, &link).unwrap();
    let error = forward(&link, &a_to_b(), &mut Notes::default()).unwrap_err();
    assert!(error.to_string().contains("is a symbolic link"), "{error}");
    let error = forward("/".as_ref(), &a_to_b(), &mut Notes::default()).unwrap_err();
    assert!(error.to_string().contains("no directory above it"), "{error}");
}
