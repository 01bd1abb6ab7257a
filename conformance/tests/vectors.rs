// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vectors as they are shipped: up to date with the table, the layers as the command's library
//! makes them, and readers in Go and Python that decide the same by themselves, and are short.

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

/// What a reader decides: values and maps, or reads and layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reader {
    Read,
    Decide,
}

use Reader::{Decide, Read};

/// A reader in Python, as vectors/README.md runs it.
fn python(reader: Reader) -> Command {
    let mut command = Command::new("python3");
    command.arg(match reader {
        Read => "read.py",
        Decide => "decide.py",
    });
    command.current_dir(dir()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The same in Go; what it compiles is kept in the directory `cache`.
fn go(reader: Reader, cache: &Path) -> Command {
    let mut command = Command::new("go");
    command.args(match reader {
        Read => ["run", "read.go"],
        Decide => ["run", "./decide"],
    });
    command.current_dir(dir()).env("GOCACHE", cache).env("GO111MODULE", "off");
    command
}

/// The exit status of a program, and all that it printed; `None` where this machine lacks it.
fn said(command: &mut Command) -> Option<(Option<i32>, String)> {
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: needs {}", command.get_program().to_string_lossy());
            return None;
        }
        output => output.expect("a program"),
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn readers_in_go_and_python_decide_the_same() {
    let cache = tempfile::tempdir().expect("a directory");
    for (reader, counts) in
        [(Read, [("values", 100), ("maps", 20)]), (Decide, [("reads", 100), ("members", 20)])]
    {
        let mut all = Vec::new();
        for mut command in [python(reader), go(reader, cache.path())] {
            let Some((status, text)) = said(command.arg(".")) else { continue };
            assert_eq!(status, Some(0), "{command:?}: {text}");
            // How many of each kind it decided by itself.
            for (word, least) in counts {
                let line = text.lines().find(|line| line.ends_with(word)).expect(word);
                let count = line.split(' ').next().and_then(|n| n.parse::<usize>().ok());
                assert!(count.expect(word) >= least, "{command:?}: {line}");
            }
            all.push(text);
        }
        assert!(all.windows(2).all(|two| two[0] == two[1]), "{all:?}");
    }
}

/// A text in a file of vectors, one that is wrong in its place, and which reader notices it.
const WRONG: [(Reader, &str, &str, &str); 19] = [
    (Read, "values.json", "\"version\":1", "\"version\":2"),
    (Read, "values.json", "\"rootid\":null", "\"rootid\":7"),
    (Read, "values.json", "\"rootid\":100000", "\"rootid\":null"),
    (Read, "values.json", "\"permitted\":\"0", "\"permitted\":\"1"),
    (Read, "values.json", "\"inheritable\":\"0", "\"inheritable\":\"1"),
    (Read, "values.json", "\"effective\":true", "\"effective\":false"),
    // Bytes that are none, with an entry, and a value without.
    (Read, "values.json", "\"entries\":[]", "\"entries\":[{\"rootid\":null}]"),
    (Read, "values.json", "\"entries\":[{", "\"entries\":[],\"another\":[{"),
    (Read, "maps.json", "\"version\":1", "\"version\":2"),
    (Read, "maps.json", "\"uid_to_kuid\":[[0,100000]", "\"uid_to_kuid\":[[0,100001]"),
    (Read, "maps.json", "\"kuid_to_uid\":[[0,null]", "\"kuid_to_uid\":[[0,0]"),
    (Read, "maps.json", "\"gid_to_kgid\":[[0,100000]", "\"gid_to_kgid\":[[0,null]"),
    (Read, "maps.json", "\"kgid_to_gid\":[[0,null]", "\"kgid_to_gid\":[[0,1]"),
    (Decide, "decisions.json", "\"version\":1", "\"version\":2"),
    (Decide, "decisions.json", "{\"value\":\"01000002", "{\"value\":\"00000002"),
    (Decide, "decisions.json", "\"answer\":{\"length\":", "\"answer\":{\"length\":1"),
    (Decide, "layers.json", "\"version\":1", "\"version\":2"),
    (Decide, "layers.json", "\"uid\":", "\"uid\":9"),
    (Decide, "layers.json", "\"refused\":[{", "\"refused\":[MEMBER,{"),
];

/// Writes the vectors to a directory, with `new` in place of the first `old` of one file.
fn write_changed(to: &Path, name: &str, old: &str, new: &str) {
    for copied in ["values.json", "maps.json", "decisions.json", "layers.json"] {
        let mut text = std::fs::read_to_string(dir().join(copied)).expect(copied);
        if copied == name {
            assert!(text.contains(old), "{name}: {old}");
            text = text.replacen(old, new, 1);
        }
        std::fs::write(to.join(copied), text).expect(copied);
    }
}

#[test]
fn a_reader_notices_what_is_wrong() {
    let cache = tempfile::tempdir().expect("a directory");
    let copy = tempfile::tempdir().expect("a directory");
    let run = |reader, name: &str, old: &str, new: &str, wrong: bool| {
        write_changed(copy.path(), name, old, new);
        for mut command in [python(reader), go(reader, cache.path())] {
            let Some((status, text)) = said(command.arg(copy.path())) else { continue };
            let at = format!("{command:?}: {name}: {new}: {text}");
            assert_eq!(status, Some(i32::from(wrong)), "{at}");
            // A difference that it found, and not a mistake of its own.
            let difference = text.contains(" and not ") || text.contains("not of version 1");
            assert_eq!(difference, wrong, "{at}");
        }
    };
    for reader in [Read, Decide] {
        run(reader, "values.json", "", "", false);
    }
    // A member that is translated, for the list of those that are refused.
    let member = cases("layers.json")[0]["before"]["members"][0].to_string();
    for (reader, name, old, new) in WRONG {
        run(reader, name, old, &new.replace("MEMBER", &member), true);
    }
}

#[test]
fn a_reader_is_short_and_formatted() {
    let source = |name: &str| std::fs::read_to_string(dir().join(name)).expect(name);
    for name in ["read.py", "read.go", "nscap/nscap.go", "nscap/cases.go"] {
        let lines = source(name).lines().count();
        assert!(lines <= 60, "{name}: {lines} lines");
    }
    let mut names = vec!["read.py".to_owned(), "decide.py".to_owned(), "read.go".to_owned()];
    for below in ["nscap", "decide"] {
        for file in std::fs::read_dir(dir().join(below)).expect(below) {
            let name = file.expect(below).file_name().into_string().expect("a name of ours");
            names.push(format!("{below}/{name}"));
        }
    }
    assert!(names.len() > 6, "{names:?}");
    for name in &names {
        let text = source(name);
        assert!(text.lines().count() <= 400, "{name}");
        for line in text.lines().map(|line| line.replace('\t', "        ")) {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
    }
    let go = names.iter().filter(|name| name.ends_with(".go"));
    let unformatted = said(Command::new("gofmt").arg("-l").args(go).current_dir(dir()));
    if let Some(unformatted) = unformatted {
        assert_eq!(unformatted, (Some(0), String::new()));
    }
}
