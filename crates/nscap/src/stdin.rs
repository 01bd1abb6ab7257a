// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capabilities from standard input, as setcap(8) takes them for `-`.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::ffi::OsStringExt as _;

use crate::cli::FileArgs;
use crate::failure::{EINVAL, EIO, Failure};

/// No text of capabilities is longer: each name six times over.
const LONGEST: usize = 8192;

/// Everything up to an empty line or the end.
pub(crate) fn caps(files: &FileArgs) -> Result<OsString, Failure> {
    let failed = |problem: &str, errno: i32| Failure::Input {
        what: "standard input".to_owned(),
        problem: problem.to_owned(),
        errno,
    };
    if files.files0_from.as_ref().is_some_and(|list| list.as_os_str() == "-") {
        return Err(failed("cannot hold both capabilities and names of files", EINVAL));
    }
    if std::io::stdin().is_terminal() {
        crate::tell("capabilities, then an empty line:");
    }
    let mut text = Vec::new();
    for byte in std::io::stdin().lock().bytes() {
        let byte = byte.map_err(|error| failed("read", error.raw_os_error().unwrap_or(EIO)))?;
        if byte == b'\n' && (text.is_empty() || text.ends_with(b"\n")) {
            break;
        }
        text.push(byte);
        if text.len() > LONGEST {
            return Err(failed("is too long for capabilities", EINVAL));
        }
    }
    if text.trim_ascii().is_empty() {
        return Err(failed("holds no capabilities", EINVAL));
    }
    Ok(OsString::from_vec(text))
}
