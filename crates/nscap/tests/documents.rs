// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that README.md and docs show are ones that `nscap` takes, and scripts that exist.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Each document that shows commands, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let more = [
        "README.md",
        "kernel/README.md",
        "conformance/README.md",
        "packaging/README.md",
        "CONTRIBUTING.md",
    ];
    docs.chain(more.map(|name| top().join(name)))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// Lines of code, and what README and others have in back quotes, cut where a comment begins.
fn commands(text: &str) -> Vec<Vec<&str>> {
    let code = text.lines().filter_map(|line| line.strip_prefix("    "));
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    code.chain(quoted.filter(|words| words.contains(' ')))
        .map(|line| line.split(" #").next().unwrap_or_default())
        .map(|line| line.split_whitespace().filter(|word| !word.starts_with(['<', '>'])).collect())
        .filter(|words: &Vec<&str>| !words.is_empty())
        .collect()
}

/// Whether `nscap` takes the arguments: what comes before `--help` is read first.
fn is_taken(arguments: &[&str]) -> bool {
    let mut nscap = Command::new(env!("CARGO_BIN_EXE_nscap"));
    let nscap = nscap.args(arguments).arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
    nscap.status().unwrap().success()
}

#[test]
fn commands_in_documents_are_taken() {
    let mut count = 0;
    for (path, text) in documents() {
        for words in commands(&text) {
            let command = words.join(" ");
            let [program, arguments @ ..] = &*words else { continue };
            if *program == "nscap" && !command.contains("...") {
                assert!(is_taken(arguments), "{}: {command}", path.display());
                count += 1;
            }
            let scripts = ["./", "kernel/", "benches/", "ci/", "packaging/"];
            if scripts.iter().any(|start| program.starts_with(start)) {
                let script = std::fs::metadata(top().join(program));
                let runs = script.is_ok_and(|script| script.permissions().mode() & 0o111 != 0);
                assert!(runs, "{}: {command}", path.display());
                count += 1;
            }
        }
    }
    assert!(count >= 50, "{count}");
}

#[test]
fn a_command_that_is_not_taken_is_noticed() {
    assert!(is_taken(&["explain", "/usr/bin/ping", "--pid", "812"]));
    for wrong in
        [&["explain", "--pod", "812"][..], &["explane"], &["layer", "map", "--too", "host"]]
    {
        assert!(!is_taken(wrong), "{wrong:?}");
    }
    let text = "see `nscap get FILE`\n\n    nscap ns   # all of them\n    nscap layer map <a >b\n";
    let expected: [&[&str]; 3] =
        [&["nscap", "ns"], &["nscap", "layer", "map"], &["nscap", "get", "FILE"]];
    assert_eq!(commands(text), expected);
}
