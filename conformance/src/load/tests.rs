// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::scenario::{Attr, Flag};

const GOOD: &str = r#"
[[scenario]]
name = "one"
clause = ["R5"]
about = "a container's root grants to its own ping"
ns.a = { owner = 1000, uids = "0:100000:1000" }
ns.b = { parent = "a", uids = "0:500:10" }
file.f = { owner = 100000, mode = "4755", entries = { 100000 = "cap_net_raw=ep" } }
task.t = { ns = "a" }
steps = [
  { by = "t", do = "set-cap f v2 cap_net_raw=ep", flag = "create", design = "EBUSY", kernel = "ok" },
  { by = "t", do = "exec f", design = "P=cap_net_raw secure=1" },
]
"#;

fn problem(change: impl Fn(&str) -> String) -> String {
    load(Path::new("some.toml"), &change(GOOD)).unwrap_err().to_string()
}

#[test]
fn a_scenario_is_read_with_its_defaults() {
    let all = load(Path::new("some.toml"), GOOD).unwrap();
    let [one] = all.as_slice() else { panic!("{all:?}") };
    let owners: Vec<u32> = one.world.namespaces.iter().map(|ns| ns.owner).collect();
    assert_eq!(owners, [1000, 100_000]);
    assert_eq!(one.world.files["f"].group, 100_000);
    assert_eq!(one.world.tasks["t"].sets.effective, "all");
    let Op::Set { attr: Attr::Cap, flag: Flag::Create, .. } = one.steps[0].op else {
        panic!("{:?}", one.steps[0].op)
    };
    assert_eq!(one.steps[0].kernel.as_ref().unwrap().to_string(), "ok");
}

#[test]
fn what_is_wrong_is_named_with_its_file_and_scenario() {
    for (from, to, says) in [
        ("clause = [\"R5\"]", "clause = []", "cites no clause"),
        ("ns = \"a\"", "ns = \"c\"", "no namespace \"c\""),
        ("parent = \"a\"", "parent = \"b\"", "no parent \"b\""),
        ("exec f", "exec g", "no file \"g\""),
        ("exec f", "run f", "no operation \"run\""),
        ("by = \"t\"", "by = \"u\"", "no task \"u\""),
        ("cap_net_raw secure=1", "cap_net_raw secured=1", "\"secured\""),
        ("EBUSY", "EBUSI", "\"EBUSI\""),
        ("v2 cap_net_raw=ep\"", "v2 net_raw=ep\"", "\"net_raw\""),
        ("0:500:10", "0:500", "0:500"),
    ] {
        let problem = problem(|good| good.replace(from, to));
        assert!(problem.starts_with("some.toml: scenario \"one\": "), "{problem}");
        assert!(problem.contains(says), "{problem}");
    }
}

#[test]
fn an_unknown_key_is_an_error() {
    let problem = problem(|good| good.replace("about =", "abuot = \"\"\nabout ="));
    assert!(problem.starts_with("some.toml: ") && problem.contains("abuot"), "{problem}");
}
