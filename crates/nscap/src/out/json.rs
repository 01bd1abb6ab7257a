// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one writer of JSON. Names that strangers chose are in its strings; whatever a terminal or an
//! editor could take for an order, or show as nothing, is written as `\uXXXX`.

use std::io::{self, Write};

use nscap_linux::is_deceptive;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// One object in one line, without its end.
pub(crate) fn line(object: &impl Serialize) -> serde_json::Result<String> {
    let mut line = Vec::new();
    object.serialize(&mut Serializer::with_formatter(&mut line, Harmless))?;
    // A serializer writes text only.
    Ok(String::from_utf8_lossy(&line).into_owned())
}

struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_deceptive(*c)) {
            CompactFormatter.write_string_fragment(writer, &fragment[plain..at])?;
            // Above U+FFFF that takes two, as in UTF-16.
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        CompactFormatter.write_string_fragment(writer, &fragment[plain..])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_deceptive_character_is_escaped_and_comes_back() {
        for c in ('\0'..=char::MAX).filter(|c| is_deceptive(*c)) {
            let text = format!("a{c}b{c}{c}é");
            let object = BTreeMap::from([(text.clone(), text)]);
            let line = line(&object).unwrap();
            assert!(!line.chars().any(is_deceptive), "{line:?}");
            assert_eq!(serde_json::from_str::<BTreeMap<String, String>>(&line).unwrap(), object);
        }
    }

    #[test]
    fn the_rest_is_as_it_was() {
        let text = "\"\\/\u{7ff}語🦀 <&'";
        assert_eq!(line(&text).unwrap(), serde_json::to_string(text).unwrap());
    }
}
