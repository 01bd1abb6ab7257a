// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table as JSON, for programs in other languages: values, maps, decisions, and layers before
//! and after. `conformance/vectors/README.md` documents the fields. All of it is made from the
//! scenarios by the library's rules; nothing here decides.

mod decisions;
mod layers;
mod maps;
mod values;

use nscap_core::FileCaps;
use serde::Serialize;

use crate::scenario::Scenario;
use crate::text::Problem;

pub use layers::member;

/// The version of the format. It grows when a field changes its meaning or goes; new fields and new
/// cases do not change it.
pub const VERSION: u32 = 1;

/// In bytes. A value that is longer, and a scenario with one, says nothing new and is many lines
/// long.
pub(crate) const LONGEST: usize = 8 + 24 * 8;

/// What a file of vectors is, and its cases.
#[derive(Serialize)]
struct Header {
    format: &'static str,
    version: u32,
    kind: &'static str,
}

/// The files by their names, each with its whole text: the same for the same table.
///
/// # Errors
/// Names the scenario that cannot be played.
///
/// ```
/// let files = nscap_conformance::vectors::all(&[]).unwrap();
/// let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
/// assert_eq!(names, ["values.json", "maps.json", "decisions.json", "layers.json"]);
/// ```
pub fn all(table: &[Scenario]) -> Result<Vec<(&'static str, String)>, Problem> {
    Ok(vec![
        ("values.json", text("values", &values::cases(table)?)?),
        ("maps.json", text("maps", &maps::cases(table)?)?),
        ("decisions.json", text("decisions", &decisions::cases(table)?)?),
        ("layers.json", text("layers", &layers::cases(table)?)?),
    ])
}

/// One case a line, so that a change of the table shows as the lines that it changes.
fn text<T: Serialize>(kind: &'static str, cases: &[T]) -> Result<String, Problem> {
    let one = |case: &T| serde_json::to_string(case).map_err(|error| error.to_string());
    let header = Header { format: "nscap-vectors", version: VERSION, kind };
    let header = serde_json::to_string(&header).map_err(|error| error.to_string())?;
    let header = header.trim_end_matches('}');
    let cases = cases.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{header},\"cases\":[\n{}\n]}}\n", cases.join(",\n")))
}

/// Capabilities of a file. A set is 16 hexadecimal digits: capability n is bit n.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Caps {
    permitted: String,
    inheritable: String,
    effective: bool,
}

impl Caps {
    fn of(caps: FileCaps) -> Caps {
        Caps {
            permitted: hex_set(caps.permitted.bits()),
            inheritable: hex_set(caps.inheritable.bits()),
            effective: caps.effective,
        }
    }
}

fn hex_set(bits: u64) -> String {
    format!("{bits:016x}")
}
