// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drawings in docs/drawings: each SVG is what its text makes, and the rooms have the arrows
//! that the crates have. `NSCAP_DRAW=1 cargo test -p nscap-conformance --test drawings` makes them
//! anew.

mod drawing;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use drawing::Drawing;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn drawing(path: &Path) -> Drawing {
    Drawing::read(&read(path)).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()))
}

#[test]
fn each_drawing_is_what_its_text_makes() {
    let mut count = 0;
    for entry in fs::read_dir(top().join("docs/drawings")).expect("the drawings") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let (made, svg) = (drawing(&path), path.with_extension("svg"));
        if std::env::var_os("NSCAP_DRAW").is_some() {
            fs::write(&svg, made.svg()).expect("an SVG that can be written");
        }
        assert!(
            made.svg() == read(&svg),
            "{} is not what its text makes: NSCAP_DRAW=1",
            svg.display()
        );
    }
    assert!(count >= 3, "{count}");
}

/// The crates that a manifest needs to be built, by their names.
fn needs(manifest: &str) -> impl Iterator<Item = &str> {
    let part = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let lines = part.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['.', ' ']).next()).filter(|name| name.starts_with("nscap-"))
}

#[test]
fn the_rooms_have_the_arrows_of_the_crates() {
    let top = top();
    let crates = ["nscap-core", "nscap-linux", "nscap-fuse", "nscap-image", "nscap"];
    let homes = crates.map(|name| (name, top.join("crates").join(name)));
    let homes = homes.into_iter().chain([("conformance", top.join("conformance"))]);
    let mut real = BTreeSet::new();
    for (name, home) in homes {
        let manifest = read(&home.join("Cargo.toml"));
        real.extend(needs(&manifest).map(|needed| (name.to_owned(), needed.to_owned())));
    }
    // The kernel's object is compiled without cargo.
    assert!(read(&top.join("kernel/rust/lib.rs")).contains("use nscap_core::"));
    real.insert(("kernel".to_owned(), "nscap-core".to_owned()));
    let drawn = drawing(&top.join("docs/drawings/rooms.txt")).arrows;
    assert_eq!(drawn.into_iter().collect::<BTreeSet<_>>(), real);
}

#[test]
fn what_cannot_be_drawn_is_said() {
    for wrong in [
        "room core a 0 0 10 10",
        "room core a 0 0 10: A",
        "room core a 0 0 90 40: A title that is too long",
        "arrow a b x=1",
        "text 1 2: words",
        "line 1 2",
        "size a b c",
    ] {
        let text = format!("size 10 10 a title\n\n# not drawn\n{wrong}");
        assert_eq!(Drawing::read(&text).err(), Some(format!("line 4: {wrong}")));
    }
}
