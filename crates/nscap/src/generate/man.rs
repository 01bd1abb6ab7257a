// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual: a page for each command, mount.nscap(8) and nscap-json(5), in the directories of a
//! hierarchy as man(1) searches it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::json_page;
use super::pages::{self, Page};
use super::roff::{Roff, bold, italic, plain};
use crate::cli::{self, Cli};
use crate::failure::{EIO, Failure};
use crate::out;

/// man1/nscap.1, man1/nscap-get.1, ..., man5/nscap-json.5, man8/mount.nscap.8.
pub(super) fn write(dir: &Path) -> Result<(), Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    commands(dir, "nscap", &root)?;
    page(dir, "nscap-json", "5", &json_page::text())?;
    page(dir, "mount.nscap", "8", &mount_page())
}

fn commands(dir: &Path, name: &str, command: &Command) -> Result<(), Failure> {
    page(dir, name, "1", &command_page(name, command)?)?;
    for below in command.get_subcommands().filter(|below| is_shown(below)) {
        commands(dir, &format!("{name}-{}", below.get_name()), below)?;
    }
    Ok(())
}

fn is_shown(command: &Command) -> bool {
    command.get_name() != "help" && !command.is_hide_set()
}

fn page(dir: &Path, name: &str, section: &str, text: &str) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| Failure::Input {
        what: out::path(path),
        problem: "cannot be written".to_owned(),
        errno: error.raw_os_error().unwrap_or(EIO),
    };
    let dir = dir.join(format!("man{section}"));
    match std::fs::create_dir(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed(&dir, error));
        }
        _ => {}
    }
    let path = dir.join(format!("{name}.{section}"));
    let mut file = File::create(&path).map_err(|error| failed(&path, error))?;
    file.write_all(text.as_bytes()).map_err(|error| failed(&path, error))
}

fn command_page(name: &str, command: &Command) -> Result<String, Failure> {
    let more = pages::of(name);
    let mut roff = Roff::default();
    roff.title(name, "1");
    roff.section("NAME");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    roff.text(&format!("{} \\- {}", plain(name), plain(&about)));
    roff.section("SYNOPSIS");
    synopsis(&mut roff, name, command);
    roff.section("DESCRIPTION");
    let (description, status) = described(command);
    for paragraph in &description {
        roff.paragraph(&plain(paragraph));
    }
    let man = clap_mangen::Man::new(command.clone().display_name(name.to_owned()));
    let mut bytes = Vec::new();
    man.render_options_section(&mut bytes)?;
    if command.get_subcommands().any(is_shown) {
        man.render_subcommands_section(&mut bytes)?;
    }
    roff.0.push_str(&String::from_utf8_lossy(&bytes));
    for (heading, text) in arguments(command) {
        roff.section(heading);
        roff.lines(&text);
    }
    roff.section("EXIT STATUS");
    roff.paragraph(&plain(&status));
    rest(&mut roff, more);
    Ok(roff.0)
}

/// EXAMPLES and SEE ALSO.
pub(super) fn rest(roff: &mut Roff, page: &Page) {
    if !page.examples.is_empty() {
        roff.section("EXAMPLES");
    }
    for (what, lines) in page.examples {
        roff.paragraph(&plain(what));
        roff.text(".RS 4");
        roff.lines(lines);
        roff.text(".RE");
    }
    roff.see_also(page.see_also);
}

/// The description in paragraphs, and what of it is about the exit status.
fn described(command: &Command) -> (Vec<String>, String) {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let mut found = cli::STATUS.to_owned();
    let mut description = Vec::new();
    for paragraph in about.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")) {
        let text = match paragraph.split_once("Exit status: ") {
            Some((text, status)) => {
                status.clone_into(&mut found);
                text.trim_end()
            }
            None => &paragraph,
        };
        description.extend((!text.is_empty()).then(|| text.to_owned()));
    }
    (description, found)
}

