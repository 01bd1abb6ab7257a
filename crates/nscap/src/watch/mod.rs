// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--watch`: an answer on the whole terminal, asked for again and again, as top(1) has it.
//!
//! A thread of its own asks, so that keys and signals are obeyed while a file system does not
//! answer.

mod keys;
mod screen;
#[cfg(test)]
#[path = "../../tests/terminal/mod.rs"]
mod terminal;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::failure::{ENOTTY, Failure};
use crate::out::{Out, Table};
use keys::{Key, Keys, Told};
use screen::Screen;

/// What is shown until the next answer.
#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) table: Table,
    /// Lines above it, such as why it may not be whole.
    pub(crate) notes: Vec<String>,
}

/// An interval of 0.1 seconds to a day.
///
/// # Errors
/// For anything else, as text.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let bad = || "expected 0.1 to 86400 seconds".to_owned();
    let seconds: f64 = text.parse().map_err(|_| bad())?;
    let fits = (0.1..=86_400.0).contains(&seconds);
    fits.then(|| Duration::from_secs_f64(seconds)).ok_or_else(bad)
}

/// The interval where none is said, in seconds.
pub(crate) const INTERVAL: &str = "2";

/// Shows what `ask` gives until a key or a signal ends it. The first answer comes before the
/// screen: its error is one of the command.
///
/// # Errors
/// Where standard input or output is no terminal; `ask`'s own first error; EIO where the terminal
/// is gone.
pub(crate) fn watch(
    title: &str,
    every: Duration,
    mut ask: impl FnMut() -> Result<Frame, Failure> + Send + 'static,
    out: &mut Out,
) -> Result<u8, Failure> {
    check_terminal()?;
    let first = ask()?;
    let failed =
        |error: std::io::Error| crate::failure::call("the terminal".as_ref(), "pipe", error);
    let (waker, woken) = UnixStream::pair().map_err(failed)?;
    let keys = Keys::new(&waker).map_err(failed)?;
    let asker = Asker::start(ask, waker);
    let mut watch = Watch {
        title: title.to_owned(),
        every,
        frame: first,
        error: None,
        at: 0,
        asked: None,
        last: Instant::now(),
    };
    let mut screen = Screen::enter(out)?;
    let end = watch.run(&mut screen, &asker, keys, woken);
    drop(screen);
    match end? {
        End::Quit => Ok(0),
        // As the signal ends a program that does not catch it.
        End::Signal(signal) => {
            nscap_linux::pipe::end_by(signal);
            Ok(2)
        }
        End::Panic => match asker.thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Ok(2),
        },
    }
}

fn check_terminal() -> Result<(), Failure> {
    let no = |what: &str| Failure::Input {
        what: what.to_owned(),
        problem: "is no terminal, which --watch needs (watch(1) shows what is printed)".to_owned(),
        errno: ENOTTY,
    };
    if !rustix::termios::isatty(rustix::stdio::stdout()) {
        return Err(no("standard output"));
    }
    if !rustix::termios::isatty(rustix::stdio::stdin()) {
        return Err(no("standard input"));
    }
    match std::env::var_os("TERM") {
        Some(kind) if kind == "dumb" => Err(no("TERM=dumb")),
        _ => Ok(()),
    }
}

/// Why it ends.
enum End {
    Quit,
    Signal(i32),
    Panic,
}

/// The thread that asks.
struct Asker {
    thread: JoinHandle<()>,
    questions: Sender<()>,
    answers: Receiver<Result<Frame, Failure>>,
}

impl Asker {
    fn start(
        mut ask: impl FnMut() -> Result<Frame, Failure> + Send + 'static,
        waker: UnixStream,
    ) -> Asker {
        let (questions, asked) = channel();
        let (answer, answers) = channel();
        let thread = std::thread::spawn(move || {
            let wake = Wake(waker);
            // Gone before it wakes, so that what is woken finds it gone.
            let answer = answer;
            while asked.recv().is_ok() {
                if answer.send(ask()).is_err() || wake.now().is_err() {
                    return;
                }
            }
        });
        Asker { thread, questions, answers }
    }
}

/// Wakes what waits for an answer, also where none will come.
struct Wake(UnixStream);

impl Wake {
    fn now(&self) -> std::io::Result<()> {
        (&self.0).write_all(b".")
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let _ = self.now();
    }
}

struct Watch {
    title: String,
    every: Duration,
    frame: Frame,
    /// Why the last answer was none; the frame is the one before.
    error: Option<String>,
    /// How many rows are above what is seen.
    at: usize,
    /// Since when an answer is waited for.
    asked: Option<Instant>,
    last: Instant,
}

