// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/spec.md against the code: each clause that a decision cites has its place there, and each
//! file, item and scenario that the page names exists.

mod document;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use document::{Cited, anchors, citations, problems, text, top};
use nscap_conformance::load::load_dir;
use nscap_conformance::scenario::Scenario;
use nscap_core::Why;

const SPEC: &str = "docs/spec.md";

fn scenarios() -> Vec<Scenario> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    load_dir(&dir).unwrap_or_else(|error| panic!("{error}"))
}

/// The sections of the page by their anchor, each with its paragraphs.
fn sections(page: &str) -> BTreeMap<String, Vec<String>> {
    page.split("<a id=\"")
        .skip(1)
        .map(|section| {
            let (anchor, rest) = section.split_once('"').expect("the end of an anchor");
            (anchor.to_owned(), rest.split("\n\n").map(str::to_owned).collect())
        })
        .collect()
}

/// What the paragraphs of a section that begin with `**heading` cite.
fn listed(paragraphs: &[String], heading: &str) -> Vec<Cited> {
    let begins = |paragraph: &&String| paragraph.starts_with(&format!("**{heading}:**"));
    paragraphs.iter().filter(begins).flat_map(|paragraph| citations(paragraph)).collect()
}

/// The names and prefixes (`r5-*`) of scenarios that a section lists.
fn patterns(paragraphs: &[String]) -> Vec<String> {
    let names = listed(paragraphs, "Tested").into_iter().filter_map(|cited| match cited {
        Cited::Name(name) => Some(name),
        Cited::File(..) => None,
    });
    // The last section names a column of the table.
    names.filter(|name| name != "kernel").collect()
}

fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// All that is wrong with a page.
fn wrong(page: &str, scenarios: &[Scenario]) -> Vec<String> {
    let mut wrong = Vec::new();
    let known = anchors(page);
    let cited = Why::ALL.iter().map(|why| why.clause());
    let cited = cited.chain(scenarios.iter().flat_map(|s| s.clauses.iter().map(String::as_str)));
    for clause in cited.map(str::to_lowercase).collect::<BTreeSet<String>>() {
        if !known.contains(&clause) {
            wrong.push(format!("no anchor for clause {clause}"));
        }
    }
    let sections = sections(page);
    for (anchor, paragraphs) in &sections {
        let pending = paragraphs.iter().any(|paragraph| paragraph.starts_with("**Not yet."));
        for heading in ["Implemented", "Tested"] {
            let cited = listed(paragraphs, heading);
            if cited.is_empty() && !pending {
                wrong.push(format!("{anchor} names nothing as {heading}"));
            }
            for cited in cited {
                match cited {
                    Cited::File(path, items) => wrong.extend(problems(&path, &items)),
                    Cited::Name(name) if heading == "Implemented" => {
                        wrong.push(format!("{anchor}: {name} is no file"));
                    }
                    Cited::Name(_) => {}
                }
            }
        }
        for pattern in patterns(paragraphs) {
            if !scenarios.iter().any(|scenario| fits(&pattern, &scenario.name)) {
                wrong.push(format!("{anchor}: no scenario {pattern}"));
            }
        }
    }
    for scenario in scenarios {
        let lists =
            scenario.clauses.iter().filter_map(|clause| sections.get(&clause.to_lowercase()));
        if !lists.flat_map(|list| patterns(list)).any(|pattern| fits(&pattern, &scenario.name)) {
            wrong.push(format!("scenario {} is in no list of its clauses", scenario.name));
        }
    }
    wrong
}

#[test]
fn the_specification_names_what_exists() {
    let wrong = wrong(&text(SPEC), &scenarios());
    assert!(wrong.is_empty(), "{SPEC}:\n{}", wrong.join("\n"));
}

#[test]
fn a_wrong_name_is_noticed() {
    let page = text(SPEC);
    let scenarios = scenarios();
    for (right, false_name, said) in [
        ("<a id=\"r5\">", "<a id=\"r55\">", "no anchor for clause r5"),
        ("<a id=\"kernel\">", "<a id=\"kernels\">", "no anchor for clause kernel"),
        ("`rooted_at`", "`rooted`", "crates/nscap-core/src/ns.rs does not define rooted"),
        ("`nscap_change`", "`nscap_chang`", "kernel/nscap/change.c does not define nscap_chang"),
        ("`rsync-aX`", "`rsync-a`", "conformance/src/tools.rs does not define rsync-a"),
        ("src/nscaps.rs`", "src/caps.rs`", "crates/nscap-core/src/caps.rs does not exist"),
        ("`r5-setfcap-must-be-effective`", "`r5-setfcap`", "p: no scenario r5-setfcap"),
        ("`u-*`, ", "", "scenario u-keep-id is in no list of its clauses"),
        ("**Tested:** `d-*`", "**Tests:** `d-*`", "d names nothing as Tested"),
    ] {
        assert!(page.contains(right), "{right}");
        let wrong = wrong(&page.replace(right, false_name), &scenarios);
        assert!(wrong.iter().any(|line| line == said), "{said}: {wrong:?}");
    }
}

/// A document names a file in the tree, or an item in one, only where there is one; the same for
/// links.
#[test]
fn documents_name_files_and_anchors_that_exist() {
    let mut wrong = Vec::new();
    for document in document::documents() {
        let page = text(&document);
        for cited in page.split("\n\n").flat_map(citations) {
            if let Cited::File(path, items) = cited {
                let found = problems(&path, &items);
                wrong.extend(found.iter().map(|problem| format!("{document}: {problem}")));
            }
        }
        for link in document::links(&page) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let here = Path::new(&document).parent().expect("a directory");
            let target = if path.is_empty() { document.clone().into() } else { here.join(path) };
            let full = top().join(&target);
            if !full.exists() {
                wrong.push(format!("{document}: {link}: no such file"));
            } else if !anchor.is_empty() {
                let page = std::fs::read_to_string(&full).unwrap_or_default();
                if !anchors(&page).contains(anchor) {
                    wrong.push(format!("{document}: {link}: no such anchor"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
