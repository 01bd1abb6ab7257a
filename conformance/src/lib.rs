// SPDX-License-Identifier: MIT OR Apache-2.0
//! One table of scenarios for nscap, and what runs it.
//!
//! A scenario is a small world (user namespaces, a file system, files, tasks) and steps in it with
//! what each must give: by SPEC (`design`) and, where it differs, by an unmodified kernel
//! (`kernel`). Runners play the steps and answer with [`outcome::Outcome`]s; expectations are in
//! the table and never in code. README.md documents the format.

pub mod attack;
pub mod begun;
pub mod case;
pub mod fuzz;
mod ground;
pub mod live;
pub mod load;
pub mod model;
pub mod outcome;
pub mod report;
pub mod scenario;
pub mod stored;
pub mod text;
pub mod told;
pub mod tools;
pub mod tree;
pub mod vectors;
