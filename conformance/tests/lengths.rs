// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a line of a comment is, and a file, as docs/design.md has it (Habits of the code).

use std::fs;
use std::path::{Path, PathBuf};

/// The width of rustfmt.toml, which rustfmt does not hold comments to.
const COLUMNS: usize = 100;

/// A file of more lines, unit tests aside, is one to split.
const LINES: usize = 400;

/// `kernel/rust/check-layout` compiles the one file inside another. Layers, images and the command
/// are not held to this yet.
const NOT_HELD: [&str; 3] = ["kernel/rust/lib.rs", "crates/nscap-image/", "crates/nscap/"];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The Rust files below a directory.
fn files(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of the workspace") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                files(&path, all);
            }
        } else if name.ends_with(".rs") {
            all.push(path);
        }
    }
}

/// Whether a line is a comment that can be broken: not a row of a table, and with a blank in it
/// before the end.
fn can_be_broken(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches(['/', '!']).trim();
    line.trim_start().starts_with("//") && !text.starts_with('|') && text.contains(' ')
}

/// How many lines come before the unit tests.
fn lines_before_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(2).position(|two| {
        two[0] == "#[cfg(test)]" && two[1].starts_with("mod ") && two[1].ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

#[test]
fn comments_end_at_column_100_and_files_at_400_lines() {
    let mut all = Vec::new();
    files(top(), &mut all);
    assert!(all.len() > 300, "{}", all.len());
    let mut wrong = Vec::new();
    for path in all {
        let source = fs::read_to_string(&path).expect("UTF-8");
        let shown = path.strip_prefix(top()).unwrap_or(&path);
        if NOT_HELD.iter().any(|not| shown.starts_with(not)) {
            continue;
        }
        let is_source = !shown.components().any(|part| part.as_os_str() == "tests");
        let lines = lines_before_tests(&source);
        if is_source && lines > LINES {
            wrong.push(format!("{}: {lines} lines", shown.display()));
        }
        for (number, line) in source.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS && can_be_broken(line) {
                wrong.push(format!("{}:{}: {columns} columns", shown.display(), number + 1));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "more than {COLUMNS} columns, or {LINES} lines:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn what_is_too_long_is_found() {
    assert!(can_be_broken("    /// Two words."));
    assert!(!can_be_broken("/// https://example.org/one-word"));
    assert!(!can_be_broken("//! | a row | of a table |"));
    assert!(!can_be_broken("let two = \"// words\";"));
    assert_eq!(lines_before_tests("fn f() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 2);
    assert_eq!(lines_before_tests("#[cfg(test)]\nmod tests;\nfn f() {}\n"), 3);
}
