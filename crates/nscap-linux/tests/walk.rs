// SPDX-License-Identifier: MIT OR Apache-2.0
//! The walk on real file systems: every method finds the same files, with any number of threads and
//! descriptors, and while other tasks change the tree.
//!
//! Mounts are made in a mount namespace of their own, in which this program is run again as
//! `walker`.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nscap_linux::walk::{Event, Walk};
use nscap_testing::is_root;
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, mkdirat, openat};

/// cap_net_raw=ep, revision 2.
const VALUE: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a walk found, and the errno of each failure with its path.
fn walk(walk: &Walk, root: &Path) -> (Vec<PathBuf>, Vec<(PathBuf, i32)>) {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    walk.run([root], |event| {
        match event {
            Event::Found(file) => found.push(file.path().to_owned()),
            Event::Failed(error) => {
                let text = error.to_string();
                let path = text.split(": ").next().unwrap_or_default();
                failed.push((PathBuf::from(path.trim_matches('\'')), error.errno()));
            }
            other => panic!("{other:?}"),
        }
        ControlFlow::Continue(())
    });
    found.sort();
    failed.sort();
    (found, failed)
}

fn threads(n: usize) -> Walk {
    Walk::new().threads(NonZeroUsize::new(n).unwrap())
}

/// `every way of looking` by the names that a script uses.
fn configured(words: &str) -> Walk {
    words.split_whitespace().fold(Walk::new(), |walk, word| match word {
        "full" => walk.full_check(true),
        "fchdir" => walk.without_at_calls(),
        "one" => walk.one_file_system(true),
        "2" | "8" => walk.threads(word.parse().unwrap()),
        other => panic!("{other}"),
    })
}

/// No test of its own: what a script of [`scenario`] runs.
#[test]
fn walker() {
    let Some(root) = std::env::var_os("WALK") else { return };
    let words = std::env::var("WORDS").unwrap_or_default();
    let (found, failed) = walk(&configured(&words), Path::new(&root));
    println!();
    found.iter().for_each(|path| println!("@found {}", path.display()));
    failed.iter().for_each(|(path, errno)| println!("@failed {errno} {}", path.display()));
}

