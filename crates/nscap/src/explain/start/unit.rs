// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unit files as systemd merges them (systemd.unit(5), systemd.syntax(7)): the file, and the
//! drop-ins of its name, of its prefixes and of its type. Read from the files, so that no manager
//! has to run; `systemctl cat UNIT` shows the same ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{input, text_of};
use crate::failure::{ENOENT, Failure};
use crate::out;

/// Where the system manager looks, the first one first.
const DIRECTORIES: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// The settings of one section, in order.
#[derive(Debug, Default)]
pub(super) struct Unit {
    pub(super) name: String,
    /// The files that were read, in order.
    pub(super) files: Vec<PathBuf>,
    settings: Vec<(String, String)>,
}

impl Unit {
    /// Reads a unit by its name or the path of its file.
    ///
    /// # Errors
    /// ENOENT where there is none, EINVAL where it is masked or no unit file.
    pub(super) fn read(unit: &Path) -> Result<Unit, Failure> {
        let directories = directories();
        let (name, file) = match unit.to_str().filter(|name| !name.contains('/')) {
            Some(name) => {
                let name =
                    if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
                let file = find(&directories, &name);
                (name, file)
            }
            None => {
                let name = unit.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (name, unit.exists().then(|| unit.to_owned()))
            }
        };
        let missing = || Failure::Input {
            what: out::path(unit),
            problem: "no unit file".to_owned(),
            errno: ENOENT,
        };
        let file = file.ok_or_else(missing)?;
        let mut all = Unit { name, ..Unit::default() };
        let beside = unit.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut places: Vec<PathBuf> = beside.map(Path::to_owned).into_iter().collect();
        places.extend(directories);
        if std::fs::canonicalize(&file).is_ok_and(|end| end == Path::new("/dev/null")) {
            return Err(input(out::path(&file), "is masked (a link to /dev/null)"));
        }
        all.add(&file)?;
        for drop_in in drop_ins(&places, &all.name) {
            all.add(&drop_in)?;
        }
        Ok(all)
    }

    fn add(&mut self, path: &Path) -> Result<(), Failure> {
        let settings = parse(&text_of(path)?);
        self.settings.extend(settings.map_err(|line| {
            input(format!("{}, line {line}", out::path(path)), "neither a section nor a setting")
        })?);
        self.files.push(path.to_owned());
        Ok(())
    }

    /// The values of a setting, in order.
    pub(super) fn all(&self, key: &str) -> Vec<&str> {
        let own = self.settings.iter().filter(|(own, _)| own == key);
        own.map(|(_, value)| value.as_str()).collect()
    }

    /// The last value; an empty one takes what is before back.
    pub(super) fn last(&self, key: &str) -> Option<&str> {
        self.all(key).pop().filter(|value| !value.is_empty())
    }

    /// Whether a boolean is set.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.last(key).is_some_and(is_yes)
    }

    /// The values of a list, of which an empty one takes back what is before.
    pub(super) fn list(&self, key: &str) -> Vec<&str> {
        let mut list = Vec::new();
        for value in self.all(key) {
            match value {
                "" => list.clear(),
                value => list.push(value),
            }
        }
        list
    }
}

/// systemd.syntax(7), "boolean".
pub(super) fn is_yes(text: &str) -> bool {
    ["1", "yes", "y", "true", "t", "on"].contains(&text.to_ascii_lowercase().as_str())
}

/// SYSTEMD_UNIT_PATH as systemd(1) has it: with a colon at its end the usual directories follow.
fn directories() -> Vec<PathBuf> {
    let usual = DIRECTORIES.iter().map(PathBuf::from);
    let Some(path) = std::env::var("SYSTEMD_UNIT_PATH").ok().filter(|path| !path.is_empty()) else {
        return usual.collect();
    };
    let mut all: Vec<PathBuf> =
        path.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
    if path.ends_with(':') {
        all.extend(usual);
    }
    all
}

/// `foo@bar.service` is `foo@.service` where it has no file of its own.
fn find(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    let at = |name: &str| directories.iter().map(|dir| dir.join(name)).find(|path| path.exists());
    at(name).or_else(|| at(&template(name)?))
}

