// SPDX-License-Identifier: MIT OR Apache-2.0
//! One case: makes the files, starts the task, which stops before its execve(2), asks the command,
//! and lets the task go on.

use std::ffi::CString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use nscap_core::{NsCaps, Record, VfsCaps};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, XattrFlags};

use super::make::{Access, Asked, Caps, Case, Content, Home, Place};
use super::places::Places;
use super::said::Said;
use crate::live::peer::{Peer, say};
use crate::live::{Machine, disk, ops, sys, task};
use crate::outcome::Outcome;
use crate::scenario::{Attr, Task, TaskSets};

/// What came of a case.
pub(super) struct Played {
    /// What the command said; `None` where it said that it could not tell.
    pub(super) said: Option<Said>,
    /// The same as text.
    pub(super) text: String,
    pub(super) came: Outcome,
}

impl Played {
    pub(super) fn differs(&self) -> bool {
        self.said.as_ref().is_some_and(|said| !said.allows(&self.came))
    }
}

pub(super) fn play(case: &Case, places: &Places, machine: &Machine) -> io::Result<Played> {
    let name = format!("c{}", case.number);
    Peer::start(|line| {
        make(case, &name, places)?;
        say(line, "made")
    })?
    .hear()?;
    let dir = places.at(case.place).join(&name).join("d");
    let path = dir.join("f");
    let path = if case.by_proc { places.by_proc(&path) } else { path };
    let mut executing = start(case, places, machine, &dir, &path)?;
    let pid = executing.hear()?;
    let (status, text) = ask(case, places, machine, &pid, (&dir, &path))?;
    executing.line.write_all(b"go\n")?;
    let came = executing.hear()?;
    let came = serde_json::from_str(&came).map_err(io::Error::other)?;
    drop(executing);
    Peer::start(|line| {
        places.enter(case.mounts)?;
        std::fs::remove_dir_all(places.source(case.place).join(&name))?;
        say(line, "gone")
    })?
    .hear()?;
    let said = if status == 2 {
        None
    } else {
        Some(serde_json::from_str(&text).map_err(io::Error::other)?)
    };
    if let Some(Said { complete: None, .. }) = &said {
        return Err(io::Error::other(format!("status {status}, and complete is null: {text}")));
    }
    Ok(Played { said, text, came })
}

/// Makes the directories and files.
fn make(case: &Case, name: &str, places: &Places) -> io::Result<()> {
    places.enter(case.mounts)?;
    places.own(case.place, case.mounts)?;
    sys::clear_umask();
    let top = places.source(case.place).join(name);
    let dir = top.join("d");
    std::fs::create_dir_all(&dir)?;
    let content: Vec<u8> = match &case.content {
        Content::Probe => disk::PROBE.to_vec(),
        Content::Script(interpreter) => format!("#!{interpreter}\n").into_bytes(),
        Content::Text(text) => text.as_bytes().to_vec(),
    };
    let nscap = &places.nscap;
    file(&dir.join("f"), &content, &case.file, &case.caps, (case.place, nscap))?;
    if matches!(case.content, Content::Script(_)) {
        let (access, caps) = &case.interpreter;
        file(&dir.join("i"), disk::PROBE, access, caps, (case.place, nscap))?;
    }
    let [first, second] = &case.dirs;
    give(&dir, second)?;
    give(&top, first)
}

fn file(
    path: &Path,
    content: &[u8],
    access: &Access,
    caps: &Caps,
    (place, nscap): (Place, &Path),
) -> io::Result<()> {
    std::fs::write(path, content)?;
    give(path, access)?;
    let set = |attr: Attr, value: &[u8]| {
        rustix::fs::lsetxattr(path, attr.name(), value, XattrFlags::empty())
    };
    if let Some(caps) = caps.host {
        set(Attr::Cap, VfsCaps::v2(caps).encode().as_bytes())?;
    }
    if matches!(place, Place::Nscap | Place::OwnNscap) {
        if !caps.entries.is_empty() {
            let mut value = vec![0; NsCaps::encoded_len(caps.entries.len())];
            let records = caps.entries.iter().map(|(root, caps)| Record::new(*root, *caps));
            NsCaps::encode(records, &mut value).ok_or_else(|| io::Error::other("entries"))?;
            set(Attr::Nscap, &value)?;
        }
        return Ok(());
    }
    if caps.entries.len() > 1 {
        return table(path, caps, nscap);
    }
    for (root, caps) in &caps.entries {
        set(Attr::Cap, VfsCaps::v3(*root, *caps).encode().as_bytes())?;
    }
    Ok(())
}

