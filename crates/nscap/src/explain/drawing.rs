// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap explain --svg`: one explanation as a picture. From top to bottom come the task as it is before,
//! each execve(2) with what decides in it, and what the sets hold after it; what is lost is said where
//! it is lost, with the clause.

use std::path::Path;

use nscap_core::{CapSet, Cred};
use nscap_linux::LiveNs;
use unicode_width::UnicodeWidthStr as _;

use super::chain::Chain;
use super::counts;
use super::remedy::{self, Remedy};
use super::tell::{cause, has, in_words, named, short};
use super::verdict::{Cause, Verdict};
use super::walk::{self, Step};
use super::{Question, Subject};
use crate::failure::EACCES;
use crate::picture::{Joined, Node};

/// What of the steps decides in an execve(2); the rest is about the task.
const DECIDES: [&str; 14] = [
    "way",
    "script",
    "binfmt_misc",
    "program",
    "mount",
    "no_new_privs",
    "host value",
    "entry",
    "table",
    "bounding set",
    "file gives",
    "held back",
    "image",
    "not seen",
];
/// As wide as fits a window of 640 pixels: 1280 at 200 per cent.
const WIDE: usize = 64;

/// The boxes so far.
#[derive(Default)]
pub(crate) struct Drawing {
    pub(crate) nodes: Vec<Node>,
    /// The answers in a sentence each.
    pub(crate) ends: Vec<String>,
}

impl Drawing {
    /// The task before its first execve(2).
    pub(crate) fn begin(
        &mut self,
        path: &Path,
        subject: &Subject,
        cred: &Cred<LiveNs<'_>>,
        name: &str,
    ) {
        let mut lines = wrapped("", &format!("asked: {}", named(path, subject)));
        let notes = subject.described().map(|described| described.notes.as_slice());
        for (step, text) in notes.unwrap_or_default() {
            lines.extend(wrapped("", &format!("{step}: {text}")));
        }
        lines.extend(sets(cred));
        let title = wrapped("", &format!("Before execve: {name}"));
        self.add(Joined::Nothing, title, lines, Vec::new());
    }

    /// One execve(2), and what comes of it; the last one with what would mend it.
    pub(crate) fn executed(&mut self, question: &Question<'_>, verdict: &Verdict<'_>, last: bool) {
        let counts = counts::all(question, has(question, verdict));
        let steps = walk::steps(question, verdict, &counts);
        let lost: Vec<String> = (verdict.causes.iter().enumerate())
            .map(|(n, loss)| cause(question, verdict, n, *loss))
            .collect();
        self.call(question.path, question.subject, &steps, &lost);
        let fails = lost.first().filter(|text| text.starts_with("execve fails"));
        match (&verdict.outcome, fails) {
            (_, Some(text)) => {
                let errno = text.rsplit(": ").next().unwrap_or_default();
                let title = vec![format!("The program does not run: {errno}")];
                self.add(Joined::Before, title, Vec::new(), Vec::new());
            }
            (Some(Ok(executed)), None) => {
                let (before, after) = (&question.task.cred, &executed.cred);
                let gone = differences(before, after, verdict);
                self.add(Joined::Before, vec!["After execve".to_owned()], sets(after), gone);
            }
            _ => {
                let all = verdict.outcome.iter().chain(&verdict.otherwise);
                let lines =
                    all.flat_map(|end| wrapped("", &format!("it may be: {}", in_words(end))));
                let title =
                    vec!["It could not be told: it depends on what cannot be seen".to_owned()];
                let lines = lines.collect();
                self.add(Joined::Before, title, lines, Vec::new());
            }
        }
        if last {
            self.mends(question, verdict);
            let end = match (verdict.complete(), lost.first()) {
                (None, _) => "It could not be told.".to_owned(),
                (Some(_), Some(first)) => format!("{first}."),
                (Some(_), None) => "Nothing is lost.".to_owned(),
            };
            self.ends.push(end);
        }
    }

