// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of a step, and whether it is what was expected.
//!
//! Every runner gives the same [`Outcome`]s, so that one comparison serves them all. The texts
//! are those of the table: what a failing step prints can be pasted into a scenario.

use nscap_core::CapSet;
use serde::{Deserialize, Serialize};

use crate::text::{self, Problem};

/// What came of a step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The call succeeded and has nothing to tell.
    Done,
    /// The call failed with this errno.
    Failed(i32),
    /// getxattr(2) gave these bytes.
    Value(Vec<u8>),
    /// getxattr(2) with size 0 gave this length.
    Length(usize),
    /// listxattr(2) named these of our two attributes.
    Listed {
        /// `security.capability`.
        cap: bool,
        /// `security.nscapability`.
        nscap: bool,
    },
    /// execve(2) made this of the task.
    Executed(Executed),
}

/// The credentials of a program after execve(2), ids in its own namespace's terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Executed {
    /// Real, effective and saved uid.
    pub uids: [u32; 3],
    /// Real, effective and saved gid.
    pub gids: [u32; 3],
    /// Permitted, effective, inheritable, ambient and bounding set.
    pub sets: [u64; 5],
    /// AT_SECURE.
    pub secure: bool,
    /// no_new_privs.
    pub no_new_privs: bool,
    /// The securebits flags.
    pub securebits: u32,
}

/// The letters of the five sets, in the order of [`Executed::sets`].
const LETTERS: [&str; 5] = ["P", "E", "I", "A", "B"];
const UIDS: [&str; 3] = ["uid", "euid", "suid"];
const GIDS: [&str; 3] = ["gid", "egid", "sgid"];

impl std::fmt::Display for Executed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (letter, set) in LETTERS.iter().zip(self.sets) {
            write!(f, "{letter}={} ", text::show_set(CapSet::from_bits(set)))?;
        }
        for (name, id) in UIDS.iter().zip(self.uids).chain(GIDS.iter().zip(self.gids)) {
            write!(f, "{name}={id} ")?;
        }
        let [secure, nnp] = [self.secure, self.no_new_privs].map(u8::from);
        write!(f, "secure={secure} nnp={nnp} securebits={}", show_securebits(self.securebits))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Done => f.write_str("ok"),
            Outcome::Failed(errno) => f.write_str(&show_errno(*errno)),
            Outcome::Value(bytes) => f.write_str(&text::show_value(bytes)),
            Outcome::Length(length) => write!(f, "{length}"),
            Outcome::Listed { cap, nscap } => f.write_str(match (cap, nscap) {
                (true, true) => "cap nscap",
                (true, false) => "cap",
                (false, true) => "nscap",
                (false, false) => "none",
            }),
            Outcome::Executed(executed) => executed.fmt(f),
        }
    }
}

/// What must come of a step.
#[derive(Clone, Debug)]
pub struct Expectation {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// `any`: whatever comes.
    Any,
    /// `ok`: any success.
    Ok,
    /// Exactly this.
    Exactly(Outcome),
    /// An execve after which these fields are so.
    Executed(Vec<Field>),
}

#[derive(Clone, Debug)]
enum Field {
    /// A set, as text: what `all` is depends on the task's namespace.
    Set(usize, String),
    Uid(usize, u32),
    Gid(usize, u32),
    Secure(bool),
    NoNewPrivs(bool),
    Securebits(u32),
}

/// What kind of answer an operation gives when it succeeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeKind {
    /// Nothing.
    Nothing,
    /// The bytes of an attribute.
    Value,
    /// The length of an attribute.
    Length,
    /// Names of attributes.
    Names,
    /// Credentials.
    Credentials,
}

