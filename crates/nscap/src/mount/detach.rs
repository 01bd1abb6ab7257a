// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server that goes on: this command again, in a session of its own, which says on a pipe when
//! its mount is usable. Until then its errors are this process's, since it has the same standard
//! error.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nscap_linux::isolate;

use super::Request;
use crate::failure::{EIO, Failure, call};

/// What a server says when its mount is usable.
pub(super) const READY: &[u8] = b"ready\n";

/// This program, whatever its path is now.
pub(crate) const SELF: &str = "/proc/self/exe";

pub(super) fn run(request: &Request, json: bool) -> Result<u8, Failure> {
    isolate::pass_on_no_descriptors()?;
    let mut server = Command::new(SELF);
    server.arg0("nscap").args(json.then_some("--json")).args(request.to_server());
    server.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = server.spawn().map_err(|error| call(Path::new(SELF), "execve", error))?;
    let mut said = Vec::new();
    if let Some(line) = server.stdout.take() {
        // An error is the end of what it says.
        let _ = line.take(READY.len() as u64).read_to_end(&mut said);
    }
    if said == READY {
        return Ok(0);
    }
    let status = server.wait().map_err(|error| call(&request.target, "wait", error))?;
    if status.code().is_some_and(|code| code != 0) {
        return Ok(2);
    }
    let problem = format!("the server ended before it was usable ({status})");
    Err(Failure::Input { what: crate::out::path(&request.target), problem, errno: EIO })
}
