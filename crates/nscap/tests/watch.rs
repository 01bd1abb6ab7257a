// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--watch` of `ns` and `stats` in a pseudo-terminal: what is shown, keys, sizes, what has ended,
//! and the terminal as it was on every way out. (That of a panic is in src/watch/mod.rs.)

mod terminal;

use std::process::{Child, Command, Stdio};

use nscap_testing::is_root;
use terminal::Terminal;

/// The initial namespace's inode number (PROC_USER_INIT_INO).
const INITIAL: &str = "4026531837";
const NSCAP: &str = env!("CARGO_BIN_EXE_nscap");

/// A shell that runs the command and says how it ended.
fn shell(script: &str, columns: u16, rows: u16) -> Terminal {
    let all = format!("{script}; echo \"status $?.\"; read -r _");
    Terminal::run("sh", &["-c", &all, "sh", NSCAP], columns, rows)
}

fn ended(terminal: &Terminal, status: &str) {
    let text = format!("status {status}.");
    terminal.until(&text, |terminal| terminal.all().contains(&text));
    assert!(terminal.is_restored(), "{:?}", terminal.all());
}

/// The command that the shell runs.
fn command_of(terminal: &Terminal) -> String {
    let pid = terminal.child.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().next().unwrap().to_owned()
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// A process in a user namespace of its own, whose name has orders for a terminal.
fn namespace() -> (Child, String) {
    let script = "printf '\\033[2Jname' >/proc/$$/comm; echo; read -r _";
    let mut child = Command::new("unshare")
        .args(["--user", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let link = std::fs::read_link(format!("/proc/{}/ns/user", child.id())).unwrap();
    let inode = link.to_str().unwrap().chars().filter(char::is_ascii_digit).collect();
    (child, inode)
}

#[test]
fn namespaces_come_and_go_and_keys_and_sizes_are_obeyed() {
    let terminal = shell("\"$1\" ns --watch=0.2", 100, 60);
    terminal.until("a picture", |t| t.shows("nscap ns, every 0.2 s") && t.shows("NAMESPACE"));
    assert!(terminal.is_raw());
    let (mut child, inode) = namespace();
    terminal.until("the new one", |t| t.shows(&inode));
    // Its name is quoted, and orders nothing.
    assert!(terminal.shows("\\x1B[2Jname"), "{:?}", terminal.screen());
    child.kill().unwrap();
    child.wait().unwrap();
    terminal.until("it is gone", |t| !t.shows(&inode));
    // More namespaces than lines: the rest is below, the initial one above. A key counts for what
    // is shown when it comes, so that it is sent again.
    let all: Vec<(Child, String)> = (0..8).map(|_| namespace()).collect();
    let top = |t: &Terminal| t.shows(INITIAL);
    terminal.until("all of them", |t| all.iter().all(|(_, inode)| t.shows(inode)));
    terminal.resize(100, 6);
    terminal.until("few lines", |t| t.screen().len() == 6 && top(t));
    let press = |what: &str, keys: &[u8], to_top: bool| {
        terminal.until(what, |t| {
            t.send(keys);
            std::thread::sleep(std::time::Duration::from_millis(100));
            top(t) == to_top
        });
    };
    press("the end", b"G", false);
    press("the beginning", b"\x1b[H", true);
    press("a page down", b"\x1b[6~", false);
    press("lines up", b"\x1b[A\x1bOAkkk", true);
    press("a line down", b"j\x1b[1;5Q", false);
    press("pages up", b"\x1b[5~", true);
    terminal.resize(20, 4);
    terminal.until("narrow", |t| {
        t.screen().len() <= 4 && t.screen().iter().all(|line| line.chars().count() <= 20)
    });
    terminal.resize(1, 1);
    terminal.until("one place", |t| t.screen() == ["n"]);
    terminal.resize(200, 50);
    terminal.until("wide", |t| all.iter().all(|(_, inode)| t.shows(inode)));
    terminal.send(b"q");
    ended(&terminal, "0");
    for (mut child, _) in all {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn the_terminal_is_as_it_was_on_every_way_out() {
    // Ctrl-C is a byte in raw mode.
    let terminal = shell("\"$1\" ns --watch", 80, 24);
    terminal.until("a picture", |t| t.shows("every 2 s"));
    terminal.send(b"\x03");
    ended(&terminal, "0");
    // Each ends it, as top(1) ends by those of them that it catches.
    let ends = [
        ("-TERM", "143"),
        ("-INT", "130"),
        ("-HUP", "129"),
        ("-QUIT", "131"),
        ("-ALRM", "142"),
        ("-USR1", "138"),
        ("-USR2", "140"),
        ("-VTALRM", "154"),
        ("-PROF", "155"),
        ("-XCPU", "152"),
        ("-XFSZ", "153"),
        ("-IO", "157"),
        ("-PWR", "158"),
    ];
    for (signal, status) in ends {
        let terminal = shell("\"$1\" ns --watch=3600", 80, 24);
        terminal.until("a picture", |t| t.shows("every 3600 s") && t.is_raw());
        kill(signal, &command_of(&terminal));
        ended(&terminal, status);
    }
    // Stopped, it gives the terminal back, and takes it again.
    let terminal = shell("\"$1\" ns --watch=0.5", 80, 24);
    terminal.until("a picture", |t| t.shows("NAMESPACE") && t.is_raw());
    let pid = command_of(&terminal);
    for stop in ["key", "signal"] {
        match stop {
            "key" => terminal.send(b"\x1a"),
            _ => kill("-TSTP", &pid),
        }
        terminal.until(stop, |t| t.is_restored());
        kill("-CONT", &pid);
        terminal.until("again", |t| t.is_raw() && !t.is_restored());
    }
    terminal.send(b"q");
    ended(&terminal, "0");
}

#[test]
fn what_was_stopped_from_outside_shows_its_picture_at_once() {
    let terminal = shell("\"$1\" ns --watch=3600", 80, 24);
    terminal.until("a picture", |t| t.shows("NAMESPACE") && t.is_raw());
    let pid = command_of(&terminal);
    kill("-STOP", &pid);
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    terminal.until("a stop", |_| state().contains(") T "));
    // What a shell does then: its own modes, and its own screen.
    terminal.make_plain();
    let (before, pictures) = (terminal.all().len(), |t: &Terminal, from: usize| {
        let new = t.all()[from..].to_owned();
        new.contains(terminal::ENTER) && new.contains("every 3600 s")
    });
    kill("-CONT", &pid);
    terminal.until("the picture again", |t| t.is_raw() && pictures(t, before));
    terminal.send(b"q");
    ended(&terminal, "0");
}

#[test]
fn what_is_no_terminal_is_said() {
    let fails = |args: &[&str], part: &str| {
        let output = Command::new(NSCAP).args(args).stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(part), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{output:?}");
    };
    fails(&["ns", "--watch"], "standard output: is no terminal");
    fails(&["stats", "--watch", "/"], "standard output: is no terminal");
    fails(&["ns", "--watch", "--json"], "cannot be used with");
    fails(&["ns", "--watch", "--svg"], "cannot be used with");
    fails(&["ns", "--watch=0"], "0.1 to 86400 seconds");
    let terminal = shell("\"$1\" ns --watch </dev/null", 80, 24);
    let ends = |t: &Terminal| t.all().contains("status 2.");
    terminal.until("no input", ends);
    assert!(terminal.all().contains("standard input: is no terminal"), "{}", terminal.all());
    let terminal = shell("TERM=dumb \"$1\" ns --watch", 80, 24);
    terminal.until("a dumb one", ends);
    // What cannot be shown at all is an error before the screen.
    let terminal = shell("\"$1\" stats --watch /", 80, 24);
    terminal.until("no mount", ends);
    assert!(terminal.all().contains("not of nscap") && !terminal.all().contains(terminal::ENTER));
}

#[test]
fn the_counters_of_a_mount_are_watched_until_it_ends_and_beyond() {
    const NAME: &str = "the_counters_of_a_mount_are_watched_until_it_ends_and_beyond";
    if !is_root(NAME) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The name of the mount has orders for a terminal.
    let script = r#"
        set -e
        mount -t tmpfs none "$2"; cd "$2"; mkdir -m 700 p; mkdir p/src "$(printf 't\033[2J')"; t=$(printf 't\033[2J')
        "$1" mount p/src "$t"
        set +e
        (
            until [ -e go ]; do sleep 0.1; done; cat "$t"/none 2>/dev/null
            until [ -e end ]; do sleep 0.1; done; "$1" umount "$t"
            until [ -e again ]; do sleep 0.1; done; "$1" mount p/src "$t"
        ) >/dev/null 2>&1 &
        "$1" stats --watch=0.2 "$t"; echo "status $?."; "$1" umount "$t" >/dev/null 2>&1; read -r _
    "#;
    let place = dir.path().to_str().unwrap();
    let args = ["--mount", "--propagation", "private", "sh", "-c", script, "sh", NSCAP, place];
    let terminal = Terminal::run("unshare", &args, 80, 60);
    terminal.until("counters", |t| t.shows("PER SECOND") && t.shows("opens"));
    assert!(terminal.screen()[0].contains("\\x1B[2J"), "{:?}", terminal.screen());
    let tell = |what: &str| {
        let pid = terminal.child.id();
        std::fs::write(format!("/proc/{pid}/root{place}/{what}"), "").unwrap();
    };
    let lookups = |t: &Terminal| {
        let line =
            t.screen().into_iter().find(|line| line.starts_with("lookups")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = lookups(&terminal);
    tell("go");
    terminal.until("more", |t| lookups(t) > before);
    tell("end");
    terminal.until("the end", |t| t.shows("has ended: ") && t.shows("PER SECOND"));
    tell("again");
    terminal.until("another server", |t| !t.shows("has ended") && t.shows("PER SECOND"));
    terminal.send(b"q");
    ended(&terminal, "0");
}
