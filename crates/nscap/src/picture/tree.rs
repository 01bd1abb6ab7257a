// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boxes as SVG: a tree of user namespaces, each below and to the right of its parent's, or steps that
//! follow each other.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use super::{COLOURS, escaped};

/// What a box is joined to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Joined {
    /// The last box above that is one step less deep.
    Parent,
    /// The box before.
    Before,
    Nothing,
}

/// A box of the picture: a namespace, or a step.
pub(crate) struct Node {
    /// How far below the first one.
    pub(crate) depth: usize,
    /// What links lead to it by; `None` for one that has no number.
    pub(crate) inode: Option<u64>,
    /// The first line.
    pub(crate) title: String,
    /// The lines below.
    pub(crate) lines: Vec<String>,
    /// After these, what is lost.
    pub(crate) lost: Vec<String>,
    pub(crate) joined: Joined,
}

impl Node {
    /// Each line with its class.
    fn all(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let lines = self.lines.iter().map(|line| ("line", line));
        let lost = self.lost.iter().map(|line| ("lost", line));
        [("title", &self.title)].into_iter().chain(lines).chain(lost)
    }
}

/// Of a line of text at 13 pixels: how much a column takes at most, in the fonts that systems have.
const CHARACTER: usize = 9;
const LINE: usize = 20;
const PADDING: usize = 12;
const INDENT: usize = 32;
const GAP: usize = 14;
const MARGIN: usize = 16;
/// The longest line, in columns of a terminal. What is cut is in the text for screen readers and tooltips.
const LONGEST: usize = 76;

const STYLE: &str = "\
text{font-family:ui-monospace,monospace;font-size:13px;white-space:pre;fill:var(--note)}\n\
.title{font-weight:600;fill:var(--text)}.lost{font-weight:600;fill:var(--lost)}\n\
.ground{fill:var(--ground)}.box{fill:var(--box);stroke:var(--line)}\n\
.arm{stroke:var(--line);stroke-width:1.5;fill:none}\n\
g:target .box{stroke:var(--link);stroke-width:4}\n";

/// The picture, a whole document or an element of a page. `title` says what it shows, and `desc` what
/// comes of it.
pub(crate) fn svg(title: &str, desc: &str, nodes: &[Node]) -> String {
    let width = nodes.iter().map(|node| x(node) + wide(node)).max().unwrap_or(0) + MARGIN;
    let tall: usize = nodes.iter().map(|node| high(node) + GAP).sum();
    let height = tall + 2 * MARGIN - GAP.min(tall);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"list\" aria-label=\"{title}\">\n<title>{title}</title>\n<desc>{desc}</desc>\n\
         <style>\n{COLOURS}{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n",
        title = escaped(title),
        desc = escaped(desc),
    );
    let (mut y, mut above) = (MARGIN, Vec::new());
    for node in nodes {
        let before = (y > MARGIN).then(|| y - GAP);
        above.truncate(node.depth);
        match node.joined {
            Joined::Parent => arm(node, y, above.last().copied(), &mut out),
            Joined::Before => follow(node, y, before, &mut out),
            Joined::Nothing => {}
        }
        one(node, y, &mut out);
        y += high(node);
        above.push(y);
        y += GAP;
    }
    out.push_str("</svg>\n");
    out
}

fn x(node: &Node) -> usize {
    MARGIN + INDENT * node.depth
}

fn high(node: &Node) -> usize {
    LINE * node.all().count() + PADDING
}

fn wide(node: &Node) -> usize {
    let longest = node.all().map(|(_, line)| columns(&shown(line))).max().unwrap_or(0);
    longest * CHARACTER + 2 * PADDING
}

/// How much room a text needs: no font is known, so that each character has a column at least.
fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(1).max(1)).sum()
}

/// A line as it is drawn.
fn shown(line: &str) -> String {
    let line = crate::out::harmless(line);
    if columns(&line) <= LONGEST {
        return line.into_owned();
    }
    let mut room = LONGEST - 1;
    let fits = line.chars().take_while(|c| {
        let left = room.checked_sub(c.width().unwrap_or(1).max(1));
        room = left.unwrap_or(0);
        left.is_some()
    });
    fits.chain(['…']).collect()
}

/// The line from the parent's box, whose lower edge is at `from`.
fn arm(node: &Node, y: usize, from: Option<usize>, out: &mut String) {
    let Some(from) = from else { return };
    let (start, end, at) = (x(node) - INDENT / 2, x(node), y + high(node) / 2);
    let _ = writeln!(
        out,
        "<path class=\"arm\" aria-hidden=\"true\" d=\"M{start},{from} V{at} H{end}\"/>"
    );
}

/// The line from the box before, whose lower edge is at `from`.
fn follow(node: &Node, y: usize, from: Option<usize>, out: &mut String) {
    let Some(from) = from else { return };
    let at = x(node) + INDENT / 2;
    let _ = writeln!(out, "<path class=\"arm\" aria-hidden=\"true\" d=\"M{at},{from} V{y}\"/>");
}

fn one(node: &Node, y: usize, out: &mut String) {
    let (x, width, height) = (x(node), wide(node), high(node));
    let id = node.inode.map_or(String::new(), |inode| format!(" id=\"ns-{inode}\""));
    let said: Vec<&str> = node.lines.iter().chain(&node.lost).map(String::as_str).collect();
    let said = match node.joined {
        Joined::Parent => format!("{}: {}", node.title, said.join("; ")),
        // Lines that were broken.
        Joined::Before | Joined::Nothing => format!("{}; {}", node.title, said.join("; ")),
    };
    let said = escaped(&said.replace(";   ", " "));
    let _ = writeln!(
        out,
        "<g{id} role=\"listitem\" aria-level=\"{}\" aria-label=\"{said}\"><title>{said}</title>\
         <rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>",
        node.depth + 1
    );
    for (n, (class, line)) in node.all().enumerate() {
        let (x, y) = (x + PADDING, y + LINE * (n + 1));
        let line = escaped(&shown(line));
        let _ = writeln!(out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{line}</text>");
    }
    out.push_str("</g>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(depth: usize, title: &str) -> Node {
        Node {
            depth,
            inode: Some(7),
            title: title.to_owned(),
            lines: vec!["uids none".to_owned()],
            lost: Vec::new(),
            joined: Joined::Parent,
        }
    }

    #[test]
    fn each_box_is_below_the_one_before_and_joined_to_its_parent() {
        let svg = svg("t", "d", &[node(0, "a"), node(1, "b"), node(2, "c"), node(1, "d")]);
        // Four boxes, three arms; the last arm begins where the first box ends.
        assert_eq!((svg.matches("<g ").count(), svg.matches("class=\"arm\"").count()), (4, 3));
        let end = MARGIN + high(&node(0, "a"));
        assert_eq!(svg.matches(&format!("M{},{end} ", MARGIN + INDENT / 2)).count(), 2, "{svg}");
    }

    #[test]
    fn a_long_line_is_cut_where_it_is_drawn_and_whole_where_it_is_read() {
        let long = "x".repeat(500);
        let svg = svg("t", "d", &[node(0, &long)]);
        assert!(svg.contains(&format!("aria-label=\"{long}: ")) && svg.contains("x…</text>"));
        assert!(!svg.contains(&format!(">{long}</text>")));
    }
}
