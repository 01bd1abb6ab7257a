// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree of user namespaces as SVG: a box for each, below and to the right of its parent's.

use std::fmt::Write as _;

use super::{COLOURS, escaped};

/// A namespace of the picture.
pub(crate) struct Node {
    /// How far below the first one.
    pub(crate) depth: usize,
    /// What links lead to it by; `None` for one that has no number.
    pub(crate) inode: Option<u64>,
    /// The first line.
    pub(crate) title: String,
    /// The lines below.
    pub(crate) lines: Vec<String>,
}

/// Of a line of text at 13 pixels: how much a character takes at most, in the fonts that systems have.
const CHARACTER: usize = 9;
const LINE: usize = 20;
const PADDING: usize = 12;
const INDENT: usize = 32;
const GAP: usize = 14;
const MARGIN: usize = 16;
/// The longest line, in characters. What is cut is in the text for screen readers and tooltips.
const LONGEST: usize = 76;

const STYLE: &str = "\
text{font-family:ui-monospace,monospace;font-size:13px;fill:var(--note)}\n\
.title{font-weight:600;fill:var(--text)}\n\
.ground{fill:var(--ground)}.box{fill:var(--box);stroke:var(--line)}\n\
.arm{stroke:var(--line);stroke-width:1.5;fill:none}\n\
g:target .box{stroke:var(--link);stroke-width:4}\n";

/// The picture, a whole document or an element of a page. `title` says what it shows.
pub(crate) fn svg(title: &str, nodes: &[Node]) -> String {
    let width = nodes.iter().map(|node| x(node) + wide(node)).max().unwrap_or(0) + MARGIN;
    let tall: usize = nodes.iter().map(|node| high(node) + GAP).sum();
    let height = tall + 2 * MARGIN - GAP.min(tall);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"list\" aria-label=\"{title}\">\n<title>{title}</title>\n\
         <style>\n{COLOURS}{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n",
        title = escaped(title),
    );
    let (mut y, mut above) = (MARGIN, Vec::new());
    for node in nodes {
        above.truncate(node.depth);
        arm(node, y, above.last().copied(), &mut out);
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
    LINE * (1 + node.lines.len()) + PADDING
}

fn wide(node: &Node) -> usize {
    let lines = node.lines.iter().chain([&node.title]);
    let longest = lines.map(|line| shown(line).chars().count()).max().unwrap_or(0);
    longest * CHARACTER + 2 * PADDING
}

/// A line as it is drawn.
fn shown(line: &str) -> String {
    let line = crate::out::harmless(line);
    if line.chars().count() <= LONGEST {
        return line.into_owned();
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
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

fn one(node: &Node, y: usize, out: &mut String) {
    let (x, width, height) = (x(node), wide(node), high(node));
    let id = node.inode.map_or(String::new(), |inode| format!(" id=\"ns-{inode}\""));
    let said: Vec<&str> = node.lines.iter().chain([&node.title]).map(String::as_str).collect();
    let (last, first) = said.split_last().map_or(("", &[][..]), |(title, rest)| (*title, rest));
    let said = escaped(&format!("{last}: {}", first.join("; ")));
    let _ = writeln!(
        out,
        "<g{id} role=\"listitem\" aria-level=\"{}\" aria-label=\"{said}\"><title>{said}</title>\
         <rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>",
        node.depth + 1
    );
    for (n, line) in [&node.title].into_iter().chain(&node.lines).enumerate() {
        let class = if n == 0 { "title" } else { "line" };
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
        Node { depth, inode: Some(7), title: title.to_owned(), lines: vec!["uids none".to_owned()] }
    }

    #[test]
    fn each_box_is_below_the_one_before_and_joined_to_its_parent() {
        let svg = svg("t", &[node(0, "a"), node(1, "b"), node(2, "c"), node(1, "d")]);
        // Four boxes, three arms; the last arm begins where the first box ends.
        assert_eq!((svg.matches("<g ").count(), svg.matches("class=\"arm\"").count()), (4, 3));
        let end = MARGIN + high(&node(0, "a"));
        assert_eq!(svg.matches(&format!("M{},{end} ", MARGIN + INDENT / 2)).count(), 2, "{svg}");
    }

    #[test]
    fn a_long_line_is_cut_where_it_is_drawn_and_whole_where_it_is_read() {
        let long = "x".repeat(500);
        let svg = svg("t", &[node(0, &long)]);
        assert!(svg.contains(&format!("aria-label=\"{long}: ")) && svg.contains("x…</text>"));
        assert!(!svg.contains(&format!(">{long}</text>")));
    }
}
