// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pseudo-terminal (pty(7)) in which a program runs: what it shows, keys, sizes, and the modes
//! that it leaves.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

/// How long anything may take on a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a picture of the screen begins (DEC mode 2026), and where the other screen does.
const BEGIN: &str = "\u{1b}[?2026h";
pub(crate) const ENTER: &str = "\u{1b}[?1049h";
pub(crate) const LEAVE: &str = "\u{1b}[?1049l";
pub(crate) const SHOW: &str = "\u{1b}[?25h";

pub(crate) struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    pub(crate) child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    before: Termios,
}

impl Terminal {
    /// Runs a program, whose terminal it is.
    pub(crate) fn run(program: &str, args: &[&str], columns: u16, rows: u16) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let open =
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, open, rustix::fs::Mode::empty()).unwrap();
        size(&master, columns, rows);
        let before = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", program]).args(args).env("TERM", "xterm-256color");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, all) = (std::fs::File::from(master.try_clone().unwrap()), seen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                all.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        Terminal { master, slave, child, seen, before }
    }

    /// All that was shown.
    pub(crate) fn all(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// The lines of the last whole picture.
    pub(crate) fn screen(&self) -> Vec<String> {
        let all = self.all();
        let whole = all.rsplit(BEGIN).find(|part| part.contains("\u{1b}[?2026l")).unwrap_or("");
        // Each line begins where the cursor is moved to.
        let mut lines = Vec::new();
        for part in whole.split("\u{1b}[").skip(1) {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
            let (order, text) = part.split_at((end + 1).min(part.len()));
            if order.ends_with('H') {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push_str(text);
            }
        }
        lines
    }

    pub(crate) fn shows(&self, part: &str) -> bool {
        self.screen().iter().any(|line| line.contains(part))
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Terminal) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            let all = self.all();
            let last: String = all.chars().skip(all.chars().count().saturating_sub(800)).collect();
            assert!(begin.elapsed() < PATIENCE, "{what}: {:?}: {last:?}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        assert_eq!(rustix::io::write(&self.master, bytes).unwrap(), bytes.len());
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        size(&self.master, columns, rows);
    }

    /// Gives the terminal the modes that it had, as a shell does that takes it.
    pub(crate) fn make_plain(&self) {
        tcsetattr(&self.slave, OptionalActions::Now, &self.before).unwrap();
    }

    /// Whether the terminal has the modes that it had, is on its first screen, and shows the
    /// cursor.
    pub(crate) fn is_restored(&self) -> bool {
        let (now, before) = (tcgetattr(&self.slave).unwrap(), &self.before);
        let modes = |t: &Termios| (t.input_modes, t.output_modes, t.control_modes, t.local_modes);
        let all = self.all();
        let last = |what: &str| all.rfind(what).unwrap_or(0);
        modes(&now) == modes(before)
            && last(LEAVE) > last(ENTER)
            && last(SHOW) > last("\u{1b}[?25l")
            && last(LEAVE) > 0
    }

    /// Whether it is in raw mode.
    pub(crate) fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).unwrap().local_modes.contains(rustix::termios::LocalModes::ECHO)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(master: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}