/// Has the command write a table.
fn table(path: &Path, caps: &Caps, nscap: &Path) -> io::Result<()> {
    for (root, caps) in &caps.entries {
        let caps = caps.to_string();
        let output = Command::new(nscap)
            .args(["set", &caps])
            .arg(path)
            .args(["--for", &root.to_string()])
            .output()?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("nscap set {caps}: {errors}")));
        }
    }
    Ok(())
}

/// Owner, mode and list.
fn give(path: &Path, access: &Access) -> io::Result<()> {
    let Access { uid, gid, mode, list } = access;
    let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(*mode))?;
    let Some((is_user, id, permissions, mask)) = list else { return Ok(()) };
    let own = |shift: u32| u16::try_from(mode >> shift & 7).unwrap_or(0);
    let named = if *is_user { 2 } else { 8 };
    let mut entries = vec![
        (1, own(6), u32::MAX),
        (4, own(3), u32::MAX),
        (named, *permissions, *id),
        (16, *mask, u32::MAX),
        (32, own(0), u32::MAX),
    ];
    entries.sort_unstable_by_key(|entry| entry.0);
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(u16::to_le_bytes(tag));
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    Ok(rustix::fs::lsetxattr(path, "system.posix_acl_access", &value, XattrFlags::empty())?)
}

/// Starts the task. Its child says its pid, waits, and executes the file.
fn start(
    case: &Case,
    places: &Places,
    machine: &Machine,
    dir: &Path,
    path: &Path,
) -> io::Result<Peer> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Peer::start(|line| {
        places.enter(case.mounts)?;
        // Not even root may search what is not mapped; it has another directory then.
        std::env::set_current_dir(dir).or_else(|_| std::env::set_current_dir("/"))?;
        task::become_task(&case.task, places.home(case.home), machine)?;
        let mut child = line.try_clone()?;
        let came = ops::exec_by(&case.task, "f", |_| {
            let waited = say(&mut child, &std::process::id().to_string())
                .and_then(|()| child.read_exact(&mut [0; 3]));
            waited.err().unwrap_or_else(|| sys::exec(&path))
        })?;
        say(line, &serde_json::to_string(&came).map_err(io::Error::other)?)
    })
}

/// What the command answers: its exit status, and its one line.
fn ask(
    case: &Case,
    places: &Places,
    machine: &Machine,
    pid: &str,
    (dir, path): (&Path, &Path),
) -> io::Result<(i32, String)> {
    let mut command = Command::new(&places.nscap);
    command.args(["--json", "explain"]).arg(path);
    match case.asked {
        Asked::ByHost | Asked::ByContainer => {
            command.args(["--pid", pid]);
        }
        Asked::Supposed => {
            let (uid, gid) = (case.task.uids[0].to_string(), case.task.gids[0].to_string());
            command.args(["--as", &format!("pid:{pid}"), "--uid", &uid, "--gid", &gid]);
        }
    }
    let said = Peer::start(|line| {
        if case.asked != Asked::ByHost {
            places.enter(case.mounts)?;
            // A supposed task is where we are.
            std::env::set_current_dir(dir).or_else(|_| std::env::set_current_dir("/"))?;
        }
        if case.asked == Asked::ByContainer {
            task::become_task(&root(), places.home(Home::A), machine)?;
        }
        let output = command.output()?;
        let status = output.status.code().unwrap_or(101);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        if status > 2 {
            return Err(io::Error::other(format!("nscap ended with {status}: {errors}")));
        }
        say(line, &format!("{status} {text}{errors}"))
    })?
    .hear()?;
    let (status, text) = said.split_once(' ').unwrap_or(("2", ""));
    Ok((status.parse().map_err(io::Error::other)?, text.to_owned()))
}

/// Root of a container.
fn root() -> Task {
    let [all, none] = ["all", "none"].map(str::to_owned);
    Task {
        ns: "container".to_owned(),
        uids: [0; 3],
        gids: [0; 3],
        groups: Vec::new(),
        sets: TaskSets {
            permitted: all.clone(),
            effective: all.clone(),
            inheritable: none.clone(),
            ambient: none,
            bounding: all,
        },
        securebits: 0,
        no_new_privs: false,
        traced: false,
        shared_fs: false,
        pid_ns: false,
    }
}
