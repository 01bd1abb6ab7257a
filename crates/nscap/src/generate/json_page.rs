// SPDX-License-Identifier: MIT OR Apache-2.0
//! nscap-json(5), from docs/json.md: the page and the document are one text.

use super::man::rest;
use super::pages;
use super::roff::{Roff, bold, plain};

const DOCUMENT: &str = include_str!("json.txt");

pub(super) fn text() -> String {
    let mut roff = Roff::default();
    roff.title("nscap-json", "5");
    roff.section("NAME");
    roff.text("nscap\\-json \\- the objects that nscap \\-\\-json prints");
    roff.section("DESCRIPTION");
    blocks(DOCUMENT, &mut roff);
    rest(&mut roff, pages::of("nscap-json"));
    roff.0
}

/// Headings, paragraphs, and tables with a term in each row.
fn blocks(document: &str, roff: &mut Roff) {
    for block in document.split("\n\n").map(str::trim) {
        if let Some(heading) = block.strip_prefix("## ") {
            roff.section(&heading.replace('`', ""));
        } else if block.starts_with('|') {
            block.lines().for_each(|row| item(row, roff));
        } else if !block.starts_with("# ") {
            roff.paragraph(&marked(block));
        }
    }
}

/// A row of a table, unless it is the head or the line below that.
fn item(row: &str, roff: &mut Roff) {
    let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
    let Some((term, rest)) = cells.split_first() else { return };
    if !term.starts_with('`') || rest.is_empty() {
        return;
    }
    roff.item(&marked(term), &marked(&rest.join(": ")));
}

/// What is in back quotes becomes bold; of a link its text stays.
fn marked(text: &str) -> String {
    let text = without_links(text);
    let quoted = text.split('`').enumerate();
    quoted.map(|(n, part)| if n % 2 == 1 { bold(part) } else { plain(part) }).collect()
}

fn without_links(text: &str) -> String {
    let mut all = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (kept, shown) = before.rsplit_once('[').unwrap_or((before, ""));
        all.push_str(kept);
        all.push_str(shown);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    all.push_str(rest);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_links_are_translated() {
        assert_eq!(marked("a `b-c` [d](e.md#f) g"), "a \\fBb\\-c\\fR d g");
        assert_eq!(marked("a\n`b` c"), "a\n\\fBb\\fR c");
        let mut roff = Roff::default();
        blocks("# t\n\n## `x y`: z\n\np\n\n| a | |\n|---|---|\n| `f` | what |", &mut roff);
        assert_eq!(roff.0, ".SH \"x y: z\"\n.PP\np\n.TP\n\\fBf\\fR\nwhat\n");
    }
}