    /// An execve(2) that does not come to the file.
    pub(crate) fn blocked(&mut self, path: &Path, chain: &Chain, subject: &Subject) {
        let errno = chain.stops.first().map_or(EACCES, |stop| stop.errno);
        let clause = super::verdict::clause_of_a_stop();
        let lost = chain.stops.iter().map(|stop| format!("execve fails: {} [{clause}]", stop.text));
        let lost: Vec<String> = lost.collect();
        self.call(path, subject, &walk::way(chain), &lost);
        let title = format!("The program does not run: {}", nscap_linux::describe(errno));
        self.ends.push(format!("{title}."));
        self.add(Joined::Before, vec![title], Vec::new(), Vec::new());
    }

    fn call(&mut self, path: &Path, subject: &Subject, steps: &[Step], lost: &[String]) {
        let of = steps.iter().filter(|step| DECIDES.contains(&step.step.as_str()));
        // The notes before it have the image already.
        let of = of.filter(|step| step.step != "image");
        let lines = of.flat_map(|step| wrapped("", &format!("{}: {}", step.step, step.text)));
        let title = wrapped("", &format!("execve {}", named(path, subject)));
        let lost = lost.iter().flat_map(|text| wrapped("", text));
        self.add(Joined::Before, title, lines.collect(), lost.collect());
    }

    fn mends(&mut self, question: &Question<'_>, verdict: &Verdict<'_>) {
        let mut lines = Vec::new();
        for loss in &verdict.causes {
            let Remedy { command, advice } = remedy::of(question, *loss);
            lines.extend(command.iter().flat_map(|text| wrapped("", &format!("mend: {text}"))));
            lines.extend(advice.iter().flat_map(|text| wrapped("", &format!("advice: {text}"))));
        }
        if !lines.is_empty() {
            self.add(Joined::Before, vec!["What to change".to_owned()], lines, Vec::new());
        }
    }

    fn add(&mut self, joined: Joined, title: Vec<String>, lines: Vec<String>, lost: Vec<String>) {
        let mut title = title.into_iter();
        let first = title.next().unwrap_or_default();
        let lines = title.chain(lines).collect();
        self.nodes.push(Node { depth: 0, inode: None, title: first, lines, lost, joined });
    }
}

/// What each set holds.
fn sets(cred: &Cred<LiveNs<'_>>) -> Vec<String> {
    let all = [
        ("permitted", cred.permitted),
        ("effective", cred.effective),
        ("inheritable", cred.inheritable),
        ("ambient", cred.ambient),
        ("bounding", cred.bounding),
    ];
    all.iter().flat_map(|(name, set)| wrapped("", &format!("{name}: {}", short(*set)))).collect()
}

/// What the task had and has not any more, and why; the sets of a file are the reasons' own.
fn differences(
    before: &Cred<LiveNs<'_>>,
    after: &Cred<LiveNs<'_>>,
    verdict: &Verdict<'_>,
) -> Vec<String> {
    let sets = [
        ("permitted", before.permitted.minus(after.permitted)),
        ("ambient", before.ambient.minus(after.ambient)),
    ];
    let clause = verdict.causes.first().map_or("X", |cause: &Cause| cause.clause());
    let gone = sets.iter().filter(|(_, set)| *set != CapSet::EMPTY);
    gone.flat_map(|(name, set)| {
        wrapped("", &format!("gone from {name}: {} [{clause}]", short(*set)))
    })
    .collect()
}

/// A text in lines of at most 64 columns, broken after a blank or comma where there is one. What is
/// from outside is made harmless first, so that no break falls into an escape.
fn wrapped(indent: &str, text: &str) -> Vec<String> {
    let text = crate::out::harmless(text);
    let mut lines = Vec::new();
    let mut line = indent.to_owned();
    for word in text.split_inclusive([' ', ',']) {
        if line.width() + word.trim_end().width() > WIDE && !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, "  ".to_owned()));
        }
        for c in word.chars() {
            if line.width() >= WIDE {
                lines.push(std::mem::replace(&mut line, "  ".to_owned()));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_and_nothing_of_it_is_lost() {
        let long = format!("bounding  {},{} end", "cap_net_raw,".repeat(20), "x".repeat(200));
        let lines = wrapped("", &long);
        assert!(lines.iter().all(|line| line.width() <= WIDE), "{lines:?}");
        let bare = |text: &str| text.replace(' ', "");
        assert_eq!(bare(&lines.concat()), bare(&long));
        assert_eq!(wrapped("", "語".repeat(40).as_str()).len(), 2);
        assert_eq!(wrapped("", "a b"), ["a b"]);
    }
}
