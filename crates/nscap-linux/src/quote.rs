// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text that a stranger chose, made harmless: names of files and processes may hold control
//! characters, characters that turn the direction of what follows, and characters without any
//! width. Where a name has one it is written as `$'...'` with each such byte as `\xNN`, which
//! shells read back as the same name.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter, Write as _};
use std::os::unix::ffi::OsStrExt as _;

/// Whether a terminal or an editor could show the character as nothing, as an order, or elsewhere
/// than where it is: Unicode's categories Cc (C0, DEL, C1), Cf, Zl and Zp, and what its property
/// Default_Ignorable_Code_Point adds.
///
/// ```
/// use nscap_linux::is_deceptive;
/// assert!(['\x1b', '\u{7f}', '\u{9b}', '\u{202e}', '\u{200b}'].into_iter().all(is_deceptive));
/// assert!(!['a', ' ', 'é', '語', '🦀'].into_iter().any(is_deceptive));
/// ```
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    c.is_control() || is_format(c) || is_ignorable(c)
}

/// Cf, Zl and Zp.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}')
}

/// Shows text on one line so that it cannot forge another, with quotes as a shell takes them.
///
/// ```
/// use std::path::Path;
/// use nscap_linux::Quotable as _;
/// assert_eq!(Path::new("/bin/ping").maybe_quote().to_string(), "/bin/ping");
/// assert_eq!("a b".maybe_quote().to_string(), "'a b'");
/// assert_eq!("a\u{200b}b".maybe_quote().to_string(), r"$'a\xE2\x80\x8B'$'b'");
/// assert_eq!("ping".quote().to_string(), "'ping'");
/// ```
pub trait Quotable {
    /// With quotes where a shell would need them.
    fn maybe_quote(&self) -> Quoted<'_>;

    /// With quotes in any case.
    fn quote(&self) -> Quoted<'_>;
}

impl<T: AsRef<OsStr> + ?Sized> Quotable for T {
    fn maybe_quote(&self) -> Quoted<'_> {
        Quoted { text: self.as_ref(), always: false }
    }

    fn quote(&self) -> Quoted<'_> {
        Quoted { text: self.as_ref(), always: true }
    }
}

/// Text as [`Quotable`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'t> {
    text: &'t OsStr,
    always: bool,
}

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut chunks = self.text.as_bytes().utf8_chunks();
        if chunks.any(|chunk| chunk.valid().chars().any(is_deceptive)) {
            return escaped(self.text.as_bytes(), f);
        }
        match self.always {
            true => os_display::Quotable::quote(self.text).fmt(f),
            false => os_display::Quotable::maybe_quote(self.text).fmt(f),
        }
    }
}

/// bash(1), QUOTING: `$'string'`.
fn escaped(text: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("$'")?;
    let mut after_escape = false;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                '\\' | '\'' => write!(f, "\\{c}")?,
                c if is_deceptive(c) => hex(c.encode_utf8(&mut [0; 4]).as_bytes(), f)?,
                // Some shells would take it for a digit of the escape before it.
                c if after_escape && c.is_ascii_hexdigit() => write!(f, "'$'{c}")?,
                c => f.write_char(c)?,
            }
            after_escape = is_deceptive(c) && !matches!(c, '\n' | '\t' | '\r');
        }
        hex(chunk.invalid(), f)?;
        after_escape |= !chunk.invalid().is_empty();
    }
    f.write_char('\'')
}

fn hex(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02X}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_shown() {
        let names: [&[u8]; 9] = [
            b"plain",
            "a\u{200b}0'\\b".as_bytes(),
            "\u{2067}balanced\u{2069}".as_bytes(),
            b"\xff\xe2\x80\x8bf\xfe1",
            "c1 \u{9b}31m\u{7f}".as_bytes(),
            b"tab\tline\nreturn\rend",
            "\u{e0041}\u{ad}".as_bytes(),
            b"it's \"quoted\"",
            b"\xc2\x9b\xc2",
        ];
        for name in names {
            let shown = OsStr::from_bytes(name).maybe_quote().to_string();
            assert!(!shown.chars().any(is_deceptive), "{shown:?}");
            let printed = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {shown}")])
                .output()
                .unwrap();
            assert_eq!(printed.stdout, name, "{shown}");
        }
    }
}
