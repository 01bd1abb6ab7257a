// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which processes use a mount, as fuser(1) finds them: by what /proc says of their descriptors,
//! directories and mappings. No file system is asked anything, so a mount whose server is dead can
//! be looked at.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::mounts::MountPoint;

/// A process that keeps a mount busy, or has a copy of it in its mount namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Its id, as we see it.
    pub pid: u32,
    /// What it calls itself.
    pub comm: Vec<u8>,
    /// The last part of its cgroup, by which most runtimes name a container; `None` for the root.
    pub cgroup: Option<String>,
}

impl User {
    fn of(pid: u32) -> User {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let mut comm = read("comm");
        comm.pop_if(|last| *last == b'\n');
        let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
        let last = |line: &str| {
            let name = line.splitn(3, ':').nth(2)?.rsplit('/').next()?.to_owned();
            (!name.is_empty()).then_some(name)
        };
        User { pid, comm, cgroup: groups.lines().find_map(last) }
    }
}

impl MountPoint {
    /// The processes that have something on this mount open, as a directory or mapped. Looks for
    /// this long at most. Processes that we may not look at are not among them.
    ///
    /// ```
    /// use nscap_linux::MountPoint;
    /// use std::time::Duration;
    /// let directory = std::fs::File::open("/proc").unwrap();
    /// let proc = MountPoint::at("/proc".as_ref())?.unwrap();
    /// let users = proc.users(Duration::from_secs(10));
    /// assert!(users.iter().any(|user| user.pid == std::process::id()));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn users(&self, patience: Duration) -> Vec<User> {
        let until = Instant::now() + patience;
        let uses =
            |pid: &u32| self.has_open(*pid) || self.has_directory(*pid) || self.is_mapped(*pid);
        processes().take_while(|_| Instant::now() < until).filter(uses).map(User::of).collect()
    }

    /// By the id of the mount that each descriptor was opened through.
    fn has_open(&self, pid: u32) -> bool {
        let directory = PathBuf::from(format!("/proc/{pid}/fdinfo"));
        let Ok(all) = std::fs::read_dir(&directory) else { return false };
        all.flatten().any(|descriptor| {
            let said = std::fs::read_to_string(descriptor.path()).unwrap_or_default();
            let id = said.lines().find_map(|line| line.strip_prefix("mnt_id:"));
            id.is_some_and(|id| id.trim().parse() == Ok(self.id))
        })
    }

    /// Its working or its root directory, by their paths, where it is in our mount namespace.
    fn has_directory(&self, pid: u32) -> bool {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        let below = |link: &str| {
            std::fs::read_link(format!("/proc/{pid}/{link}"))
                .is_ok_and(|path| path.starts_with(&self.point))
        };
        (below("cwd") || below("root")) && namespace(&pid.to_string()) == namespace("self")
    }

    /// By the device that proc_pid_maps(5) names, and the path.
    fn is_mapped(&self, pid: u32) -> bool {
        let maps = std::fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        let device = format!(" {:02x}:{:02x} ", self.device.0, self.device.1);
        let has = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
        maps.split(|byte| *byte == b'\n').any(|line| {
            has(line, device.as_bytes()) && has(line, self.point.as_os_str().as_bytes())
        })
    }

    /// The processes in the mount namespace of another.
    ///
    /// ```
    /// use nscap_linux::MountPoint;
    /// let beside = MountPoint::beside(std::process::id());
    /// assert!(beside.iter().any(|user| user.pid == std::process::id()));
    /// ```
    #[must_use]
    pub fn beside(pid: u32) -> Vec<User> {
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let Some(own) = namespace(pid) else { return Vec::new() };
        processes().filter(|pid| namespace(*pid).as_ref() == Some(&own)).map(User::of).collect()
    }
}

/// All that /proc shows, ascending.
fn processes() -> impl Iterator<Item = u32> {
    let all = std::fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten();
    let mut all: Vec<u32> =
        all.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect();
    all.sort_unstable();
    all.into_iter()
}