/// Runs a script in a mount namespace of its own, with a fresh directory `$dir` that it is in. In
/// it, `walk WORDS` prints what a walk of `$dir/tree` finds there, sorted.
fn scenario(script: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let prelude = r#"
        cd "$dir"
        walk() {
            WALK=tree WORDS="$*" "$program" --exact walker --nocapture | sed -n 's/^@//p' | sort
        }
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-euc"])
        .arg(format!("{prelude}\n{script}"))
        .env("program", std::env::current_exe().unwrap())
        .env("dir", directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("-V").output().is_ok();
    if !there {
        println!("skipped: no {program} here");
    }
    there
}

/// What is made on each file system, and what must be found of it.
const EACH: &str = r#"
    mkdir -p tree/a/b tree/empty
    cd tree
    touch none a/none other a/b/both a/table a/b/v2 v3 malformed
    setfattr -n user.x -v 1 other 2>/dev/null || true
    setfattr -n trusted.x -v 1 other
    setcap cap_net_raw=ep a/b/v2
    setcap -n 100000 cap_net_raw=ep v3
    setcap cap_chown+i a/b/both
    setfattr -n security.nscapability -v 0x00 a/b/both
    setfattr -n security.nscapability -v 0x01 a/table
    for n in $(seq 20); do setfattr -n "trusted.many-names-that-fill-the-list-$n" -v 1 a/b/v2; done
    setcap cap_kill=ei none; setcap -r none
    ln -s a/b/v2 link
    ln a/b/v2 hard
    cd ..
"#;
const FOUND: &str = "found tree/a/b/both\nfound tree/a/b/v2\nfound tree/a/table\nfound tree/hard\n\
    found tree/v3\n";

#[test]
fn every_way_finds_the_same_on_every_file_system() {
    if !is_root("every_way_finds_the_same_on_every_file_system") {
        return;
    }
    let mut mounts = vec![
        "mkdir tree".to_owned(),
        "mount --mkdir -t tmpfs none tree".to_owned(),
        "mkdir lower upper work tree; mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work \
         none tree"
            .to_owned(),
    ];
    // The smallest sizes that each takes.
    for (kind, size, options) in [
        ("ext4", "8M", "-q -F -b 4096 -I 256"),
        // Its directories do not say what kind a file is.
        ("ext4", "8M", "-q -F -b 4096 -O ^filetype"),
        ("ext2", "8M", "-q -F -b 4096"),
        ("xfs", "300M", "-q"),
        ("btrfs", "110M", "-q"),
    ] {
        let mkfs = format!("mkfs.{kind}");
        if has(&mkfs) {
            mounts.push(format!(
                "truncate -s {size} image; {mkfs} {options} image >mkfs; mkdir tree; mount -o loop image tree"
            ));
        }
    }
    for mount in mounts {
        let script = format!(
            "{mount}\n{EACH}\nfor words in '' full fchdir 'full fchdir' 2 'fchdir 8' 'one 2'; do
                echo \"$words:\"; walk $words; done"
        );
        let words = ["", "full", "fchdir", "full fchdir", "2", "fchdir 8", "one 2"];
        let expected: String = words.iter().map(|w| format!("{w}:\n{FOUND}")).collect();
        assert_eq!(scenario(&script), expected, "{mount}");
    }
}

#[test]
fn a_file_may_be_a_mount_point() {
    if !is_root("a_file_may_be_a_mount_point") {
        return;
    }
    let said = scenario(
        "mkdir tree lower upper work over
         touch tree/file tree/plain lower/file
         setcap cap_net_raw=ep lower/file
         mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none over
         mount --bind over/file tree/file
         walk; echo one; walk one; umount tree/file; echo without; walk",
    );
    assert_eq!(said, "found tree/file\none\nwithout\n");
}

#[test]
fn bind_mounts_end_and_one_file_system_leaves_them_out() {
    if !is_root("bind_mounts_end_and_one_file_system_leaves_them_out") {
        return;
    }
    let said = scenario(
        "mkdir -p tree/a/b tree/a/c tree/tmp
         cp /bin/true tree/a/file
         setcap cap_net_raw=ep tree/a/file
         mount --bind tree tree/a/b
         mount --rbind tree tree/a/c
         mount -t tmpfs none tree/tmp
         cp /bin/true tree/tmp/file
         setcap cap_net_raw=ep tree/tmp/file
         walk 2; echo one; walk one",
    );
    let found = |paths: &[&str]| -> String {
        paths.iter().map(|path| format!("found tree/{path}\n")).collect()
    };
    let all = ["a/b/a/file", "a/c/a/b/a/file", "a/c/a/file", "a/file", "tmp/file"];
    assert_eq!(said, format!("{}one\n{}", found(&all), found(&["a/file"])));
}

/// A chain of directories, with a file that has capabilities in each and a directory beside the
/// next with one more.
fn chain(root: &Path, name: &str, depth: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&at, name, Mode::RWXU).unwrap();
        mkdirat(&at, "side", Mode::RWXU).unwrap();
        for file in ["file", "side/file"] {
            let file = openat(&at, file, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
            rustix::fs::fsetxattr(file, "security.capability", &VALUE, XattrFlags::empty())
                .unwrap();
        }
        at = openat(&at, name, flags, Mode::empty()).unwrap();
    }
}

#[test]
fn paths_longer_than_path_max() {
    if !is_root("paths_longer_than_path_max") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    chain(directory.path(), &"x".repeat(200), 40);
    let ways = [threads(1), threads(2), threads(1).full_check(true), threads(2).without_at_calls()];
    let expected = walk(&ways[0], directory.path());
    assert_eq!((expected.0.len(), expected.1.len()), (80, 0));
    assert!(expected.0.iter().any(|path| path.as_os_str().len() > 7000));
    for way in &ways {
        assert_eq!(walk(way, directory.path()), expected, "{way:?}");
    }
}

#[test]
fn few_descriptors_are_enough() {
    if !is_root("few_descriptors_are_enough") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    // Deep enough that not even what is opened again fits into one path.
    chain(&tree, &"d".repeat(30), 250);
    for words in ["", "2", "fchdir 2", "one"] {
        let output = Command::new("prlimit")
            .args(["--nofile=24:24", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "walker", "--nocapture"])
            .envs([("WALK", tree.to_str().unwrap()), ("WORDS", words)])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let found: BTreeSet<&str> = said.lines().filter(|l| l.starts_with("@found")).collect();
        let failed = said.lines().find(|line| line.starts_with("@failed"));
        assert_eq!((found.len(), failed), (500, None), "{words}");
    }
}

#[test]
fn a_directory_with_more_subdirectories_than_wait_at_once() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..4000 {
        let subdirectory = directory.path().join(format!("directory-{n}"));
        std::fs::create_dir(&subdirectory).unwrap();
        std::fs::write(subdirectory.join("file"), "").unwrap();
    }
    for n in [1, 2, 8] {
        let way = threads(n);
        assert_eq!(walk(&way, directory.path()), (Vec::new(), Vec::new()));
        assert_eq!((way.progress().directories(), way.progress().files()), (4001, 4000));
    }
}

