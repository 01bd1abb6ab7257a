// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays the script, scene by scene.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use super::ask::{FILE, FOREIGN};
use super::cannot;
use super::find;
use super::front::{Stage, Tree};
use super::ids::Ids;
use super::people::People;
use super::script::{SCENES, Scene, Step};
use super::tell::{Line, Tally, Teller};
use crate::failure::{EIO, Failure, call};
use crate::out::Out;

pub(super) fn run(out: &mut Out) -> Result<u8, Failure> {
    let stage = Stage::set()?;
    let ids = Ids::here()?;
    let people = People::gather(ids)?;
    let mut teller = Teller::begin(out, stage.front, ids)?;
    let mut tally = Tally::default();
    for scene in &SCENES {
        match place(&stage, scene, ids) {
            Ok(tree) => {
                let lines = play(scene, tree, &stage, &people, ids)?;
                tally.add(&lines);
                teller.scene(scene, &lines)?;
            }
            Err(why) => {
                tally.left_out += 1;
                teller.left_out(scene, why)?;
            }
        }
    }
    teller.end(tally)
}

/// The tree where a scene is played, or why it is not.
fn place<'s>(stage: &'s Stage, scene: &Scene, ids: Ids) -> Result<&'s Tree, &'static str> {
    let tree = stage.trees.iter().find(|tree| scene.under.holds(tree.policy));
    let tree = tree.ok_or(stage.front.why_no_array())?;
    if !scene.steps.iter().any(|step| step.with.holds(ids)) {
        return Err("takes more than one id");
    }
    Ok(tree)
}

fn play(
    scene: &Scene,
    tree: &Tree,
    stage: &Stage,
    people: &People,
    ids: Ids,
) -> Result<Vec<Line>, Failure> {
    put(&tree.path, FILE, ids.owner())?;
    put(&tree.path, FOREIGN, ids.host())?;
    std::env::set_current_dir(&tree.path).map_err(|error| call(&tree.path, "chdir", error))?;
    let here = |step: &&Step| step.under.holds(tree.policy) && step.with.holds(ids);
    let mut lines = Vec::new();
    for step in scene.steps.iter().filter(here) {
        let inner = stage.front.inner_name();
        let answer = step.ask.ask(step.who, step.file, people, ids, inner)?;
        let expected = step.expect.text(ids);
        lines.push(Line::new(scene, step, answer, expected));
    }
    Ok(lines)
}

/// A fresh copy of cat(1).
fn put(tree: &Path, name: &str, owner: u32) -> Result<(), Failure> {
    let path = tree.join(name);
    let program = find("cat").ok_or_else(|| cannot("cat", "not found", EIO))?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(call(&path, "unlink", error));
        }
        _ => {}
    }
    std::fs::copy(&program, &path).map_err(|error| call(&path, "copy", error))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o755))
        .map_err(|error| call(&path, "chmod", error))?;
    chown(&path, Some(owner), Some(owner)).map_err(|error| call(&path, "chown", error))
}
