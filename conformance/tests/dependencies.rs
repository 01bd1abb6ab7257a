// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the crates depend on, held to deny.toml as `cargo deny check licenses bans sources` holds
//! it, by cargo alone; and that no dependency needs a later Rust than the crates say they need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Where releases run, and where people build.
const PLATFORMS: [&str; 4] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
];

/// Where the registry's crates come from, as Cargo names it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// A package of the lock file that a build for one of the platforms uses.
struct Package {
    name: String,
    version: String,
    licence: String,
    source: Option<String>,
    rust: Option<String>,
}

fn packages() -> Vec<Package> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(top()).args(["metadata", "--format-version=1", "--locked", "--offline"]);
    // Of other platforms nothing needs to be there.
    cargo.args(PLATFORMS.map(|platform| format!("--filter-platform={platform}")));
    let output = cargo.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let all = metadata["packages"].as_array().expect("packages").iter();
    all.filter(|package| package["id"].as_str().is_some_and(|id| used.contains(id)))
        .map(|package| Package {
            name: text(&package["name"]).expect("a name"),
            version: text(&package["version"]).expect("a version"),
            licence: text(&package["license"]).unwrap_or_default(),
            source: text(&package["source"]),
            rust: text(&package["rust_version"]),
        })
        .collect()
}

/// The words of deny.toml's list at `[table] list`.
fn listed(deny: &toml::Table, table: &str, list: &str) -> BTreeSet<String> {
    let rows = deny[table][list].as_array().expect("a list").iter();
    rows.map(|row| row.as_str().or_else(|| row["crate"].as_str()).expect("a name").to_owned())
        .collect()
}

/// Whether an SPDX expression holds with these licences: OR is weaker than AND, and WITH belongs to
/// the licence before it. Those that it rests on go to `used`.
fn holds(expression: &str, allowed: &BTreeSet<String>, used: &mut BTreeSet<String>) -> bool {
    // Crates of before 2018 write a slash for OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (holds, rest) = either(&words, (allowed, used));
    holds && rest.is_empty()
}

type Sets<'a> = (&'a BTreeSet<String>, &'a mut BTreeSet<String>);

fn either<'w>(words: &'w [&'w str], (allowed, used): Sets<'_>) -> (bool, &'w [&'w str]) {
    let (mut holds, mut rest) = both(words, (allowed, &mut *used));
    while let ["OR", more @ ..] = rest {
        let (also, left) = both(more, (allowed, &mut *used));
        (holds, rest) = (holds || also, left);
    }
    (holds, rest)
}

fn both<'w>(words: &'w [&'w str], (allowed, used): Sets<'_>) -> (bool, &'w [&'w str]) {
    let (mut holds, mut rest) = one(words, (allowed, &mut *used));
    while let ["AND", more @ ..] = rest {
        let (also, left) = one(more, (allowed, &mut *used));
        (holds, rest) = (holds && also, left);
    }
    (holds, rest)
}

fn one<'w>(words: &'w [&'w str], (allowed, used): Sets<'_>) -> (bool, &'w [&'w str]) {
    let (name, rest) = match words {
        ["(", inner @ ..] => {
            let (holds, rest) = either(inner, (allowed, used));
            return match rest {
                [")", rest @ ..] => (holds, rest),
                _ => (false, rest),
            };
        }
        [name, "WITH", exception, rest @ ..] => (format!("{name} WITH {exception}"), rest),
        [name, rest @ ..] => ((*name).to_owned(), rest),
        [] => return (false, words),
    };
    let known = allowed.contains(&name);
    if known {
        used.insert(name);
    }
    (known, rest)
}

fn number(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().expect("a number")).collect()
}

fn deny() -> toml::Table {
    std::fs::read_to_string(top().join("deny.toml")).expect("deny.toml").parse().expect("TOML")
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = listed(&deny(), "licenses", "allow");
    let mut used = BTreeSet::new();
    let packages = packages();
    assert!(packages.len() > 100, "{}", packages.len());
    let wrong: Vec<String> = packages
        .iter()
        .filter(|package| !holds(&package.licence, &allowed, &mut used))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.licence))
        .collect();
    assert!(wrong.is_empty(), "not allowed by deny.toml:\n{}", wrong.join("\n"));
    assert_eq!(allowed, used, "deny.toml allows what nothing uses");
}

#[test]
fn every_crate_comes_from_the_registry_or_is_of_the_workspace() {
    for package in packages() {
        let own = package.name.starts_with("nscap");
        let expected = if own { None } else { Some(REGISTRY) };
        assert_eq!(package.source.as_deref(), expected, "{} {}", package.name, package.version);
    }
}

#[test]
fn a_crate_in_two_versions_is_listed_with_the_reason() {
    let skipped = listed(&deny(), "bans", "skip");
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for package in packages() {
        let skip = format!("{}@{}", package.name, package.version);
        versions.entry(package.name).or_default().push(skip);
    }
    versions.retain(|_, of_one| of_one.len() > 1);
    for of_one in versions.values() {
        let left: Vec<_> = of_one.iter().filter(|version| !skipped.contains(*version)).collect();
        assert!(left.len() <= 1, "several versions, and deny.toml does not skip one: {left:?}");
    }
    let several: BTreeSet<String> = versions.into_values().flatten().collect();
    let needless: Vec<_> = skipped.difference(&several).collect();
    assert!(needless.is_empty(), "deny.toml skips what is there once: {needless:?}");
}

#[test]
fn no_dependency_needs_a_later_rust_than_the_workspace() {
    let packages = packages();
    let own = packages.iter().find(|package| package.name == "nscap").expect("nscap");
    let own = number(own.rust.as_deref().expect("a rust-version"));
    for package in &packages {
        let Some(rust) = &package.rust else { continue };
        assert!(number(rust)[..2] <= own[..2], "{} {}: {rust}", package.name, package.version);
    }
}

#[test]
fn an_expression_is_read_as_spdx_has_it() {
    let allowed = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    let holds = |expression| holds(expression, &allowed, &mut BTreeSet::new());
    for yes in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "MIT AND Zlib",
        "GPL-3.0 AND Zlib OR MIT",
        "(GPL-3.0 OR MIT) AND Zlib",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT AND (GPL-3.0 OR Apache-2.0)",
        "GPL-3.0 AND (MIT OR Zlib)",
        "(MIT",
        "MIT)",
        "MIT MIT",
        "Apache-2.0",
        "MIT WITH LLVM-exception",
    ] {
        assert!(!holds(no), "{no}");
    }
}
