//! The table as it is shipped reads, whatever the runner.

use std::path::Path;

use nscap_conformance::load::load_dir;

#[test]
fn every_scenario_reads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let all = load_dir(&dir).unwrap_or_else(|error| panic!("{error}"));
    assert!(!all.is_empty());
}
