// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is asked of a file, with which tool, and what the tool's output says that the answer was.

use std::process::{Command, Output, Stdio};

use nscap_core::{CapSet, FileCaps, NsCaps, Record, VfsCaps};

use super::ids::Ids;
use super::people::{People, Who};
use crate::failure::{Failure, call};

/// The program that everything is about: a copy of cat(1).
pub(super) const FILE: &str = "cat";
/// Another copy, owned by the host's root.
pub(super) const FOREIGN: &str = "host-cat";

/// A rootid, as an id of the asking task's namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rootid {
    /// Root of the asker's own namespace.
    Own,
    /// A's root, as the host counts.
    A,
    /// B's.
    B,
    /// One that the asker's namespace does not map.
    Beyond,
    /// What is shown for such a one.
    Unmapped,
}

impl Rootid {
    fn number(self, ids: Ids) -> u32 {
        match (self, ids) {
            (Rootid::Own, _) => 0,
            (Rootid::A, _) => ids.a(),
            (Rootid::B, Ids::Two { b, .. }) => b,
            (Rootid::Beyond, _) => 7_000_000,
            (Rootid::B, Ids::One { .. }) | (Rootid::Unmapped, _) => u32::MAX,
        }
    }
}

/// Entries of `security.nscapability`, capabilities as text.
pub(super) type Entries = &'static [(Rootid, &'static str)];

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// setcap CAPS
    Setcap(&'static str),
    /// setcap -r
    Unsetcap,
    /// getcap -n
    Getcap,
    /// setfattr of security.capability, which asks the kernel where setcap(8) gives up before.
    SetPlain(&'static str),
    /// getfattr of security.nscapability.
    Get,
    /// setfattr of security.nscapability.
    Set(Entries),
    /// setfattr -x of it.
    Remove,
    /// execve, and what it gave.
    Exec,
    /// The file is written to.
    Write,
    /// The file gets another owner.
    Chown,
}

/// What must come of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expect {
    /// It is done.
    Done,
    /// It fails so.
    No(&'static str),
    /// These capabilities are read, or had by the program.
    Caps(&'static str),
    /// None are.
    NoCaps,
    /// These entries are read; by getcap(8) one.
    Entries(Entries),
}

/// One question and its answer.
pub(super) struct Reply {
    /// The command, with the words that give it its namespace and ids.
    pub(super) command: Vec<String>,
    /// The command as the asker would type it.
    pub(super) asked: String,
    pub(super) answer: String,
}

const DONE: &str = "done";
const NOTHING: &str = "nothing";

impl Expect {
    pub(super) fn text(self, ids: Ids) -> String {
        match self {
            Expect::Done => DONE.to_owned(),
            Expect::No(errno) => errno.to_owned(),
            Expect::Caps(caps) => caps.to_owned(),
            Expect::NoCaps => NOTHING.to_owned(),
            Expect::Entries(entries) => {
                let text = |(id, caps): &(Rootid, &str)| entry(id.number(ids), caps);
                entries.iter().map(text).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// As R6 shows it.
fn entry(rootid: u32, caps: &str) -> String {
    if rootid == u32::MAX { format!("-1: {caps}") } else { format!("{rootid}: {caps}") }
}

impl Ask {
    /// Asks, and reads the answer. `inner`: the name of security.nscapability for a task in a
    /// namespace below.
    pub(super) fn ask(
        self,
        who: Who,
        file: &str,
        people: &People,
        ids: Ids,
        inner: &str,
    ) -> Result<Reply, Failure> {
        let name = if who == Who::Host { "security.nscapability" } else { inner };
        let value = self.value(ids);
        let typed = self.typed(file, name, &value);
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let mut command = people.command(who, &typed)?;
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| call(command.get_program().as_ref(), "execve", error))?;
        let (asked, answer) = (self.shown(&typed, ids), self.read(&output));
        Ok(Reply { command: all(&command), asked, answer })
    }

    /// What setfattr is to write, in hexadecimal.
    fn value(self, ids: Ids) -> String {
        let caps = |text: &str| FileCaps::from_text(text.as_bytes()).unwrap_or_default();
        match self {
            Ask::SetPlain(text) => hex(VfsCaps::v2(caps(text)).encode().as_bytes()),
            Ask::Set(entries) => {
                let mut value = vec![0; NsCaps::encoded_len(entries.len())];
                let records =
                    entries.iter().map(|(id, text)| Record::new(id.number(ids), caps(text)));
                // The entries of the script fit.
                let _ = NsCaps::encode(records, &mut value);
                hex(&value)
            }
            _ => String::new(),
        }
    }

    fn typed(self, file: &str, name: &str, value: &str) -> Vec<String> {
        let program = format!("./{file}");
        let append = format!("echo >>{file}");
        let words: &[&str] = match self {
            Ask::Setcap(caps) => &["setcap", caps, file],
            Ask::Unsetcap => &["setcap", "-r", file],
            Ask::Getcap => &["getcap", "-n", file],
            Ask::SetPlain(_) => &["setfattr", "-n", "security.capability", "-v", value, file],
            Ask::Get => &["getfattr", "-e", "hex", "-n", "security.nscapability", file],
            Ask::Set(_) => &["setfattr", "-n", name, "-v", value, file],
            Ask::Remove => &["setfattr", "-x", name, file],
            Ask::Exec => &[&program, "/proc/self/status"],
            Ask::Write => &["sh", "-c", &append],
            Ask::Chown => &["chown", "7", file],
        };
        words.iter().map(|&word| word.to_owned()).collect()
    }

    /// The same for people: values in words.
    fn shown(self, typed: &[&str], ids: Ids) -> String {
        let text = typed.join(" ");
        let value = match self {
            Ask::SetPlain(caps) => caps.to_owned(),
            Ask::Set(entries) => Expect::Entries(entries).text(ids),
            Ask::Write => return text.replace("sh -c ", ""),
            Ask::Get => return text.replace("-e hex ", ""),
            _ => return text,
        };
        let hex = typed.iter().find(|word| word.starts_with("0x")).copied().unwrap_or_default();
        text.replace(hex, &format!("({value})"))
    }

    fn read(self, output: &Output) -> String {
        let (out, err) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return refusal(err.trim());
        }
        let out = String::from_utf8_lossy(out);
        let read = match self {
            Ask::Getcap => getcap(&out),
            Ask::Get => getfattr(&out),
            Ask::Exec => status(&out),
            _ => Some(DONE.to_owned()),
        };
        read.unwrap_or_else(|| out.trim().to_owned())
    }
}

fn hex(bytes: &[u8]) -> String {
    std::iter::once("0x".to_owned()).chain(bytes.iter().map(|byte| format!("{byte:02x}"))).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.strip_prefix("0x")?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

fn all(command: &Command) -> Vec<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The errno by the words that a tool ends with; else what it said.
fn refusal(said: &str) -> String {
    if said.ends_with("No such attribute") {
        return NOTHING.to_owned();
    }
    let errno = (1..134).find(|errno| said.ends_with(&nscap_linux::strerror(*errno)));
    let name =
        |errno| nscap_linux::describe(errno).split(',').next().unwrap_or_default().to_owned();
    errno.map_or_else(|| said.lines().last().unwrap_or("failed").to_owned(), name)
}

/// `cat cap_net_raw=ep`, `cat cap_net_raw=ep [rootid=100000]`, or nothing.
fn getcap(out: &str) -> Option<String> {
    if out.trim().is_empty() {
        return Some(NOTHING.to_owned());
    }
    let (_, caps) = out.trim().split_once(' ')?;
    match caps.split_once(" [rootid=") {
        None => Some(caps.to_owned()),
        Some((caps, id)) => Some(entry(id.strip_suffix(']')?.parse().ok()?, caps)),
    }
}

fn getfattr(out: &str) -> Option<String> {
    let value = out.lines().find_map(|line| line.split_once("=")).map(|(_, value)| value)?;
    let value = bytes(value)?;
    let caps = NsCaps::decode_shown(&value).ok()?;
    let text = |record: Record| entry(record.rootid(), &record.caps().to_string());
    Some(caps.iter().map(text).collect::<Vec<_>>().join(", "))
}

/// The effective set of a program that showed its own status.
fn status(out: &str) -> Option<String> {
    let line = out.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let set = CapSet::from_bits(u64::from_str_radix(line.trim(), 16).ok()?);
    Some(if set.is_empty() { NOTHING.to_owned() } else { set.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_say_is_understood() {
        assert_eq!(refusal("setfattr: cat: Operation not permitted"), "EPERM");
        assert_eq!(
            refusal("Failed to set capabilities on file 'cat': Device or resource busy"),
            "EBUSY"
        );
        assert_eq!(refusal("cat: security.nscapability: No such attribute"), NOTHING);
        assert_eq!(refusal("it broke"), "it broke");
        assert_eq!(getcap("cat cap_net_raw=ep\n").as_deref(), Some("cap_net_raw=ep"));
        assert_eq!(getcap("").as_deref(), Some(NOTHING));
        let named = getcap("cat cap_net_raw=ep [rootid=200000]\n");
        assert_eq!(named.as_deref(), Some("200000: cap_net_raw=ep"));
        assert_eq!(status("CapEff:\t0000000000002000\n").as_deref(), Some("cap_net_raw"));
        assert_eq!(status("CapEff:\t0000000000000000\n").as_deref(), Some(NOTHING));
        let ids = Ids::Two { a: 200_000, b: 300_000, owner: 500_000 };
        let ask = Ask::Set(&[(Rootid::A, "cap_chown=ep"), (Rootid::Unmapped, "cap_kill=p")]);
        let said = format!("# file: cat\nsecurity.nscapability={}\n\n", ask.value(ids));
        assert_eq!(getfattr(&said).as_deref(), Some("200000: cap_chown=ep, -1: cap_kill=p"));
        assert_eq!(getfattr("# file: cat\nx=0xzz\n"), None);
    }

    #[test]
    fn values_are_shown_in_words() {
        let ids = Ids::Two { a: 200_000, b: 300_000, owner: 500_000 };
        let ask = Ask::Set(&[(Rootid::A, "cap_chown=ep")]);
        let typed = ask.typed(FILE, "security.nscapability", &ask.value(ids));
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let shown = "setfattr -n security.nscapability -v (200000: cap_chown=ep) cat";
        assert_eq!(ask.shown(&typed, ids), shown);
    }
}
