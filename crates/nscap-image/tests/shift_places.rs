// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same shift on every file system, as root of a user namespace, and against GNU tar, which
//! packs in the one namespace and unpacks in the other.

mod sample;

use std::path::{Path, PathBuf};
use std::process::Command;

use nscap_image::shift::Direction;
use nscap_testing::{Container, is_root, own_program};
use sample::run::{A, B, Notes, again, forward, map, moved, options, same};
use sample::{Sample, tool};

/// Runs a test of this program that is ignored otherwise, by this command and with these words.
fn elsewhere(mut command: Command, test: &str, words: &str) -> std::process::Output {
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("NSCAP_SHIFT_CHILD", words)
        .output()
        .unwrap()
}

fn words() -> Option<Vec<String>> {
    let words = std::env::var("NSCAP_SHIFT_CHILD").ok()?;
    Some(words.split(' ').map(str::to_owned).collect())
}

/// Not a test: runs in a mount namespace of its own.
#[test]
#[ignore = "a child of another test"]
fn on_one_file_system() {
    let Some(words) = words() else { return };
    let [kind, place] = words.as_slice() else { panic!("{words:?}") };
    mount(kind, place.as_ref());
    let (sample, made_there) = (Sample::below(place.as_ref(), A), Sample::below(place.as_ref(), B));
    let before = sample.dump(true);
    let below = sample.path("sticky");
    tool("mount", &["-t".as_ref(), "tmpfs".as_ref(), "none".as_ref(), below.as_os_str()]);
    std::fs::write(below.join("other"), "").unwrap();
    let mut notes = Notes::default();
    moved(forward(&sample.tree, &options(&map(A), &map(B)), &mut notes).unwrap());
    assert_eq!(notes.mounts, [below.as_path()]);
    assert_eq!(tool("stat", &["-c", "%u", below.join("other").to_str().unwrap()]), "0\n");
    tool("umount", &[&below]);
    // What was mounted over was not seen, so it was not moved.
    tool("chown", &[format!("{B}:{B}").as_ref(), below.as_os_str()]);
    same(&sample.dump(false), &made_there.dump(false));
    tool("chown", &[format!("{A}:{A}").as_ref(), below.as_os_str()]);
    moved(again(&sample.tree, Direction::Back, &mut notes).unwrap());
    same(&sample.dump(true), &before);
}

fn mount(kind: &str, place: &Path) {
    let script = match kind {
        "tmpfs" => "mount -t tmpfs -o mode=755 none .",
        "overlay" => {
            "mount -t tmpfs -o mode=755 none . && cd . && cd \"$PWD\" && mkdir l u w m && \
             mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none m && mount --move m \"$PWD\""
        }
        kind => &format!(
            "truncate -s 400M image && mkfs.{kind} -q image && mkdir m && \
             mount -o loop image m && mount --move m \"$PWD\" && chmod 755 \"$PWD\""
        ),
    };
    let output = Command::new("sh").args(["-ec", script]).current_dir(place).output().unwrap();
    assert!(output.status.success(), "{kind}: {output:?}");
}

/// Not a test: runs in a mount namespace of its own.
#[test]
#[ignore = "a child of another test"]
fn on_a_lower_layer() {
    let Some(words) = words() else { return };
    let place = PathBuf::from(&words[0]);
    let script = "mount -t tmpfs -o mode=755 none . && cd \"$PWD\" && mkdir l u w m";
    let made = Command::new("sh").args(["-ec", script]).current_dir(&place).status().unwrap();
    assert!(made.success());
    let mut sample = Sample::below(&place.join("l"), A);
    let script = "mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none m";
    let made = Command::new("sh").args(["-ec", script]).current_dir(&place).status().unwrap();
    assert!(made.success());
    sample.tree = place.join("m").join(sample.tree.strip_prefix(place.join("l")).unwrap());
    // Names of one inode have parted, without index=on.
    let dump = |exact| {
        let mut dump = sample.dump(exact);
        dump.retain(|path, _| {
            !["bin/two", "etc/one", "etc/deep/three"].map(Path::new).contains(&path.as_path())
        });
        dump
    };
    let (before, mut notes) = (dump(true), Notes::default());
    moved(forward(&sample.tree, &options(&map(A), &map(B)), &mut notes).unwrap());
    let uids = format!("find {} ! -uid +{} -o -uid +{}", sample.tree.display(), B - 1, B + 65_535);
    assert_eq!(tool("sh", &["-c", &uids]), "");
    assert!(dump(false).values().any(|line| line.contains("security.capability")));
    assert_eq!(moved(again(&sample.tree, Direction::Forward, &mut notes).unwrap()), 0);
    moved(again(&sample.tree, Direction::Back, &mut notes).unwrap());
    same(&dump(true), &before);
}

