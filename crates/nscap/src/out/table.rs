// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rows in columns. On a terminal that is too narrow they are made to fit as lsns(8) does it: some
//! columns are cut, others go on in further lines. What is no terminal gets every row whole, in one
//! line.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::HEAD;

/// Cells that are wider than this stick out of their column.
const ALIGNED: usize = 256;

/// No column is made narrower than this.
const NARROWEST: usize = 5;

/// No column whose text goes on in further lines is made narrower than this.
const READABLE: usize = 20;

/// Blanks between two columns.
const GAP: usize = 2;

/// What becomes of a column that is too wide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    /// It stays.
    Whole,
    /// Its cells are cut.
    Cut,
    /// Its cells go on in further lines, after a blank.
    Words,
    /// The same, after a comma.
    List,
}

/// Rows whose columns are two blanks apart; the last one is as long as it is.
#[derive(Default)]
pub(crate) struct Table {
    indent: usize,
    head: Option<Vec<String>>,
    rows: Vec<Vec<String>>,
    /// By column. Without any, the last column has its words in further lines.
    fit: Vec<Fit>,
}

impl Table {
    pub(crate) fn indented(by: usize) -> Table {
        Table { indent: by, ..Table::default() }
    }

    /// With the names of the columns, and what becomes of each that is too wide.
    pub(crate) fn with_head(columns: &[(&str, Fit)]) -> Table {
        Table {
            head: Some(columns.iter().map(|(name, _)| (*name).to_owned()).collect()),
            fit: columns.iter().map(|(_, fit)| *fit).collect(),
            ..Table::default()
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn all(&self) -> impl Iterator<Item = &Vec<String>> {
        self.head.iter().chain(&self.rows)
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.all().filter_map(|row| row.get(column));
        // One long name must not make every row as long.
        cells.map(|cell| width(cell)).filter(|width| *width <= ALIGNED).max().unwrap_or(0)
    }

    fn fit(&self, column: usize, columns: usize) -> Fit {
        let last = if column + 1 == columns { Fit::Words } else { Fit::Whole };
        self.fit.get(column).copied().unwrap_or(last)
    }

    /// All rows as text, made for a terminal with so many columns of characters.
    pub(super) fn text(&self, terminal: Option<usize>) -> String {
        let mut text = String::new();
        let (head, rows) = self.lines_for(terminal);
        head.iter().for_each(|line| text.push_str(&format!("{HEAD}{line}{HEAD:#}\n")));
        rows.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text
    }

    /// The names of the columns and the rows as lines, made for a terminal with so many columns of
    /// characters.
    pub(crate) fn lines_for(&self, terminal: Option<usize>) -> (Vec<String>, Vec<String>) {
        let columns = self.all().map(Vec::len).max().unwrap_or(0);
        let fits: Vec<Fit> = (0..columns).map(|column| self.fit(column, columns)).collect();
        let mut widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        let fitted = terminal.is_some_and(|terminal| self.narrow(&mut widths, &fits, terminal));
        let lines = |row: &Vec<String>| self.lines(row, &widths, fitted.then_some(&fits));
        let head = self.head.iter().flat_map(lines).collect();
        (head, self.rows.iter().flat_map(lines).collect())
    }

    /// Takes from the widest column that may be narrower, until all fit or none may. Gives whether
    /// any did.
    fn narrow(&self, widths: &mut [usize], fits: &[Fit], terminal: usize) -> bool {
        let mut narrowed = false;
        loop {
            let gaps = GAP * widths.len().saturating_sub(1);
            let whole = self.indent + gaps + widths.iter().sum::<usize>();
            let least = |fit: Fit| if fit == Fit::Words { READABLE } else { NARROWEST };
            let may = |column: &usize| {
                fits.get(*column).is_some_and(|fit| {
                    *fit != Fit::Whole && widths.get(*column).is_some_and(|w| *w > least(*fit))
                })
            };
            let widest = (0..widths.len()).filter(may).max_by_key(|column| widths.get(*column));
            match widest.and_then(|column| widths.get_mut(column)) {
                Some(width) if whole > terminal => *width -= 1,
                _ => return narrowed,
            }
            narrowed = true;
        }
    }

    /// One row: a line, or more where cells are made to fit.
    fn lines(&self, row: &[String], widths: &[usize], fits: Option<&Vec<Fit>>) -> Vec<String> {
        let cells: Vec<Vec<String>> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| match fits.and_then(|fits| fits.get(column)) {
                None => vec![cell.clone()],
                Some(fit) => fitted(cell, *fit, widths.get(column).copied().unwrap_or(ALIGNED)),
            })
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        (0..height)
            .map(|number| {
                let mut line = " ".repeat(self.indent);
                for (cell, wide) in cells.iter().zip(widths) {
                    let part = cell.get(number).map_or("", String::as_str);
                    line.push_str(part);
                    line.push_str(&" ".repeat(wide.saturating_sub(width(part)) + GAP));
                }
                line.trim_end().to_owned()
            })
            .collect()
    }
}

impl std::fmt::Display for Table {
    /// Every row whole, in one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text(None))
    }
}

/// How many columns of characters a text takes; what makes colours takes none.
pub(crate) fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// A cell in lines of a width. A word without a place to break makes its line longer.
fn fitted(cell: &str, fit: Fit, wide: usize) -> Vec<String> {
    if width(cell) <= wide {
        return vec![cell.to_owned()];
    }
    match fit {
        Fit::Whole => vec![cell.to_owned()],
        Fit::Cut => vec![cut(cell, wide)],
        Fit::Words => broken(cell.split_inclusive(' '), wide),
        Fit::List => broken(cell.split_inclusive(','), wide),
    }
}

/// As much of a text as has room in so many columns.
pub(crate) fn cut(cell: &str, wide: usize) -> String {
    let mut left = wide;
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    cell.chars().take_while(fits).collect()
}

fn broken<'c>(pieces: impl Iterator<Item = &'c str>, wide: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if line.is_empty() || width(line) + width(piece.trim_end()) <= wide => {
                line.push_str(piece);
            }
            _ => lines.push(piece.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        table.row([
            "/usr/bin/ping".into(),
            "kuid 100000".into(),
            "a very long text in words".into(),
        ]);
        table.row(["/x".into(), "host".into(), "short".into()]);
        table
    }

    #[test]
    fn what_is_no_terminal_or_wide_enough_gets_whole_rows() {
        let whole = "/usr/bin/ping  kuid 100000  a very long text in words\n\
            /x             host         short\n";
        assert_eq!(table().text(None), whole);
        assert_eq!(table().text(Some(53)), whole);
    }

    #[test]
    fn the_last_column_goes_on_in_further_lines() {
        let narrow = "/usr/bin/ping  kuid 100000  a very long text in\n\
            \u{20}                           words\n\
            /x             host         short\n";
        assert_eq!(table().text(Some(50)), narrow);
        // Never narrower than can be read.
        assert_eq!(table().text(Some(10)), narrow);
    }

    #[test]
    fn columns_are_cut_and_lists_are_broken_where_that_is_said() {
        let mut table = Table::with_head(&[("NAME", Fit::Cut), ("IDS", Fit::List)]);
        table.row(["a-long-name".into(), "0:1:1,1:100:5,7:7:7".into()]);
        let text = anstream::adapter::strip_str(&table.text(Some(20))).to_string();
        let lines =
            ["NAME       IDS", "a-long-na  0:1:1,", "           1:100:5,", "           7:7:7"];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }
}
