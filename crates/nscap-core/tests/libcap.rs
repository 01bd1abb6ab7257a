// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text form against the setcap(8) and getcap(8) of libcap: what they take, what they store
//! for it, and what they print.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;

use nscap_core::{CapSet, FileCaps, VfsCaps};

/// A file of its own for each test, gone afterwards; `None`, with the reason on standard output,
/// where the test cannot run.
struct Subject(PathBuf);

impl Subject {
    fn new(test: &str) -> Option<Subject> {
        let path = std::env::temp_dir().join(format!("nscap-libcap-{test}-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let subject = Subject(path);
        let usable = subject.setcap("cap_chown=p").is_some_and(|stored| stored.is_some());
        if !usable {
            println!("skipped: {test}: no setcap here, or no privilege to use it");
        }
        usable.then_some(subject)
    }

    /// Runs setcap: `None` if there is none, else the value that it stored, if it took the text.
    fn setcap(&self, text: &str) -> Option<Option<FileCaps>> {
        let output = Command::new("setcap").arg("-q").arg(text).arg(&self.0).output().ok()?;
        Some(output.status.success().then(|| stored(&self.0)))
    }

    /// What getcap prints for these capabilities.
    fn getcap(&self, caps: FileCaps) -> String {
        let hex: String =
            VfsCaps::v2(caps).encode().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let set = Command::new("setfattr")
            .args(["-n", "security.capability", "-v", &format!("0x{hex}")])
            .arg(&self.0)
            .status();
        assert!(set.unwrap().success());
        let output = Command::new("getcap").arg(&self.0).output().unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        line.strip_prefix(self.0.to_str().unwrap()).unwrap().trim().to_owned()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn stored(path: &Path) -> FileCaps {
    let output = Command::new("getfattr")
        .args(["--absolute-names", "--only-values", "-n", "security.capability"])
        .arg(path)
        .output()
        .unwrap();
    VfsCaps::decode(&output.stdout).unwrap().caps()
}

/// A small generator with a fixed seed: the same texts at every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        self.0 >> 11
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[(self.next() % choices.len() as u64) as usize]
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 32] = [
            "cap_chown",
            "cap_kill",
            "CAP_Net_Raw",
            "all",
            "all",
            "cap_bpf",
            "63",
            "41",
            "0x1f",
            "010",
            "64",
            "cap_foo",
            ",",
            ",",
            ",",
            "=",
            "=",
            "=",
            "=",
            "+",
            "+",
            "-",
            "e",
            "ep",
            "p",
            "p",
            "i",
            "eip",
            " ",
            " ",
            " ",
            "\t",
        ];
        match self.next() % 3 {
            0 => (0..1 + self.next() % 9).map(|_| self.of(&PARTS)).collect(),
            _ => (0..1 + self.next() % 3).map(|_| self.clause()).collect::<Vec<_>>().join(" "),
        }
    }

    /// Mostly a clause as cap_from_text(3) has it.
    fn clause(&mut self) -> String {
        let list: Vec<&str> = (0..1 + self.next() % 3)
            .map(|_| self.of(&["cap_chown", "cap_kill", "cap_bpf", "all", "7", "62"]))
            .collect();
        let list = if self.next().is_multiple_of(6) { String::new() } else { list.join(",") };
        let actions: String = (0..1 + self.next() % 2)
            .map(|_| {
                self.of(&["=", "+", "-"]).to_owned() + self.of(&["e", "ep", "p", "i", "eip", ""])
            })
            .collect();
        list + &actions
    }
}

#[test]
fn setcap_takes_the_same_texts_and_stores_the_same() {
    let Some(subject) = Subject::new("setcap") else { return };
    let mut random = Random(7);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..600 {
        let text = random.text();
        // setcap would read these as options or as "remove".
        if text.starts_with('-') || CString::new(text.as_str()).is_err() {
            continue;
        }
        let ours = FileCaps::from_text(text.as_bytes());
        assert_eq!(ours.ok(), subject.setcap(&text).unwrap(), "{text:?}: {ours:?}");
        if ours.is_ok() { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 100 && refused > 100, "too one-sided: {taken} taken, {refused} refused");
}

#[test]
fn getcap_prints_the_same() {
    let Some(subject) = Subject::new("getcap") else { return };
    let mut random = Random(11);
    for round in 0..300 {
        let mut set = || {
            let (a, b) = (random.next() << 11, random.next() << 11);
            // Few bits, many bits, and bits that the kernel knows only.
            CapSet::from_bits(match round % 4 {
                0 => a & b & random.next(),
                1 => a | b,
                2 => a & CapSet::KNOWN.bits(),
                _ => 1 << (a % 41),
            })
        };
        let (permitted, inheritable) = (set(), set());
        let caps = FileCaps { permitted, inheritable, effective: round % 3 == 0 };
        assert_eq!(caps.to_string(), subject.getcap(caps), "{caps:?}");
    }
}
