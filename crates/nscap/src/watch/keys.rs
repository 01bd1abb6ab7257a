// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the terminal and signals say. A terminal in raw mode gives bytes; a key that has no
//! character is several of them after an escape (console_codes(4)).

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use signal_hook::consts::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};

/// A key that means something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// A new answer at once.
    Now,
    Suspend,
}

/// What was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Key(Key),
    /// A signal that ends.
    Signal(i32),
    Stop,
    /// This process was stopped and goes on. What has the terminal meanwhile may have changed it.
    GoesOn,
    Resized,
    /// The terminal is gone.
    Closed,
}

/// What ends a process, and may come from outside. SIGPIPE is ignored already
/// (`nscap_linux::pipe`), and a fault of the process itself is not caught.
const ENDS: [i32; 13] = [
    SIGHUP,
    SIGINT,
    SIGQUIT,
    SIGTERM,
    SIGALRM,
    SIGUSR1,
    SIGUSR2,
    SIGVTALRM,
    SIGPROF,
    SIGXCPU,
    SIGXFSZ,
    SIGIO,
    Signal::POWER.as_raw(),
];

/// Signals that were caught, and keys.
pub(super) struct Keys {
    caught: Vec<(i32, Arc<AtomicBool>)>,
}

impl Keys {
    /// Catches signals; each writes a byte to `waker`, which wakes the thread that polls its other
    /// end.
    pub(super) fn new(waker: &UnixStream) -> io::Result<Keys> {
        let mut caught = Vec::new();
        for signal in ENDS.into_iter().chain([SIGTSTP, SIGCONT, SIGWINCH]) {
            let flag = Arc::new(AtomicBool::new(false));
            // The flag first: it is set before the byte is there.
            signal_hook::flag::register(signal, flag.clone())?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
            caught.push((signal, flag));
        }
        Ok(Keys { caught })
    }

    /// What was said since.
    pub(super) fn told(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        for (signal, flag) in &self.caught {
            if flag.swap(false, Ordering::SeqCst) {
                told.push(match *signal {
                    SIGWINCH => Told::Resized,
                    SIGTSTP => Told::Stop,
                    SIGCONT => Told::GoesOn,
                    signal => Told::Signal(signal),
                });
            }
        }
        while is_ready() {
            let mut bytes = [0; 256];
            match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
                Ok(0) | Err(rustix::io::Errno::IO) => {
                    told.push(Told::Closed);
                    break;
                }
                Ok(length) => told.extend(read(&bytes[..length]).into_iter().map(Told::Key)),
                Err(_) => break,
            }
        }
        told
    }
}

fn is_ready() -> bool {
    let stdin = rustix::stdio::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The keys in what was read.
fn read(mut bytes: &[u8]) -> Vec<Key> {
    const LONG: [(&[u8], Key); 12] = [
        (b"\x1b[A", Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1bOA", Key::Up),
        (b"\x1bOB", Key::Down),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
        (b"\x1b[H", Key::Home),
        (b"\x1b[F", Key::End),
        (b"\x1bOH", Key::Home),
        (b"\x1bOF", Key::End),
        (b"\x1b[1~", Key::Home),
        (b"\x1b[4~", Key::End),
    ];
    let mut keys = Vec::new();
    while let [first, rest @ ..] = bytes {
        if let Some((long, key)) = LONG.iter().find(|(long, _)| bytes.starts_with(long)) {
            keys.push(*key);
            bytes = &bytes[long.len()..];
            continue;
        }
        bytes = rest;
        match first {
            b'q' | b'Q' | 3 => keys.push(Key::Quit),
            b'k' => keys.push(Key::Up),
            b'j' => keys.push(Key::Down),
            b'g' => keys.push(Key::Home),
            b'G' => keys.push(Key::End),
            b' ' | b'\r' | b'\n' => keys.push(Key::Now),
            26 => keys.push(Key::Suspend),
            // A key that means nothing: up to its last byte, which is a letter or `~`.
            0x1b if rest.first() == Some(&b'[') => {
                let end = rest.iter().skip(1).position(|byte| (0x40..=0x7e).contains(byte));
                bytes = end.map_or(&[], |end| &rest[end + 2..]);
            }
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bytes_or_sequences() {
        assert_eq!(
            read(b"jk\x1b[A\x1bOB\x1b[6~ "),
            [Key::Down, Key::Up, Key::Up, Key::Down, Key::PageDown, Key::Now]
        );
        // What a key of no meaning sends has no letter of another.
        assert_eq!(read(b"\x1b[1;5Qx\x1b[15~"), []);
        assert_eq!(read(b"\x1b[1;"), []);
        assert_eq!(read(b"\x1b"), []);
        assert_eq!(read(b"\xff\x00\x03"), [Key::Quit]);
    }
}
