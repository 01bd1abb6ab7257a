// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that the documents show are run as they are shown, in a world that has what they
//! name: /usr/bin/ping, a tree, images, a container whose first process is 812, a user alice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nscap_testing::is_root;

mod stage;

/// Each command as a document shows it, in an order in which one follows from another, and its exit
/// status: 1 is the answer no, as of `explain` where a capability is lost. Lines that no document
/// shows make what the next ones need.
const SHOWN: &[(i32, &str)] = &[
    (0, "nscap get /usr/bin/ping"),
    (0, "nscap explain /usr/bin/ping --as host --uid 1000"),
    (0, "nscap explain /usr/bin/ping --pid 812"),
    (0, "nscap explain /usr/bin/ping --as user:alice --uid 1000"),
    (1, "nscap explain /usr/bin/ping --root rootfs --drop ALL --user 1000"),
    (1, "nscap explain --oci bundle"),
    (1, "nscap explain /usr/bin/ping --kube pod.yaml web"),
    (1, "nscap explain --kube pod.yaml web"),
    (1, "nscap explain --systemd web.service"),
    (0, "nscap explain /usr/bin/ping --pid 812 --svg >explanation.svg"),
    (0, "nscap explain --image image.tar:latest --runtime docker"),
    (1, "nscap explain image.tar:/usr/bin/ping --drop ALL"),
    (1, "nscap explain image.tar:/usr/bin/ping --drop ALL --svg >explanation.svg"),
    (1, "nscap explain image.tar:latest:/usr/bin/ping --drop ALL"),
    (1, "nscap explain image.tar:latest:/usr/bin/ping --drop ALL --user 1000"),
    (1, "nscap explain layout:/usr/bin/ping --kube pod.yaml web"),
    (0, "nscap generate man /usr/local/share/man"),
    (0, "nscap generate completions bash >/etc/bash_completion.d/nscap"),
    (0, "ln -s /usr/bin/nscap /sbin/mount.nscap"),
    (0, "nscap rm rootfs/usr/bin/ping"),
    (0, "nscap set cap_net_raw=ep rootfs/usr/bin/ping --for pid:812"),
    (0, "nscap get rootfs/usr/bin/ping | grep -F 100000"),
    (0, "nscap rm rootfs/usr/bin/ping --for pid:812"),
    (0, "nscap set cap_net_raw=ep rootfs/usr/bin/ping"),
    (0, "nscap scan rootfs"),
    (1, "nscap scan --stale rootfs"),
    (0, "nscap scan --html rootfs >rootfs.html"),
    (1, "nscap check rootfs"),
    (0, "nscap ns --svg >namespaces.svg"),
    (0, "nscap layer ls image.tar:app:1.0"),
    (1, "nscap layer check layer.tar.gz"),
    (1, "nscap layer check image.tar"),
    (0, "nscap layer set -o new.tar image.tar /usr/bin/ping cap_net_raw=ep"),
    (0, "nscap diff old.tar new.tar"),
    (0, "ci/capability-gate old.tar new.tar"),
    (0, "rm new.tar"),
    (0, "nscap layer set --no-effective -o new.tar image.tar /usr/bin/ping"),
    (1, "ci/capability-gate old.tar new.tar"),
    (0, "rm new.tar"),
    (0, "nscap layer rm -o new.tar image.tar /usr/bin/ping"),
    (1, "nscap diff old.tar new.tar"),
    (0, "nscap layer set --in-place layout:latest /usr/bin/ping cap_net_raw=ep"),
    (0, "nscap layer map --from 100000 --to host <packed.tar >own.tar"),
    (0, "nscap layer map --from 0:100000:65536 --to host --owners -o layer.tar packed.tar"),
    (0, "nscap save rootfs >capabilities.txt"),
    (0, "nscap save rootfs >caps.txt"),
    (0, "nscap rm rootfs/usr/bin/ping"),
    (0, "nscap restore --dry-run capabilities.txt rootfs"),
    (0, "nscap restore capabilities.txt rootfs"),
    (0, "nscap restore caps.txt rootfs"),
    (0, "nscap mount /srv/source/tree /srv/tree"),
    (0, "nscap umount /srv/tree"),
    (0, "nscap mount /srv/source/tree /srv/tree -o busy=replace"),
    (0, "nscap stats /srv/tree"),
    (0, "nscap umount /srv/tree"),
    (0, "mount -t nscap /srv/source/tree /srv/tree -o busy=replace"),
    (0, "umount /srv/tree"),
    (0, "nscap shift --from host --to 0:100000:65536 rootfs"),
    (0, "nscap shift --from 0:100000:65536 --to user:alice -n rootfs"),
    (0, "nscap shift --from 0:100000:65536 --to user:alice rootfs"),
    (0, "nscap shift --resume rootfs"),
    (0, "nscap shift --undo rootfs"),
];

