// SPDX-License-Identifier: MIT OR Apache-2.0
//! Layers and images through the programs that people pack and unpack them with: whatever way a
//! grant goes, at the end execve gives it in the container that it is for, and nowhere else.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nscap_testing::archives::{archive, entries, entry, file, host, record};
use nscap_testing::{Container, cat, host_gains, is_root};
use serde_json::Value;

const NET_RAW: u64 = 1 << 13;
const A: u32 = 510_000;
const MAP_A: &str = "0:510000:65536";

fn run<A: AsRef<OsStr>>(program: &str, args: &[A]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

/// What a program prints, which must succeed.
fn tool<A: AsRef<OsStr> + std::fmt::Debug>(program: &str, args: &[A]) -> String {
    let output = run(program, args);
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn nscap(args: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_nscap"), args)
}

/// `nscap`, which must give this exit status.
fn expect(code: i32, args: &[&str]) -> String {
    let output = nscap(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a program is there; a test needs it and root.
fn has(test: &str, programs: &[&str]) -> bool {
    for program in programs {
        if Command::new(program).arg("--version").output().is_err() {
            println!("skipped: {test}: {program} is not installed");
            return false;
        }
    }
    is_root(test)
}

/// A directory that every user may search, two containers, and what one of them should gain.
struct Stage {
    directory: tempfile::TempDir,
    own: Container,
    other: Container,
}

impl Stage {
    fn new() -> Stage {
        // Buildah takes no capital letters.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("nscap-layers-{}-{number}", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).rand_bytes(0).tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let [own, other] = ["0 510000 65536", "0 610000 65536"].map(Container::new);
        Stage { directory, own, other }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A tree with a program, its owner, and its grant as setcap(8) is told.
    fn tree(&self, owner: u32, setcap: &[&str]) -> String {
        let tree = self.path("tree");
        std::fs::create_dir(&tree).unwrap();
        let program = cat(&tree, owner);
        chown(&tree, Some(owner), Some(owner)).unwrap();
        std::fs::rename(&program, tree.join("ping")).unwrap();
        tool(
            "setcap",
            &[setcap, &["cap_net_raw=ep", tree.join("ping").to_str().unwrap()]].concat(),
        );
        self.name("tree")
    }

    /// A directory that the container's root owns.
    fn unpacked(&self) -> String {
        let path = self.path("unpacked");
        std::fs::create_dir(&path).unwrap();
        chown(&path, Some(A), Some(A)).unwrap();
        self.name("unpacked")
    }

    /// Runs a program as the container's root.
    fn inside(&self, program: &[&str]) -> Output {
        let output = self.own.run(program, "0");
        assert!(output.status.success(), "{program:?}: {output:?}");
        output
    }

    /// The grant applies where it should, and nowhere else, once every user may reach the file.
    fn only_own_gains(&self, program: &Path) {
        for directory in program.ancestors().skip(1).take_while(|d| *d != self.directory.path()) {
            std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
        }
        assert_eq!(self.own.gains(program), Some(NET_RAW), "{program:?}");
        assert_eq!(self.other.gains(program), Some(0), "{program:?}");
        assert_eq!(host_gains(program), Some(0), "{program:?}");
    }

    /// A layout that every user may read.
    fn readable(&self, layout: &str) {
        tool("chmod", &["-R", "a+rX", &self.name(layout)]);
    }
}

/// A program that packs and unpacks.
struct Tar {
    pack: &'static [&'static str],
    unpack: &'static [&'static str],
}

const GNU_TAR: Tar = Tar {
    pack: &["tar", "--xattrs", "--xattrs-include=security.*", "-cf"],
    unpack: &["tar", "--xattrs", "--xattrs-include=security.*", "-xpf"],
};
const BSDTAR: Tar = Tar {
    pack: &["bsdtar", "--format=pax", "--xattrs", "-cf"],
    unpack: &["bsdtar", "--xattrs", "-xpf"],
};

impl Tar {
    fn pack(&self, archive: &str, tree: &str) {
        tool(self.pack[0], &[&self.pack[1..], &[archive, "-C", tree, "."]].concat());
    }

    fn unpack<'a>(&self, archive: &'a str, to: &'a str) -> Vec<&'a str> {
        [self.unpack, &[archive, "-C", to]].concat()
    }
}

/// Packed on the host from a container's tree, unpacked in the container.
fn from_the_host_into_the_container(test: &str, program: &Tar) {
    if !has(test, &[program.pack[0], "setcap"]) {
        return;
    }
    let stage = Stage::new();
    let (packed, own) = (stage.name("packed.tar"), stage.name("own.tar"));
    program.pack(&packed, &stage.tree(A, &["-n", "510000"]));
    assert!(expect(0, &["layer", "ls", &packed]).contains("rootid 510000"));
    expect(1, &["layer", "check", &packed]);
    expect(0, &["layer", "check", "--allow", "effective", "--for", MAP_A, &packed]);
    expect(0, &["layer", "map", "--from", MAP_A, "--to", "host", "--owners", "-o", &own, &packed]);
    expect(0, &["layer", "check", "--allow", "effective", &own]);
    let to = stage.unpacked();
    stage.inside(&program.unpack(&own, &to));
    stage.only_own_gains(&Path::new(&to).join("ping"));

    let again = stage.name("again.tar");
    expect(0, &["layer", "map", "--from", "host", "--to", MAP_A, "-o", &again, &own]);
    assert!(expect(0, &["layer", "ls", &again]).contains("rootid 510000"));
}

/// Packed with a host value, unpacked on the host as a container's tree.
fn from_the_host_for_the_container(test: &str, program: &Tar) {
    if !has(test, &[program.pack[0], "setcap"]) {
        return;
    }
    let stage = Stage::new();
    let (packed, mapped) = (stage.name("packed.tar"), stage.name("mapped.tar"));
    program.pack(&packed, &stage.tree(0, &[]));
    expect(1, &["layer", "check", "--for", MAP_A, &packed]);
    let explained = nscap(&[
        "layer",
        "map",
        "--from",
        "host",
        "--to",
        MAP_A,
        "--owners",
        "--explain",
        "-o",
        &mapped,
        &packed,
    ]);
    assert_eq!(explained.status.code(), Some(0));
    let explained = String::from_utf8(explained.stderr).unwrap();
    assert!(
        explained.contains("host cap_net_raw=ep -> rootid 510000: ") && explained.contains("[W]")
    );
    expect(0, &["layer", "check", "--allow", "effective", "--for", MAP_A, &mapped]);
    let to = stage.unpacked();
    let unpack = program.unpack(&mapped, &to);
    tool(unpack[0], &unpack[1..]);
    stage.only_own_gains(&Path::new(&to).join("ping"));

    // And back, byte by byte: neither program writes names for ids without a user.
    let back = stage.name("back.tar");
    expect(0, &["layer", "map", "--from", MAP_A, "--to", "host", "-o", &back, &mapped]);
    let forth = stage.name("forth.tar");
    expect(0, &["layer", "map", "--from", "host", "--to", MAP_A, "-o", &forth, &back]);
    assert_eq!(std::fs::read(&forth).unwrap(), std::fs::read(&mapped).unwrap());
}

#[test]
fn gnu_tar_into_the_container() {
    from_the_host_into_the_container("gnu_tar_into_the_container", &GNU_TAR);
}

#[test]
fn gnu_tar_for_the_container() {
    from_the_host_for_the_container("gnu_tar_for_the_container", &GNU_TAR);
}

#[test]
fn bsdtar_into_the_container() {
    from_the_host_into_the_container("bsdtar_into_the_container", &BSDTAR);
}

#[test]
fn bsdtar_for_the_container() {
    from_the_host_for_the_container("bsdtar_for_the_container", &BSDTAR);
}

/// Each program reads what the other packed and nscap wrote.
#[test]
fn each_unpacks_the_others() {
    let test = "each_unpacks_the_others";
    if !has(test, &["tar", "bsdtar", "setcap"]) {
        return;
    }
    for (packs, unpacks) in [(&GNU_TAR, &BSDTAR), (&BSDTAR, &GNU_TAR)] {
        let stage = Stage::new();
        let (packed, own) = (stage.name("packed.tar"), stage.name("own.tar"));
        packs.pack(&packed, &stage.tree(A, &["-n", "510000"]));
        let map =
            ["layer", "map", "--from", MAP_A, "--to", "host", "--owners", "-o", &own, &packed];
        expect(0, &map);
        let to = stage.unpacked();
        stage.inside(&unpacks.unpack(&own, &to));
        stage.only_own_gains(&Path::new(&to).join("ping"));
    }
}

/// A nested container's grant without its rootid would be its parent's; one with an id that the
/// parent does not have would be the host's.
#[test]
fn no_grant_becomes_wider() {
    let test = "no_grant_becomes_wider";
    if !has(test, &["tar", "setcap"]) {
        return;
    }
    let stage = Stage::new();
    let (packed, own) = (stage.name("packed.tar"), stage.name("own.tar"));
    GNU_TAR.pack(&packed, &stage.tree(A, &["-n", "510700"]));
    expect(0, &["layer", "map", "--from", MAP_A, "--to", "host", "--owners", "-o", &own, &packed]);
    assert!(expect(0, &["layer", "ls", &own]).contains("rootid 700"));
    let to = stage.unpacked();
    stage.inside(&GNU_TAR.unpack(&own, &to));
    let ping = Path::new(&to).join("ping");
    let nested = Container::below(Some(&stage.own), "0 700 100");
    assert_eq!(nested.gains(&ping), Some(NET_RAW));
    assert_eq!((stage.own.gains(&ping), host_gains(&ping)), (Some(0), Some(0)));

    let refused =
        nscap(&["layer", "map", "--from", "0:610000:65536", "--to", "host", "-o", &own, &packed]);
    assert_eq!(refused.status.code(), Some(1));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("./ping: offset ") && stderr.contains("[W]: EINVAL"), "{stderr}");
    // Nothing was written over what there was.
    assert!(expect(0, &["layer", "ls", &own]).contains("rootid 700"));
}

/// An image in a container's own terms, as umoci builds it.
fn umoci_image(stage: &Stage) -> String {
    let layout = stage.name("image");
    let image = format!("{layout}:x");
    let bundle = stage.name("bundle");
    tool("umoci", &["init", "--layout", &layout]);
    tool("umoci", &["new", "--image", &image]);
    tool("umoci", &["unpack", "--image", &image, &bundle]);
    let program = cat(&stage.path("bundle/rootfs"), 0);
    std::fs::rename(&program, stage.path("bundle/rootfs/ping")).unwrap();
    tool("setcap", &["cap_net_raw=ep", &stage.name("bundle/rootfs/ping")]);
    tool("umoci", &["config", "--image", &image, "--config.label", "a=<&>"]);
    tool("umoci", &["repack", "--image", &image, &bundle]);
    stage.readable("image");
    layout
}

#[test]
fn umoci_for_the_container_and_back() {
    let test = "umoci_for_the_container_and_back";
    if !has(test, &["umoci", "setcap"]) {
        return;
    }
    let stage = Stage::new();
    let layout = umoci_image(&stage);
    let (mapped, back) = (stage.name("mapped"), stage.name("back"));
    expect(0, &["layer", "map", "--from", "host", "--to", MAP_A, "-o", &mapped, &layout]);
    expect(0, &["layer", "check", "--allow", "effective", "--for", MAP_A, &mapped]);
    // umoci verifies digests, sizes and diff ids, and translates owners itself.
    let bundle = stage.name("for");
    let maps = ["--uid-map", MAP_A, "--gid-map", MAP_A];
    let image = format!("{mapped}:x");
    tool("umoci", &[&["unpack"], &maps[..], &["--image", &image, &bundle]].concat());
    stage.only_own_gains(&stage.path("for/rootfs/ping"));

    // What is packed from that bundle has the rootid again, and loses it on the way to the own
    // terms.
    std::fs::write(stage.path("for/rootfs/new"), "").unwrap();
    chown(stage.path("for/rootfs/new"), Some(A), Some(A)).unwrap();
    tool("setcap", &["-n", "510000", "cap_net_raw=ep", &stage.name("for/rootfs/ping")]);
    tool("umoci", &["repack", "--image", &image, &bundle]);
    let listed = expect(0, &["layer", "ls", &image]);
    assert!(listed.contains("rootid 510000") && !listed.contains("host "), "{listed}");
    expect(0, &["layer", "map", "--from", MAP_A, "--to", "host", "-o", &back, &mapped]);
    expect(0, &["layer", "check", "--allow", "effective", &back]);
    stage.readable("back");
    let to = stage.unpacked();
    let unpack = ["umoci", "unpack", "--image", &format!("{back}:x"), &format!("{to}/bundle")];
    stage.inside(&unpack);
    stage.only_own_gains(&Path::new(&to).join("bundle/rootfs/ping"));
}

#[test]
fn umoci_rootless_in_the_container() {
    let test = "umoci_rootless_in_the_container";
    if !has(test, &["umoci", "setcap"]) {
        return;
    }
    let stage = Stage::new();
    let layout = umoci_image(&stage);
    // To the host's terms and back is where it was: the same blobs under the same names.
    expect(0, &["layer", "map", "--from", "host", "--to", MAP_A, "--in-place", &layout]);
    assert!(expect(0, &["layer", "ls", &layout]).contains("rootid 510000"));
    expect(0, &["layer", "map", "--from", MAP_A, "--to", "host", "--in-place", &layout]);
    let to = stage.unpacked();
    let image = format!("{layout}:x");
    stage.readable("image");
    stage.inside(&["umoci", "unpack", "--rootless", "--image", &image, &format!("{to}/bundle")]);
    stage.only_own_gains(&Path::new(&to).join("bundle/rootfs/ping"));
}

/// A program of the containers family, which keeps its caches in places of its own here.
fn containers(program: &[&str]) -> String {
    let script = "mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && exec \"$@\"";
    let wrapped = [&["-m", "--propagation", "private", "sh", "-c", script, "sh"], program].concat();
    tool("unshare", &wrapped).trim().to_owned()
}

/// Buildah's storage in a directory of the stage's.
fn buildah(stage: &Stage, args: &[&str]) -> String {
    let (root, run) = (stage.name("storage"), stage.name("run"));
    let own = ["buildah", "--storage-driver", "vfs", "--root", &root, "--runroot", &run];
    containers(&[&own, args].concat())
}

#[test]
fn buildahs_storage_for_the_container_and_back() {
    let test = "buildahs_storage_for_the_container_and_back";
    if !has(test, &["umoci", "buildah", "setcap"]) {
        return;
    }
    let stage = Stage::new();
    let layout = umoci_image(&stage);
    let mapped = stage.name("mapped");
    // Its storage keeps the owners of an image as they are.
    let map = ["layer", "map", "--from", "host", "--to", MAP_A, "--owners", "-o", &mapped, &layout];
    expect(0, &map);
    let container = buildah(&stage, &["from", "--quiet", &format!("oci:{mapped}:x")]);
    let container = container.lines().last().unwrap();
    let root = PathBuf::from(buildah(&stage, &["mount", container]));
    stage.only_own_gains(&root.join("ping"));

    std::fs::copy(root.join("ping"), root.join("pong")).unwrap();
    chown(root.join("pong"), Some(A), Some(A)).unwrap();
    tool("setcap", &["-n", "510000", "cap_net_raw=ep", root.join("pong").to_str().unwrap()]);
    let built = format!("oci:{}:x", stage.name("built"));
    buildah(&stage, &["commit", "--quiet", "--format", "oci", container, &built]);
    let built = format!("{}:x", stage.name("built"));
    assert_eq!(expect(0, &["layer", "ls", &built]).matches("rootid 510000").count(), 2);
    let back = stage.name("back");
    expect(0, &["layer", "map", "--from", MAP_A, "--to", "host", "--owners", "-o", &back, &built]);
    expect(0, &["layer", "check", "--allow", "effective", &back]);
    let to = stage.unpacked();
    stage.readable("back");
    let unpack = ["umoci", "unpack", "--image", &format!("{back}:x"), &format!("{to}/bundle")];
    stage.inside(&unpack);
    stage.only_own_gains(&Path::new(&to).join("bundle/rootfs/pong"));
}

/// A container's root with a storage of its own, as in a build container.
#[test]
fn buildah_rootless_in_the_container() {
    let test = "buildah_rootless_in_the_container";
    if !has(test, &["umoci", "buildah", "setcap"]) {
        return;
    }
    let stage = Stage::new();
    let (layout, mapped, own) = (umoci_image(&stage), stage.name("mapped"), stage.name("own"));
    expect(0, &["layer", "map", "--from", "host", "--to", MAP_A, "-o", &mapped, &layout]);
    expect(0, &["layer", "map", "--from", MAP_A, "--to", "host", "-o", &own, &mapped]);
    let home = stage.unpacked();
    let buildah = |args: &[&str]| {
        let (root, run) = (format!("{home}/storage"), format!("{home}/run"));
        let own_home = [format!("HOME={home}"), format!("XDG_RUNTIME_DIR={home}/xdg")];
        let mut all = vec!["env", &own_home[0], &own_home[1], "_CONTAINERS_USERNS_CONFIGURED=done"];
        all.extend(["buildah", "--storage-driver", "vfs", "--root", &root, "--runroot", &run]);
        let output = stage.inside(&[&all, args].concat());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let container = buildah(&["from", "--quiet", &format!("oci:{own}:x")]);
    let root = buildah(&["mount", container.lines().last().unwrap()]);
    stage.only_own_gains(&Path::new(&root).join("ping"));
}

/// skopeo verifies every digest and size as it copies.
#[test]
fn skopeo_takes_what_is_written() {
    let test = "skopeo_takes_what_is_written";
    if !has(test, &["umoci", "skopeo", "setcap"]) {
        return;
    }
    let stage = Stage::new();
    let layout = umoci_image(&stage);
    let mapped = stage.name("mapped");
    expect(0, &["layer", "map", "--from", "host", "--to", MAP_A, "-o", &mapped, &layout]);
    let copy = stage.name("copy");
    let (from, to) = (format!("oci:{mapped}:x"), format!("oci:{copy}:x"));
    containers(&["skopeo", "copy", "--quiet", &from, &to]);
    let [old, new] = [format!("oci:{layout}:x"), to].map(|image| {
        serde_json::from_str::<Value>(&containers(&["skopeo", "inspect", "--config", &image]))
            .unwrap()
    });
    assert_ne!(old["rootfs"], new["rootfs"]);
    assert_eq!((&old["history"], &old["config"]), (&new["history"], &new["config"]));
    // Zstandard as well, as skopeo compresses it.
    let zstd = stage.name("zstd");
    let to = format!("oci:{zstd}:x");
    containers(&[
        "skopeo",
        "copy",
        "--quiet",
        "--dest-compress-format",
        "zstd",
        "--dest-compress",
        &from,
        &to,
    ]);
    let (own, own_copy) = (stage.name("own"), stage.name("own-copy"));
    expect(0, &["layer", "map", "--from", MAP_A, "--to", "host", "-o", &own, &zstd]);
    expect(0, &["layer", "check", "--allow", "effective", &own]);
    let (from, to) = (format!("oci:{own}:x"), format!("oci:{own_copy}:x"));
    containers(&["skopeo", "copy", "--quiet", &from, &to]);
}

/// `nscap layer ARGS` with an archive on standard input.
fn piped(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nscap"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

const TO_OWN: [&str; 6] = ["layer", "map", "--from", "0:100000:65536", "--to", "0:0:65536"];

#[test]
fn a_pipe_gets_the_same_bytes_or_the_new_record() {
    let members =
        |records: &[Vec<u8>]| archive(&[file("a", &[], b"1"), file("b", records, &[2; 70_000])]);
    let [before, after] = [members(&[entry(100_000)]), members(&[host()])];
    let output = piped(&TO_OWN, &before);
    assert!(output.status.success() && output.stdout == after && output.stderr.is_empty());
    let same = ["layer", "map", "--from", "host", "--to", "host"];
    assert_eq!(piped(&same, &before).stdout, before);
    // Without standard input's name, and with it.
    assert_eq!(piped(&[&same[..], &["-"]].concat(), &before).stdout, before);
    let zstd = Command::new("zstd").arg("--version").output().is_ok();
    let programs = if zstd { &["gzip", "zstd"][..] } else { &["gzip"] };
    for program in programs {
        let run = |args: &[&str], input: &[u8]| {
            let mut child = Command::new(program)
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let input = input.to_vec();
            let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(output.status.success());
            output.stdout
        };
        let compressed = run(&["-c"], &before);
        assert_eq!(run(&["-dc"], &piped(&TO_OWN, &compressed).stdout), after);
        // From a file in which nothing changes, the compressed bytes too.
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), &compressed).unwrap();
        let name = path.path().to_str().unwrap();
        let output = run_nscap(&[&same[..], &[name]].concat());
        assert_eq!(output.stdout, compressed);
    }
}

fn run_nscap(args: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_nscap"), args)
}

#[test]
fn what_cannot_be_is_told_with_its_place_and_status() {
    let foreign = archive(&[file("a\nb", &[entry(7)], b"")]);
    let cut = &archive(&[file("a", &[], &[1; 3000])])[..2000];
    for (args, input, status, told) in [
        (&TO_OWN[..], &foreign[..], 1, "offset 0: the id has no mapping in the source's map"),
        (&TO_OWN, cut, 2, "a: offset 2000: the archive ends inside a member: EINVAL"),
        (&TO_OWN, b"BZh91AY&SY", 2, "bzip2 is not read"),
        (&TO_OWN, &[1; 512], 2, "offset 0: not a tar header"),
        (&["layer", "ls"], &archive(&[]), 1, ""),
        (
            &["layer", "ls"],
            &archive(&[file("a", &[record(nscap_testing::archives::CAPABILITY, b"?")], b"")]),
            2,
            "",
        ),
        (&["layer", "check"], cut, 2, "ends inside a member"),
        (&["layer", "check"], &foreign, 1, ""),
        (&["layer", "check", "--allow", "effective", "--for", "7:7:1"], &foreign, 0, ""),
        (&["layer", "map", "--from", "1:2", "--to", "host"], b"", 2, "1:2: "),
        (&["layer", "ls", "/nonexistent"], b"", 2, "ENOENT"),
        (&["layer", "ls", "/proc"], b"", 2, "oci-layout: open: "),
    ] {
        let output = piped(args, input);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert!(stderr.contains(told) && stderr.lines().count() <= 2, "{args:?}: {stderr}");
        assert_eq!(stderr.is_empty(), told.is_empty(), "{args:?}: {stderr}");
    }
}

#[test]
fn every_json_field_of_layers_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
    let documented = std::fs::read_to_string(path).unwrap();
    let input = archive(&[
        file("p", &[entry(100_000)], b""),
        file("q", &[entries(&[7, 100_001])], b""),
        file("r", &[record(nscap_testing::archives::CAPABILITY, b"?")], b""),
    ]);
    let mut objects = Vec::new();
    let listed = piped(&["--json", "layer", "ls"], &input).stdout;
    let checked = piped(&["--json", "layer", "check"], &input).stdout;
    let map = [&["--json"], &TO_OWN[..], &["--explain", "--unmapped", "drop"]].concat();
    let mapped = piped(&map, &input).stderr;
    for lines in [listed, checked, mapped] {
        let lines = String::from_utf8(lines).unwrap();
        objects.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    // Members; findings, of which p has two, q four and r one; decisions.
    assert_eq!(objects.len(), 3 + 7 + 4);
    fn fields(object: &Value, all: &mut Vec<String>) {
        match object {
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                all.push(name.clone());
                fields(value, all);
            }),
            Value::Array(values) => values.iter().for_each(|value| fields(value, all)),
            _ => {}
        }
    }
    for object in &objects {
        let mut all = Vec::new();
        fields(object, &mut all);
        for field in all {
            assert!(documented.contains(&format!("`{field}`")), "{field}: {object}");
        }
    }
    let findings = std::fs::read_to_string(path.replace("json.md", "layers.md")).unwrap();
    for finding in objects.iter().filter_map(|object| object["finding"].as_str()) {
        assert!(findings.contains(&format!("`{finding}`")), "{finding}");
    }
}
