// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few requests of man(7) that our own sections need. Text is escaped here and nowhere else.

/// A piece of a page.
#[derive(Default)]
pub(super) struct Roff(pub(super) String);

/// Text that means itself: no request, no escape, and a hyphen that can be copied.
pub(super) fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    // A line that begins with a dot would be a request.
    text.split('\n')
        .map(|line| match line.starts_with('.') {
            true => format!("\\&{line}"),
            false => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

pub(super) fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", plain(text))
}

pub(super) fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", plain(text))
}

impl Roff {
    /// The first line of a page.
    pub(super) fn title(&mut self, name: &str, section: &str) {
        let name = plain(&name.to_uppercase());
        let version = env!("CARGO_PKG_VERSION");
        self.0.push_str(&format!(".TH \"{name}\" {section} \"\" \"nscap {version}\" \"nscap\"\n"));
        // Names of fields and options are searched for: none is hyphenated.
        self.0.push_str(".nh\n.ad l\n");
    }

    pub(super) fn section(&mut self, name: &str) {
        self.0.push_str(&format!(".SH \"{}\"\n", plain(name)));
    }

    /// Text that has been made by [`plain`], [`bold`] and [`italic`].
    pub(super) fn text(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.0.push_str(".PP\n");
        self.text(text);
    }

    /// A term and what it is.
    pub(super) fn item(&mut self, term: &str, text: &str) {
        self.0.push_str(".TP\n");
        self.text(term);
        self.text(text);
    }

    /// Lines as they are.
    pub(super) fn lines(&mut self, lines: &str) {
        self.0.push_str(".PP\n.nf\n");
        self.text(&plain(lines));
        self.0.push_str(".fi\n");
    }

    /// Further pages.
    pub(super) fn see_also(&mut self, pages: &[&str]) {
        self.section("SEE ALSO");
        let page = |page: &&str| match page.split_once('(') {
            Some((name, section)) => format!("{}({}", bold(name), plain(section)),
            None => bold(page),
        };
        self.text(&pages.iter().map(page).collect::<Vec<_>>().join(",\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_itself() {
        assert_eq!(plain(".SH a-b\\c"), "\\&.SH a\\-b\\ec");
        assert_eq!(bold("-r"), "\\fB\\-r\\fR");
    }
}
