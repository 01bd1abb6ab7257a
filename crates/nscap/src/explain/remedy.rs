// SPDX-License-Identifier: MIT OR Apache-2.0
//! What mends a loss: a command line where one does, else advice.
//!
//! A command is meant to be pasted into a root shell. So it names a file only by a path that no
//! other user can turn to another file meanwhile, and it never gives the host's capabilities to a
//! program that a container controls; an entry for a container's own root gives nothing that this
//! root could not give. Each kind of command is executed by a test (crates/nscap/tests/mends.rs).

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nscap_core::{
    CapSet, FileCaps, Grant, HostValue, Kgid, Kuid, UserNs as _, Why, path_to_initial, root_kuid,
};
use nscap_linux::{IdMap, Quotable as _};

use super::Question;
use super::look::Stop;
use super::reach::{Reach, is_written_by_owner};
use super::verdict::{Cause, promise};

/// Set-user-ID and set-group-ID.
const SET_ID: u32 = 0o6000;

/// What mends a loss.
#[derive(Default)]
pub(crate) struct Remedy {
    pub(crate) command: Option<String>,
    pub(crate) advice: Option<String>,
}

impl Remedy {
    fn command(command: String) -> Remedy {
        Remedy { command: Some(command), advice: None }
    }

    fn advice(advice: impl Into<String>) -> Remedy {
        Remedy { command: None, advice: Some(advice.into()) }
    }

    /// The command if there is one, else advice.
    fn or(command: Option<String>, advice: impl Into<String>) -> Remedy {
        command.map_or_else(|| Remedy::advice(advice), Remedy::command)
    }
}

pub(crate) fn of(question: &Question<'_>, cause: Cause) -> Remedy {
    match cause {
        Cause::Stop(n) => stop(&question.chain.stops[n]),
        Cause::Rule(why) => by_rule(question, why),
        Cause::NotKept => kept(question),
    }
}

/// What keeps a capability that the configuration adds: an ambient set, or the file.
fn kept(question: &Question<'_>) -> Remedy {
    let Some(described) = question.subject.described() else { return Remedy::default() };
    let caps = described.wanted.asked.minus(question.task.cred.ambient);
    if caps.is_empty() {
        return Remedy::advice("take the capabilities from the file, which clear what is ambient");
    }
    // No command: on the file they would be for every user of the container.
    let set = FileCaps { permitted: caps, inheritable: CapSet::EMPTY, effective: true };
    let file = crate::out::path(question.chain.program().file.path());
    Remedy::advice(format!("{}; {set} on {file}", described.wanted.words.keep(caps)))
}

/// A command that writes a new image, where the file is one's.
fn in_image(question: &Question<'_>, what: &str, caps: &str) -> Option<String> {
    let path = question.chain.program().file.path();
    question.subject.image().map(|image| image.command(what, path, caps))
}

/// How to remove a value that the kernel does not show.
pub(crate) fn clear(question: &Question<'_>) -> Remedy {
    if let Some(command) = in_image(question, "rm", "") {
        return Remedy::command(command);
    }
    let reach = Reach::of(question);
    let command = reach.command(question, |file| format!("nscap rm {file} --all"));
    Remedy::or(command, "remove security.capability from it (setcap -r, nscap rm --all)")
}

/// The command that gives capabilities to a file that has none, if we may name one.
pub(crate) fn how_to_grant(question: &Question<'_>) -> Option<String> {
    grant(question, "CAPS", whom(question), false)
}

/// What mends that the way ends.
pub(crate) fn stop(stop: &Stop) -> Remedy {
    match stop.why {
        Some(Why::NotSearchable) => {
            Remedy::advice("let the task search that directory, and no other (setfacl -m u:UID:x)")
        }
        _ => Remedy::default(),
    }
}

