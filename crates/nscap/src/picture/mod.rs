// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pictures: the tree of user namespaces and an explanation as SVG, and a tree of files with capabilities
//! as one HTML page. All hold all that they need, have no script, follow the reader's choice of light or dark, and are
//! read aloud in the order in which they are seen. All text from outside goes through [`escaped`].

mod page;
mod tree;

pub(crate) use page::{FileRow, Page, Row};
pub(crate) use tree::{Joined, Node, svg};

/// Text for SVG and HTML, in an element or in an attribute with quotes. Characters that XML cannot
/// have, and those that deceive a reader, are shown as `\u{N}`.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in crate::out::harmless(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                out.extend(c.escape_unicode());
            }
            _ => out.push(c),
        }
    }
    out
}

/// Light, then dark; text has a contrast of at least 7 to 1 on what is under it.
const COLOURS: &str = "\
:root{color-scheme:light dark;--ground:#ffffff;--box:#f6f8fa;--line:#6e7781;--text:#1f2328;--note:#424a53;--link:#0550ae;--mark:#ddf4ff;--lost:#8f0a1f}\n\
@media(prefers-color-scheme:dark){:root{--ground:#0d1117;--box:#161b22;--line:#8b949e;--text:#e6edf3;--note:#b1bac4;--link:#79c0ff;--mark:#0b2545;--lost:#ffa198}}\n";

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn no_text_becomes_markup() {
        let hostile = "</title><script>alert('1')</script>&\"\u{1}\n\u{202e}\u{ffff}";
        let shown = escaped(hostile);
        assert!(!shown.contains(['<', '>', '"', '\'', '\n', '\u{1}', '\u{202e}', '\u{ffff}']));
        assert!(shown.starts_with("&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39;)"), "{shown}");
        assert!(shown.ends_with("&amp;&quot;\\u{1}\\u{a}\\u{202e}\\u{ffff}"), "{shown}");
    }
}
