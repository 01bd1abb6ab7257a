// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real mount for a test: its source and target in a temporary directory, in a mount namespace of
//! the test's own, served by another process. All of it goes with its guard.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nscap_fuse::{Mount, Options};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{CapabilitySet, UnshareFlags};

const SERVE: &str = "NSCAP_TEST_SERVE";
const SCRIPT: &str = "NSCAP_TEST_SCRIPT";

/// Whether mounts can be made here; if not, says that the test is skipped.
pub(crate) fn can_mount(test: &str) -> bool {
    let able = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    let initial = std::fs::read_link("/proc/self/ns/user")
        .is_ok_and(|link| link.as_os_str() == "user:[4026531837]");
    let missing = match (able && initial, std::fs::File::open("/dev/fuse")) {
        (true, Ok(_)) => return true,
        (false, _) => "root of the initial namespace".to_owned(),
        (true, Err(error)) => format!("/dev/fuse: {error}"),
    };
    println!("skipped: {test}: needs {missing}");
    false
}

/// The process that serves: the test binary, called again for this one test.
#[test]
fn serve_when_asked() {
    let Ok(asked) = std::env::var(SERVE) else {
        return;
    };
    let mut words = asked.split(':');
    let (source, target) = (words.next().unwrap(), words.next().unwrap());
    let mut options = Options::default();
    for word in words {
        match word {
            "plain" => options.passthrough = false,
            "device" => options.io_uring = false,
            "ro" => options.read_only = true,
            "reachable" => options.reachable_ok = true,
            word if word.starts_with("nofile=") => limit_descriptors(&word["nofile=".len()..]),
            _ => {}
        }
    }
    let mount = Mount::new(source.as_ref(), target.as_ref(), &options).unwrap();
    let Ok(script) = std::env::var(SCRIPT) else {
        return mount.serve().unwrap();
    };
    let server = std::thread::spawn(move || mount.serve());
    let script = Command::new("sh").args(["-euc", &script]).current_dir(target).status().unwrap();
    rustix::mount::unmount(target, UnmountFlags::empty()).unwrap();
    server.join().unwrap().unwrap();
    assert!(script.success());
}

/// So many files may be open in this process (RLIMIT_NOFILE).
fn limit_descriptors(limit: &str) {
    let limit = Some(limit.parse().unwrap());
    let limits = rustix::process::Rlimit { current: limit, maximum: limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
}

/// How to be that process, with its options as words.
fn server(source: &Path, target: &Path, options: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "support::serve_when_asked", "--nocapture", "--test-threads=1"]);
    let words = options.replace(' ', ":");
    command.env(SERVE, format!("{}:{}:{words}", source.display(), target.display()));
    command
}

/// The directories and the server of a test.
pub(crate) struct Ground {
    /// The backing tree, itself open to all, in a directory that is not.
    pub(crate) source: PathBuf,
    /// Where it is mounted.
    pub(crate) target: PathBuf,
    /// A directory of the same file system that is not mounted.
    pub(crate) native: PathBuf,
    server: Option<Child>,
}

impl Ground {
    fn new(base: &Path) -> Ground {
        let at = |name: &str, mode: u32| {
            let path = base.join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        at("private", 0o700);
        let source = at("private/tree", 0o755);
        let (target, native) = (at("mount", 0o755), at("native", 0o755));
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(base, open).unwrap();
        Ground { source, target, native, server: None }
    }

    /// Serves, and waits until it does.
    pub(crate) fn serve(&mut self, options: &str) {
        let before = std::fs::metadata(&self.target).unwrap().dev();
        let mut command = server(&self.source, &self.target, options);
        // The output of the inner test is not needed.
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        for _ in 0..400 {
            let now = std::fs::metadata(&self.target);
            if now.is_ok_and(|now| now.dev() != before) {
                self.server = Some(child);
                return;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        panic!("nothing was mounted");
    }

    /// Runs a shell script on a mount of root's of a new user namespace.
    pub(crate) fn in_user_namespace(&self, script: &str) -> Output {
        let serve = server(&self.source, &self.target, "");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).arg(serve.get_program());
        command.args(serve.get_args()).env(SCRIPT, script);
        for (name, value) in serve.get_envs() {
            command.env(name, value.unwrap());
        }
        command.output().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// kill -9; the dead mount stays.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        self.wait_for_the_end();
    }

    /// Waits until the kernel knows that the server is gone: a new request gets ENOTCONN by then,
    /// and an earlier one got ECONNABORTED or ECANCELED.
    fn wait_for_the_end(&self) {
        for _ in 0..500 {
            match std::fs::symlink_metadata(self.at("nothing")).unwrap_err().raw_os_error() {
                Some(libc::ENOTCONN) => return,
                Some(libc::ECONNABORTED | libc::ECANCELED) => {
                    std::thread::sleep(Duration::from_millis(10))
                }
                errno => panic!("{errno:?}"),
            }
        }
        panic!("the connection goes on without a server");
    }

    pub(crate) fn unmount(&mut self) {
        let _ = rustix::mount::unmount(&self.target, UnmountFlags::DETACH);
        if let Some(mut server) = self.server.take() {
            server.wait().unwrap();
        }
    }

    /// A path in the mount.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// The same in the source.
    pub(crate) fn beneath(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }

    /// Runs a shell script in the mount as uid 1000, gid 1001, in no other group.
    pub(crate) fn as_user(&self, script: &str) -> Output {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(&self.target).uid(1000).gid(1001);
        command.output().unwrap()
    }

    /// The same, and it succeeds.
    pub(crate) fn user(&self, script: &str) {
        let output = self.as_user(script);
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.target, UnmountFlags::DETACH);
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Runs a test on ground of its own, that is not served yet.
pub(crate) fn on_ground(test: &str, body: impl FnOnce(&mut Ground) + Send) {
    if !can_mount(test) {
        return;
    }
    // Removed after the namespace: nothing is mounted there by then.
    let base = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| {
            // SAFETY: the thread's own mounts and working directory; descriptors stay shared.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
                .unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            body(&mut Ground::new(base.path()));
        });
        if let Err(panic) = ran.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a test on a mount of each kind: with passthrough and without; and, where others take their
/// requests by the queues of io_uring, one that does not.
pub(crate) fn on_mounts(test: &str, body: impl Fn(&Ground) + Send + Sync) {
    let queues = nscap_linux::server::FuseQueue::count().is_some();
    for options in ["", "plain"].into_iter().chain(queues.then_some("device")) {
        on_ground(test, |ground| {
            ground.serve(options);
            body(ground);
        });
    }
}