#[test]
fn a_lower_layer_of_overlayfs_moves_name_by_name() {
    if !is_root("a_lower_layer_of_overlayfs_moves_name_by_name") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.arg(std::env::current_exe().unwrap());
    let output = elsewhere(command, "on_a_lower_layer", &directory.path().display().to_string());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn on_every_file_system() {
    if !is_root("on_every_file_system") {
        return;
    }
    for kind in ["ext4", "xfs", "btrfs", "tmpfs", "overlay"] {
        let tools = Command::new("sh").args(["-c", &format!("command -v mkfs.{kind}")]).output();
        if !["tmpfs", "overlay"].contains(&kind) && !tools.unwrap().status.success() {
            println!("skipped: on_every_file_system: no mkfs.{kind}");
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.arg(std::env::current_exe().unwrap());
        let words = format!("{kind} {}", directory.path().display());
        let output = elsewhere(command, "on_one_file_system", &words);
        assert!(output.status.success(), "{kind}: {output:?}");
    }
}

/// Not a test: runs as root of a user namespace.
#[test]
#[ignore = "a child of another test"]
fn as_root_of_a_container() {
    let Some(words) = words() else { return };
    let [tree, from, to, problem] = words.as_slice() else { panic!("{words:?}") };
    let mut notes = Notes::default();
    match forward(tree.as_ref(), &options(from, to), &mut notes) {
        Ok(outcome) => assert!(moved(outcome) > 0),
        Err(_) => assert_eq!(notes.problems.first().map(|(_, what)| what), Some(problem)),
    }
    assert_eq!(problem.is_empty(), notes.problems.is_empty(), "{:?}", notes.problems);
}

#[test]
fn root_of_a_container_moves_what_is_its_own() {
    if !is_root("root_of_a_container_moves_what_is_its_own") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(directory.path());
    let container = Container::new(&format!("0 {A} 131072"));
    let place = directory.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let tree = place.join("tree");
    std::fs::create_dir(&tree).unwrap();
    let file = tree.join("file");
    sample::copy_cat(&file);
    tool("chown", &["-R".as_ref(), format!("{A}:{A}").as_ref(), place.as_os_str()]);
    tool("setcap", &["-n", &A.to_string(), "cap_net_raw=ep", file.to_str().unwrap()]);
    tool("setfacl", &["-m", &format!("u:{}:r", A + 9), file.to_str().unwrap()]);
    let run = |from: &str, to: &str, problem: &str| {
        let words = format!("NSCAP_SHIFT_CHILD={} {from} {to} {problem}", tree.display());
        let program = program.to_str().unwrap();
        let name = "as_root_of_a_container";
        let args = ["env", &words, program, "--exact", name, "--ignored", "--nocapture"];
        let output = container.run(&args, "0");
        assert!(output.status.success(), "{output:?}");
    };
    // A grant for a root without an id there; an id that the namespace does not have; then one that
    // it has.
    tool("setcap", &["-n", "5", "cap_net_raw=ep", file.to_str().unwrap()]);
    run("0:0:1000", "0:65536:1000", "capabilities-hidden");
    tool("setcap", &["-n", &A.to_string(), "cap_net_raw=ep", file.to_str().unwrap()]);
    run("0:0:1000", "0:200000:1,1:5:1", "owner");
    run("0:0:1000", "0:65536:1000", "");
    let root = A + 65_536;
    let path = file.to_str().unwrap();
    assert_eq!(tool("stat", &["-c", "%u:%g", path]), format!("{root}:{root}\n"));
    let said = tool("getcap", &["-n", path]);
    assert!(said.ends_with(&format!("cap_net_raw=ep [rootid={root}]\n")), "{said}");
    let said = tool("getfacl", &["-n", "-p", path]);
    assert!(said.contains(&format!("user:{}:r--", root + 9)), "{said}");
}

/// The way it is done without a shift: packed by the one container's root, unpacked by the
/// other's.
#[test]
fn a_shift_is_what_tar_makes_of_it_between_two_containers() {
    if !is_root("a_shift_is_what_tar_makes_of_it_between_two_containers") {
        return;
    }
    let sample = Sample::new(A);
    // Tar cannot carry what these have: a host value, a nested namespace's entry, a device.
    for name in ["bin/host", "bin/nested", "bin/table", "bin/beside", "etc/null", "etc/socket"] {
        std::fs::remove_file(sample.path(name)).unwrap();
    }
    for name in ["bin", "etc"] {
        tool("touch", &["-d", "2020-02-03 04:05:06", sample.path(name).to_str().unwrap()]);
    }
    let repacked = tempfile::tempdir().unwrap();
    let there = repacked.path().join("rootfs");
    std::fs::create_dir(&there).unwrap();
    tool("chmod", &["755".as_ref(), repacked.path().as_os_str()]);
    tool("chown", &[format!("{B}:{B}").as_ref(), there.as_os_str()]);
    let [at_a, at_b] = [A, B].map(|base| Container::new(&format!("0 {base} 65536")));
    let enter = |container: &Container| {
        format!("nsenter -U -S 0 -G 0 -t {} tar --numeric-owner --acls --xattrs", container.pid())
    };
    let script = format!(
        "{} --xattrs-include=security.capability --format=posix -C \"$1\" -cf - . | \
         {} --xattrs-include=security.capability -C \"$2\" -xpf -",
        enter(&at_a),
        enter(&at_b)
    );
    let trees = [sample.tree.to_str().unwrap(), there.to_str().unwrap()];
    tool("bash", &["-o", "pipefail", "-ec", &script, "sh", trees[0], trees[1]]);
    moved(forward(&sample.tree, &options(&map(A), &map(B)), &mut Notes::default()).unwrap());
    let repacked = Sample { directory: repacked, tree: there, base: B };
    same(&sample.dump(false), &repacked.dump(false));
    assert!(sample.dump(false).values().any(|line| line.contains("security.capability")));
}

#[test]
fn what_is_mounted_read_only_is_refused() {
    if !is_root("what_is_mounted_read_only_is_refused") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.arg(std::env::current_exe().unwrap());
    let output =
        elsewhere(command, "on_a_read_only_mount", &directory.path().display().to_string());
    assert!(output.status.success(), "{output:?}");
}

/// Not a test: runs in a mount namespace of its own.
#[test]
#[ignore = "a child of another test"]
fn on_a_read_only_mount() {
    let Some(words) = words() else { return };
    let tree = PathBuf::from(&words[0]).join("tree");
    std::fs::create_dir(&tree).unwrap();
    tool("mount", &["-t".as_ref(), "tmpfs".as_ref(), "none".as_ref(), tree.as_os_str()]);
    tool("mount", &["-o".as_ref(), "remount,ro".as_ref(), tree.as_os_str()]);
    let error = forward(&tree, &options("host", &map(A)), &mut Notes::default()).unwrap_err();
    assert_eq!(error.errno(), 30, "{error}");
    tool("umount", &[&tree]);
    std::fs::remove_dir(&tree).unwrap();
}
