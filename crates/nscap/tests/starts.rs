// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `nscap explain` says of tasks that do not run yet, beside what podman starts, and the
//! samples of docs/explain.md.

mod stage;

use std::path::Path;

use nscap_testing::is_root;
use stage::{SETS, script};

/// `rootfs` in the working directory, with `ping` that has cap_net_raw=ep and `web` that has
/// nothing; both print what they are given.
const ROOTFS: &str = r#"
    mkdir -p rootfs/usr/bin rootfs/etc rootfs/proc rootfs/dev rootfs/sys rootfs/run rootfs/tmp
    cp /bin/cat rootfs/usr/bin/ping; cp /bin/cat rootfs/usr/bin/web
    ldd /bin/cat | grep -o '/[^ ]*' | while read -r file; do
        mkdir -p "rootfs$(dirname "$file")"; cp -L "$file" "rootfs$file"
    done
    echo 'root:x:0:0::/:/' >rootfs/etc/passwd; echo 'web:x:33:33::/:/' >>rootfs/etc/passwd
    echo 'root:x:0:' >rootfs/etc/group; echo 'web:x:33:' >>rootfs/etc/group
    setcap cap_net_raw=ep rootfs/usr/bin/ping
    tar --xattrs --xattrs-include='security.*' -C rootfs -cf image.tar .
"#;

/// The samples of the document: a command, and the lines that it prints.
fn samples(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut samples: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line.strip_prefix("    "), line.strip_prefix("    $ ")) {
            (_, Some(command)) => {
                samples.push((command, Vec::new()));
                inside = true;
            }
            (Some(shown), None) if inside => {
                samples.last_mut().unwrap().1.push(shown);
            }
            _ => inside = false,
        }
    }
    samples
}

/// Whether the lines come in this order; `...` means any number of others.
fn shows(output: &str, expected: &[&str]) -> bool {
    let mut lines = output.lines();
    let mut skips = false;
    for line in expected {
        if *line == "..." {
            skips = true;
            continue;
        }
        let found = if skips {
            lines.by_ref().any(|own| own.trim_end() == *line)
        } else {
            lines.next().is_some_and(|own| own.trim_end() == *line)
        };
        if !found {
            return false;
        }
        skips = false;
    }
    skips || lines.next().is_none()
}

#[test]
fn a_sample_that_is_not_so_is_noticed() {
    let output = "a\nb\nc\n";
    assert!(shows(output, &["a", "b", "c"]) && shows(output, &["...", "c"]));
    assert!(shows(output, &["a", "..."]) && shows(output, &["a", "...", "c"]));
    for wrong in [&["a", "b"][..], &["b", "..."], &["...", "b"], &["...", "c", "b"], &["d"]] {
        assert!(!shows(output, wrong), "{wrong:?}");
    }
}

