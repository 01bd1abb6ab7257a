// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `nscap explain IMAGE:/path` says of an image that is not unpacked, beside what podman and
//! crun start of the same image, and what umoci unpacks of it.

mod images;
mod stage;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use images::{Stage, expect, fails, has, layer, nscap, static_program, tool, value};
use nscap_testing::is_root;
use serde_json::Value;
use stage::{SETS, script};
use tar::EntryType::{Directory, Link, Regular, Symlink};

/// An image of umoci's, `img:x`, of two layers: `ping` with cap_net_raw=ep, `web` with nothing,
/// `suid` that is set-user-ID root, a script of ping's, an entrypoint, links, and what a whiteout
/// takes away.
const IMAGE: &str = r##"
    umount -l /sys/fs/cgroup/unified 2>/dev/null || true
    mkdir -p store run tmp; export TMPDIR=$dir/tmp XDG_RUNTIME_DIR=$dir/run
    mkdir -p tree/usr/bin tree/usr/old tree/etc tree/proc tree/dev tree/sys tree/run tree/tmp tree/private
    for name in ping web suid gone private old; do cp /bin/cat tree/usr/bin/$name; done
    mv tree/usr/bin/private tree/private/ping; mv tree/usr/bin/old tree/usr/old/ping
    cp /bin/dash tree/usr/bin/sh
    ln -s usr/bin tree/bin; ln -s /usr/bin/ping tree/etc/ping
    { ldd /bin/cat; ldd /bin/dash; } | grep -o '/[^ ]*' | sort -u | while read -r file; do
        mkdir -p "tree$(dirname "$file")"; cp -L "$file" "tree$file"
    done
    printf 'root:x:0:0::/:/bin/sh\nweb:x:33:33::/:/bin/sh\n' >tree/etc/passwd
    printf 'root:x:0:\nweb:x:33:\nnet:x:50:web\n' >tree/etc/group
    printf '#!/bin/ping\n' >tree/usr/bin/script; printf '#!/bin/sh\nexec "$@"\n' >tree/usr/bin/entry
    chmod 755 tree/usr/bin/script tree/usr/bin/entry
    setcap cap_net_raw=ep tree/usr/bin/ping
    setcap cap_net_raw=ep tree/usr/bin/gone
    setcap cap_net_raw=ep tree/private/ping
    chmod 700 tree/private
    chown 0:33 tree/usr/bin/suid; chmod 4755 tree/usr/bin/suid
    umoci init --layout img; umoci new --image img:x; umoci unpack --image img:x b >/dev/null 2>&1
    rm -rf b/rootfs; cp -a tree b/rootfs; umoci repack --refresh-bundle --image img:x b >/dev/null 2>&1
    rm b/rootfs/usr/bin/gone; rm -r b/rootfs/usr/old; mkdir b/rootfs/usr/old
    cp b/rootfs/usr/bin/web b/rootfs/usr/old/new; setcap cap_net_raw+p b/rootfs/usr/old/new
    umoci repack --image img:x b >/dev/null 2>&1; rm -rf b
    umoci config --image img:x --config.env PATH=/usr/bin
    cp -a img user
    umoci config --image user:x --config.user web:net --config.entrypoint /usr/bin/entry
    # judge WHAT RAN: the output of the container, or nothing where it did not start (err says why).
    judge() {
        if [ -z "$2" ]; then
            errno=$(python3 -c 'import json; print(json.loads(open("said").readline())["errno"])')
            case $errno in
                EPERM) grep -qi 'operation not permitted' err ;;
                EACCES) grep -qi 'permission denied' err ;;
                *) false ;;
            esac || fail "$1: $errno, and not: $(cat err): $(cat said)"
            say "$1: $errno"
        else
            [ "$(names said)" = "$(echo "$2" | sets)" ] || fail "$1: $2: $(cat said)"
            say "$1: starts"
        fi
    }
"##;

