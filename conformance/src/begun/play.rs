// SPDX-License-Identifier: MIT OR Apache-2.0
//! One container: makes it, asks the command, and has the runtime start it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nscap_core::{Extent, VfsCaps};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, XattrFlags};

use super::image;
use super::make::{BASE, Case, Home, Runtime};
use crate::live::sys::{self, MountFlags};
use crate::live::{disk, ops, userns};
use crate::outcome::Outcome;
use crate::scenario::{Attr, Maps};
use crate::told::Said;

/// What came of a case.
pub(super) struct Played {
    /// What the command said.
    pub(super) said: String,
    pub(super) came: Came,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Same,
    Differs,
    Untold,
}

/// What the runtime did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Came {
    /// It refused to start.
    Refused(String),
    Executed(Outcome),
}

/// Where the containers are.
pub(super) struct Ground {
    base: PathBuf,
    nscap: PathBuf,
}

impl Ground {
    /// In a directory that only this process's mount namespace has.
    pub(super) fn new(nscap: &Path) -> io::Result<Ground> {
        let base = std::env::temp_dir();
        let program = std::fs::read(nscap)?;
        disk::attach(disk::tmpfs(None)?, &base)?;
        rustix::fs::chmod(&base, Mode::from_raw_mode(0o755))?;
        // crun does not start where version 2 of cgroups is beside version 1.
        let beside = Path::new("/sys/fs/cgroup/unified");
        let _ = rustix::mount::unmount(beside, rustix::mount::UnmountFlags::DETACH);
        let nscap = base.join("nscap");
        std::fs::write(&nscap, program)?;
        rustix::fs::chmod(&nscap, Mode::from_raw_mode(0o755))?;
        Ok(Ground { base, nscap })
    }

    pub(super) fn play(&self, case: &Case) -> io::Result<Played> {
        let bundle = self.base.join(format!("c{}", case.number));
        let rootfs = bundle.join("rootfs");
        make(case, &rootfs)?;
        let mapped = bundle.join("mapped");
        std::fs::create_dir(&mapped)?;
        let shown = if case.home == Home::Mapped {
            let range = vec![Extent { inside: 0, outside: BASE, count: 65_536 }];
            let maps = Maps { uids: range.clone(), gids: range };
            let map = userns::make(None, (0, 0), &maps)?;
            let mount = disk::detached(CWD, &rootfs)?;
            sys::set_mount(
                &mount,
                MountFlags { idmap: Some(map.as_fd()), ..MountFlags::default() },
            )?;
            disk::attach(mount, &mapped)?;
            &mapped
        } else {
            &rootfs
        };
        let config = case.config(shown).to_string();
        std::fs::write(bundle.join("config.json"), &config)?;
        let asked = self.ask(case, &bundle, &["--root".as_ref(), rootfs.as_os_str()])?;
        let layer = bundle.join("layer.tar");
        let packed = if image::pack(case, &rootfs, &layer)? {
            Some(self.ask(case, &bundle, &["--image".as_ref(), layer.as_os_str()])?)
        } else {
            None
        };
        let came = self.start(case, &bundle)?;
        if case.home == Home::Mapped {
            rustix::mount::unmount(&mapped, rustix::mount::UnmountFlags::DETACH)?;
        }
        std::fs::remove_dir_all(&bundle)?;
        let played = judge(&asked, came.clone())?;
        match packed.map(|asked| judge(&asked, came)).transpose()? {
            // The same files, packed.
            Some(packed) if packed.verdict != played.verdict => Ok(packed),
            _ => Ok(played),
        }
    }

    fn ask(&self, case: &Case, bundle: &Path, files: &[&OsStr]) -> io::Result<Output> {
        let mut command = Command::new(&self.nscap);
        command.args(["--json", "explain", "/d/f", "--oci"]).arg(bundle);
        command.args(["--runtime", case.runtime.name()]).args(files);
        let ids = if case.home == Home::Mapped { "mapped" } else { "as-is" };
        command.args(["--rootfs-ids", ids]).output()
    }

    fn start(&self, case: &Case, bundle: &Path) -> io::Result<Came> {
        let mut command = Command::new(case.runtime.name());
        command.arg("--root").arg(self.base.join("state"));
        if case.runtime == Runtime::Crun {
            command.arg("--cgroup-manager=disabled");
        }
        let id = format!("nscap-{}-{}", std::process::id(), case.number);
        command.args(["run", "--bundle"]).arg(bundle).arg(id).stdin(Stdio::null());
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if let Ok(outcome) = ops::credentials(text.trim()) {
            return Ok(Came::Executed(outcome));
        }
        // By crun, by runc, and by the shell of the script.
        let lower = errors.to_lowercase();
        let of_exec = ["exec container process", "exec /", "/d/f", "executable", "/entry"];
        let found = of_exec.iter().any(|word| lower.contains(word));
        let errno = [
            ("operation not permitted", 1),
            ("no such file", 2),
            ("exec format error", 8),
            ("permission denied", 13),
        ];
        let errno = errno.iter().find(|(text, _)| lower.contains(text));
        Ok(match errno.filter(|_| found) {
            Some((_, errno)) => Came::Executed(Outcome::Failed(*errno)),
            None => Came::Refused(errors),
        })
    }
}

fn judge(asked: &Output, came: Came) -> io::Result<Played> {
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let text = text.trim_end();
    let errors = String::from_utf8_lossy(&asked.stderr).into_owned();
    let refused = errors.contains(" fails: the ");
    let verdict = match (&came, asked.status.code()) {
        (_, Some(2)) if !refused && errors.is_empty() => Verdict::Untold,
        (Came::Refused(_), Some(2)) if refused => Verdict::Same,
        (Came::Executed(outcome), Some(0 | 1)) => {
            let said: Said = serde_json::from_str(text).map_err(io::Error::other)?;
            if said.allows(outcome) { Verdict::Same } else { Verdict::Differs }
        }
        _ => Verdict::Differs,
    };
    Ok(Played { said: format!("{text}{errors}"), came, verdict })
}

/// Makes the root file system.
fn make(case: &Case, rootfs: &Path) -> io::Result<()> {
    for dir in ["", "bin", "d", "dev", "proc"] {
        std::fs::create_dir_all(rootfs.join(dir))?;
        rustix::fs::chmod(rootfs.join(dir), Mode::from_raw_mode(0o755))?;
    }
    let put = |name: &str, content: &[u8]| {
        let path = rootfs.join(name);
        std::fs::write(&path, content)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o755))?;
        Ok::<_, io::Error>(path)
    };
    if case.by_script {
        put("bin/sh", &std::fs::read("/bin/busybox")?)?;
        put("entry", b"#!/bin/sh\nexec /d/f\n")?;
    }
    if case.home == Home::AsIs {
        // As a runtime leaves a root file system that it has changed the owners of.
        for path in ["", "bin", "dev", "proc", "bin/sh", "entry"].map(|name| rootfs.join(name)) {
            if path.exists() {
                give(&path, (BASE, BASE, 0o755))?;
            }
        }
    }
    let file = put("d/f", disk::PROBE)?;
    give(&file, case.file)?;
    let (uid, gid, _) = case.file;
    give(&rootfs.join("d"), (uid, gid, case.dir))?;
    if let Some((root, caps)) = case.caps {
        let value = root.map_or(VfsCaps::v2(caps), |root| VfsCaps::v3(root, caps));
        let value = value.encode();
        rustix::fs::lsetxattr(&file, Attr::Cap.name(), value.as_bytes(), XattrFlags::empty())?;
    }
    Ok(())
}

fn give(path: &Path, (uid, gid, mode): (u32, u32, u32)) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}