fn by_rule(question: &Question<'_>, why: Why) -> Remedy {
    match why {
        Why::NoSuid if question.subject.is_nosuid() => without_no_new_privs(question),
        Why::NoSuid => remount(question, "suid"),
        Why::NoExec => remount(question, "exec"),
        Why::NotExecutable => executable(question),
        Why::NoEntryApplies if question.by_design() || question.stored.is_empty() => {
            let caps = some_caps(question).map(|caps| quote(&caps));
            let command = caps.and_then(|caps| grant(question, &caps, whom(question), false));
            Remedy::or(
                command,
                "have the owner of the file set capabilities for the task's namespace",
            )
        }
        Why::NoEntryApplies => own_copy(question),
        Why::StoredMalformed | Why::KernelUnreadable => clear(question),
        Why::CapsMissing => fewer(question),
        Why::NoNewPrivs if question.subject.words().is_some() => without_no_new_privs(question),
        Why::NoNewPrivs => Remedy::advice(
            "start it without no_new_privs: podman run --security-opt=no-new-privileges=false, or \
             NoNewPrivileges=no in its unit",
        ),
        Why::Traced => {
            let tracer = question.subject.live().and_then(|task| task.tracer());
            let pid = tracer.map(|tracer| format!(" (pid {})", tracer.pid)).unwrap_or_default();
            Remedy::advice(format!("end the tracer{pid}, or trace as root"))
        }
        Why::SharedFs => Remedy::advice(
            "start it by fork(2): a task that shares its root and umask gains nothing",
        ),
        Why::FileCapsOff => Remedy::advice("boot without no_file_caps"),
        Why::ForeignMount => {
            Remedy::advice("execute it by a path of the task's own mount namespace")
        }
        Why::ForeignSuperblock | Why::HostNotRooted => Remedy::advice(
            "have it on a file system that the task's namespace or one above it has mounted",
        ),
        Why::TableUnread => own_copy(question),
        Why::EntriesCopied | Why::EntriesVoid if question.subject.image().is_some() => {
            Remedy::advice(
                "unpack it on a mount of nscap's, or have capabilities in the image without a rootid (nscap \
                 layer set)",
            )
        }
        Why::EntriesCopied => Remedy::advice("nscap set --from-attribute writes it as a table"),
        Why::EntriesVoid => Remedy::advice("set them again with nscap set, for each root anew"),
        Why::ScriptIgnored => Remedy::advice(
            "set them on a compiled program: on the interpreter they would go to every script",
        ),
        Why::BoundingLacks => Remedy::advice(cap_add(question)),
        _ => Remedy::default(),
    }
}

/// Lets the very task execute the file, and no other: the mode may be what keeps others from its
/// capabilities.
fn executable(question: &Question<'_>) -> Remedy {
    if question.subject.image().is_some() {
        return Remedy::advice("give the task execute permission on it where the image is built");
    }
    let (reach, how) = (Reach::of(question), &question.how);
    let fsuid = question.task.cred.fsuid;
    let own = question.system.namespaces.own_ns();
    let command = match own.uid(fsuid) {
        _ if how.mode & SET_ID != 0 => None,
        Some(_) if how.inode.owner == Some(fsuid) => {
            reach.command(question, |file| format!("chmod u+x {file}"))
        }
        Some(uid) if question.chain.program().takes_lists() => {
            reach.command(question, |file| format!("setfacl -m u:{}:x {file}", uid.get()))
        }
        _ => None,
    };
    Remedy::or(command, "give the task execute permission on it")
}

/// Sets capabilities for a root over the task, where that root could do so itself. In an image they are
/// for the root that unpacks it.
fn grant(question: &Question<'_>, caps: &str, whom: Kuid, replace: bool) -> Option<String> {
    if question.subject.image().is_some() {
        return in_image(question, "set", caps);
    }
    let reach = Reach::of(question);
    let mount = &question.state.mount;
    let mapped = question.subject.described().is_some_and(|described| described.through_map);
    let allowed = !mount.read_only
        && !mapped
        && !question.state.inode.immutable
        && may_be_given(question, whom)
        && (whom != Kuid::ROOT || reach.is_safe);
    let replace = if replace { " --replace" } else { "" };
    allowed.then(|| {
        format!("nscap set {caps} {}{replace} --for {}", quoted(&reach.path), name_of(whom))
    })
}

/// Whether the file may get something for this root: host root's own files may; others only for a
/// root that is over their owner. The host's is only for files that host root alone can change.
fn may_be_given(question: &Question<'_>, whom: Kuid) -> bool {
    let (place, ns) = (&question.how.inode, question.task.cred.ns);
    let roots = place.owner == Some(Kuid::ROOT) && place.group.is_some();
    let alone = is_written_by_owner(question.how.mode, place.group == Some(Kgid::ROOT))
        && question.how.by_acl.is_none();
    let host_made = question.state.mount.owner.ns().is_some() && place.sb_ns.is_initial();
    if whom == Kuid::ROOT {
        return roots && alone && host_made;
    }
    (roots && alone) || place.owner.is_some_and(|owner| ns.uid(owner).is_some())
}

/// In the words of what it is started by.
fn without_no_new_privs(question: &Question<'_>) -> Remedy {
    Remedy::advice(question.subject.words().map_or(String::new(), |words| {
        words.new_privileges(promised(question).minus(question.task.cred.permitted))
    }))
}