impl Watch {
    fn run(
        &mut self,
        screen: &mut Screen<'_>,
        asker: &Asker,
        mut keys: Keys,
        mut woken: UnixStream,
    ) -> Result<End, Failure> {
        let gone = |errno: Errno| crate::failure::call("the terminal".as_ref(), "poll", errno);
        loop {
            self.at = screen.show(&self.head(), &self.frame, self.error.as_deref(), self.at)?;
            wait(&woken, self.left()).map_err(gone)?;
            // Whatever woke it: a signal, or an answer.
            let _ = woken.set_nonblocking(true);
            while woken.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
            if let Some(end) = self.obey(&mut keys, screen)? {
                return Ok(end);
            }
            match asker.answers.try_recv() {
                Ok(Ok(frame)) => (self.frame, self.error, self.asked) = (frame, None, None),
                Ok(Err(failure)) => (self.error, self.asked) = (Some(failure.to_string()), None),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(End::Panic),
            }
            if self.asked.is_none() && self.last.elapsed() >= self.every {
                (self.asked, self.last) = (Some(Instant::now()), Instant::now());
                let _ = asker.questions.send(());
            }
        }
    }

    /// How long to wait for something.
    fn left(&self) -> Duration {
        match self.asked {
            // To say for how long there is no answer.
            Some(_) => Duration::from_secs(1),
            None => self.every.saturating_sub(self.last.elapsed()),
        }
    }

    fn head(&self) -> String {
        let late = self.asked.map(|since| since.elapsed().as_secs()).filter(|seconds| *seconds > 0);
        let late = late.map_or(String::new(), |seconds| format!(", no answer for {seconds} s"));
        format!("{}, every {} s{late} (q quits)", self.title, self.every.as_secs_f64())
    }

    /// The next answer is asked for at once.
    fn now(&mut self) {
        self.last = Instant::now().checked_sub(self.every).unwrap_or(self.last);
    }

    fn obey(&mut self, keys: &mut Keys, screen: &mut Screen<'_>) -> Result<Option<End>, Failure> {
        let told = keys.told();
        for told in told {
            let page = screen.page();
            match told {
                Told::Key(Key::Quit) => return Ok(Some(End::Quit)),
                Told::Key(Key::Up) => self.at = self.at.saturating_sub(1),
                Told::Key(Key::Down) => self.at += 1,
                Told::Key(Key::PageUp) => self.at = self.at.saturating_sub(page),
                Told::Key(Key::PageDown) => self.at += page,
                Told::Key(Key::Home) => self.at = 0,
                Told::Key(Key::End) => self.at = usize::MAX / 2,
                Told::Key(Key::Now) => self.now(),
                Told::Key(Key::Suspend) | Told::Stop => screen.stop()?,
                Told::GoesOn => {
                    screen.again()?;
                    self.now();
                }
                Told::Signal(signal) => return Ok(Some(End::Signal(signal))),
                Told::Resized => {}
                Told::Closed => {
                    return Err(crate::failure::call("the terminal".as_ref(), "read", Errno::IO));
                }
            }
        }
        Ok(None)
    }
}

/// Until a key, a signal or an answer comes, or the time is over.
fn wait(woken: &UnixStream, time: Duration) -> rustix::io::Result<()> {
    let stdin = rustix::stdio::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
    let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    match poll(&mut fds, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::terminal::{LEAVE, Terminal};
    use super::*;

    #[test]
    fn an_interval_is_seconds() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(interval(INTERVAL), Ok(Duration::from_secs(2)));
        for bad in ["", "0", "-1", "nan", "inf", "x", "86401", "0.01"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_terminal_is_as_it_was_after_a_panic() {
        let own = std::env::current_exe().unwrap();
        let name = "watch::tests::an_answer_that_panics";
        let args = ["--exact", name, "--ignored", "--nocapture"];
        let terminal = Terminal::run(own.to_str().unwrap(), &args, 80, 10);
        terminal.until("a picture", |t| t.shows("a test, every 0.1 s"));
        // A note from outside orders nothing.
        terminal.until("a note", |t| t.shows("\\u{1b}[31mred\\u{202e}"));
        terminal
            .until("a panic", |t| t.all().contains("this panic is the test's") && t.is_restored());
        let all = terminal.all();
        assert!(all.find(LEAVE) < all.find("this panic is the test's"), "{all:?}");
        terminal.until("its end", |t| t.all().contains("test result: FAILED"));
    }

    /// Not a test: what the one above starts in a terminal.
    #[test]
    #[ignore = "a child of another test"]
    fn an_answer_that_panics() {
        let mut asked = 0;
        let ask = move || {
            asked += 1;
            assert!(asked < 3, "this panic is the test's");
            Ok(Frame { notes: vec!["\u{1b}[31mred\u{202e}".to_owned()], ..Frame::default() })
        };
        let _ = watch("a test", Duration::from_millis(100), ask, &mut Out::new(false));
    }
}