/// What the help has after the options, by what it begins with.
fn arguments(command: &Command) -> Vec<(&'static str, String)> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut all: Vec<(&str, String)> = Vec::new();
    for part in after.split("\n\n").filter(|part| !part.starts_with("Exit status: ")) {
        let heading = ["WHO", "CAPS", "MAP", "LAYER", "Signals", "Options"]
            .into_iter()
            .find(|name| part.starts_with(name));
        match (heading, all.last_mut()) {
            (None, Some((_, text))) => text.push_str(&format!("\n\n{part}")),
            (None, None) if part.is_empty() => {}
            (None, None) => all.push(("NOTES", part.to_owned())),
            (Some("Signals"), _) => all.push(("SIGNALS", part.to_owned())),
            (Some("Options"), _) => all.push(("MOUNT OPTIONS", part.to_owned())),
            (Some(name), _) => all.push((name, part.to_owned())),
        }
    }
    all
}

/// Every option with the name of its value, then the arguments.
fn synopsis(roff: &mut Roff, name: &str, command: &Command) {
    let mut line = vec![bold(&name.replacen('-', " ", 2))];
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let (places, options): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(shown).partition(|arg| arg.is_positional());
    for option in options {
        let text = option_text(option);
        line.push(if option.is_required_set() { text } else { format!("[{text}]") });
    }
    if command.get_subcommands().any(is_shown) {
        line.push(italic("COMMAND"));
    }
    for place in places {
        let more =
            if place.get_num_args().is_some_and(|args| args.max_values() > 1) { "..." } else { "" };
        let text = format!("{}{more}", italic(&value_name(place)));
        let needed = place.is_required_set() || pages::NEEDED.contains(&place.get_id().as_str());
        line.push(if needed { text } else { format!("[{text}]") });
    }
    roff.text(&line.join("\n"));
}

fn option_text(option: &Arg) -> String {
    let short = option.get_short().map(|short| bold(&format!("-{short}")));
    let long = option.get_long().map(|long| bold(&format!("--{long}")));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let names = names.join("|");
    match option.get_action() {
        ArgAction::Set | ArgAction::Append => format!("{names} {}", italic(&value_name(option))),
        _ => names,
    }
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    if names.is_empty() { arg.get_id().as_str().to_uppercase() } else { names.join(" ") }
}

/// mount.nscap(8), as mount(8) starts it.
fn mount_page() -> String {
    let mut roff = Roff::default();
    roff.title("mount.nscap", "8");
    roff.section("NAME");
    roff.text("mount.nscap \\- show a directory tree on which each user namespace has its own capabilities");
    roff.section("SYNOPSIS");
    let places = format!("{}\n{}", italic("SOURCE"), italic("TARGET"));
    roff.text(&format!(
        "{}\n{places}\n[{} {}]",
        bold("mount -t nscap"),
        bold("-o"),
        italic("OPTIONS")
    ));
    roff.text(".br");
    roff.text(&format!(
        "{}\n{places}\n[{}]\n[{} {}]\n[{} {}]",
        bold("mount.nscap"),
        bold("-sfnvrw"),
        bold("-N"),
        italic("NS"),
        bold("-o"),
        italic("OPTIONS")
    ));
    roff.section("DESCRIPTION");
    for paragraph in pages::MOUNT {
        roff.paragraph(&plain(paragraph));
    }
    roff.section("OPTIONS");
    for (option, text) in cli::MOUNT_OPTIONS {
        roff.item(&bold(option), &plain(text));
    }
    roff.section("SIGNALS");
    roff.paragraph(&plain(cli::SIGNALS));
    roff.section("FILES");
    for (file, text) in pages::MOUNT_FILES {
        roff.item(&italic(file), &plain(text));
    }
    roff.section("EXIT STATUS");
    roff.paragraph("0 when it is mounted, 2 when not; the reason is on standard error.");
    rest(&mut roff, pages::of("mount.nscap"));
    roff.0
}
