// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one command that would mend a loss, or a sentence where no command can.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nscap_core::{CapSet, FileCaps, Host, Kuid, Why, path_to_initial, root_kuid};
use nscap_linux::Quotable as _;

use super::verdict::{Verdict, promise};
use super::{Question, Subject};

/// What mends it.
pub(crate) fn of(question: &Question<'_>, verdict: &Verdict<'_>) -> Option<String> {
    let file = quoted(&reachable(question));
    Some(match verdict.why? {
        Why::TableUnread => own_copy(question, &file),
        Why::EntriesVoid => format!("nscap set CAPS {file} --for {}", whom(question)),
        Why::ScriptIgnored => {
            "set them on a compiled program: on the interpreter they would go to every script"
                .into()
        }
        Why::BoundingLacks => cap_add(question, verdict.lost),
        why => by_rule(question, verdict, why, &file),
    })
}

fn by_rule(question: &Question<'_>, verdict: &Verdict<'_>, why: Why, file: &str) -> String {
    match why {
        Why::NoSuid => remount(question, "suid"),
        Why::NoExec => remount(question, "exec"),
        Why::NotExecutable => format!("chmod a+x {file}"),
        Why::NoEntryApplies if question.by_design() || question.stored.is_empty() => {
            let caps = some_caps(question).map_or("CAPS".to_owned(), |caps| quote(&caps));
            format!("nscap set {caps} {file} --for {}", whom(question))
        }
        Why::NoEntryApplies => own_copy(question, file),
        Why::StoredMalformed | Why::KernelUnreadable => format!("nscap rm {file} --all"),
        Why::CapsMissing => cap_add(question, verdict.lost),
        Why::NoNewPrivs => "start it without no_new_privs: podman run \
             --security-opt=no-new-privileges=false, or NoNewPrivileges=no in its unit"
            .into(),
        Why::Traced => match question.subject {
            Subject::Live(task) => match task.tracer() {
                Some(tracer) => format!("kill {}", tracer.pid),
                None => "stop tracing it".into(),
            },
            Subject::Supposed { .. } => "stop tracing it".into(),
        },
        Why::SharedFs => {
            "start it by fork(2): a task that shares its root and umask gains nothing".into()
        }
        Why::FileCapsOff => "boot without no_file_caps".into(),
        Why::ForeignMount => "execute it by a path of the task's own mount namespace".into(),
        Why::ForeignSuperblock | Why::HostNotRooted => {
            "copy it to a file system that the task's namespace or one above it has mounted".into()
        }
        _ => format!("nscap get {file}"),
    }
}

fn remount(question: &Question<'_>, option: &str) -> String {
    let point = question.state.mount.point.as_deref().unwrap_or(Path::new("/"));
    let enter = match question.subject {
        Subject::Live(task) => format!("nsenter --mount --target {} ", task.pid()),
        Subject::Supposed { .. } => String::new(),
    };
    format!("{enter}mount -o remount,bind,{option} {}", quoted(point))
}

fn cap_add(question: &Question<'_>, lost: CapSet) -> String {
    let missing = lost.minus(question.task.cred.bounding).iter();
    let add: Vec<String> = missing.map(|cap| format!("--cap-add={}", cap.name())).collect();
    format!("podman run {} (and so for docker run)", add.join(" "))
}

/// An unmodified kernel honours one entry a file: whoever needs another needs a file of its own.
fn own_copy(question: &Question<'_>, file: &str) -> String {
    let caps = some_caps(question).map_or("CAPS".to_owned(), |caps| quote(&caps));
    let whom = whom(question);
    let mut copy = reachable(question).into_os_string();
    copy.push(format!(".{whom}"));
    let copy = quoted(Path::new(&copy));
    format!("cp --preserve=mode,ownership {file} {copy} && nscap set {caps} {copy} --for {whom}")
}

/// The capabilities that are meant: those that would apply, else the first that somebody has.
fn some_caps(question: &Question<'_>) -> Option<FileCaps> {
    let host = match question.stored.host {
        Host::Value(caps) => Some(caps),
        Host::Absent | Host::Malformed => None,
    };
    let first = || question.stored.entries.iter().next().map(|(_, caps)| caps);
    promise(question).or(host).or_else(first)
}

fn quote(caps: &FileCaps) -> String {
    caps.to_string().maybe_quote().to_string()
}

fn quoted(path: &Path) -> String {
    path.maybe_quote().to_string()
}

/// The nearest root that a grant can name.
fn whom(question: &Question<'_>) -> String {
    match path_to_initial(question.task.cred.ns).find_map(root_kuid) {
        None | Some(Kuid::ROOT) => "host".to_owned(),
        Some(kuid) => kuid.to_string(),
    }
}

/// A path by which we reach the program, which a task may find by another.
fn reachable(question: &Question<'_>) -> PathBuf {
    let named = question.program.file.path();
    let Subject::Live(task) = question.subject else {
        return std::fs::canonicalize(named).unwrap_or_else(|_| named.to_owned());
    };
    let theirs = PathBuf::from(format!("/proc/{}/root", task.pid()))
        .join(named.strip_prefix("/").unwrap_or(named));
    let id = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    match std::fs::canonicalize(named) {
        Ok(ours) if id(&ours).is_some() && id(&ours) == id(&theirs) => ours,
        _ => theirs,
    }
}

impl Question<'_> {
    /// What a fresh file would need: the command that gives it capabilities.
    pub(crate) fn how_to_grant(&self) -> String {
        format!("nscap set CAPS {} --for {}", quoted(&reachable(self)), whom(self))
    }
}