impl Expectation {
    /// Reads what a step of this kind must give: `any`, `ok`, the name of an errno, or what
    /// [`Outcome`] prints. Of an execve only the fields named are compared.
    ///
    /// # Errors
    /// Names the part that is wrong.
    pub fn parse(answer: OutcomeKind, text: &str) -> Result<Expectation, Problem> {
        let kind = match text.trim() {
            "any" => Kind::Any,
            "ok" => Kind::Ok,
            errno if errno.starts_with('E') && !errno.contains('=') => {
                Kind::Exactly(Outcome::Failed(parse_errno(errno)?))
            }
            other => match answer {
                OutcomeKind::Nothing => return Err(format!("neither ok nor an errno: {other:?}")),
                OutcomeKind::Value => Kind::Exactly(Outcome::Value(text::value(other)?)),
                OutcomeKind::Length => Kind::Exactly(Outcome::Length(text::number(other)?)),
                OutcomeKind::Names => Kind::Exactly(names(other)?),
                OutcomeKind::Credentials => Kind::Executed(
                    other.split_whitespace().map(field).collect::<Result<_, Problem>>()?,
                ),
            },
        };
        Ok(Expectation { text: text.trim().to_owned(), kind })
    }

    /// Exactly this outcome.
    #[must_use]
    pub fn exactly(outcome: &Outcome) -> Expectation {
        Expectation { text: outcome.to_string(), kind: Kind::Exactly(outcome.clone()) }
    }

    /// Whether `outcome` is what was expected. `everything` is the meaning of `all`.
    #[must_use]
    pub fn matches(&self, outcome: &Outcome, everything: CapSet) -> bool {
        match &self.kind {
            Kind::Any => true,
            Kind::Ok => !matches!(outcome, Outcome::Failed(_)),
            Kind::Exactly(expected) => expected == outcome,
            Kind::Executed(fields) => match outcome {
                Outcome::Executed(got) => fields.iter().all(|field| field.matches(got, everything)),
                _ => false,
            },
        }
    }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Field {
    fn matches(&self, got: &Executed, everything: CapSet) -> bool {
        match self {
            Field::Set(n, text) => {
                let expected = text::set(text, everything).map(CapSet::bits);
                expected.ok().as_ref() == got.sets.get(*n)
            }
            Field::Uid(n, id) => got.uids.get(*n) == Some(id),
            Field::Gid(n, id) => got.gids.get(*n) == Some(id),
            Field::Secure(yes) => got.secure == *yes,
            Field::NoNewPrivs(yes) => got.no_new_privs == *yes,
            Field::Securebits(bits) => got.securebits == *bits,
        }
    }
}

fn field(text: &str) -> Result<Field, Problem> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("neither an errno nor NAME=VALUE: {text:?}"))?;
    let at = |names: &[&str]| names.iter().position(|n| *n == name);
    if let Some(n) = at(&LETTERS) {
        text::set(value, CapSet::KNOWN)?;
        return Ok(Field::Set(n, value.to_owned()));
    }
    if let Some(n) = at(&UIDS) {
        return Ok(Field::Uid(n, text::number(value)?));
    }
    if let Some(n) = at(&GIDS) {
        return Ok(Field::Gid(n, text::number(value)?));
    }
    let yes = || match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(format!("neither 0 nor 1: {text:?}")),
    };
    match name {
        "secure" => Ok(Field::Secure(yes()?)),
        "nnp" => Ok(Field::NoNewPrivs(yes()?)),
        "securebits" => Ok(Field::Securebits(securebits(value)?)),
        _ => Err(format!("an execve has no {name:?}")),
    }
}

fn names(text: &str) -> Result<Outcome, Problem> {
    let mut outcome = (false, false);
    for name in text.split_whitespace() {
        match name {
            "cap" => outcome.0 = true,
            "nscap" => outcome.1 = true,
            "none" => {}
            _ => return Err(format!("neither cap, nscap nor none: {name:?}")),
        }
    }
    Ok(Outcome::Listed { cap: outcome.0, nscap: outcome.1 })
}

/// The securebits flags, capabilities(7), in the order of their bits.
const SECUREBITS: [&str; 8] = [
    "noroot",
    "noroot_locked",
    "no_setuid_fixup",
    "no_setuid_fixup_locked",
    "keep_caps",
    "keep_caps_locked",
    "no_cap_ambient_raise",
    "no_cap_ambient_raise_locked",
];

