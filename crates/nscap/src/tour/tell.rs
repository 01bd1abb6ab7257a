// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tour prints: a scene at a time, aligned; or one JSON object for each answer.

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::ask::Reply;
use super::front::Front;
use super::ids::{BELOW, Ids};
use super::script::{Scene, Step};
use crate::failure::Failure;
use crate::out::{BAD, GOOD, HEAD, Out};

/// One question and its answer, as JSON has it; or a scene that was left out, with why.
#[derive(Serialize)]
pub(super) struct Line {
    clause: &'static str,
    scene: &'static str,
    title: &'static str,
    who: Option<String>,
    asked: Option<String>,
    command: Option<Vec<String>>,
    answer: Option<String>,
    expected: Option<String>,
    ok: Option<bool>,
    left_out: Option<String>,
}

impl Line {
    pub(super) fn new(scene: &Scene, step: &Step, answer: Reply, expected: String) -> Line {
        Line {
            clause: step.clause.unwrap_or(scene.clause),
            scene: scene.clause,
            title: scene.title,
            who: Some(step.who.name()),
            asked: Some(answer.asked),
            command: Some(answer.command),
            ok: Some(answer.answer == expected),
            answer: Some(answer.answer),
            expected: Some(expected),
            left_out: None,
        }
    }

    fn left_out(scene: &Scene, why: &str) -> Line {
        Line {
            clause: scene.clause,
            scene: scene.clause,
            title: scene.title,
            who: None,
            asked: None,
            command: None,
            answer: None,
            expected: None,
            ok: None,
            left_out: Some(why.to_owned()),
        }
    }
}

/// Up to which column answers are aligned.
const WIDTH: usize = 72;

/// How it went.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    right: usize,
    wrong: usize,
    /// Scenes that were not played.
    pub(super) left_out: usize,
}

impl Tally {
    pub(super) fn add(&mut self, lines: &[Line]) {
        let right = lines.iter().filter(|line| line.ok == Some(true)).count();
        self.right += right;
        self.wrong += lines.len() - right;
    }
}

/// The output of a tour.
pub(super) struct Teller<'o> {
    out: &'o mut Out,
}

impl<'o> Teller<'o> {
    pub(super) fn begin(out: &'o mut Out, front: Front, ids: Ids) -> Result<Teller<'o>, Failure> {
        if !out.is_json() {
            out.line(&format!("One directory tree, several user namespaces: {}.", front.text()))?;
            for line in people(ids) {
                out.line(&format!("  {line}"))?;
            }
        }
        Ok(Teller { out })
    }

    pub(super) fn scene(&mut self, scene: &Scene, lines: &[Line]) -> Result<(), Failure> {
        if self.out.is_json() {
            return Ok(lines.iter().try_for_each(|line| self.out.object(line))?);
        }
        self.title(scene)?;
        let width = |of: fn(&Line) -> &Option<String>| {
            lines.iter().filter_map(|line| of(line).as_ref()).map(|text| text.width()).max()
        };
        let (who, asked) = (width(|line| &line.who), width(|line| &line.asked));
        // A longer one extends beyond the column, so that the others have no gap.
        let asked = asked.map(|width| width.min(WIDTH));
        for line in lines {
            self.line(scene, line, who.unwrap_or(0), asked.unwrap_or(0))?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn line(
        &mut self,
        scene: &Scene,
        line: &Line,
        who: usize,
        asked: usize,
    ) -> Result<(), Failure> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (name, question, answer) = (text(&line.who), text(&line.asked), text(&line.answer));
        let clause = if line.clause == scene.clause { "" } else { line.clause };
        let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(text.width()));
        let (one, two) = (pad(&name, who), pad(&question, asked));
        let right = line.ok == Some(true);
        let style = if right { GOOD } else { BAD };
        let wrong =
            if right { String::new() } else { format!("  must be: {}", text(&line.expected)) };
        let row = format!(
            "  {name}{one}  {question}{two}  {style}{answer}{style:#}{wrong}{}",
            if clause.is_empty() { String::new() } else { format!("  [{clause}]") }
        );
        Ok(self.out.line(&row)?)
    }

    pub(super) fn left_out(&mut self, scene: &Scene, why: &str) -> Result<(), Failure> {
        if self.out.is_json() {
            return Ok(self.out.object(&Line::left_out(scene, why))?);
        }
        self.title(scene)?;
        Ok(self.out.line(&format!("  not played: {why}"))?)
    }

    fn title(&mut self, scene: &Scene) -> Result<(), Failure> {
        self.out.line("")?;
        Ok(self.out.styled(HEAD, &format!("{:<3} {}", scene.clause, scene.title))?)
    }

    pub(super) fn end(&mut self, tally: Tally) -> Result<u8, Failure> {
        if !self.out.is_json() {
            let left = match tally.left_out {
                0 => String::new(),
                number => format!("; {number} clause(s) not played"),
            };
            self.out.line("")?;
            match tally.wrong {
                0 => self.out.styled(
                    GOOD,
                    &format!("{} answers, each as its clause says{left}", tally.right),
                )?,
                wrong => self.out.styled(
                    BAD,
                    &format!("{wrong} of {} answers are wrong{left}", tally.right + wrong),
                )?,
            }
        }
        self.out.flush()?;
        Ok(u8::from(tally.wrong > 0))
    }
}

/// The users of the tour, as a legend.
fn people(ids: Ids) -> Vec<String> {
    let below = format!("A1  below A: its uid 0 is A's {BELOW}");
    match ids {
        Ids::Two { a, b, owner } => vec![
            format!("A   its uid 0 is {a}; {below}"),
            format!("B   its uid 0 is {b}; C: its uid 0 is the host's own"),
            format!("cat is a copy of the system's, owned by {owner}, which A and B both map"),
        ],
        Ids::One { a } => vec![
            format!("A   its uid 0 is {a}, the only id there is; A1 is below A, with the same"),
            "cat is a copy of the system's, owned by it".to_owned(),
        ],
    }
}
