// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output: aligned rows for people, one JSON object per line for programs. Whatever comes from
//! outside (paths, process names) is shown so that it cannot forge a line or an escape sequence.

mod harmless;
pub(crate) mod json;
mod table;

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(crate) use harmless::harmless;
pub(crate) use table::{Fit, Table, cut, width};

use anstyle::{AnsiColor, Style};
use nscap_core::{CapSet, Capability};
use nscap_linux::Quotable as _;
use serde::Serialize;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const HEAD: Style = Style::new().bold();

/// Standard output; styles are dropped where it is no terminal.
pub(crate) struct Out {
    json: bool,
    stream: anstream::AutoStream<io::StdoutLock<'static>>,
}

impl Out {
    pub(crate) fn new(json: bool) -> Out {
        Out { json, stream: anstream::AutoStream::auto(io::stdout().lock()) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        // Not through the stream, which would drop what looks like a terminal's from a path.
        let mut line = json::line(object)?;
        line.push('\n');
        self.bytes(line.as_bytes())
    }

    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stream, "{text}")
    }

    pub(crate) fn styled(&mut self, style: Style, text: &str) -> io::Result<()> {
        writeln!(self.stream, "{style}{text}{style:#}")
    }

    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        // At once: a reader that has found what it looks for may be gone before the next line.
        self.stream.write_all(table.text(columns()).as_bytes())
    }

    /// These very bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The lock that the stream holds is this thread's, and its buffer is the same.
        io::stdout().write_all(bytes)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// How wide the terminal is that standard output is, where it is one.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|columns| *columns > 0)
}

/// A path on one line, quoted as a shell would take it where that is needed.
pub(crate) fn path(path: &Path) -> String {
    path.maybe_quote().to_string()
}

/// What a process calls itself.
pub(crate) fn name(comm: &[u8]) -> String {
    OsStr::from_bytes(comm).maybe_quote().to_string()
}

/// A capability as JSON has it: its name, or the number of a bit that has none.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Name {
    Known(&'static str),
    Bit(u8),
}

/// The capabilities of a set, ascending.
pub(crate) fn names(set: CapSet) -> Vec<Name> {
    let name =
        |bit| Capability::from_number(bit).map_or(Name::Bit(bit), |cap| Name::Known(cap.name()));
    (0..64).filter(|bit| set.bits() & (1 << bit) != 0).map(name).collect()
}

/// A path as JSON has it: text, and the bytes in hexadecimal where it is not UTF-8.
#[derive(Serialize)]
pub(crate) struct JsonPath {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl From<&Path> for JsonPath {
    fn from(path: &Path) -> JsonPath {
        let hex = || path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        JsonPath {
            path: path.to_string_lossy().into_owned(),
            path_hex: path.to_str().is_none().then(hex),
        }
    }
}