/// Reads securebits flags: names separated by commas, or `none`.
///
/// # Errors
/// Names the flag that there is not.
pub fn securebits(text: &str) -> Result<u32, Problem> {
    let mut bits = 0;
    for name in text.split(',').map(str::trim).filter(|n| !n.is_empty() && *n != "none") {
        let bit = SECUREBITS.iter().position(|n| *n == name);
        bits |= 1 << bit.ok_or_else(|| format!("no such securebits flag: {name:?}"))?;
    }
    Ok(bits)
}

/// Securebits flags as [`securebits`] reads them.
#[must_use]
pub fn show_securebits(bits: u32) -> String {
    let set = |(n, name): (usize, &&str)| (bits >> n & 1 == 1).then(|| (*name).to_owned());
    let names: Vec<String> = SECUREBITS.iter().enumerate().filter_map(set).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

/// The errnos that a scenario can name: all that a step is known to give.
const ERRNOS: [(&str, i32); 26] = [
    ("EPERM", libc::EPERM),
    ("ENOENT", libc::ENOENT),
    ("ESRCH", libc::ESRCH),
    ("EIO", libc::EIO),
    ("E2BIG", libc::E2BIG),
    ("ENOEXEC", libc::ENOEXEC),
    ("EACCES", libc::EACCES),
    ("EBUSY", libc::EBUSY),
    ("EEXIST", libc::EEXIST),
    ("EXDEV", libc::EXDEV),
    ("ENOTDIR", libc::ENOTDIR),
    ("EISDIR", libc::EISDIR),
    ("EINVAL", libc::EINVAL),
    ("ETXTBSY", libc::ETXTBSY),
    ("EFBIG", libc::EFBIG),
    ("ENOSPC", libc::ENOSPC),
    ("EROFS", libc::EROFS),
    ("ERANGE", libc::ERANGE),
    ("ENODATA", libc::ENODATA),
    ("EOVERFLOW", libc::EOVERFLOW),
    ("EUSERS", libc::EUSERS),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("ENOSYS", libc::ENOSYS),
    ("ELOOP", libc::ELOOP),
    ("EDQUOT", libc::EDQUOT),
    ("ENOTCONN", libc::ENOTCONN),
];

fn parse_errno(text: &str) -> Result<i32, Problem> {
    let found = ERRNOS.iter().find(|(name, _)| *name == text);
    found.map(|(_, errno)| *errno).ok_or_else(|| format!("no errno that a step gives: {text:?}"))
}

/// The name of an errno, or its number where we have no name for it.
#[must_use]
pub fn show_errno(errno: i32) -> String {
    let found = ERRNOS.iter().find(|(_, number)| *number == errno);
    found.map_or_else(|| format!("errno {errno}"), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_execve_only_what_is_named_is_compared() {
        let expected =
            Expectation::parse(OutcomeKind::Credentials, "P=cap_net_raw secure=1").unwrap();
        let mut got = Executed { sets: [1 << 13, 0, 0, 0, 0], secure: true, ..Executed::default() };
        assert!(expected.matches(&Outcome::Executed(got), CapSet::KNOWN));
        got.secure = false;
        assert!(!expected.matches(&Outcome::Executed(got), CapSet::KNOWN));
        assert!(!expected.matches(&Outcome::Failed(1), CapSet::KNOWN));
    }

    #[test]
    fn what_is_printed_reads_back() {
        for (answer, outcome) in [
            (OutcomeKind::Nothing, Outcome::Done),
            (OutcomeKind::Nothing, Outcome::Failed(libc::EBUSY)),
            (OutcomeKind::Value, Outcome::Value(text::value("v3 5 cap_chown=p").unwrap())),
            (OutcomeKind::Length, Outcome::Length(20)),
            (OutcomeKind::Names, Outcome::Listed { cap: true, nscap: false }),
            (OutcomeKind::Credentials, Outcome::Executed(Executed::default())),
        ] {
            let expected = Expectation::parse(answer, &outcome.to_string()).unwrap();
            assert!(expected.matches(&outcome, CapSet::KNOWN), "{outcome}");
        }
    }
}
