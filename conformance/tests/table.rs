// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table as it is shipped: that it reads, covers every clause, and is what the library's rules
//! say, and that it would be noticed if it were not.

use std::collections::BTreeSet;
use std::path::Path;

use nscap_conformance::live::Machine;
use nscap_conformance::load::{load, load_dir};
use nscap_conformance::model::{Rules, play};
use nscap_conformance::report::{Verdict, judge};
use nscap_conformance::scenario::Scenario;

/// SPEC's clauses.
const CLAUSES: [&str; 22] = [
    "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "T", "S", "B", "P", "U", "D", "L", "V", "W",
    "K", "X", "M", "A", "F",
];

fn table() -> Vec<Scenario> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    load_dir(&dir).unwrap_or_else(|error| panic!("{error}"))
}

fn verdict(scenario: &Scenario, rules: Rules, kernel: (u16, u16)) -> Verdict {
    let machine = Machine::ideal(kernel);
    match play(scenario, rules, &machine) {
        Ok(outcomes) => judge(scenario, &outcomes, rules.column(), &machine),
        Err(problem) => Verdict::Broken(problem),
    }
}

#[test]
fn every_clause_has_scenarios_and_no_other_is_cited() {
    let table = table();
    assert!(table.len() >= 150, "{}", table.len());
    let cited: BTreeSet<&str> = table.iter().flat_map(|s| &s.clauses).map(String::as_str).collect();
    assert_eq!(cited, CLAUSES.into_iter().collect());
}

#[test]
fn the_rules_agree_with_the_table() {
    for scenario in table() {
        for kernel in [(6, 1), (6, 18)] {
            let verdict = verdict(&scenario, Rules::Design, kernel);
            assert!(matches!(verdict, Verdict::Passed), "{}: {verdict:?}", scenario.name);
        }
    }
}

#[test]
fn the_prediction_of_a_bare_kernel_agrees_with_the_table() {
    for scenario in table().iter().filter(|scenario| scenario.design_only.is_none()) {
        for kernel in [(6, 1), (6, 18)] {
            let verdict = verdict(scenario, Rules::Bare, kernel);
            assert!(matches!(verdict, Verdict::Passed), "{}: {verdict:?}", scenario.name);
        }
    }
}

#[test]
fn the_design_differs_from_a_bare_kernel_in_many_scenarios() {
    let differs = |scenario: &&Scenario| scenario.steps.iter().any(|step| step.kernel.is_some());
    assert!(table().iter().filter(differs).count() >= 50);
}

/// What a mount cannot play, and what it answers otherwise, is known and does not grow unseen.
#[test]
fn a_fuse_mount_differs_where_it_is_known_to() {
    let table = table();
    let skipped = table.iter().filter(|scenario| scenario.fuse_skip.is_some()).count();
    let steps = table.iter().flat_map(|scenario| &scenario.steps);
    let different = steps.filter(|step| step.design_fuse.is_some()).count();
    assert_eq!((skipped, different), (7, 29));
}

#[test]
fn a_wrong_expectation_fails() {
    let text = r#"
        [[scenario]]
        name = "wrong"
        clause = ["R5"]
        about = "what a container's root may, said not to be allowed"
        ns.a = { owner = 1000, uids = "0:100000:65536" }
        file.f = { owner = 100000 }
        task.root = { ns = "a" }
        task.user = { ns = "a", uid = 7 }
        steps = [
          { by = "root", do = "set-cap f v2 cap_net_raw=ep", design = "EPERM" },
          { by = "user", do = "exec f", design = "P=cap_chown" },
          { by = "root", do = "get-cap f", design = "v2 cap_chown=ep" },
          { by = "user", do = "list f", design = "nscap" },
        ]
    "#;
    let wrong = load(Path::new("wrong.toml"), text).unwrap();
    for rules in [Rules::Design, Rules::Bare] {
        let Verdict::Failed(mismatches) = verdict(&wrong[0], rules, (6, 18)) else {
            panic!("{rules:?} accepts it");
        };
        assert_eq!(mismatches.iter().map(|m| m.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