#[test]
fn what_is_no_directory_or_regular_file_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    // Opening it would wait for a writer.
    rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    std::os::unix::fs::symlink(directory.path(), path("loop")).unwrap();
    std::os::unix::fs::symlink("/bin", path("out")).unwrap();
    if is_root("what_is_no_directory_or_regular_file_is_not_opened, a device") {
        // No driver has this number: opening it would be ENXIO.
        let nowhere = rustix::fs::makedev(4095, 1);
        rustix::fs::mknodat(CWD, path("device"), FileType::CharacterDevice, Mode::RWXU, nowhere)
            .unwrap();
    }
    let way = threads(1);
    assert_eq!(walk(&way, directory.path()), (Vec::new(), Vec::new()));
    assert_eq!((way.progress().directories(), way.progress().files()), (1, 0));
    assert_eq!(walk(&threads(2), &path("loop")).1, [(path("loop"), libc::ENOTDIR)]);
}

#[test]
fn breaking_off_ends_all_threads() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
    for n in [1, 2, 8] {
        let mut events = 0;
        threads(n).run(["/nonexistent", "/nonexistent/2", "/nonexistent/3"], |_| {
            events += 1;
            ControlFlow::Break(())
        });
        assert_eq!(events, 1);
    }
    let panics = std::panic::catch_unwind(|| {
        threads(2).run(["/nonexistent"], |_| panic!("as a caller may"));
    });
    assert!(panics.is_err());
}

/// What changes meanwhile is found or not, but what stays is, and nothing outside is touched.
#[test]
fn a_tree_that_changes_meanwhile() {
    if !is_root("a_tree_that_changes_meanwhile") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let give = |path: &Path| {
        std::fs::write(path, "").unwrap();
        let none = XattrFlags::empty();
        rustix::fs::setxattr(path, "security.capability", &VALUE, none).unwrap();
    };
    give(&outside.path().join("secret"));
    let path = |name: &str| directory.path().join(name);
    let mut stays = Vec::new();
    for n in 0..40 {
        std::fs::create_dir_all(path(&format!("{n}/stays/deep"))).unwrap();
        stays.push(path(&format!("{n}/stays/deep/file")));
        give(stays.last().unwrap());
    }
    stays.sort();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| change(&over, directory.path(), outside.path()));
        for round in 0..300 {
            let way = threads(1 + round % 3).full_check(round % 2 == 0);
            let way = if round % 5 == 0 { way.without_at_calls() } else { way };
            let (found, failed) = walk(&way, directory.path());
            let outside = found.iter().find(|path| path.ends_with("secret"));
            let missing = stays.iter().find(|path| !found.contains(path));
            over.store(
                round == 299 || outside.or(missing).is_some() || !failed.is_empty(),
                Ordering::Relaxed,
            );
            assert_eq!((outside, missing, failed), (None, None, Vec::new()), "{way:?}");
        }
    });
}

/// Renames, replaces by links, and removes, until told to stop.
fn change(over: &AtomicBool, tree: &Path, outside: &Path) {
    let path = |name: &str| tree.join(name);
    while !over.load(Ordering::Relaxed) {
        for n in 0..40 {
            let (swapped, aside) = (path(&format!("{n}/swapped")), path(&format!("{n}/aside")));
            std::fs::create_dir_all(swapped.join("goes/too")).unwrap();
            std::fs::write(swapped.join("goes/file"), "").unwrap();
            std::fs::rename(&swapped, &aside).unwrap();
            std::os::unix::fs::symlink(outside, &swapped).unwrap();
            std::fs::remove_dir_all(&aside).unwrap();
            std::fs::remove_file(&swapped).unwrap();
            std::fs::write(&swapped, "").unwrap();
            std::fs::remove_file(&swapped).unwrap();
        }
    }
}

/// Any names, any kinds: what is read is what was made.
#[test]
fn directories_with_any_names_are_read_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let fresh = AtomicUsize::new(0);
    bolero::check!().with_type::<Vec<(Vec<u8>, u8)>>().with_iterations(100).for_each(|names| {
        let root = directory.path().join(fresh.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&root).unwrap();
        let at = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let (mut directories, mut files) = (1, 0);
        for (name, kind) in names.iter().take(20) {
            let name: Vec<u8> = name.iter().copied().filter(|b| !b"/\0".contains(b)).collect();
            let Ok(name) = CString::new(name) else { continue };
            // What the file system does not take for a name is not made.
            match kind % 4 {
                0 => directories += u64::from(mkdirat(&at, &name, Mode::RWXU).is_ok()),
                1 | 2 => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
                    files += u64::from(openat(&at, &name, flags, Mode::RUSR).is_ok());
                }
                _ => {
                    let _ = rustix::fs::symlinkat("/", &at, &name);
                }
            }
        }
        for way in [threads(1), threads(2).without_at_calls()] {
            assert_eq!(walk(&way, &root), (Vec::new(), Vec::new()));
            assert_eq!(
                (way.progress().directories(), way.progress().files()),
                (directories, files)
            );
        }
    });
}
