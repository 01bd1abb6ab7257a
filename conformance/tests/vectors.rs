// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vectors as they are shipped: up to date with the table, the layers as the command's library
//! makes them, and readers in Go and Python that decide the same by themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nscap_conformance::load::load_dir;
use nscap_conformance::{text, vectors};
use nscap_core::translate::Translation;
use nscap_core::{Extent, IdMap};
use nscap_image::layer::{Change, Error, map};
use serde_json::Value;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn cases(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir().join(name)).expect(name);
    let all: Value = serde_json::from_str(&text).expect(name);
    assert_eq!(all["version"], vectors::VERSION);
    all["cases"].as_array().expect(name).clone()
}

#[test]
fn they_are_what_the_table_makes() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let table = load_dir(&scenarios).unwrap_or_else(|error| panic!("{error}"));
    for (name, text) in vectors::all(&table).expect("vectors") {
        let shipped = std::fs::read_to_string(dir().join(name)).expect(name);
        assert!(
            shipped == text,
            "{name} is not up to date: cargo run -p nscap-conformance -- vectors"
        );
    }
}

#[test]
fn there_are_many_of_each_kind_of_answer() {
    let steps = cases("decisions.json");
    let steps: Vec<&Value> =
        steps.iter().flat_map(|case| case["steps"].as_array().expect("steps")).collect();
    let answers = |kind: &str| steps.iter().filter(|s| s["answer"].get(kind).is_some()).count();
    for (kind, least) in [("errno", 100), ("value", 50), ("exec", 100), ("names", 10)] {
        assert!(answers(kind) >= least, "{kind}: {}", answers(kind));
    }
    let valid = |yes: bool| cases("values.json").iter().filter(|c| c["valid"] == yes).count();
    assert!(valid(true) >= 50 && valid(false) >= 50, "{} {}", valid(true), valid(false));
    let layers = cases("layers.json");
    let changed = layers.iter().filter(|c| c["before"]["tar"] != c["after"]["tar"]).count();
    let refused: usize = layers.iter().filter_map(|c| Some(c["refused"].as_array()?.len())).sum();
    assert!(changed >= 5 && refused >= 10, "{changed} {refused}");
}

/// A map sorted both ways.
fn sorted(rows: &Value) -> [Vec<Extent>; 2] {
    let number = |value: &Value| u32::try_from(value.as_u64().expect("a number")).expect("an id");
    let row = |row: &Value| Extent {
        inside: number(&row[0]),
        outside: number(&row[1]),
        count: number(&row[2]),
    };
    let mut all: Vec<Extent> = rows.as_array().expect("rows").iter().map(row).collect();
    all.sort_by_key(|extent| extent.inside);
    let by_inside = all.clone();
    all.sort_by_key(|extent| extent.outside);
    [by_inside, all]
}

/// The archive as `nscap layer map --owners` makes it.
fn mapped(case: &Value, archive: &[u8]) -> Result<Vec<u8>, Error> {
    let maps = ["from", "to"].map(|key| [sorted(&case[key][0]), sorted(&case[key][1])]);
    let map_of = |[by_inside, by_outside]: &'_ [Vec<Extent>; 2]| -> (Vec<Extent>, Vec<Extent>) {
        (by_inside.clone(), by_outside.clone())
    };
    let [from, to] = maps.each_ref().map(|both| both.each_ref().map(map_of));
    let translation = |n: usize| Translation {
        from: IdMap::from_sorted(&from[n].0, &from[n].1),
        to: IdMap::from_sorted(&to[n].0, &to[n].1),
        drop_unmapped: false,
    };
    let change = Change { uids: translation(0), gids: Some(translation(1)) };
    let mut out = Vec::new();
    map(archive, &mut out, &change, &mut |_| Ok(())).map(|_| out)
}

#[test]
fn layers_are_byte_for_byte_what_the_commands_library_makes() {
    for case in cases("layers.json") {
        let archive =
            |when: &str| STANDARD.decode(case[when]["tar"].as_str().expect("tar")).unwrap();
        let made = mapped(&case, &archive("before"));
        let made =
            made.unwrap_or_else(|error| panic!("{} to {}: {error}", case["from"], case["to"]));
        assert!(made == archive("after"), "{} to {}", case["from"], case["to"]);
        for file in case["refused"].as_array().expect("refused") {
            let value = |key: &str| file[key].as_str().map(|hex| text::hex(hex).expect("hex"));
            let (cap, nscap) = (value("capability"), value("nscapability"));
            let mut records: Vec<(&str, &[u8])> = Vec::new();
            records.extend(cap.as_deref().map(|v| ("SCHILY.xattr.security.capability", v)));
            records.extend(nscap.as_deref().map(|v| ("SCHILY.xattr.security.nscapability", v)));
            let id = |key: &str| u32::try_from(file[key].as_u64().expect(key)).expect(key);
            let mut archive = vectors::member("f", id("uid"), id("gid"), &records);
            archive.resize(archive.len() + 1024, 0);
            let refused = mapped(&case, &archive);
            assert!(matches!(refused, Err(Error::Denied { .. })), "{file}: {refused:?}");
        }
    }
}

/// Runs a reader, and gives what it printed; `None` where this machine lacks the language.
fn reader(command: &mut Command) -> Option<String> {
    let output = match command.arg(dir()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: needs {}", command.get_program().to_string_lossy());
            return None;
        }
        output => output.expect("a reader"),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

#[test]
fn readers_in_go_and_python_decide_the_same() {
    let cache = tempfile::tempdir().expect("a directory");
    let go = reader(
        Command::new("go")
            .args(["run", "read.go"])
            .current_dir(dir())
            .env("GOCACHE", cache.path())
            .env("GO111MODULE", "off"),
    );
    let python = reader(Command::new("python3").arg(dir().join("read.py")));
    let (Some(go), Some(python)) = (go, python) else { return };
    assert_eq!(go, python);
    // How many of each kind a reader decided for itself.
    for (word, least) in [("values", 100), ("maps", 100), ("reads", 100), ("members", 20)] {
        let line = python.lines().find(|line| line.ends_with(word)).expect(word);
        let count: usize = line.split(' ').next().and_then(|n| n.parse().ok()).expect(word);
        assert!(count >= least, "{line}");
    }
}

#[test]
fn a_reader_notices_what_is_wrong() {
    let changed = tempfile::tempdir().expect("a directory");
    let names = ["values.json", "maps.json", "decisions.json", "layers.json"];
    let wrong = [
        ("values.json", "\"rootid\":null", "\"rootid\":7"),
        ("maps.json", "[100000,0]", "[100000,1]"),
        ("decisions.json", "\"answer\":{\"value\":\"01000002", "\"answer\":{\"value\":\"00000002"),
        ("layers.json", "\"uid\":", "\"uid\":9"),
    ];
    for (name, old, new) in wrong {
        for copied in names {
            let mut text = std::fs::read_to_string(dir().join(copied)).expect(copied);
            if copied == name {
                assert!(text.contains(old), "{name}: {old}");
                text = text.replacen(old, new, 1);
            }
            std::fs::write(changed.path().join(copied), text).expect(copied);
        }
        let mut command = Command::new("python3");
        command.arg(dir().join("read.py")).arg(changed.path());
        match command.output() {
            Ok(output) => assert_eq!(output.status.code(), Some(1), "{name}"),
            Err(_) => println!("skipped: needs python3"),
        }
    }
}
