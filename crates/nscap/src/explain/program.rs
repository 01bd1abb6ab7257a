// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file's capabilities count: of a script its interpreter's, execve(2), "Interpreter
//! scripts".

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nscap_linux::{CapFile, opath};

use crate::failure::{EAGAIN, ELOOP, Failure};
use crate::out;

/// How much of a script the kernel looks at (BINPRM_BUF_SIZE).
const HEAD: u64 = 256;
/// How many scripts in a row are too many.
const DEPTH: usize = 5;

/// The file that is executed in the end.
pub(crate) struct Resolved {
    pub(crate) file: CapFile,
    /// The scripts on the way to it.
    pub(crate) scripts: Vec<CapFile>,
    /// Whether any of them has capabilities of its own, once that was looked at.
    pub(crate) script_has_caps: bool,
}

/// Follows `#!` lines; `open` finds a file as the task does.
pub(crate) fn resolve(
    named: CapFile,
    open: impl Fn(&Path) -> Result<CapFile, Failure>,
) -> Result<Resolved, Failure> {
    let mut resolved = Resolved { file: named, scripts: Vec::new(), script_has_caps: false };
    while let Some(interpreter) = interpreter(&head(&resolved.file)?) {
        let script = std::mem::replace(&mut resolved.file, open(&interpreter)?);
        resolved.scripts.push(script);
        if resolved.scripts.len() > DEPTH {
            return Err(Failure::Input {
                what: out::path(resolved.file.path()),
                problem: "a script whose interpreter is a script, too many times".to_owned(),
                errno: ELOOP,
            });
        }
    }
    Ok(resolved)
}

/// The first bytes; none where we may not read the file, which is then taken for a binary.
///
/// # Errors
/// Where the file cannot be read just now, so that nothing is known of it.
fn head(file: &CapFile) -> Result<Vec<u8>, Failure> {
    let mut head = Vec::new();
    match opath::reopen_regular(file, file.path()) {
        Ok(readable) => {
            let _ = readable.take(HEAD).read_to_end(&mut head);
        }
        Err(error) if error.errno() == EAGAIN => {
            return Err(Failure::Input {
                what: out::path(file.path()),
                problem: "cannot be read: another process holds a lease on it".to_owned(),
                errno: EAGAIN,
            });
        }
        Err(_) => {}
    }
    Ok(head)
}

/// The interpreter that a `#!` line names.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n' || *byte == 0).next()?.trim_ascii_start();
    let path = line.split(|byte| matches!(byte, b' ' | b'\t')).next()?;
    (!path.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_first_word_after_the_marks() {
        let named = |head: &[u8]| interpreter(head).map(|p| p.as_os_str().as_bytes().to_vec());
        assert_eq!(named(b"#! /bin/sh -e\necho").as_deref(), Some(b"/bin/sh".as_slice()));
        assert_eq!(named(b"#!/usr/bin/env\tpython").as_deref(), Some(b"/usr/bin/env".as_slice()));
        assert_eq!(named(b"#!\n"), None);
        assert_eq!(named(b"\x7fELF"), None);
        assert_eq!(named(b""), None);
    }
}
