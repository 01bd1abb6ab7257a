// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drawings as text, and the SVG that is made of them: rooms, arrows between them, and words.
//!
//! A line is one of
//!
//! - `size WIDTH HEIGHT TITLE`, the first one
//! - `room KIND ID X Y WIDTH HEIGHT: TITLE | LINE | LINE`; KIND is the class of the style, and the
//!   words must fit
//! - `arrow FROM TO x=X [LABEL]` straight down or up at X, or `y=Y` straight to the left or right
//! - `text X Y KIND: WORDS`
//!
//! Blank lines and those that begin with `#` are left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Light and dark by what the reader's system asks for; fonts that each system has.
const STYLE: &str = "\
text{font-family:system-ui,sans-serif;font-size:13px;fill:#1f2328}
.title{font-weight:600;font-size:14px}.mono{font-family:ui-monospace,monospace;font-size:12px}
.note{fill:#57606a}.head{font-weight:600;fill:#57606a}
.ground{fill:#ffffff}.room{fill:#f6f8fa;stroke:#8c959f}
.core{fill:#ddf4ff;stroke:#0969da}.outside{fill:#ffffff;stroke:#8c959f;stroke-dasharray:4 3}
.yes{fill:#dafbe1;stroke:#1a7f37}.no{fill:#ffebe9;stroke:#cf222e}
.arrow{stroke:#57606a;stroke-width:1.5;fill:none}.tip{fill:#57606a}
@media(prefers-color-scheme:dark){
text{fill:#e6edf3}.note,.head{fill:#9198a1}
.ground{fill:#0d1117}.room{fill:#161b22;stroke:#6e7681}
.core{fill:#0b2545;stroke:#58a6ff}.outside{fill:#0d1117;stroke:#6e7681}
.yes{fill:#04260f;stroke:#3fb950}.no{fill:#3c0614;stroke:#f85149}
.arrow{stroke:#9198a1}.tip{fill:#9198a1}}";

/// One box of a drawing.
struct Room {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

/// A drawing that is read line by line.
#[derive(Default)]
pub(crate) struct Drawing {
    svg: String,
    rooms: BTreeMap<String, Room>,
    /// From which room to which.
    pub(crate) arrows: Vec<(String, String)>,
}

impl Drawing {
    /// Reads the text of a drawing.
    pub(crate) fn read(text: &str) -> Result<Drawing, String> {
        let mut drawing = Drawing::default();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let done = drawing.line(line);
            done.ok_or_else(|| format!("line {}: {line}", number + 1))?;
        }
        drawing.svg.push_str("</svg>\n");
        Ok(drawing)
    }

    /// The drawing as SVG.
    pub(crate) fn svg(&self) -> &str {
        &self.svg
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (verb, rest) = line.split_once(' ')?;
        match verb {
            "size" => self.size(rest),
            "room" => self.room(rest),
            "arrow" => self.arrow(rest),
            "text" => self.text(rest),
            _ => None,
        }
    }

    fn size(&mut self, rest: &str) -> Option<()> {
        let mut words = rest.splitn(3, ' ');
        let (width, height) = (number(words.next()?)?, number(words.next()?)?);
        let title = escaped(words.next()?);
        writeln!(
            self.svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>\n{STYLE}\n</style>\n\
             <rect class=\"ground\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>"
        )
        .ok()
    }

    fn room(&mut self, rest: &str) -> Option<()> {
        let (head, words) = rest.split_once(": ")?;
        let [kind, id, x, y, width, height] =
            head.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let room =
            Room { x: number(x)?, y: number(y)?, width: number(width)?, height: number(height)? };
        let Room { x, y, width, height } = room;
        writeln!(
            self.svg,
            "<rect class=\"{kind}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>"
        )
        .ok()?;
        for (index, words) in words.split(" | ").enumerate() {
            let class = if index == 0 { "title" } else { "note" };
            let wide = if index == 0 { 80 } else { 70 }
                * i32::try_from(words.trim_matches('`').len()).ok()?
                / 10;
            if wide + 20 > width {
                return None;
            }
            let below = y + 22 + 18 * i32::try_from(index).ok()?;
            self.words(x + 12, below, class, words)?;
        }
        self.rooms.insert(id.to_owned(), room).is_none().then_some(())
    }

    fn arrow(&mut self, rest: &str) -> Option<()> {
        let mut words = rest.splitn(4, ' ');
        let (from, to, at) = (words.next()?, words.next()?, words.next()?);
        let (one, other) = (self.rooms.get(from)?, self.rooms.get(to)?);
        let (axis, at) = at.split_once('=')?;
        let at = number(at)?;
        let (start, end, tip, label) = if axis == "x" {
            let down = other.y > one.y;
            let start = (at, if down { one.y + one.height } else { one.y });
            let end = (at, if down { other.y } else { other.y + other.height });
            let back = if down { -8 } else { 8 };
            let tip = [end, (at - 4, end.1 + back), (at + 4, end.1 + back)];
            (start, end, tip, (at + 8, (start.1 + end.1) / 2 + 4))
        } else {
            let right = other.x > one.x;
            let start = (if right { one.x + one.width } else { one.x }, at);
            let end = (if right { other.x } else { other.x + other.width }, at);
            let back = if right { -8 } else { 8 };
            let tip = [end, (end.0 + back, at - 4), (end.0 + back, at + 4)];
            (start, end, tip, (start.0.min(end.0) + 6, at - 6))
        };
        writeln!(
            self.svg,
            "<path class=\"arrow\" d=\"M{},{} L{},{}\"/>",
            start.0, start.1, end.0, end.1
        )
        .ok()?;
        let [a, b, c] = tip.map(|(x, y)| format!("{x},{y}"));
        writeln!(self.svg, "<path class=\"tip\" d=\"M{a} L{b} L{c} Z\"/>").ok()?;
        if let Some(words) = words.next() {
            self.words(label.0, label.1, "note", words)?;
        }
        self.arrows.push((from.to_owned(), to.to_owned()));
        Some(())
    }

    fn text(&mut self, rest: &str) -> Option<()> {
        let (head, words) = rest.split_once(": ")?;
        let [x, y, kind] = head.split(' ').collect::<Vec<_>>().try_into().ok()?;
        self.words(number(x)?, number(y)?, kind, words)
    }

    /// Words in back quotes alone are in the other font.
    fn words(&mut self, x: i32, y: i32, class: &str, words: &str) -> Option<()> {
        let code = words.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        let font = if code.is_some() { " mono" } else { "" };
        let words = escaped(code.unwrap_or(words));
        writeln!(self.svg, "<text class=\"{class}{font}\" x=\"{x}\" y=\"{y}\">{words}</text>").ok()
    }
}

fn number(word: &str) -> Option<i32> {
    word.parse().ok()
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