/// An unmodified kernel honours one entry a file: another root needs a file of its own.
fn own_copy(question: &Question<'_>) -> Remedy {
    if question.subject.image().is_some() {
        let caps = some_caps(question).map(|caps| quote(&caps));
        let command = caps.and_then(|caps| in_image(question, "set", &caps));
        return Remedy::or(command, "have capabilities in the image without a rootid");
    }
    let (reach, whom) = (Reach::of(question), whom(question));
    let caps = some_caps(question).map(|caps| quote(&caps));
    let mount = &question.state.mount;
    let mends = reach.is_safe
        && whom != Kuid::ROOT
        && may_be_given(question, whom)
        && !(mount.read_only || mount.nosuid || mount.noexec || mount.foreign)
        && mount.idmap == IdMap::Absent;
    let mut copy = reach.path.clone().into_os_string();
    copy.push(format!(".{}", name_of(whom)));
    let command = caps.filter(|_| mends).map(|caps| {
        let (file, copy) = (quoted(&reach.path), quoted(Path::new(&copy)));
        format!(
            "cp --preserve=mode,ownership {file} {copy} && nscap set {caps} {copy} --for {}",
            name_of(whom)
        )
    });
    Remedy::or(
        command,
        "show the tree with nscap mount, where each namespace has an entry of its own, or give this one a \
         file of its own",
    )
}

/// Drops what the task cannot have, or the effective bit where nothing would be left.
fn fewer(question: &Question<'_>) -> Remedy {
    let Some(caps) = promise(question) else { return Remedy::advice(cap_add(question)) };
    let missing = caps.permitted.known().minus(question.task.cred.bounding);
    let left = caps.permitted.known().minus(missing);
    let reduced = if left.is_empty() {
        FileCaps { effective: false, ..caps }
    } else {
        FileCaps { permitted: left, ..caps }
    };
    // For the root that it is from: the host's overrides what another has.
    if question.subject.image().is_some() {
        let words = if left.is_empty() {
            in_image(question, "set --no-effective", "")
        } else {
            in_image(question, "set", &quote(&reduced))
        };
        return Remedy { command: words, advice: Some(cap_add(question)) };
    }
    let (place, ns) = (&question.how.inode, question.task.cred.ns);
    let root = match nscap_core::file_grant(ns, place, &question.stored) {
        Ok(Grant::Host(_)) => root_kuid(place.sb_ns),
        Ok(Grant::Entry { kuid, .. }) => Some(kuid),
        Ok(Grant::Nothing(_)) | Err(_) => None,
    };
    let command = root.and_then(|root| grant(question, &quote(&reduced), root, true));
    Remedy { command, advice: Some(cap_add(question)) }
}

/// Clears a flag of a mount, if no other user can change the way to the file. A user namespace that
/// owns the mount namespace may have its flags locked; in another mount namespace than ours, the
/// mount program would be the container's.
fn remount(question: &Question<'_>, option: &str) -> Remedy {
    let point = question.state.mount.point.as_deref();
    let ours = std::fs::metadata("/proc/self/ns/mnt").map(|data| data.ino()).ok();
    let namespaces = &question.system.namespaces;
    let theirs = question.over.iter().find(|over| over.kind == "mnt");
    let unlocked = match theirs {
        Some(over) => {
            let initial = |owner| namespaces.get(owner).is_initial();
            Some(over.inode) == ours && over.owner.is_some_and(initial)
        }
        None => question.subject.live().is_none(),
    };
    let mends = unlocked
        && question.system.is_root_of_host()
        && !question.state.mount.foreign
        && Reach::of(question).is_safe;
    let command = point
        .filter(|_| mends)
        .map(|point| format!("mount -o remount,bind,{option} {}", quoted(point)));
    Remedy::or(command, format!("have it mounted with {option} where the mount is configured"))
}

fn cap_add(question: &Question<'_>) -> String {
    let missing = promised(question).minus(question.task.cred.bounding);
    if let Some(words) = question.subject.words() {
        return words.bound(missing);
    }
    let missing = missing.iter();
    let add: Vec<String> = missing.map(|cap| format!("--cap-add={}", cap.name())).collect();
    format!("start the container with podman run {} (and so docker run)", add.join(" "))
}

fn promised(question: &Question<'_>) -> CapSet {
    promise(question).map_or(CapSet::EMPTY, |caps| caps.permitted.known())
}

/// The capabilities that are meant: those that would apply, else the first that the file names.
fn some_caps(question: &Question<'_>) -> Option<FileCaps> {
    let host = match question.stored.host {
        HostValue::Present(caps) => Some(caps),
        HostValue::Absent | HostValue::Malformed => None,
    };
    let first = || question.stored.entries.iter().next().map(|(_, caps)| caps);
    promise(question).or(host).or_else(first)
}

fn quote(caps: &FileCaps) -> String {
    caps.to_string().maybe_quote().to_string()
}

pub(super) fn quoted(path: &Path) -> String {
    path.maybe_quote().to_string()
}

/// The nearest root that a grant can name.
fn whom(question: &Question<'_>) -> Kuid {
    path_to_initial(question.task.cred.ns).find_map(root_kuid).unwrap_or(Kuid::ROOT)
}

fn name_of(whom: Kuid) -> String {
    if whom == Kuid::ROOT { "host".to_owned() } else { whom.to_string() }
}