#[test]
fn what_podman_starts_of_an_image_is_what_is_said() {
    const NAME: &str = "what_podman_starts_of_an_image_is_what_is_said";
    let tools = ["podman", "crun", "umoci", "skopeo", "python3", "setcap"];
    if !(is_root(NAME) && tools.iter().all(|tool| stage::has(tool, NAME))) {
        return;
    }
    let said = script(&format!(
        r#"
        {SETS}
        {IMAGE}
        for image in img user; do
            skopeo copy --quiet --insecure-policy oci:$image:x docker-archive:$image.tar:localhost/$image:x
            own_podman load -q -i $image.tar >out 2>err || fail "$(cat err)"
        done
        limits=(--ulimit nofile=512:512 --ulimit nproc=512:512)
        compare() {{ # compare IMAGE FILE OPTION...
            local image=$1 file=$2 ran status=0
            shift 2
            "$nscap" --json explain "$image:x:$file" --podman "$@" $image "$file" >said 2>err || status=$?
            [ $status -le 1 ] || fail "$image $file $*: $(cat said err)"
            ran=$(own_podman run --rm --network none "${{limits[@]}}" "$@" localhost/$image:x \
                "$file" /proc/self/status 2>err) || ran=
            judge "$image $file $*" "$ran"
        }}
        for file in /usr/bin/ping /bin/web /etc/ping /usr/bin/script /bin/suid /usr/old/new; do
            compare img $file --cap-drop ALL
            compare img $file --user 1000
            compare img $file --user web --cap-drop ALL --cap-add net_raw
            compare img $file --user 1000 --cap-add net_raw --security-opt no-new-privileges
        done
        compare img /private/ping --user 1000 --cap-add net_raw
        # Its own user, through its own entrypoint.
        for file in /usr/bin/ping /usr/bin/web /bin/suid; do
            compare user $file --cap-add net_raw
            compare user $file --cap-drop ALL
            compare user $file --user 0 --security-opt no-new-privileges
            compare user $file --cap-add net_raw --entrypoint ''
        done
        umount -R store 2>/dev/null || true
        "#
    ));
    assert_eq!(said.len(), 37, "{said:?}");
    let count = |what: &str| said.iter().filter(|line| line.ends_with(what)).count();
    assert!(count(": EPERM") >= 6 && count(": EACCES") == 1, "{said:?}");
}

#[test]
fn what_crun_starts_of_an_image_is_what_is_said() {
    const NAME: &str = "what_crun_starts_of_an_image_is_what_is_said";
    let tools = ["crun", "umoci", "python3", "setcap"];
    if !(is_root(NAME) && tools.iter().all(|tool| stage::has(tool, NAME))) {
        return;
    }
    let said = script(&format!(
        r#"
        {SETS}
        {IMAGE}
        umoci unpack --image img:x bundle >/dev/null 2>&1
        chmod 755 bundle bundle/rootfs
        number=0
        compare() {{ # compare FILE UID NNP USERNS CAP...
            local file=$1 uid=$2 nnp=$3 userns=$4 ran status=0
            shift 4
            python3 - "$file" $uid $nnp $userns "$@" <<'END'
import json, sys
file, uid, nnp, userns, *caps = sys.argv[1:]
names = ["CAP_" + cap.upper() for cap in caps]
namespaces = [{{"type": "mount"}}, {{"type": "pid"}}]
linux = {{"namespaces": namespaces}}
if userns == "yes":
    namespaces.append({{"type": "user"}})
    linux["uidMappings"] = linux["gidMappings"] = [{{"containerID": 0, "hostID": 200000, "size": 65536}}]
json.dump({{"ociVersion": "1.0.0", "root": {{"path": "mapped" if userns == "yes" else "rootfs"}},
  "process": {{"user": {{"uid": int(uid), "gid": int(uid)}}, "cwd": "/", "noNewPrivileges": nnp == "yes",
    "args": [file, "/proc/self/status"],
    "capabilities": {{"bounding": names, "permitted": names, "effective": names}}}},
  "mounts": [{{"destination": "/proc", "type": "proc", "source": "proc"}}], "linux": linux}},
  open("bundle/config.json", "w"))
END
            "$nscap" --json explain "img:x:$file" --oci bundle >said 2>err || status=$?
            [ $status -le 1 ] || fail "$file $*: $(cat said err)"
            number=$((number + 1))
            ran=$(crun --root "$dir/run" --cgroup-manager=disabled run -b bundle c$number </dev/null 2>err) || ran=
            judge "$file $uid $nnp $userns $*" "$ran"
        }}
        for file in /usr/bin/ping /bin/suid /bin/script; do
            for uid in 0 1000; do
                for nnp in no yes; do
                    compare $file $uid $nnp no
                    compare $file $uid $nnp no net_raw chown
                done
            done
        done
        # The owners changed, as engines do it that do not map the mount.
        cp -a bundle/rootfs bundle/mapped
        find bundle/mapped -printf '%U %G %m %y %p\n' | while read -r uid gid mode type path; do
            caps=$(getcap "$path" | sed 's/.* //')
            chown -h $((200000 + uid)):$((200000 + gid)) "$path"
            [ $type = l ] || chmod $mode "$path"
            [ -z "$caps" ] || setcap "$caps" "$path"
        done
        for file in /usr/bin/ping /bin/suid; do
            compare $file 1000 no yes
            compare $file 1000 no yes net_raw
            compare $file 1000 yes yes net_raw
        done
        "#
    ));
    assert_eq!(said.len(), 30, "{said:?}");
    assert!(said.iter().any(|line| line.ends_with(": EPERM")), "{said:?}");
}

