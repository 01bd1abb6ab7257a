// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts in mount and pid namespaces of their own, so that nothing which they mount or start
//! stays behind or is seen by another test.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// `names FILE`: the five sets of "after" of an answer in JSON; `sets`: those of /proc/PID/status, which
/// it reads. Both as one line.
pub(crate) const SETS: &str = r#"
    sets() { sed -n 's/^Cap\(Prm\|Eff\|Inh\|Amb\|Bnd\):\t//p' | tr '\n' ' '; }
    names() {
        python3 - "$1" <<'END'
import json, sys
known = [line.split()[0] for line in open("caps")]
after = json.loads(open(sys.argv[1]).readline())["after"]
bits = lambda names: sum(1 << known.index(name) for name in names)
print(*("%016x" % bits(after[key]) for key in ("inheritable", "permitted", "effective", "bounding", "ambient")), "")
END
    }
    for n in $(seq 0 40); do capsh --decode=$(printf %x $((1 << n))) | sed 's/.*=//'; done >caps
"#;

/// What every script begins with. `$nscap` is the command where every user can execute it, `$dir` a
/// directory that is empty again afterwards; in it `p/src`, which only root can reach, and `t`.
const PROLOGUE: &str = r#"
    mount -t tmpfs -o mode=755 none "$dir"
    install -m 755 "$program" "$dir/nscap"
    nscap=$dir/nscap
    mkdir -p "$dir/p/src" "$dir/t"
    chmod 700 "$dir/p"
    cd "$dir"
    say() { echo "$1" >&3; }
    fail() { say "failed: $*"; exit 1; }
    # COMMAND... must end with STATUS and print a text with PART in it.
    expect() {
        local status=$1 part=$2 got=0
        shift 2
        "$@" >out 2>err || got=$?
        [ "$got" = "$status" ] || fail "$* gave $got, not $status: $(cat out err)"
        [ -z "$part" ] || grep -qF -- "$part" err out || fail "$* did not say '$part' but: $(cat out err)"
    }
    # ARCHIVE FILE...: with every attribute.
    pack() { tar --xattrs --xattrs-include='*' -cf "$@"; }
    # podman refuses a --runroot of more than 50 characters: here it is the directory `run`, on /mnt.
    short_run() { mountpoint -q /mnt || mount --bind "$dir/run" /mnt; echo /mnt; }
    own_podman() {
        podman --root "$dir/store" --runroot "$(short_run)" --cgroup-manager cgroupfs "$@"
    }
    # The server of a mount point.
    server() { pgrep -f "^nscap mount --detached .* $1\$" || true; }
    # Waits until CONDITION... holds.
    until_so() {
        for _ in $(seq 500); do "$@" && return 0; sleep 0.02; done
        fail "never came: $*"
    }
    is_gone() { [ -z "$(server "$1")" ]; }
    type_at() { awk -v at="$1" '$5 == at { for (i = 6; i <= NF; i++) if ($i == "-") type = $(i + 1) } END { print type }' /proc/self/mountinfo; }
"#;

/// Whether a program is there that only this test needs; if not, says that the test is skipped.
pub(crate) fn has(program: &str, test: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let found = path.split(':').any(|dir| Path::new(dir).join(program).exists());
    if !found {
        println!("skipped: {test}: needs {program}");
    }
    found
}

/// Runs a script and gives what it says with `say`, line by line; a command that fails ends it, and
/// fails the test.
pub(crate) fn script(text: &str) -> Vec<String> {
    script_with(text, &[])
}

/// With more environment.
pub(crate) fn script_with(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let output = stage(&format!("{PROLOGUE}\n{text}"), directory.path())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", everything(&output));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn everything(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn stage(text: &str, directory: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["--propagation", "private", "bash", "-euo", "pipefail", "-c"]);
    // Servers must not keep the pipe that is waited for.
    command.arg(format!("exec 3>&1 1>&2\n{text}"));
    command.env("program", env!("CARGO_BIN_EXE_nscap")).env("dir", directory).env("LC_ALL", "C");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
