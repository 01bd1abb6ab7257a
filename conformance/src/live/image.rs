// SPDX-License-Identifier: MIT OR Apache-2.0
//! An ext4 with the files of all scenarios that ask for one. debugfs(8) writes attributes that no
//! kernel would take (revision 1, wrong lengths, unknown flags), so that execve can be seen to
//! meet them.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::{Failure, context, disk};
use crate::scenario::{Scenario, Stored};

/// The mounted file system. It goes with the runner's mount namespace.
#[derive(Debug)]
pub(crate) struct Image(PathBuf);

impl Image {
    /// Makes and mounts an image with the raw files of these scenarios.
    pub(crate) fn new(scenarios: &[(usize, &Scenario)]) -> Result<Image, Failure> {
        // Everything is in a tmpfs that only this process's mount namespace has.
        let tmp = context("a tmpfs for the image", disk::tmpfs(None))?;
        let dir = std::env::temp_dir();
        context("mounting a tmpfs for the image", disk::attach(&tmp, &dir))?;
        context("preparing the image", prepare(&dir, scenarios))?;
        let image = dir.join("image");
        let at = |path: &Path| path.display().to_string();
        tool("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", &at(&image)])?;
        tool("debugfs", &["-w", "-f", &at(&dir.join("script")), &at(&image)])?;
        let mounted = dir.join("mounted");
        tool("mount", &["-o", "loop", &at(&image), &at(&mounted)])?;
        Ok(Image(mounted))
    }

    /// The directory of the `n`th scenario, on the mount that this process's namespace has.
    pub(crate) fn files(&self, n: usize) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let base = rustix::fs::openat(CWD, &self.0, flags, Mode::empty())?;
        disk::subdirectory(&base, &n.to_string())
    }
}

impl Drop for Image {
    /// Gives the memory back while the runner's process goes on.
    fn drop(&mut self) {
        for mounted in [self.0.as_path(), &std::env::temp_dir()] {
            let _ = rustix::mount::unmount(mounted, UnmountFlags::DETACH);
        }
    }
}

/// Writes what mkfs and debugfs need.
fn prepare(dir: &Path, scenarios: &[(usize, &Scenario)]) -> io::Result<()> {
    let mut script = String::new();
    let mut number = 0;
    let mut size = 16 << 20;
    for (n, scenario) in scenarios {
        let _ = write!(script, "cd /\nmkdir {n}\ncd {n}\n");
        for (name, file) in &scenario.world.files {
            let content = disk::content(&file.content);
            size += content.len() * 2;
            let Stored::Raw(value) = &file.stored else { continue };
            number += 1;
            let (content_at, value_at) = (format!("content{number}"), format!("value{number}"));
            std::fs::write(dir.join(&content_at), content)?;
            std::fs::write(dir.join(&value_at), value)?;
            let shown = dir.display();
            let _ = write!(
                script,
                "write {shown}/{content_at} {name}\nsif {name} mode 010{:04o}\n\
                 sif {name} uid {}\nsif {name} gid {}\n\
                 ea_set -f {shown}/{value_at} {name} security.capability\n",
                file.mode, file.owner, file.group
            );
        }
    }
    std::fs::write(dir.join("script"), script)?;
    let size = u64::try_from(size).map_err(io::Error::other)?;
    std::fs::File::create(dir.join("image"))?.set_len(size)?;
    std::fs::create_dir(dir.join("mounted"))
}

/// Runs a tool; without it the scenarios that need it are skipped.
pub(crate) fn tool<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Result<(), Failure> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(name).args(arguments).env("PATH", path).output();
    let output = output.map_err(|error| Failure::Skipped(format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::Broken(format!("{name}: {}: {said}", output.status)))
}
