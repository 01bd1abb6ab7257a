// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program file with capabilities, and the command about it.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, Output};

use nscap_testing::{cat, copy_program, stdout};
use serde_json::Value;

pub(crate) fn nscap<A: AsRef<OsStr>>(args: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nscap")).args(args).output().unwrap()
}

/// One JSON object per line.
pub(crate) fn json<A: AsRef<OsStr>>(args: &[A]) -> Vec<Value> {
    let mut all = vec![OsString::from("--json")];
    all.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
    stdout(&nscap(&all)).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) struct Subject {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Subject {
    /// A copy of cat(1) with this owner.
    pub(crate) fn new(owner: u32) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let path = cat(directory.path(), owner);
        Subject { directory, path }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Runs `nscap ARGS FILE MORE`.
    pub(crate) fn run(&self, args: &[&str], more: &[&str]) -> Output {
        nscap(&[args, &[self.name()], more].concat())
    }

    pub(crate) fn json(&self, args: &[&str], more: &[&str]) -> Value {
        json(&[args, &[self.name()], more].concat()).remove(0)
    }

    /// Both attributes as getfattr(1) prints them.
    pub(crate) fn attributes(&self) -> String {
        tool(
            "getfattr",
            &["--absolute-names", "-d", "-m", "^security[.](ns)?cap", "-e", "hex", self.name()],
        )
    }

    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> String {
        tool(program, &[args, &[self.name()]].concat())
    }
}

/// What another program prints, which must succeed.
pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    stdout(&output)
}

/// A copy of the command where a namespace can execute it.
pub(crate) fn support_copy(subject: &Subject) -> PathBuf {
    let copy = subject.directory.path().join("nscap");
    copy_program(env!("CARGO_BIN_EXE_nscap").as_ref(), &copy);
    copy
}

pub(crate) const NET_RAW: u64 = 1 << 13;

/// Waits until the process has become that program.
pub(crate) fn wait_for(pid: u32, comm: &str) {
    for _ in 0..1000 {
        let now = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if now.trim() == comm {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("process {pid} never became {comm}");
}

/// Runs a script in a mount namespace of its own, where `$nscap` is the command and `$dir` a fresh
/// directory; gives what it prints, one JSON object per line.
pub(crate) fn with_own_mounts(script: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-euc", script])
        .env("nscap", env!("CARGO_BIN_EXE_nscap"))
        .env("dir", directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
