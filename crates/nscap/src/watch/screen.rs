// SPDX-License-Identifier: MIT OR Apache-2.0
//! The terminal while something is watched: its other screen, in raw mode. It is given back as it
//! was on every way out, also where a thread panics.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::Command;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, SetAttribute};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::Frame;
use crate::failure::{Failure, call};
use crate::out::{self, Out};

/// Whether the terminal is ours now.
static ENTERED: AtomicBool = AtomicBool::new(false);

pub(super) struct Screen<'o> {
    out: &'o mut Out,
    /// Rows for the answer, of what was shown last.
    page: usize,
    /// What was shown last, and of which size.
    last: Option<(usize, usize, String)>,
}

impl<'o> Screen<'o> {
    pub(super) fn enter(out: &'o mut Out) -> Result<Screen<'o>, Failure> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        let screen = Screen { out, page: 1, last: None };
        enter()?;
        Ok(screen)
    }

    /// Rows of a page.
    pub(super) fn page(&self) -> usize {
        self.page
    }

    /// Stops this process, as a shell's user wants it. It goes on by SIGCONT, which is told.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        restore();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::STOP)
            .map_err(|errno| call("this process".as_ref(), "kill", errno))
    }

    /// Takes the terminal again, whatever it is meanwhile; the next answer is shown as the first
    /// one.
    pub(super) fn again(&mut self) -> Result<(), Failure> {
        restore();
        self.last = None;
        enter()
    }

    /// Shows an answer, from the row `at`, or the last one from which the page is full; gives
    /// which.
    pub(super) fn show(
        &mut self,
        head: &str,
        frame: &Frame,
        error: Option<&str>,
        at: usize,
    ) -> Result<usize, Failure> {
        // It was given back: by a thread that panicked, and says why, or for a stop.
        if !ENTERED.load(Ordering::SeqCst) {
            return Ok(at);
        }
        let (columns, rows) = size();
        let mut lines = vec![(true, head.to_owned())];
        lines.extend(error.map(|error| (true, error.to_owned())));
        lines.extend(frame.notes.iter().map(|note| (false, note.clone())));
        let (names, table) = frame.table.lines_for(Some(columns));
        lines.extend(names.into_iter().map(|line| (true, line)));
        lines.truncate(rows);
        self.page = rows.saturating_sub(lines.len()).max(1);
        let at = at.min(table.len().saturating_sub(self.page));
        let room = rows - lines.len();
        lines.extend(table.into_iter().skip(at).take(room).map(|line| (false, line)));
        let mut text = String::new();
        order(&mut text, BeginSynchronizedUpdate);
        for (row, (bold, line)) in lines.iter().enumerate() {
            let line = out::cut(&out::harmless(line), columns);
            let row = u16::try_from(row).unwrap_or(u16::MAX);
            order(&mut text, MoveTo(0, row));
            if *bold {
                order(&mut text, SetAttribute(Attribute::Bold));
            }
            text.push_str(&line);
            if *bold {
                order(&mut text, SetAttribute(Attribute::Reset));
            }
            // Behind a full line this would take its last character.
            if out::width(&line) < columns {
                order(&mut text, Clear(ClearType::UntilNewLine));
            }
        }
        if lines.len() < rows {
            let row = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            order(&mut text, MoveTo(0, row));
            order(&mut text, Clear(ClearType::FromCursorDown));
        }
        order(&mut text, EndSynchronizedUpdate);
        let now = Some((columns, rows, text));
        if now == self.last {
            return Ok(at);
        }
        self.last = now;
        let text = self.last.as_ref().map_or("", |(_, _, text)| text);
        self.out.bytes(text.as_bytes())?;
        io::Write::flush(&mut io::stdout())?;
        Ok(at)
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        restore();
    }
}

/// How many columns and rows there are.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
    let (columns, rows) = size.map_or((80, 24), |size| (size.ws_col, size.ws_row));
    // A terminal that does not say.
    let or = |size: u16, usual: usize| if size == 0 { usual } else { size.into() };
    (or(columns, 80), or(rows, 24))
}

fn enter() -> Result<(), Failure> {
    let failed = |error: io::Error| call("the terminal".as_ref(), "tcsetattr", error);
    ENTERED.store(true, Ordering::SeqCst);
    enable_raw_mode().map_err(failed)?;
    let mut text = String::new();
    order(&mut text, EnterAlternateScreen);
    order(&mut text, Hide);
    order(&mut text, Clear(ClearType::All));
    write(&text).map_err(failed)
}

/// Gives the terminal back, once. What fails cannot be told where it would be seen.
fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let mut text = String::new();
        order(&mut text, EndSynchronizedUpdate);
        order(&mut text, Show);
        order(&mut text, LeaveAlternateScreen);
        let _ = write(&text);
        let _ = disable_raw_mode();
    }
}

/// Adds what the terminal is to do.
fn order(text: &mut String, command: impl Command) {
    // A String takes whatever is written.
    let _ = command.write_ansi(text);
}

/// Past the lock of standard output, which a thread that panics does not have.
fn write(text: &str) -> io::Result<()> {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), left) {
            Ok(length) => left = left.get(length..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
