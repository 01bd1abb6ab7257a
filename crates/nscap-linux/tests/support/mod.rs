// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real namespaces and real programs for the tests: everything made here goes with its guard.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

use std::ffi::c_void;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::mount::MountPropagationFlags;
use rustix::thread::{CapabilitySet, UnshareFlags};

/// Whether we are root of the initial namespace, with the capabilities that making namespaces and
/// mounts takes; if not, says that the test is skipped.
pub(crate) fn is_root(test: &str) -> bool {
    let need = CapabilitySet::SYS_ADMIN | CapabilitySet::SETFCAP | CapabilitySet::SETUID;
    let able = rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(need));
    let root = able
        && rustix::process::geteuid().is_root()
        && std::fs::read_link("/proc/self/ns/user")
            .is_ok_and(|link| link.as_os_str() == "user:[4026531837]");
    if !root {
        println!("skipped: {test}: needs root of the initial namespace");
    }
    root
}

/// A user namespace with a process in it, until dropped.
pub(crate) struct Container {
    child: Child,
}

impl Container {
    /// With these lines for uid_map and gid_map, in the initial namespace's terms.
    pub(crate) fn new(map: &str) -> Container {
        Container::below(None, map)
    }

    /// Below another one; `map` in that one's terms.
    pub(crate) fn below(parent: Option<&Container>, map: &str) -> Container {
        let mut command = match parent {
            None => Command::new("unshare"),
            Some(parent) => {
                let mut command = Command::new("nsenter");
                command.args(["--preserve-credentials", "-U", "-S0", "-G0", "-t"]);
                command.arg(parent.pid().to_string()).arg("unshare");
                command
            }
        };
        command.args(["-U", "sh", "-c", WAIT]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let container = Container { child };
        for name in ["uid_map", "gid_map"] {
            container.write_map(parent, name, map);
        }
        container
    }

    /// Maps are in the terms of the namespace of whoever writes them.
    fn write_map(&self, parent: Option<&Container>, name: &str, map: &str) {
        let file = format!("/proc/{}/{name}", self.pid());
        match parent {
            None => std::fs::write(file, map).unwrap(),
            Some(parent) => {
                let script = format!("printf '{map}\\n' > {file}");
                assert!(parent.run(&["sh", "-c", &script], "0").status.success());
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a program in the namespace, with this uid and gid there and no capability but what
    /// execve gives.
    pub(crate) fn run(&self, program: &[&str], id: &str) -> std::process::Output {
        Command::new("nsenter")
            .args(["-U", "-S", id, "-G", id, "-t", &self.pid().to_string()])
            .args(program)
            .output()
            .unwrap()
    }

    /// A process in the namespace that waits, with this uid and gid there; uid 0 with every
    /// capability.
    pub(crate) fn enter(&self, id: &str) -> Process {
        let target = self.pid().to_string();
        Process::start(&["nsenter", "-U", "-S", id, "-G", id, "-t", &target, "sh", "-c", WAIT])
    }

    /// The permitted set of that copy of cat(1) when an ordinary user of the namespace executes it;
    /// `None` where execve fails.
    pub(crate) fn gains(&self, cat: &Path) -> Option<u64> {
        permitted(&self.run(&[cat.to_str().unwrap(), "/proc/self/status"], "7").stdout)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell script that says that it is there and waits.
pub(crate) const WAIT: &str = "echo up; exec sleep infinity";

/// A process that goes with its guard.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program, and waits until it says `up`.
    pub(crate) fn start(program: &[&str]) -> Process {
        let mut command = Command::new(program[0]);
        let mut child = command.args(&program[1..]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Process(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `work` in a thread with a mount namespace of its own.
pub(crate) fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let in_thread = || {
        let flags = UnshareFlags::FS | UnshareFlags::NEWNS;
        // SAFETY: file descriptors stay shared, so none that somebody owns goes stale.
        unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
        let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
        rustix::mount::mount_change("/", private).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(in_thread).join().unwrap())
}

/// A page of a file mapped shared and writable, until dropped.
pub(crate) struct Mapping(*mut c_void);

// SAFETY: a mapping is the process's; only its address is kept here.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(crate) fn of(file: impl AsFd) -> Mapping {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at no address of ours.
        let at = unsafe { mmap(std::ptr::null_mut(), 4096, access, MapFlags::SHARED, file, 0) };
        Mapping(at.unwrap())
    }

    pub(crate) fn write(&self, byte: u8) {
        // SAFETY: the page is mapped and nothing in this program refers to it.
        unsafe { self.0.cast::<u8>().write_volatile(byte) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours and not used again.
        unsafe { rustix::mm::munmap(self.0, 4096) }.unwrap();
    }
}

/// The permitted set when uid 7 of the initial namespace executes a copy of cat(1).
pub(crate) fn host_gains(cat: &Path) -> Option<u64> {
    let output = Command::new("setpriv")
        .args(["--reuid=7", "--regid=7", "--clear-groups"])
        .arg(cat)
        .arg("/proc/self/status")
        .output()
        .unwrap();
    permitted(&output.stdout)
}

fn permitted(status: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(status);
    let line = text.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// A copy of cat(1) in a directory that everybody may search.
pub(crate) fn cat(directory: &Path, owner: u32) -> PathBuf {
    use std::os::unix::fs::{PermissionsExt, chown};
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    let path = directory.join("cat");
    copy_program(Path::new("/bin/cat"), &path);
    chown(&path, Some(owner), Some(owner)).unwrap();
    std::io::stdout().flush().unwrap();
    path
}

/// A copy of this test program where everybody may execute it, since the checkout may be out of a
/// namespace's reach.
pub(crate) fn own_program(directory: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    let path = directory.join("program");
    copy_program(&std::env::current_exe().unwrap(), &path);
    path
}

/// A copy that everybody may execute. By a process of its own: a descriptor of ours for writing would
/// also be that of whatever another thread's test starts meanwhile, and executing the copy ETXTBSY as
/// long as that has it.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status().unwrap();
    assert!(copied.success(), "cp {from:?} {to:?}");
    std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// How a program ended that no signal ended.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
