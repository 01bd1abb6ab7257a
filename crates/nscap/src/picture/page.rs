// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files with capabilities as one HTML page: a table of what each holds and in which namespaces it
//! holds, and the tree of namespaces that its links lead to.

use std::fmt::Write as _;

use super::{COLOURS, Node, escaped, svg};
use crate::ns::BELOW;

/// A file of the table.
pub(crate) struct FileRow {
    pub(crate) path: String,
    pub(crate) rows: Vec<Row>,
}

/// One grant of a file, or what else it has.
pub(crate) struct Row {
    /// Its root: `host`, `kuid N`.
    pub(crate) of: String,
    pub(crate) caps: String,
    /// Its holders in words.
    pub(crate) holders: String,
    /// Of a grant: the namespaces in which execve takes it, by their inode numbers.
    pub(crate) holds_in: Option<Vec<u64>>,
}

/// All that a page shows.
pub(crate) struct Page {
    /// The trees that were looked at.
    pub(crate) places: Vec<String>,
    pub(crate) files: Vec<FileRow>,
    pub(crate) namespaces: Vec<Node>,
    /// Why the answer may not be whole.
    pub(crate) notes: Vec<String>,
}

const STYLE: &str = "\
body{margin:0;background:var(--ground);color:var(--text);font:1rem/1.5 system-ui,sans-serif}\n\
main{padding:1rem;max-width:90rem;margin:auto}\n\
h1{font-size:1.5rem}h2{font-size:1.25rem}h1,td,th{overflow-wrap:anywhere}\n\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\n\
th,td{border:1px solid var(--line);padding:.4rem .6rem;text-align:left;vertical-align:top}\n\
thead th{background:var(--box)}tbody th{font-weight:600}code,tbody th{font-family:ui-monospace,monospace}\n\
a{color:var(--link)}.note{color:var(--note)}a:focus-visible,.wide:focus-visible{outline:3px solid var(--link)}\n\
@media(max-width:50rem){table,tbody,tr,td,tbody th{display:block}thead{position:absolute;left:-200vw}\n\
tbody th{background:var(--box)}td::before{content:attr(data-head) \": \";color:var(--note)}}\n";

const HEADS: [&str; 5] = ["File", "Belongs to", "Capabilities", "Holders", "Holds in namespaces"];

impl Page {
    /// The page as text.
    pub(crate) fn html(&self) -> String {
        let title = escaped(&format!("Capabilities in {}", self.places.join(", ")));
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{COLOURS}{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        );
        let _ = writeln!(out, "<p>{}</p>", self.summary());
        self.notes.iter().for_each(|note| {
            let _ = writeln!(out, "<p class=\"note\">{}</p>", escaped(note));
        });
        if !self.files.is_empty() {
            self.table(&mut out);
        }
        out.push_str("<h2 id=\"namespaces\">User namespaces</h2>\n<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-labelledby=\"namespaces\">\n");
        out.push_str(&svg("User namespaces, each below its parent", BELOW, &self.namespaces));
        out.push_str("</div>\n</main>\n</body>\n</html>\n");
        out
    }

    fn summary(&self) -> String {
        let (files, all) = (self.files.len(), self.namespaces.len());
        let rows = self.files.iter().flat_map(|file| &file.rows);
        let grants = rows.filter(|row| row.holds_in.is_some()).count();
        format!(
            "{files} file(s) with {grants} grant(s); {all} live user namespace(s). A grant of a root holds in the \
             namespaces of that root and below them, unless a nearer grant or a host value takes its place."
        )
    }

    fn table(&self, out: &mut String) {
        out.push_str("<h2>Files</h2>\n<table>\n<thead><tr>");
        HEADS.iter().for_each(|head| {
            let _ = write!(out, "<th scope=\"col\">{head}</th>");
        });
        out.push_str("</tr></thead>\n<tbody>\n");
        for file in &self.files {
            for (n, row) in file.rows.iter().enumerate() {
                out.push_str("<tr>");
                if n == 0 {
                    let (rows, path) = (file.rows.len(), escaped(&file.path));
                    let _ = write!(out, "<th scope=\"rowgroup\" rowspan=\"{rows}\">{path}</th>");
                }
                self.cells(row, out);
                out.push_str("</tr>\n");
            }
        }
        out.push_str("</tbody>\n</table>\n");
    }

    fn cells(&self, row: &Row, out: &mut String) {
        let [_, of, caps, holders, holds] = HEADS;
        let _ = write!(
            out,
            "<td data-head=\"{of}\">{}</td><td data-head=\"{caps}\"><code>{}</code></td>\
             <td data-head=\"{holders}\">{}</td><td data-head=\"{holds}\">",
            escaped(&row.of),
            escaped(&row.caps),
            escaped(&row.holders)
        );
        let all = self.namespaces.iter().filter(|node| node.inode.is_some()).count();
        let link = |inode: &u64| format!("<a href=\"#ns-{inode}\">{inode}</a>");
        out.push_str(&match row.holds_in.as_deref() {
            None => "-".to_owned(),
            Some([]) => "none".to_owned(),
            Some(held) if held.len() == all => format!("<a href=\"#namespaces\">all {all}</a>"),
            Some(held) => held.iter().map(link).collect::<Vec<_>>().join(", "),
        });
        out.push_str("</td>");
    }
}
