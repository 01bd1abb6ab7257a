// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images of read-only file systems, as archives: the tools of each field read them. sqfs2tar(1) of
//! squashfs-tools-ng reads squashfs without a privilege; erofs-utils has no such program, so an
//! erofs image is mounted in a mount namespace of its own, which needs root, and packed by tar(1).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::input;
use crate::failure::{EINVAL, ENOENT, Failure};
use crate::out;

/// Mounts $1 on a directory of its own, $2, and packs it.
const MOUNT: &str = "mount -t erofs -o ro,nodev,nosuid,noexec,loop \"$1\" \"$2\" && \
    exec tar --xattrs --xattrs-include=security.* -C \"$2\" -cf - .";

/// A file system in this file as a stream of tar; `None` where the file is something else.
pub(super) fn as_tar(file: &File, path: &Path) -> Result<Option<Box<dyn Read>>, Failure> {
    let magic = |at: u64| {
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, at).map(|()| magic).unwrap_or_default()
    };
    if magic(0) == *b"hsqs" {
        let mut command = Command::new("sqfs2tar");
        command.arg(path);
        return start(command, None, path, "sqfs2tar (squashfs-tools-ng)").map(Some);
    }
    if magic(1024) == [0xe2, 0xe1, 0xf5, 0xe0] {
        let directory = tempfile::Builder::new().prefix("nscap-erofs-").tempdir();
        let directory = directory.map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(EINVAL);
            input("a temporary directory", "cannot be made".to_owned(), errno)
        })?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", MOUNT, "sh"]);
        command.arg(path).arg(directory.path());
        return start(command, Some(directory), path, "unshare (util-linux)").map(Some);
    }
    Ok(None)
}

fn start(
    mut command: Command,
    directory: Option<tempfile::TempDir>,
    path: &Path,
    tool: &'static str,
) -> Result<Box<dyn Read>, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(EINVAL);
        let problem = match errno {
            ENOENT => format!("is a file system that {tool} reads, which is not installed"),
            _ => format!("{tool} cannot be started"),
        };
        input(&out::path(path), problem, errno)
    })?;
    Ok(Box::new(Tar { child, _directory: directory }))
}

/// The output of a program, which must succeed.
struct Tar {
    child: Child,
    /// Goes at the end.
    _directory: Option<tempfile::TempDir>,
}

impl Read for Tar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &mut self.child.stdout else { return Ok(0) };
        let got = stdout.read(buffer)?;
        if got == 0 && !buffer.is_empty() {
            let status = self.child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!(
                    "the program that reads it failed: {status}"
                )));
            }
        }
        Ok(got)
    }
}

impl Drop for Tar {
    fn drop(&mut self) {
        // It ends by SIGPIPE or has ended; its mount goes with it.
        drop(self.child.stdout.take());
        let _ = self.child.wait();
    }
}