/// Ends with 0 or 1, as the machine is: what it lists first is the kernel's.
const OF_THE_MACHINE: &str = "nscap check rootfs";

/// Shown, and run by another test.
const ELSEWHERE: &[(&str, &str)] = &[("nscap tour --kernel", "kernel/module/install-steps")];

/// Makes the world; nothing of the machine changes.
const WORLD: &str = r#"
    mkdir above under
    for tree in usr etc; do
        mkdir "above/$tree" "under/$tree"
        mount -t overlay -o "lowerdir=/$tree,upperdir=$dir/above/$tree,workdir=$dir/under/$tree" none "/$tree"
    done
    mount -t tmpfs -o mode=755 none /srv
    cp "$nscap" /usr/bin/nscap
    ln -s "$top/ci" ci
    export PATH=/usr/bin:$PATH
    rm -f /usr/bin/ping /sbin/mount.nscap
    cp /bin/true /usr/bin/ping
    setcap cap_net_raw=ep /usr/bin/ping
    mkdir -p /etc/bash_completion.d /srv/source/tree /srv/tree
    chmod 700 /srv/source

    sed -i /^alice:/d /etc/passwd
    echo alice:x:1000:1000::/:/bin/sh >>/etc/passwd
    echo alice:300000:65536 | tee /etc/subuid >/etc/subgid
    echo 811 >/proc/sys/kernel/ns_last_pid
    unshare --user sleep 1000 &
    [ $! = 812 ] || fail "the container has pid $!"
    until_so sh -c '[ "$(readlink /proc/812/ns/user)" != "$(readlink /proc/self/ns/user)" ]'
    echo 0 100000 65536 >/proc/812/uid_map
    echo 0 100000 65536 >/proc/812/gid_map

    mkdir -p rootfs/usr/bin bundle
    cp /usr/bin/true rootfs/usr/bin/ping
    setcap cap_net_raw=ep rootfs/usr/bin/ping
    ldd /usr/bin/true | grep -o '/[^ ]*' | while read -r file; do
        mkdir -p "rootfs$(dirname "$file")"
        cp -L "$file" "rootfs$file"
    done
    pack layer.tar.gz -z -C rootfs usr
    cp -a rootfs packed
    chown -R 100000:100000 packed
    setcap -n 100000 cap_net_raw=ep packed/usr/bin/ping
    pack packed.tar -C packed usr
    umoci init --layout layout
    umoci new --image layout:latest
    umoci unpack --image layout:latest unpacked
    cp -a rootfs/. unpacked/rootfs/
    umoci repack --image layout:latest unpacked
    umoci config --image layout:latest --config.entrypoint /usr/bin/ping
    skopeo copy -q --additional-tag app:latest oci:layout:latest docker-archive:image.tar:app:1.0
    skopeo copy -q oci:layout:latest oci-archive:old.tar:latest

    (cd bundle && runc spec && sed -i 's,"sh",("/usr/bin/ping"),;s,[()],,g' config.json)
    cp -a rootfs bundle/
    cat >pod.yaml <<END
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: web, image: app, command: [/usr/bin/ping], securityContext: {capabilities: {drop: [ALL]}}}
END
    cat >/etc/systemd/system/web.service <<END
[Service]
ExecStart=/usr/bin/ping
User=alice
CapabilityBoundingSet=CAP_CHOWN
END
    while IFS= read -r command; do
        got=0
        sh -c "$command" >out 2>err </dev/null || got=$?
        say "$got $command"
        say "  $(tail -n 3 out | cat err - | head -c 500 | tr '\n' ' ')"
    done <<<"$commands"
    kill 812
    for mounted in /usr /etc /srv; do umount -l "$mounted"; done