#[test]
fn the_samples_of_the_document_are_what_the_command_says() {
    const NAME: &str = "the_samples_of_the_document_are_what_the_command_says";
    if !is_root(NAME) {
        return;
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(top.join("docs/explain.md")).unwrap();
    let samples = samples(&text);
    assert!(samples.len() >= 8, "{samples:?}");
    let mut commands = String::new();
    for (command, _) in &samples {
        commands.push_str(&format!("say '== '\n({command}) >&3 || [ $? = 1 ]\n"));
    }
    let examples = top.join("examples/explain");
    let said = script(&format!(
        r#"
        mount -t tmpfs -o mode=755 none /mnt; cd /mnt
        cp {examples}/* .
        {ROOTFS}
        PATH=$dir:$PATH
        {commands}
        "#,
        examples = examples.display(),
    ));
    let said = said.join("\n");
    let mut outputs = said.split("== \n").skip(1);
    for (command, expected) in samples {
        let output = outputs.next().unwrap_or_default();
        assert!(shows(output, &expected), "$ {command}\n{output}");
    }
}

#[test]
fn what_podman_starts_is_what_is_said() {
    const NAME: &str = "what_podman_starts_is_what_is_said";
    if !(is_root(NAME) && stage::has("podman", NAME) && stage::has("crun", NAME)) {
        return;
    }
    let counted = script(&format!(
        r#"
        {ROOTFS}
        # crun does not start where version 2 of cgroups is beside version 1.
        umount -l /sys/fs/cgroup/unified 2>/dev/null || true
        mkdir -p store run tmp; export TMPDIR=$dir/tmp XDG_RUNTIME_DIR=$dir/run
        {SETS}
        # Where a limit of the machine is below podman's own.
        limits=(--ulimit nofile=512:512 --ulimit nproc=512:512)
        compare() {{ # compare FILE OPTION...
            local file=$1 ran status=0
            shift
            "$nscap" --json explain "$file" --podman "$@" --rootfs "$dir/rootfs" >said || status=$?
            [ $status -le 1 ] || fail "$file $*: $(cat said)"
            ran=$(own_podman run --rm \
                --network none "${{limits[@]}}" "$@" --rootfs "$dir/rootfs" "$file" /proc/self/status 2>err) || ran=failed
            if [ "$ran" = failed ]; then
                grep -q '"errno":"EPERM"' said && grep -qi 'operation not permitted' err ||
                    fail "$file $*: $(cat err): $(cat said)"
            else
                [ "$(names said)" = "$(echo "$ran" | sets)" ] || fail "$file $*: $ran: $(cat said)"
            fi
            say "$file $*"
        }}
        for file in /usr/bin/ping /usr/bin/web; do
            compare $file
            compare $file --cap-drop ALL
            compare $file --cap-drop ALL --cap-add net_raw --user 1000
            compare $file --user web --cap-add NET_RAW,CAP_KILL
            compare $file --user 1000 --security-opt no-new-privileges --cap-add net_raw
            compare $file --user 1000 --security-opt no-new-privileges --cap-drop chown
            compare $file --cap-add ALL --cap-drop NET_RAW
            compare $file --privileged --user 1000 --cap-add sys_admin
            compare $file --privileged
        done
        umount -R store 2>/dev/null || true
        "#
    ));
    assert_eq!(counted.len(), 18, "{counted:?}");
}

#[test]
fn units_are_merged_as_systemd_merges_them() {
    const NAME: &str = "units_are_merged_as_systemd_merges_them";
    if !(is_root(NAME) && stage::has("systemd-analyze", NAME) && stage::has("python3", NAME)) {
        return;
    }
    let compared = script(
        r#"
        mkdir -p high low; export SYSTEMD_UNIT_PATH=$dir/high:$dir/low
        put() { mkdir -p "$(dirname "$1")"; printf '[Service]\n%s\n' "$2" >"$1"; }
        # What systemd takes for the bounding set, by its own assessment of each capability.
        theirs() {
            systemd-analyze security --offline=yes --json=short "$1" 2>/dev/null | python3 -c '
import json, sys
for row in json.load(sys.stdin):
    name, good = row["json_field"], row["set"]
    if name in ("NoNewPrivileges", "PrivateUsers", "AmbientCapabilities") or name.startswith("CapabilityBoundingSet"):
        print(name, good)' | sort
        }
        ours() {
            "$nscap" --json explain /bin/true --systemd "$1" >said || [ $? -le 2 ] || fail "$(cat said)"
            python3 -c '
import json
said = json.loads(open("said").readline())
before = said["before"]
groups = {"SYS_TIME": ["sys_time"], "SYS_MODULE": ["sys_module"], "NET_ADMIN": ["net_admin"],
    "SYS_RAWIO": ["sys_rawio"], "SYS_BOOT": ["sys_boot"], "KILL": ["kill"], "MKNOD": ["mknod"]}
for name, caps in groups.items():
    print(name, all("cap_" + cap not in before["bounding"] for cap in caps))
print("NNP", said["start"]["no_new_privs"])
print("AMB", not before["ambient"])' | sort
        }
        check() { # check UNIT: each line of ours that systemd assesses is the same
            theirs "$1" >theirs; ours "$1" >ours
            [ -s theirs ] || fail "systemd says nothing of $1"
            local pairs=0 name good field
            while read -r name good; do
                case $name in
                    NNP) field=NoNewPrivileges ;;
                    AMB) field=AmbientCapabilities ;;
                    *) field=$(grep -o "^CapabilityBoundingSet_[A-Z_]*CAP_$name[A-Z_]*" theirs | head -1) ;;
                esac
                [ -n "$field" ] || continue
                grep -q "^$field $good\$" theirs || fail "$1: $name $good: $(cat theirs)"
                pairs=$((pairs + 1))
            done <ours
            say "$1 $pairs"
        }
        put low/a.service $'ExecStart=/bin/true\nCapabilityBoundingSet=CAP_KILL CAP_NET_ADMIN'
        check a.service
        put high/a.service.d/10.conf 'CapabilityBoundingSet=~CAP_KILL'
        check a.service
        put low/a.service.d/10.conf 'NoNewPrivileges=yes'
        check a.service
        put low/service.d/20.conf $'NoNewPrivileges=yes\nAmbientCapabilities=CAP_NET_ADMIN'
        check a.service
        put low/b-c.service $'ExecStart=/bin/true\nCapabilityBoundingSet=~CAP_SYS_TIME\nCapabilityBoundingSet=~CAP_MKNOD'
        check b-c.service
        put high/b-.service.d/x.conf $'ProtectKernelModules=yes\nPrivateDevices=yes\nNoNewPrivileges=no'
        check b-c.service
        put low/d@.service $'ExecStart=/bin/true\nCapabilityBoundingSet=\nNoNewPrivileges=1'
        put low/d@.service.d/30.conf 'AmbientCapabilities='
        check d@x.service
        "#,
    );
    assert_eq!(compared.len(), 7, "{compared:?}");
    for line in compared {
        let pairs: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(pairs >= 5, "{line}");
    }
}

#[test]
fn a_unit_of_another_root_has_the_users_and_groups_of_that() {
    const NAME: &str = "a_unit_of_another_root_has_the_users_and_groups_of_that";
    if !is_root(NAME) {
        return;
    }
    let asked = script(&format!(
        r#"
        {ROOTFS}
        for file in passwd group; do
            cp /etc/$file $file
            echo 'nscap-here:x:77777:77777::/:' >>$file
            mount --bind $file /etc/$file
        done
        asks() {{ # asks STATUS PART SETTINGS [OPTION...]
            printf '[Service]\nExecStart=%s\n%b\n' "$file" "$3" >a.service
            expect "$1" "$2" "$nscap" explain --systemd "$dir/a.service" "${{@:4}}"
            say "$3"
        }}
        file=/usr/bin/ping
        of_root() {{ asks "$@" --root rootfs; }}
        no_user='ends with 217/USER' no_group='ends with 216/GROUP'
        # What this machine lists, and the directory does not.
        for user in 77777 nscap-here; do
            of_root 2 "no user of the root file system: a.service $no_user" "User=$user"
            of_root 2 "no group of the root file system: a.service $no_group" "Group=$user"
            of_root 2 "$no_group" "User=web\nSupplementaryGroups=web $user"
        done
        for user in web 33; do
            of_root 0 'uid 33' "User=$user\nGroup=$user\nSupplementaryGroups=$user"
        done
        # systemd makes them; each file system is nosuid then.
        of_root 1 'uid 77777' 'DynamicUser=yes\nUser=77777\nGroup=77777'
        of_root 1 'uid 61184' 'DynamicUser=yes\nGroup=nscap-here'
        of_root 2 "$no_group" 'DynamicUser=yes\nSupplementaryGroups=77777'
        # It asks no database for uids 0 and 65534.
        rm rootfs/etc/passwd rootfs/etc/group
        for user in root 0; do of_root 0 'uid 0' "User=$user\nGroup=$user"; done
        for user in nobody 65534; do of_root 0 'uid 65534' "User=$user\nGroup=65534"; done
        of_root 2 "$no_user" User=33
        file=/bin/true
        for user in nscap-here 77777; do
            asks 0 'uid 77777' "User=$user\nGroup=$user\nSupplementaryGroups=$user"
        done
        asks 2 "no user of this machine: a.service $no_user" User=77778
        asks 2 "no group of this machine: a.service $no_group" Group=77778
        "#
    ));
    assert_eq!(asked.len(), 20, "{asked:?}");
}
