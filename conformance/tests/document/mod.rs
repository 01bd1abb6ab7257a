// SPDX-License-Identifier: MIT OR Apache-2.0
//! Documents as tests read them: anchors, links, and the names of files and items that they cite.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub(crate) fn top() -> PathBuf {
    let conformance = Path::new(env!("CARGO_MANIFEST_DIR"));
    conformance.parent().expect("a directory above").to_path_buf()
}

/// A file of the repository as text.
pub(crate) fn text(path: &str) -> String {
    let path = top().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A name that a document cites: a file with the items in it, or anything else in back quotes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Cited {
    /// A path below the top, and the names in the parentheses after it.
    File(String, Vec<String>),
    /// Any other text in back quotes.
    Name(String),
}

/// What one paragraph cites, in order.
pub(crate) fn citations(paragraph: &str) -> Vec<Cited> {
    let mut cited: Vec<Cited> = Vec::new();
    // Parts with an odd index are in back quotes; the even ones say whether parentheses are open.
    let mut open = false;
    for (index, part) in paragraph.split('`').enumerate() {
        if index % 2 == 0 {
            if part.contains(')') {
                open = false;
            }
            let begins = part.trim() == "(";
            open |= begins && matches!(cited.last(), Some(Cited::File(..)));
            continue;
        }
        match cited.last_mut() {
            Some(Cited::File(_, items)) if open => items.push(part.to_owned()),
            _ if is_path(part) => cited.push(Cited::File(part.to_owned(), Vec::new())),
            _ => cited.push(Cited::Name(part.to_owned())),
        }
    }
    cited
}

fn is_path(text: &str) -> bool {
    ["crates/", "conformance/", "kernel/", "docs/", "ci/", "examples/", "benches/"]
        .iter()
        .any(|directory| text.starts_with(directory))
        && !text.contains([' ', '*', '{'])
}

/// What is wrong with a cited file: it is missing, or an item is not defined in it.
pub(crate) fn problems(path: &str, items: &[String]) -> Vec<String> {
    let full = top().join(path);
    if !full.exists() {
        return vec![format!("{path} does not exist")];
    }
    let text = std::fs::read_to_string(&full).unwrap_or_default();
    items
        .iter()
        .filter(|item| !defines(&text, item))
        .map(|item| format!("{path} does not define {item}"))
        .collect()
}

/// Whether a source defines an item: of Rust by its keyword, of C by a line that begins with its
/// type, of the attacks and tools by their name.
pub(crate) fn defines(source: &str, item: &str) -> bool {
    let keywords =
        ["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "macro_rules!"];
    let named = format!("name: \"{item}\"");
    source.lines().any(|line| {
        line.contains(&named)
            || keywords.iter().any(|keyword| follows(line, keyword, item))
            || (line.starts_with(|c: char| c.is_ascii_alphabetic())
                && !line.contains(';')
                && follows(line, "", &format!("{item}(")))
    })
}

/// Whether `word` follows `keyword` and a blank (or `*`) in the line, and ends there.
fn follows(line: &str, keyword: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].trim_end_matches('*');
        let after = line[at + word.len()..].chars().next();
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let ends = word.ends_with('(') || !after.is_some_and(is_name);
        ends && (before.ends_with(' ') || (keyword.is_empty() && before.len() < at))
            && before.trim_end().ends_with(keyword)
    })
}

/// The anchors of a document: explicit ones, and those that headings make.
pub(crate) fn anchors(document: &str) -> BTreeSet<String> {
    let explicit = document.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut anchors: BTreeSet<String> = explicit.map(str::to_owned).collect();
    let headings = prose(document).filter(|line| line.starts_with('#'));
    anchors.extend(headings.map(|line| slug(line.trim_start_matches('#').trim())));
    anchors
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The targets of a document's links and images that are not addresses.
pub(crate) fn links(document: &str) -> Vec<String> {
    prose(document)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .map(str::to_owned)
        .collect()
}

/// The lines that are not in a fenced block.
fn prose(document: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    document.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Every file of the repository that is kept, by its path below the top; ascending.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(top().join(&directory)).expect("a directory");
        for entry in entries.map(|entry| entry.expect("an entry")) {
            let path = directory.join(entry.file_name());
            match entry.file_type().expect("a type").is_dir() {
                true if ["target", ".git"].iter().any(|name| entry.file_name() == *name) => {}
                true => directories.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// Every document below the top, by its path from there.
pub(crate) fn documents() -> Vec<String> {
    let is_one = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let documents = files().into_iter().filter(is_one);
    documents.map(|path| path.to_str().expect("a path of ours").to_owned()).collect()
}