fn template(name: &str) -> Option<String> {
    let (prefix, rest) = name.split_once('@')?;
    let (_, kind) = rest.rsplit_once('.')?;
    Some(format!("{prefix}@.{kind}"))
}

/// The names of directories of drop-ins, the most special one first: `a-b.service.d`,
/// `a-.service.d`, `service.d`.
fn names(name: &str) -> Vec<String> {
    let Some((stem, kind)) = name.rsplit_once('.') else { return Vec::new() };
    let mut names = vec![name.to_owned()];
    names.extend(template(name));
    let prefix = stem.split('@').next().unwrap_or(stem);
    let mut dashes: Vec<usize> = prefix.match_indices('-').map(|(at, _)| at + 1).collect();
    dashes.retain(|at| *at < prefix.len());
    names.extend(dashes.iter().rev().map(|at| format!("{}.{kind}", &prefix[..*at])));
    names.push(kind.to_owned());
    names.dedup();
    names
}

/// The drop-ins, by their file names; of several with one name the first directory's.
fn drop_ins(directories: &[PathBuf], unit: &str) -> Vec<PathBuf> {
    let mut found: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for name in names(unit) {
        for dir in directories {
            let Ok(entries) = std::fs::read_dir(dir.join(format!("{name}.d"))) else { continue };
            for entry in entries.flatten() {
                if entry.path().extension().is_some_and(|end| end == "conf") {
                    found.entry(entry.file_name()).or_insert_with(|| entry.path());
                }
            }
        }
    }
    let masked =
        |path: &PathBuf| std::fs::canonicalize(path).is_ok_and(|end| end == Path::new("/dev/null"));
    found.into_values().filter(|path| !masked(path)).collect()
}

/// The settings of `[Service]`; the number of a line that is none.
fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut settings = Vec::new();
    let mut section = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((n, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let mut whole = line.to_owned();
        // A line that ends with a backslash goes on; comments between are left out.
        while whole.ends_with('\\') {
            whole.pop();
            let next = lines.by_ref().map(|(_, next)| next.trim());
            let Some(next) = { next }.find(|next| !next.starts_with(['#', ';'])) else { break };
            whole.push(' ');
            whole.push_str(next);
        }
        if let Some(name) = whole.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let (key, value) = whole.split_once('=').ok_or(n + 1)?;
        if section == "Service" {
            settings.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_drop_ins_are_those_of_the_name_and_its_prefixes() {
        assert_eq!(
            names("a-b-c.service"),
            ["a-b-c.service", "a-b-.service", "a-.service", "service"]
        );
        assert_eq!(names("a@x.service"), ["a@x.service", "a@.service", "service"]);
    }

    #[test]
    fn drop_ins_are_merged_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for made in ["high/a-b.service.d", "low/a-b.service.d", "low/a-.service.d", "low/service.d"]
        {
            std::fs::create_dir_all(at(made)).unwrap();
        }
        for file in
            ["high/a-b.service.d/20.conf", "low/a-b.service.d/20.conf", "low/a-.service.d/10.conf"]
        {
            std::fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink("/dev/null", at("low/service.d/30.conf")).unwrap();
        std::fs::write(at("low/a-b.service.d/README"), "").unwrap();
        let found = drop_ins(&[at("high"), at("low")], "a-b.service");
        assert_eq!(found, [at("low/a-.service.d/10.conf"), at("high/a-b.service.d/20.conf")]);
    }

    #[test]
    fn a_line_goes_on_and_a_section_ends() {
        let text = "[Unit]\nUser=no\n[Service]\nUser = a\\\n# no\nb\n;x\nExecStart=/a=b\n[Install]\nUser=no";
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(parse(text), Ok(vec![pair("User", "a b"), pair("ExecStart", "/a=b")]));
        assert_eq!(parse("[Service]\nnonsense"), Err(2));
        assert_eq!(parse("[Service]\nUser=a\\"), Ok(vec![pair("User", "a")]));
    }
}
