// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/SUMMARY.md, the table of contents of the book that `mdbook build` makes: each document of
//! the repository is in it, once.

mod document;

use std::collections::BTreeMap;
use std::path::{Component, Path};

/// What a hosting service shows while it is filled in, and the table itself.
const NOT_PAGES: [&str; 2] = [".github/pull_request_template.md", "docs/SUMMARY.md"];

/// A link of docs/SUMMARY.md as a path from the top.
fn from_top(link: &str) -> String {
    let mut parts = vec!["docs"];
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => _ = parts.pop(),
            part => parts.push(part.as_os_str().to_str().expect("UTF-8")),
        }
    }
    parts.join("/")
}

/// Documents that are not in the table, and what the table has twice.
fn wrong(table: &str, documents: &[String]) -> Vec<String> {
    let mut times = BTreeMap::new();
    for link in document::links(table) {
        *times.entry(from_top(&link)).or_insert(0) += 1;
    }
    let pages = documents.iter().filter(|page| !NOT_PAGES.contains(&page.as_str()));
    pages
        .filter(|page| times.get(*page) != Some(&1))
        .map(|page| format!("{page}: {} times", times.get(page).unwrap_or(&0)))
        .collect()
}

#[test]
fn the_book_has_each_document_once() {
    let documents = document::documents();
    assert!(documents.len() > 20, "{documents:?}");
    let wrong = wrong(&document::text("docs/SUMMARY.md"), &documents);
    assert!(wrong.is_empty(), "in docs/SUMMARY.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_document_that_is_left_out_is_noticed() {
    let documents = ["README.md", "docs/a.md", "docs/b.md", "kernel/c.md"].map(str::to_owned);
    let table = "[top](../README.md)\n- [a](a.md)\n    - [again](a.md)\n- [c](../kernel/c.md)\n";
    assert_eq!(wrong(table, &documents), ["docs/a.md: 2 times", "docs/b.md: 0 times"]);
}
