// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a line of a comment is, and a file, as docs/design.md has it (Habits of the code).

mod document;

use document::{files, text};

/// The width of rustfmt.toml, which rustfmt does not hold comments to.
const COLUMNS: usize = 100;

/// A file of more lines, unit tests aside, is one to split.
const LINES: usize = 400;

/// `kernel/rust/check-layout` compiles the one file inside another.
const NOT_HELD: &str = "kernel/rust/lib.rs";

/// Whose comments are not held to the columns yet: layers, images and the command.
const WIDE: [&str; 2] = ["crates/nscap-image/", "crates/nscap/"];

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
    let is_rust = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "rs");
    let all: Vec<_> = files().into_iter().filter(is_rust).collect();
    assert!(all.len() > 300, "{}", all.len());
    let mut wrong = Vec::new();
    for path in all {
        let shown = path.to_str().expect("a path of ours");
        if shown == NOT_HELD {
            continue;
        }
        let source = text(shown);
        let is_wide = WIDE.iter().any(|wide| shown.starts_with(wide));
        let is_source = !path.components().any(|part| part.as_os_str() == "tests");
        let lines = lines_before_tests(&source);
        if is_source && lines > LINES {
            wrong.push(format!("{shown}: {lines} lines"));
        }
        for (number, line) in source.lines().enumerate() {
            let columns = line.chars().count();
            if !is_wide && columns > COLUMNS && can_be_broken(line) {
                wrong.push(format!("{shown}:{}: {columns} columns", number + 1));
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