/// What `explain` says of a file, as JSON.
fn explained(file: &str, args: &[&str]) -> Value {
    let all = [&["--json", "explain", file], args].concat();
    let output = nscap(&all);
    assert!(output.status.code() <= Some(1), "{all:?}: {output:?}");
    serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap()
}

#[test]
fn each_form_of_an_image_gives_the_same_answer() {
    const NAME: &str = "each_form_of_an_image_gives_the_same_answer";
    if !has(NAME, &["skopeo", "gzip"]) {
        return;
    }
    let stage = Stage::new();
    let name = |name: &str| stage.name(name);
    std::fs::create_dir_all(stage.path("tree/usr/bin")).unwrap();
    std::fs::create_dir_all(stage.path("tree/etc")).unwrap();
    let ping = stage.path("tree/usr/bin/ping");
    std::fs::write(&ping, static_program()).unwrap();
    std::fs::set_permissions(&ping, PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("usr/bin", stage.path("tree/bin")).unwrap();
    std::os::unix::fs::symlink("../usr/bin/ping", stage.path("tree/etc/link")).unwrap();
    tool("setcap", &["cap_net_raw=ep", ping.to_str().unwrap()]);
    let pack = "cd \"$1\" && tar --xattrs --xattrs-include=security.* -cf ../layer.tar .";
    tool("sh", &["-c", pack, "sh", &name("tree")]);
    let image =
        format!("oci:{}:x", stage.layout(&[&std::fs::read(stage.path("layer.tar")).unwrap()]));
    stage.skopeo(&image, &format!("oci-archive:{}:x", name("oci.tar")));
    stage.skopeo(&image, &format!("docker-archive:{}:a/b:c", name("docker.tar")));
    stage.skopeo(&image, &format!("dir:{}", name("dir")));
    tool("gzip", &["-k", &name("oci.tar")]);
    let forms = [
        "image",
        "image:x",
        "oci.tar",
        "oci.tar:x",
        "oci.tar.gz",
        "docker.tar",
        "docker.tar:c",
        "docker.tar:a/b:c",
        "dir",
        "layer.tar",
    ];
    for form in forms {
        let said = explained(&format!("{}:/bin/ping", name(form)), &["--drop", "ALL"]);
        assert_eq!(said["errno"], "EPERM", "{form}: {said}");
        assert_eq!(said["program"]["path"], "/usr/bin/ping", "{form}");
        assert_eq!(said["image"]["path"], name(form), "{form}");
        // Neither the effective bit nor the bounding set: --image says it too.
        let said =
            explained("/etc/link", &["--image", &name(form), "--user", "1000", "--add", "NET_RAW"]);
        assert_eq!(
            said["after"]["effective"],
            serde_json::json!(["cap_net_raw"]),
            "{form}: {said}"
        );
    }
    // What is said to be the mend is one.
    for (form, new) in [("image:x", "image.new:x"), ("oci.tar", "oci.tar.new")] {
        let file = format!("{}:/bin/ping", name(form));
        let said = explained(&file, &["--drop", "ALL"]);
        tool(
            "sh",
            &[
                "-c",
                &format!(
                    "PATH={}:$PATH; {}",
                    std::path::Path::new(env!("CARGO_BIN_EXE_nscap")).parent().unwrap().display(),
                    said["mend"].as_str().unwrap()
                ),
            ],
        );
        let said = explained(&format!("{}:/bin/ping", name(new)), &["--drop", "ALL"]);
        assert_eq!(said["errno"], Value::Null, "{said}");
    }
    // Without root, of an image that others may read.
    let copy = name("oci.tar");
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_nscap"), stage.path("command")).unwrap();
    let said = tool(
        "setpriv",
        &[
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            &name("command"),
            "--json",
            "explain",
            &format!("{copy}:/bin/ping"),
            "--user",
            "1000",
            "--add",
            "NET_RAW",
        ],
    );
    assert!(said.contains(r#""effective":["cap_net_raw"]"#), "{said}");
}

#[test]
fn an_image_of_several_platforms_is_asked_which() {
    const NAME: &str = "an_image_of_several_platforms_is_asked_which";
    if !has(NAME, &["umoci", "gzip"]) {
        return;
    }
    let stage = Stage::new();
    let layout = stage.multi();
    let file = format!("{layout}:x:/bin/ping");
    let error = fails(2, &["explain", &file]);
    assert!(error.contains("linux/amd64, linux/arm64/v8 (--platform)"), "{error}");
    let said = explained(&file, &["--platform", "linux/amd64", "--user", "1000"]);
    assert_eq!(said["image"]["platform"], "linux/amd64");
    // The other one has binaries of this machine here, which that one does not execute.
    let said = explained(&file, &["--platform", "linux/arm64", "--user", "1000"]);
    assert_eq!(
        (&said["image"]["platform"], &said["errno"]),
        (&"linux/arm64/v8".into(), &"ENOEXEC".into())
    );
    let error = fails(2, &["explain", &file, "--platform", "linux/s390x"]);
    assert!(error.contains("no image of the platform"), "{error}");
}

#[test]
fn the_files_are_those_that_are_unpacked() {
    const NAME: &str = "the_files_are_those_that_are_unpacked";
    if !has(NAME, &["umoci"]) {
        return;
    }
    let (cap, none) = (value(None), None);
    let cap = Some(cap.as_slice());
    let first = layer(&[
        ("./", Directory, "", 0, 0o755, none),
        ("a/", Directory, "", 0, 0o755, none),
        ("a/file", Regular, "", 7, 0o755, cap),
        ("a/other", Link, "a/file", 7, 0o755, cap),
        ("a/gone", Regular, "", 0, 0o755, none),
        ("b/", Directory, "", 0, 0o711, none),
        ("b/lower", Regular, "", 0, 0o755, none),
        ("c/", Directory, "", 0, 0o755, none),
        ("c/file", Regular, "", 0, 0o755, none),
        ("to-a", Symlink, "/a", 0, 0o777, none),
        ("up", Symlink, "../../a/../to-a/file", 0, 0o777, none),
        ("round", Symlink, "round", 0, 0o777, none),
        ("d/implied/file", Regular, "", 0, 0o4750, none),
        ("replaced", Regular, "", 0, 0o755, cap),
    ]);
    let second = layer(&[
        ("a/.wh.gone", Regular, "", 0, 0o644, none),
        ("b/", Directory, "", 7, 0o700, none),
        ("b/.wh..wh..opq", Regular, "", 0, 0o644, none),
        ("b/upper", Regular, "", 0, 0o755, none),
        (".wh.c", Regular, "", 0, 0o644, none),
        ("replaced", Regular, "", 9, 0o700, none),
    ]);
    let stage = Stage::new();
    let layout = stage.layout(&[&first, &second]);
    let bundle = stage.name("bundle");
    tool("umoci", &["unpack", "--image", &format!("{layout}:x"), &bundle]);
    let rootfs = stage.path("bundle/rootfs");
    let paths = [
        "/a/file",
        "/a/other",
        "/a/gone",
        "/b/lower",
        "/b/upper",
        "/c/file",
        "/to-a/file",
        "/up",
        "/round",
        "/d/implied/file",
        "/replaced",
        "/a/file/",
        "/a/file/x",
        "/a",
        "/none/x",
        "/../a/file",
    ];
    let mut found = 0;
    for path in paths {
        let output = nscap(&["--json", "explain", path, "--image", &layout, "--no-new-privileges"]);
        let text = String::from_utf8(output.stdout).unwrap();
        // What is said of the unpacked files is held elsewhere, against the kernel.
        let real = nscap(&[
            "--json",
            "explain",
            path,
            "--root",
            rootfs.to_str().unwrap(),
            "--no-new-privileges",
        ]);
        let real_text = String::from_utf8(real.stdout).unwrap();
        assert_eq!(output.status.code(), real.status.code(), "{path}: {text} {real_text}");
        if text.is_empty() {
            let errno = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes).into_owned();
                text.rsplit(": ").next().unwrap_or_default().to_owned()
            };
            assert_eq!(errno(&output.stderr), errno(&real.stderr), "{path}");
            continue;
        }
        found += 1;
        let (said, real): (Value, Value) =
            (serde_json::from_str(&text).unwrap(), serde_json::from_str(&real_text).unwrap());
        for field in ["program", "before", "after", "errno", "lost", "why", "complete"] {
            assert_eq!(said[field], real[field], "{path}: {field}: {text} {real_text}");
        }
        let of = |said: &Value, step: &str| {
            let steps = said["steps"].as_array().unwrap().clone();
            let own = steps.into_iter().filter(|own| own["step"] == step);
            own.map(|own| own["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for step in ["way", "program", "host value", "script"] {
            assert_eq!(of(&said, step), of(&real, step), "{path}");
        }
        let program = said["program"]["path"].as_str().unwrap();
        let data = std::fs::metadata(rootfs.join(program.trim_start_matches('/'))).unwrap();
        let shown =
            format!("{program}: mode {:04o}, owner kuid {}", data.mode() & 0o7777, data.uid());
        assert!(of(&said, "program")[0].starts_with(&shown), "{path}: {text}");
    }
    assert!(found >= 8, "{found}");
}

#[test]
fn an_entry_counts_as_the_root_file_system_is_seen() {
    let cap = value(Some(100_000));
    let stage = Stage::new();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("SCHILY.xattr.security.capability", cap.as_slice())]).unwrap();
    let content = static_program();
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    header.set_path("ping").unwrap();
    header.set_cksum();
    builder.append(&header, content.as_slice()).unwrap();
    std::fs::write(stage.path("layer.tar"), builder.into_inner().unwrap()).unwrap();
    let file = format!("{}:/ping", stage.name("layer.tar"));
    let said = |args: &[&str]| {
        let mut all = vec!["--json", "explain", &file, "--user", "1000", "--add", "NET_RAW"];
        all.extend_from_slice(args);
        let output = nscap(&all);
        let text = String::from_utf8(output.stdout).unwrap();
        let permitted: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["after"]["permitted"].clone())
            .collect();
        (output.status.code(), permitted)
    };
    if !nscap_testing::is_root("an_entry_counts_as_the_root_file_system_is_seen") {
        return;
    }
    let (raw, nothing) = (serde_json::json!(["cap_net_raw"]), serde_json::json!([]));
    // podman's --add makes it ambient, which a plain file keeps: docker's does not.
    let docker = ["--runtime", "docker"];
    assert_eq!(said(&docker), (Some(1), vec![nothing.clone()]));
    let with = |more: &[&'static str]| [&docker[..], more].concat();
    let map = ["--userns", "0:100000:65536"];
    // Its owners changed: the entry is for that root. Through a map: for the root of id 200000.
    assert_eq!(said(&with(&map)), (Some(2), vec![raw.clone(), nothing]));
    let one = [&map[..], &["--rootfs-ids", "as-is"]].concat();
    assert_eq!(said(&with(&one)), (Some(0), vec![raw]));
}

/// The manager looks names up before it changes the root, and mounts no image of containers: it is
/// one that was unpacked where the unit has its root.
#[test]
fn a_unit_executes_what_is_in_its_own_root_as_a_user_of_this_machine() {
    const NAME: &str = "a_unit_executes_what_is_in_its_own_root_as_a_user_of_this_machine";
    if !has(NAME, &["tar"]) {
        return;
    }
    let stage = Stage::new();
    let rootfs = stage.path("rootfs");
    std::fs::create_dir_all(rootfs.join("bin")).unwrap();
    std::fs::create_dir_all(rootfs.join("etc")).unwrap();
    std::fs::write(rootfs.join("etc/passwd"), "nscap-inside:x:77:77::/:/\ndaemon:x:78:78::/:/\n")
        .unwrap();
    let ping = rootfs.join("bin/ping");
    std::fs::write(&ping, static_program()).unwrap();
    std::fs::set_permissions(&ping, PermissionsExt::from_mode(0o755)).unwrap();
    tool("setcap", &["cap_net_raw=ep", ping.to_str().unwrap()]);
    let layer = stage.name("layer.tar");
    let pack = ["--xattrs", "--xattrs-include=security.*", "-cf", &layer, "-C"];
    tool("tar", &[&pack[..], &[rootfs.to_str().unwrap(), "."]].concat());
    let unit = stage.name("probe.service");
    let ask = |user: &str, caps: &str, image: bool| {
        let text = format!(
            "[Service]\nExecStart=/bin/ping\nRootDirectory={}\nUser={user}\nCapabilityBoundingSet={caps}\n",
            rootfs.display()
        );
        std::fs::write(&unit, text).unwrap();
        let of_image = ["--image", &layer];
        let args =
            [&["--json", "explain", "--systemd", &unit], &of_image[..2 * usize::from(image)]];
        let output = nscap(&args.concat());
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    for (user, caps) in [("daemon", "CAP_NET_RAW"), ("daemon", ""), ("0", "CAP_CHOWN")] {
        let ((status, real), (said_status, said)) = (ask(user, caps, false), ask(user, caps, true));
        assert!(status <= Some(1) && status == said_status, "{user} {caps}: {real} {said}");
        let [real, said] =
            [&real, &said].map(|text| serde_json::from_str::<Value>(text.trim()).unwrap());
        for field in ["program", "before", "after", "errno", "lost", "why"] {
            assert_eq!(said[field], real[field], "{user} {caps}: {field}: {said} {real}");
        }
        let uid = if user == "0" { 0 } else { 1 };
        assert!(said.to_string().contains(&format!("uid {uid} in its namespace")), "{said}");
        assert_eq!(said["image"]["path"], *layer);
    }
    for image in [false, true] {
        let (status, text) = ask("nscap-inside", "", image);
        assert!(status == Some(2) && text.contains("no user of this machine"), "{text}");
    }
}

#[test]
fn which_of_two_a_name_means_is_decided_by_what_there_is() {
    let stage = Stage::new();
    let members = layer(&[("bin/x", Regular, "", 0, 0o755, None)]);
    std::fs::write(stage.path("l.tar"), members).unwrap();
    let name = format!("{}:/bin/x", stage.name("l.tar"));
    let said = |args: &[&str]| {
        let output = nscap(&[&["--json", "explain"], args].concat());
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    };
    assert!(said(&[&name]).contains(r#""image":{"path":"#));
    // A file of the whole name is that file.
    std::fs::create_dir_all(stage.path("l.tar:/bin")).unwrap();
    std::fs::write(stage.path("l.tar:/bin/x"), "#!/none\n").unwrap();
    let plain = said(&[&name, "--user", "0"]);
    assert!(plain.contains(r#""image":null"#) || plain.contains("EACCES"), "{plain}");
    assert!(said(&[&name]).contains("its task is required"));
    // --image says that it is the image.
    assert!(said(&["/bin/x", "--image", &stage.name("l.tar")]).contains(r#""image":{"path":"#));
    // A process finds files alone.
    let own = std::process::id().to_string();
    assert!(!said(&[&name, "--pid", &own]).contains(r#""image":{"path":"#));
}

/// The image of [`Stage::layout`] with another user; gives its file.
fn with_user(stage: &Stage, user: &str) -> String {
    let blob =
        |digest: &Value| stage.path("image/blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let read = |path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let put = |value: &Value, of: &Value| {
        let text = value.to_string();
        let hex = images::hex(text.as_bytes());
        std::fs::write(stage.path("image/blobs/sha256").join(&hex), &text).unwrap();
        let mut new = of.clone();
        new["digest"] = format!("sha256:{hex}").into();
        new["size"] = text.len().into();
        new
    };
    let mut index = read(stage.path("image/index.json"));
    let mut manifest = read(blob(&index["manifests"][0]["digest"]));
    let mut config = read(blob(&manifest["config"]["digest"]));
    config["config"]["User"] = user.into();
    manifest["config"] = put(&config, &manifest["config"]);
    index["manifests"] = serde_json::json!([put(&manifest, &index["manifests"][0])]);
    std::fs::write(stage.path("image/index.json"), index.to_string()).unwrap();
    format!("{}:x:/bin/x", stage.name("image"))
}

#[test]
fn errors_say_what_is_wrong() {
    let stage = Stage::new();
    let members = layer(&[("bin/x", Regular, "", 0, 0o755, None)]);
    let layout = stage.layout(&[&members]);
    let text = |args: &[&str]| fails(2, &[&["explain"], args].concat());
    let of = |path: &str| format!("{layout}{path}");
    let plain = stage.name("plain.service");
    std::fs::write(&plain, "[Service]\nExecStart=/bin/x\n").unwrap();
    for (args, part) in [
        (vec![of(":/none")], "/none: is not in the image"),
        (vec![of(":/bin/x/y")], "/bin/x: is not in the image"),
        (vec![of(":y:/bin/x")], "no image of that reference"),
        (vec![of(":/bin")], "is a directory"),
        (
            vec![of(":/bin/x"), "--platform".into(), "linux/riscv64".into()],
            "no image of the platform",
        ),
        (vec![of(":/bin/x"), "--systemd".into(), plain], "neither RootDirectory= nor RootImage="),
        (vec!["/bin/x".into(), "--image".into(), "/etc/hostname".into()], "/etc/hostname"),
        (vec!["/bin/x".into(), "--image".into(), of(".none")], "No such file"),
        (vec![of(":/bin/x"), "--user".into(), "nobody".into()], "no user of the container"),
        (
            vec![
                "/bin/true".into(),
                "--platform".into(),
                "a/b".into(),
                "--drop".into(),
                "ALL".into(),
            ],
            "--platform",
        ),
        (vec!["--image".into(), layout.clone()], "names no program"),
        (vec![of(":/bin/x"), "--docker".into(), "--rootfs".into(), "/".into()], "--rootfs"),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let error = text(&args);
        assert!(error.contains(part), "{args:?}: {error}");
    }
    // Damaged.
    let blobs = stage.path("image/blobs/sha256");
    for blob in std::fs::read_dir(&blobs).unwrap() {
        let path = blob.unwrap().path();
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let at = bad.len() / 2;
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let error = text(&[&of(":x:/bin/x")]);
        // By its digest, or as an archive before that is known.
        let known = ["damaged", "tar header"].iter().any(|part| error.contains(part));
        assert!(known, "{path:?}: {error}");
        std::fs::write(&path, &bad[..at]).unwrap();
        text(&[&of(":x:/bin/x")]);
        std::fs::write(&path, &good).unwrap();
    }
    let said = expect(1, &["explain", &of(":x:/bin/x")]);
    assert!(said.contains("there is no /none"), "{said}");
    // The kubelet does not know whether a named user is root.
    let pod = stage.name("pod.yaml");
    let text_of = |more: &str| {
        let text = "kind: Pod\nspec:\n  containers:\n  - name: a\n    securityContext: {";
        std::fs::write(&pod, format!("{text}{more}}}\n")).unwrap();
    };
    let named = with_user(&stage, "0:0");
    text_of("runAsNonRoot: true");
    assert!(text(&[&named, "--kube", &pod, "a"]).contains("the user is root"));
    let named = with_user(&stage, "web");
    assert!(text(&[&named, "--kube", &pod, "a"]).contains("user is a name"));
    text_of("runAsNonRoot: true, runAsUser: 33");
    expect(1, &["explain", &named, "--kube", &pod, "a"]);
}
