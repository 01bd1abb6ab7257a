// SPDX-License-Identifier: MIT OR Apache-2.0
//! That random worlds can be told again: by their seed, and as a scenario of the table.

use std::path::Path;

use nscap_conformance::fuzz::{toml, world};
use nscap_conformance::live::{Front, Machine};
use nscap_conformance::load::load;
use nscap_conformance::model::{Rules, play};
use nscap_conformance::outcome::Outcome;

const WORLDS: u64 = 150;

#[test]
fn a_seed_and_a_number_are_the_world() {
    let machine = Machine::ideal((6, 18));
    let shown = |seed, number| toml(&world(seed, number, &machine, Front::Bare), &[], Rules::Bare);
    for number in 0..20 {
        assert_eq!(shown(7, number), shown(7, number));
        assert_ne!(shown(7, number), shown(8, number));
        assert_ne!(shown(7, number), shown(7, number + 1));
    }
}

#[test]
fn a_world_as_text_reads_back_and_gives_the_same() {
    let machine = Machine::ideal((6, 18));
    for number in 0..WORLDS {
        let made = world(42, number, &machine, Front::Bare);
        let came = play(&made, Rules::Bare, &machine).unwrap();
        let text = toml(&made, &came, Rules::Bare);
        let again = match load(Path::new("made.toml"), &text) {
            Ok(again) => again,
            // A name that only a failed rename or link would have made is none in the table.
            Err(error) if error.to_string().contains("there is no") => continue,
            Err(error) => panic!("{error}\n{text}"),
        };
        assert_eq!(play(&again[0], Rules::Bare, &machine).unwrap(), came, "{text}");
    }
}

/// A front end that decides by the design has a random policy, and so has the text.
#[test]
fn a_world_as_text_has_its_policy() {
    let machine = Machine::ideal((6, 18));
    let mut policies = std::collections::BTreeSet::new();
    for number in 0..WORLDS {
        let made = world(43, number, &machine, Front::Linux);
        let came = play(&made, Rules::Design, &machine).unwrap();
        let text = toml(&made, &came, Rules::Design);
        policies.insert(made.policy.numbers());
        let again = match load(Path::new("made.toml"), &text) {
            Ok(again) => again,
            Err(error) if error.to_string().contains("there is no") => continue,
            Err(error) => panic!("{error}\n{text}"),
        };
        assert_eq!(again[0].policy, made.policy, "{text}");
        assert_eq!(play(&again[0], Rules::Design, &machine).unwrap(), came, "{text}");
    }
    assert_eq!(policies.len(), 2 * nscap_core::Busy::ALL.len());
}

/// That worlds are worth playing: every operation, and both success and failure of each.
#[test]
fn worlds_reach_what_they_are_for() {
    let machine = Machine::ideal((6, 18));
    let (mut gained, mut written, mut errnos) = (0, 0, std::collections::BTreeSet::new());
    for number in 0..WORLDS {
        let made = world(5, number, &machine, Front::Bare);
        let came = play(&made, Rules::Bare, &machine).unwrap();
        for (step, outcome) in made.steps.iter().zip(came) {
            match (&step.op, outcome) {
                (nscap_conformance::scenario::Op::Set { .. }, Outcome::Done) => written += 1,
                (_, Outcome::Executed(new)) if new.sets[0] != 0 => gained += 1,
                (_, Outcome::Failed(errno)) => drop(errnos.insert(errno)),
                _ => {}
            }
        }
    }
    assert!(gained > 100 && written > 50, "{gained} {written}");
    let expected = [
        libc::EPERM,
        libc::EACCES,
        libc::EINVAL,
        libc::ENODATA,
        libc::EOVERFLOW,
        libc::EEXIST,
        libc::EROFS,
    ];
    assert!(expected.iter().all(|errno| errnos.contains(errno)), "{errnos:?}");
}