"#;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A word in capitals that the reader replaces (`FILE`); `ALL` is one of nscap's own.
fn is_placeholder(word: &str) -> bool {
    let letters = word.trim_end_matches('.');
    letters.len() > 1 && letters != "ALL" && letters.chars().all(|c| c.is_ascii_uppercase())
}

/// The commands of a document that can be run as they are: lines of code, and quoted ones that
/// name a file.
fn shown(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter_map(|line| line.strip_prefix("    "));
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let quoted =
        quoted.filter(|command| command.contains(['/', '.', '=']) || command.ends_with("rootfs"));
    code.chain(quoted)
        .map(|line| line.split(" #").next().unwrap_or_default().trim())
        .filter(|command| {
            let words: Vec<&str> = command.split_whitespace().collect();
            ["nscap", "mount", "ci/capability-gate"].iter().any(|name| words.first() == Some(name))
                && words.len() > 1
                && !words.iter().any(|word| is_placeholder(word))
        })
        .map(str::to_owned)
        .collect()
}

fn all_shown() -> BTreeSet<String> {
    let docs = std::fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    docs.chain(["README.md", "packaging/README.md"].map(|name| top().join(name)))
        .flat_map(|path| shown(&std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn each_command_that_is_shown_is_in_the_table() {
    let known = SHOWN.iter().map(|(_, command)| *command);
    let known: BTreeSet<&str> =
        known.chain(ELSEWHERE.iter().map(|(command, _)| *command)).collect();
    let all = all_shown();
    assert!(all.len() >= 40, "{all:?}");
    let missing: Vec<_> = all.iter().filter(|command| !known.contains(command.as_str())).collect();
    assert!(missing.is_empty(), "shown, and not run by this test: {missing:#?}");
    for (command, test) in ELSEWHERE {
        assert!(all.contains(*command), "{command}");
        let test = std::fs::read_to_string(top().join(test)).unwrap();
        assert!(test.contains(command.strip_prefix("nscap ").unwrap()), "{command}");
    }
}

#[test]
fn commands_that_are_shown_do_what_is_said() {
    const NAME: &str = "commands_that_are_shown_do_what_is_said";
    let tools = ["umoci", "skopeo", "runc", "setcap"];
    if !is_root(NAME) || !tools.iter().all(|tool| stage::has(tool, NAME)) {
        return;
    }
    let commands: Vec<&str> = SHOWN.iter().map(|(_, command)| *command).collect();
    let top = top();
    let environment = [("commands", &*commands.join("\n")), ("top", top.to_str().unwrap())];
    let said = stage::script_with(WORLD, &environment);
    let expected = SHOWN.iter().map(|(status, command)| format!("{status} {command}"));
    let answers: Vec<_> = said.chunks(2).collect();
    assert_eq!(answers.len(), SHOWN.len(), "{said:#?}");
    let is_as_said = |expected: &str, got: &str| {
        let machine = got.strip_suffix(OF_THE_MACHINE).map(str::trim_end);
        expected == got || machine.is_some_and(|status| ["0", "1"].contains(&status))
    };
    let wrong: Vec<_> =
        expected.zip(answers).filter(|(expected, got)| !is_as_said(expected, &got[0])).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A no is for the reason that the documents are about, and comes with what to do.
    for answer in said.chunks(2).filter(|answer| answer[0].starts_with("1 nscap explain")) {
        assert!(answer[0].contains('>') || answer[1].contains("NET_RAW"), "{answer:#?}");
    }
}

#[test]
fn what_is_shown_is_found() {
    let text = "use `nscap get FILE`, `nscap ns` or `nscap scan rootfs`:\n\n    nscap check   # all\n    \
                mount -t nscap /a /b\n    nscap layer ls IMAGE...\n    cp a b\n";
    let expected = ["mount -t nscap /a /b", "nscap check", "nscap scan rootfs"];
    assert_eq!(shown(text), expected.map(str::to_owned).into());
}
