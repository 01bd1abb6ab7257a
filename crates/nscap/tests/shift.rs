// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap shift` as people and programs use it: exit statuses, what is said, and a capability that
//! still works where the tree went.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Output};

use nscap_testing::{Container, cat, host_gains, is_root};
use serde_json::Value;

const NET_RAW: u64 = 1 << 13;

struct Place {
    directory: tempfile::TempDir,
    tree: PathBuf,
    cat: PathBuf,
}

impl Place {
    /// A tree as the host unpacks it, with a program that has a capability.
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let tree = directory.path().join("rootfs");
        std::fs::create_dir(&tree).unwrap();
        let cat = cat(&tree, 0);
        let set = Command::new("setcap").arg("cap_net_raw=ep").arg(&cat).status().unwrap();
        assert!(set.success());
        Place { directory, tree, cat }
    }

    fn shift(&self, args: &[&str]) -> Output {
        let nscap = env!("CARGO_BIN_EXE_nscap");
        Command::new(nscap).arg("shift").args(args).arg(&self.tree).output().unwrap()
    }

    fn code(&self, args: &[&str]) -> i32 {
        self.shift(args).status.code().unwrap()
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        let said = self.shift(&[&["--json"], args].concat()).stdout;
        let lines = String::from_utf8(said).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const TO_A: [&str; 4] = ["--from", "host", "--to", "0:1500000:65536"];

#[test]
fn a_capability_works_where_its_tree_went_and_again_when_it_came_back() {
    if !is_root("a_capability_works_where_its_tree_went_and_again_when_it_came_back") {
        return;
    }
    let place = Place::new();
    let [a, b] = [1_500_000, 1_600_000].map(|base| Container::new(&format!("0 {base} 65536")));
    let gains = || (host_gains(&place.cat), a.gains(&place.cat), b.gains(&place.cat));
    assert_eq!(gains(), (Some(NET_RAW), Some(NET_RAW), Some(NET_RAW)));
    assert_eq!(place.code(&TO_A), 0);
    assert_eq!(gains(), (Some(0), Some(NET_RAW), Some(0)));
    let (from, to) = (format!("pid:{}", a.pid()), format!("pid:{}", b.pid()));
    assert_eq!(place.code(&["--from", &from, "--to", &to]), 0);
    assert_eq!(gains(), (Some(0), Some(0), Some(NET_RAW)));
    assert_eq!(place.code(&["--undo"]), 0);
    assert_eq!(gains(), (Some(0), Some(NET_RAW), Some(0)));
    // Only the last one can be undone.
    let gone = place.shift(&["--undo"]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("has no shift to resume or undo"));
}

#[test]
fn each_answer_has_its_exit_status_and_every_field_is_documented() {
    if !is_root("each_answer_has_its_exit_status_and_every_field_is_documented") {
        return;
    }
    let place = Place::new();
    assert_eq!(place.code(&["--from", "0:0:0", "--to", "host"]), 2);
    assert_eq!(place.code(&["--from", "host"]), 2);
    assert_eq!(place.code(&["--resume", "--from", "host", "--to", "host"]), 2);
    assert_eq!(place.code(&["--resume"]), 2);
    let dry = [&TO_A[..], &["-n"]].concat();
    assert_eq!(place.code(&dry), 0);
    let mut said = place.json(&dry);
    let raw = place.tree.join("stranger\n");
    std::fs::write(&raw, "").unwrap();
    chown(&raw, Some(70_000), None).unwrap();
    let refused = place.shift(&TO_A);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("stranger\\n") && told.contains("its owner 70000 has no image"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains("nothing was changed"), "{told}");
    said.extend(place.json(&TO_A));
    assert_eq!(std::fs::read_dir(place.directory.path()).unwrap().count(), 1);
    let given = [&TO_A[..], &["--unmapped", "1500007"]].concat();
    said.extend(place.json(&given));
    std::fs::remove_file(&raw).unwrap();
    std::fs::write(&raw, "another").unwrap();
    let undone = place.json(&["--undo"]);
    assert_eq!((&undone[0]["what"], &undone[1]["finished"]), (&"replaced".into(), &false.into()));
    said.extend(undone);
    let open = place.shift(&TO_A);
    assert_eq!(open.status.code(), Some(1));
    assert!(String::from_utf8(open.stderr).unwrap().contains("--resume or --undo"));
    // There is nothing to mend of what is gone.
    std::fs::remove_file(&raw).unwrap();
    assert_eq!((place.code(&["--undo"]), place.code(&["--undo"])), (1, 2));

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
    let documented = std::fs::read_to_string(path).unwrap();
    let events: Vec<&str> = said.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["plan", "problem", "plan", "shifted", "odd", "undone"]);
    for object in &said {
        for field in object.as_object().unwrap().keys() {
            assert!(documented.contains(&format!("`{field}`")), "{field}");
        }
    }
}
