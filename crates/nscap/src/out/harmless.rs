// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages in one line. Names in them have quotes of their own; what a parser or the system added
//! may hold anything.

use std::borrow::Cow;

use nscap_linux::is_deceptive;

/// The text without a character that could forge a line or give a terminal orders: such ones are
/// shown as `\u{N}`.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match is_deceptive(c) {
        true => c.escape_unicode().collect::<String>(),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_one_line() {
        assert_eq!(harmless("it's so: é"), "it's so: é");
        assert_eq!(harmless("a\n\x1b[2J\u{202e}b"), "a\\u{a}\\u{1b}[2J\\u{202e}b");
    }
}
