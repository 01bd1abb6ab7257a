// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of CONTRIBUTING.md: comments and documents name the task, the caller or the server
//! that they mean. In `kernel/` that goes for C, scripts and the messages of patches, too.

mod document;

use std::path::Path;

use document::{files, text};

/// Words and phrases that hide the subject of a sentence.
const BANNED: [&str; 10] = [
    "whom",
    "whoever",
    "nobody",
    "somebody",
    "someone",
    "anybody",
    "everybody",
    "counts for nothing",
    "what is there",
    "stands",
];

/// "who" needs a noun before it, and these are none.
const NOT_A_NOUN: [&str; 12] =
    ["for", "by", "of", "to", "from", "says", "said", "tells", "knows", "and", "than", "but"];

/// How the lines of a file hold prose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Document,
    Rust,
    C,
    Script,
    Patch,
}

/// What is in a file, by its name; a script has none of these endings.
fn kind(path: &Path) -> Option<Kind> {
    let ends = |ends: &[&str]| path.extension().is_some_and(|end| ends.iter().any(|e| end == *e));
    let in_kernel = path.components().any(|part| part.as_os_str() == "kernel");
    match () {
        () if ends(&["md", "toml"]) => Some(Kind::Document),
        () if ends(&["rs"]) => Some(Kind::Rust),
        () if !in_kernel => None,
        () if ends(&["rst"]) => Some(Kind::Document),
        () if ends(&["c", "h"]) => Some(Kind::C),
        () if ends(&["patch"]) => Some(Kind::Patch),
        () => path.extension().is_none().then_some(Kind::Script),
    }
}

/// The prose of a line: of code its comment, and nothing that is quoted.
fn prose(line: &str, kind: Kind) -> String {
    let from = |mark: &str| line.find(mark).map_or("", |at| &line[at..]);
    let inside = |line: &str| line.trim_start().starts_with('*');
    let text = match kind {
        Kind::Document => line,
        Kind::Rust => from("//"),
        Kind::C if inside(line) => line,
        Kind::C => from("/*"),
        Kind::Script => from("# "),
        // Of a message every line, of the change those that it adds to a comment.
        Kind::Patch => match line.strip_prefix('+') {
            Some(added) if inside(added) => added,
            Some(_) => from("/*"),
            None if line.starts_with(['-', '@']) || inside(line) => "",
            None => line,
        },
    };
    let outside = |mark: char, text: &str| -> String {
        let parts = text.split(mark).enumerate().filter(|(number, _)| number % 2 == 0);
        parts.map(|(_, part)| part).collect::<Vec<_>>().join(" ")
    };
    // WHO is an argument of the command.
    outside('`', &outside('"', text)).replace("WHO", "").to_lowercase()
}

/// The first word in a line that CONTRIBUTING.md does not allow.
fn banned(prose: &str) -> Option<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '.';
    let words: Vec<&str> = prose.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let bare: Vec<&str> = words.iter().map(|word| word.trim_end_matches(['.', ':'])).collect();
    let line = bare.join(" ");
    let found = BANNED.iter().find(|banned| format!(" {line} ").contains(&format!(" {banned} ")));
    let no_noun = bare.iter().enumerate().find(|(at, word)| {
        let before = at.checked_sub(1).and_then(|at| words.get(at)).copied().unwrap_or(".");
        **word == "who" && (before.ends_with(['.', ':']) || NOT_A_NOUN.contains(&before))
    });
    found.map(|found| (*found).to_owned()).or(no_noun.map(|_| "who".to_owned()))
}

#[test]
fn comments_and_documents_name_what_they_mean() {
    // This file has the words themselves.
    let all = files().into_iter().filter(|path| !path.ends_with("words.rs"));
    let all: Vec<_> = all.filter_map(|path| kind(&path).map(|kind| (path, kind))).collect();
    assert!(all.len() > 300, "{}", all.len());
    let mut wrong = Vec::new();
    for (path, kind) in all {
        let path = path.to_str().expect("a path of ours");
        for (number, line) in text(path).lines().enumerate() {
            if let Some(word) = banned(&prose(line, kind)) {
                wrong.push(format!("{path}:{}: \"{word}\": {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "name the task, the caller, the root or the server (CONTRIBUTING.md, Words):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn each_of_these_is_found() {
    let found = |line| banned(&prose(line, Kind::Rust));
    assert_eq!(found("x; // a caller whom we know").as_deref(), Some("whom"));
    assert_eq!(found("/// Who asks.").as_deref(), Some("who"));
    assert_eq!(found("/// For who has it.").as_deref(), Some("who"));
    assert_eq!(found("/// That table counts for nothing.").as_deref(), Some("counts for nothing"));
    assert_eq!(found("/// A user who has it; see `whom`, or \"nobody\"."), None);
    assert_eq!(found("let whom = 1; // WHO"), None);
    let found = |line, kind| banned(&prose(line, kind));
    assert_eq!(found("\t * nobody reads it.", Kind::C).as_deref(), Some("nobody"));
    assert_eq!(
        found("int nobody; /* A task that stands still. */", Kind::C).as_deref(),
        Some("stands")
    );
    assert_eq!(found("nobody=65534 # for whom", Kind::Script).as_deref(), Some("whom"));
    assert_eq!(found("+ * what is there", Kind::Patch).as_deref(), Some("what is there"));
    assert_eq!(found("- * what is there", Kind::Patch), None);
    assert_eq!(found("+int nobody;", Kind::Patch), None);
}
