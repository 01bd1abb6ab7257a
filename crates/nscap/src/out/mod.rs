// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output: aligned rows for people, one JSON object per line for programs. Whatever comes from
//! outside (paths, process names) is shown so that it cannot forge a line or an escape sequence.

mod harmless;
pub(crate) mod json;

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(crate) use harmless::harmless;

use anstyle::{AnsiColor, Style};
use nscap_core::CapSet;
use nscap_linux::Quotable as _;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

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
        self.stream.write_all(table.to_string().as_bytes())
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

/// Cells that are wider than this stick out of their column.
const ALIGNED: usize = 256;

/// Rows whose columns are two blanks apart; the last one is as long as it is.
#[derive(Default)]
pub(crate) struct Table {
    indent: usize,
    head: Option<Vec<String>>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn indented(by: usize) -> Table {
        Table { indent: by, ..Table::default() }
    }

    pub(crate) fn with_head(names: &[&str]) -> Table {
        Table {
            head: Some(names.iter().map(|&name| name.to_owned()).collect()),
            ..Table::default()
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn all(&self) -> impl Iterator<Item = &Vec<String>> {
        self.head.iter().chain(&self.rows)
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.all().filter_map(|row| row.get(column));
        // One long name must not make every row as long.
        cells.map(|cell| cell.width()).filter(|width| *width <= ALIGNED).max().unwrap_or(0)
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.all().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        for (number, row) in self.all().enumerate() {
            let mut line = " ".repeat(self.indent);
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
            let line = line.trim_end();
            if number == 0 && self.head.is_some() {
                writeln!(f, "{HEAD}{line}{HEAD:#}")?;
            } else {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

/// A path on one line, quoted as a shell would take it where that is needed.
pub(crate) fn path(path: &Path) -> String {
    path.maybe_quote().to_string()
}

/// What a process calls itself.
pub(crate) fn name(comm: &[u8]) -> String {
    OsStr::from_bytes(comm).maybe_quote().to_string()
}

/// The names of a set, numbers for what has none.
pub(crate) fn names(set: CapSet) -> Vec<String> {
    if set.is_empty() {
        return Vec::new();
    }
    set.to_string().split(',').map(str::to_owned).collect()
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
