// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real namespaces, processes and programs.

use std::ffi::c_void;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::fs::{Gid, Uid};
use rustix::mount::MountPropagationFlags;
use rustix::thread::{CapabilitySet, UnshareFlags};

/// Whether the test runs as root of the initial namespace, with the capabilities for making
/// namespaces and mounts. If not, prints that the test is skipped.
pub fn is_root(test: &str) -> bool {
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
#[derive(Debug)]
pub struct Container {
    child: Child,
}

impl Container {
    /// A namespace below the initial one. `map`: the lines of uid_map and gid_map.
    pub fn new(map: &str) -> Container {
        Container::below(None, map)
    }

    /// A namespace below another one; the outside ids of `map` are ids of that one.
    pub fn below(parent: Option<&Container>, map: &str) -> Container {
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

    /// The outside ids of a map are ids of the writer's namespace.
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

    /// The id of the process in the namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a program in the namespace, with this uid and gid there. It has only the capabilities
    /// that execve(2) gives it.
    pub fn run(&self, program: &[&str], id: &str) -> std::process::Output {
        Command::new("nsenter")
            .args(["-U", "-S", id, "-G", id, "-t", &self.pid().to_string()])
            .args(program)
            .output()
            .unwrap()
    }

    /// Starts a process in the namespace that waits, with this uid and gid there; as uid 0 it has
    /// every capability.
    pub fn enter(&self, id: &str) -> Process {
        let target = self.pid().to_string();
        Process::start(&["nsenter", "-U", "-S", id, "-G", id, "-t", &target, "sh", "-c", WAIT])
    }

    /// The permitted set of a copy of cat(1) when an ordinary user of the namespace executes it;
    /// `None` if execve(2) fails.
    pub fn gains(&self, cat: &Path) -> Option<u64> {
        permitted(&self.run(&[cat.to_str().unwrap(), "/proc/self/status"], "7").stdout)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell script that prints `up` and waits.
pub const WAIT: &str = "echo up; exec sleep infinity";

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a program, and waits until it prints `up`.
    pub fn start(program: &[&str]) -> Process {
        let mut command = Command::new(program[0]);
        let mut child = command.args(&program[1..]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Process(child)
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
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
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let in_thread = || {
        let flags = UnshareFlags::FS | UnshareFlags::NEWNS;
        // SAFETY: the thread still shares its file descriptors, so no owned descriptor becomes
        // invalid.
        unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
        let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
        rustix::mount::mount_change("/", private).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(in_thread).join().unwrap())
}

/// Runs `work` in a thread with this uid and gid, without supplementary groups and without
/// capabilities.
pub fn as_user<T: Send>(id: u32, work: impl FnOnce() -> T + Send) -> T {
    let in_thread = || {
        let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_res_gid(group, group, group).unwrap();
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(in_thread).join().unwrap())
}

/// A page of a file mapped shared and writable, until dropped.
#[derive(Debug)]
pub struct Mapping(*mut c_void);

// SAFETY: a mapping belongs to the process; this is only its address.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first page of a file that is open for reading and writing.
    pub fn of(file: impl AsFd) -> Mapping {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an unused address.
        let at = unsafe { mmap(std::ptr::null_mut(), 4096, access, MapFlags::SHARED, file, 0) };
        Mapping(at.unwrap())
    }

    /// Stores a byte at the start of the page.
    pub fn write(&self, byte: u8) {
        // SAFETY: the page is mapped, and this program has no reference to it.
        unsafe { self.0.cast::<u8>().write_volatile(byte) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, which is not used again.
        unsafe { rustix::mm::munmap(self.0, 4096) }.unwrap();
    }
}

/// The permitted set when uid 7 of the initial namespace executes a copy of cat(1).
pub fn host_gains(cat: &Path) -> Option<u64> {
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

/// Makes a copy of cat(1) with this owner, in a directory that every user may search.
pub fn cat(directory: &Path, owner: u32) -> PathBuf {
    use std::os::unix::fs::{PermissionsExt, chown};
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    let path = directory.join("cat");
    copy_program(Path::new("/bin/cat"), &path);
    chown(&path, Some(owner), Some(owner)).unwrap();
    std::io::stdout().flush().unwrap();
    path
}

/// Makes a copy of this test program that every user may execute: the checkout itself may be
/// unreachable for them.
pub fn own_program(directory: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    let path = directory.join("program");
    copy_program(&std::env::current_exe().unwrap(), &path);
    path
}

/// Copies a program so that every user may execute it. Another process makes the copy: a child that
/// another thread's test starts would inherit our descriptor for writing, and execve(2) of the copy
/// would be ETXTBSY.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status().unwrap();
    assert!(copied.success(), "cp {from:?} {to:?}");
    std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// The exit status of a program. Panics if a signal killed it.
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

/// The standard output of a program.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The standard error of a program.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
