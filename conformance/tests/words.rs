// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of CONTRIBUTING.md: comments and documents name the task, the caller or the server
//! that they mean. `kernel/` has the words of the kernel's own comments, and is not read here.

use std::fs;
use std::path::{Path, PathBuf};

/// Words and phrases that hide the subject of a sentence.
const BANNED: [&str; 9] = [
    "whom",
    "whoever",
    "nobody",
    "somebody",
    "someone",
    "anybody",
    "everybody",
    "counts for nothing",
    "what is there",
];

/// "who" needs a noun before it, and these are none.
const NOT_A_NOUN: [&str; 12] =
    ["for", "by", "of", "to", "from", "says", "said", "tells", "knows", "and", "than", "but"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn files(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of the workspace") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "kernel"].contains(&name.as_str()) {
                files(&path, all);
            }
        } else if [".rs", ".md", ".toml"].iter().any(|end| name.ends_with(end))
            && name != "words.rs"
        {
            all.push(path);
        }
    }
}

/// The prose of a line: of code its comment, and nothing that is quoted.
fn prose(line: &str, is_code: bool) -> String {
    let text = if is_code { line.find("//").map_or("", |at| &line[at..]) } else { line };
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
    let mut all = Vec::new();
    files(&top(), &mut all);
    assert!(all.len() > 300, "{}", all.len());
    let mut wrong = Vec::new();
    for path in all {
        let is_code = path.extension().is_some_and(|end| end == "rs");
        for (number, line) in fs::read_to_string(&path).expect("UTF-8").lines().enumerate() {
            if let Some(word) = banned(&prose(line, is_code)) {
                let path = path.strip_prefix(top()).unwrap_or(&path).display();
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
    let found = |line| banned(&prose(line, true));
    assert_eq!(found("x; // a caller whom we know").as_deref(), Some("whom"));
    assert_eq!(found("/// Who asks.").as_deref(), Some("who"));
    assert_eq!(found("/// For who has it.").as_deref(), Some("who"));
    assert_eq!(found("/// That table counts for nothing.").as_deref(), Some("counts for nothing"));
    assert_eq!(found("/// A user who has it; see `whom`, or \"nobody\"."), None);
    assert_eq!(found("let whom = 1; // WHO"), None);
}
