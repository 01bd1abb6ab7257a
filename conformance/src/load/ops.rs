// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `do` of a step: a verb, what it is done to, and the rest.

use crate::outcome::OutcomeKind;
use crate::scenario::{Attr, Flag, MapWriter, Op};
use crate::text::{self, Problem};

/// Reads the `do` of a step, with the `flag` beside it, and says what kind of answer it gives.
pub(super) fn parse(action: &str, flag: Option<&str>) -> Result<(Op, OutcomeKind), Problem> {
    let action = action.trim();
    let (verb, rest) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
    let answer = answer_of(verb);
    let mut op = match verb {
        "set-cap" => set(Attr::Cap, rest)?,
        "set-nscap" => set(Attr::Nscap, rest)?,
        "chown" => chown(rest)?,
        "unshare" => unshare(rest)?,
        _ => simple(verb, rest)?,
    };
    match (&mut op, flag) {
        (_, None) => {}
        (Op::Set { flag, .. }, Some("create")) => *flag = Flag::Create,
        (Op::Set { flag, .. }, Some("replace")) => *flag = Flag::Replace,
        (_, Some(other)) => return Err(format!("flag {other:?} is not for {verb}")),
    }
    Ok((op, answer))
}

fn answer_of(verb: &str) -> OutcomeKind {
    match verb {
        "get-cap" | "get-nscap" => OutcomeKind::Value,
        "size-cap" | "size-nscap" => OutcomeKind::Length,
        "list" => OutcomeKind::Names,
        "exec" => OutcomeKind::Credentials,
        _ => OutcomeKind::Nothing,
    }
}

fn set(attr: Attr, rest: &str) -> Result<Op, Problem> {
    let (file, value) = rest.trim().split_once(char::is_whitespace).ok_or("FILE VALUE missing")?;
    Ok(Op::Set { attr, file: file.to_owned(), value: text::value(value)?, flag: Flag::None })
}

fn chown(rest: &str) -> Result<Op, Problem> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [file, uid, gid] = words.as_slice() else {
        return Err("chown FILE UID GID, - for one that stays".to_owned());
    };
    let id = |text: &str| if text == "-" { Ok(None) } else { text::number(text).map(Some) };
    Ok(Op::Chown { file: (*file).to_owned(), uid: id(uid)?, gid: id(gid)? })
}

fn unshare(rest: &str) -> Result<Op, Problem> {
    let mut words = rest.split_whitespace();
    let ns = words.next().ok_or("unshare NS uids=MAP [gids=MAP] [by=parent]")?.to_owned();
    let (mut uids, mut gids, mut writer) = (None, None, MapWriter::Child);
    for word in words {
        match word.split_once('=') {
            Some(("uids", map)) => uids = Some(map),
            Some(("gids", map)) => gids = Some(map),
            Some(("by", "parent")) => writer = MapWriter::Parent,
            Some(("by", "child")) => writer = MapWriter::Child,
            _ => return Err(format!("not uids=, gids= or by=: {word:?}")),
        }
    }
    let maps = super::maps(uids.ok_or("uids= is missing")?, gids)?;
    Ok(Op::Unshare { ns, maps, writer })
}

fn simple(verb: &str, rest: &str) -> Result<Op, Problem> {
    let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    if let [file] = words.as_slice() {
        let file = file.clone();
        match verb {
            "get-cap" => return Ok(Op::Get(Attr::Cap, file)),
            "get-nscap" => return Ok(Op::Get(Attr::Nscap, file)),
            "size-cap" => return Ok(Op::Size(Attr::Cap, file)),
            "size-nscap" => return Ok(Op::Size(Attr::Nscap, file)),
            "remove-cap" => return Ok(Op::Remove(Attr::Cap, file)),
            "remove-nscap" => return Ok(Op::Remove(Attr::Nscap, file)),
            "list" => return Ok(Op::List(file)),
            "exec" => return Ok(Op::Exec(file)),
            "write" => return Ok(Op::Write(file)),
            "truncate" => return Ok(Op::Truncate(file)),
            "fallocate" => return Ok(Op::Fallocate(file)),
            "mmap" => return Ok(Op::Mmap(file)),
            "utimes" => return Ok(Op::Utimes(file)),
            "enter" => return Ok(Op::Enter(file)),
            _ => {}
        }
    }
    if let [first, second] = words.as_slice() {
        let (first, second) = (first.clone(), second.clone());
        match verb {
            "copy" => return Ok(Op::CopyInto { from: first, file: second }),
            "rename" => return Ok(Op::Rename(first, second)),
            "link" => return Ok(Op::Link(first, second)),
            "chmod" => {
                let mode = u32::from_str_radix(&second, 8);
                return Ok(Op::Chmod(first, mode.map_err(|e| format!("{second:?}: {e}"))?));
            }
            _ => {}
        }
    }
    Err(format!("there is no operation {verb:?} with {} words after it", words.len()))
}
