// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual and the completions, as man(1) and a shell read them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nscap_linux::Manager;

fn nscap(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nscap")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The pages in a directory of a hierarchy.
fn pages(dir: &Path, section: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir.join(format!("man{section}"))).unwrap();
    all.map(|entry| entry.unwrap().path()).collect()
}

/// As man(1) shows it; it must have nothing to say about the source.
fn shown(page: &Path) -> String {
    let man = Command::new("man")
        .args(["--warnings", "-l"])
        .arg(page)
        .env("MANWIDTH", "80")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(man.status.success() && man.stderr.is_empty(), "{}: {man:?}", page.display());
    text(&man.stdout)
}

/// The lines of a section.
fn section(page: &str, name: &str) -> String {
    let lines = page.lines().skip_while(|line| *line != name).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    lines.collect::<Vec<_>>().join("\n")
}

fn manual() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let made = nscap(&["generate", "man", dir.path().to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    dir
}

#[test]
fn every_command_has_a_page_with_all_sections() {
    let dir = manual();
    let pages: Vec<PathBuf> = pages(dir.path(), "1");
    let names: BTreeSet<String> =
        pages.iter().map(|page| page.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    for name in ["nscap", "nscap-get", "nscap-layer-map", "nscap-generate-completions"] {
        assert!(names.contains(name), "{names:?}");
    }
    assert!(!names.contains("nscap-generate-who"));
    for page in &pages {
        let (name, text) = (page.file_stem().unwrap().to_str().unwrap(), shown(page));
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            assert!(!section(&text, part).trim().is_empty(), "{name} has no {part}: {text}");
        }
        assert!(!section(&text, "DESCRIPTION").contains("Exit status"), "{text}");
        // What a page names as another one of ours is there.
        for other in section(&text, "SEE ALSO").split(',').map(str::trim) {
            let (other, number) = other.trim_end_matches(')').split_once('(').unwrap();
            if other.starts_with("nscap") || other == "mount.nscap" {
                let file = dir.path().join(format!("man{number}/{other}.{number}"));
                assert!(file.exists(), "{name}: {other}({number})");
            }
        }
    }
}

#[test]
fn the_synopsis_has_the_names_of_all_values() {
    let dir = manual();
    let words = |name: &str| {
        let text = shown(&dir.path().join(format!("man1/{name}.1")));
        section(&text, "SYNOPSIS").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let set = words("nscap-set");
    for part in [
        "nscap set",
        "[--for WHO]",
        "[--files0-from F]",
        "[--root DIR]",
        "[-r|--remove]",
        "CAPS FILE...",
    ] {
        assert!(set.contains(part), "{part}: {set}");
    }
    let map = words("nscap-layer-map");
    assert!(map.contains("nscap layer map") && map.contains("--from MAP"), "{map}");
    assert!(words("nscap-mount").ends_with("SOURCE TARGET"));
    assert!(words("nscap-scan").ends_with("DIR|FILE..."));
}

#[test]
fn the_examples_are_commands_that_nscap_takes() {
    let dir = manual();
    let mut count = 0;
    for page in pages(dir.path(), "1").iter().chain(&pages(dir.path(), "8")) {
        let examples = section(&shown(page), "EXAMPLES");
        for command in examples.lines().flat_map(|line| line.split('|')).map(str::trim) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let [program, words @ ..] = &*words else { continue };
            if *program == "nscap" {
                let words = words.iter().copied().take_while(|word| !word.starts_with('>'));
                let taken = nscap(&words.chain(["--help"]).collect::<Vec<_>>());
                assert!(taken.status.success(), "{command}: {taken:?}");
                count += 1;
            }
        }
    }
    assert!(count >= 25, "{count}");
}

#[test]
fn the_mount_and_json_have_pages_of_their_own() {
    let dir = manual();
    let mount = shown(&dir.path().join("man8/mount.nscap.8"));
    for part in ["SYNOPSIS", "OPTIONS", "SIGNALS", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
        assert!(!section(&mount, part).trim().is_empty(), "{part}: {mount}");
    }
    assert!(
        mount.contains("busy=replace") && mount.contains("mount -t nscap SOURCE TARGET"),
        "{mount}"
    );
    // One text with docs/json.md: every field is in both.
    let json = shown(&dir.path().join("man5/nscap-json.5"));
    let document = include_str!("../../../docs/json.md");
    let fields = document.lines().filter(|line| line.starts_with("| `"));
    let fields: Vec<&str> = fields.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(fields.len() > 100);
    let page: String = json.split_whitespace().collect::<Vec<_>>().join(" ");
    for field in fields {
        assert!(page.contains(field), "{field}");
    }
    assert!(!json.contains("]("), "{json}");
}

/// What a terminal of so many columns shows of a help text.
fn help(command: &str, columns: &str) -> String {
    let help = Command::new(env!("CARGO_BIN_EXE_nscap"))
        .args([command, "--help"])
        .env("COLUMNS", columns)
        .output()
        .unwrap();
    text(&help.stdout)
}

#[test]
fn the_mounts_options_are_lines_that_no_terminal_breaks() {
    let help = help("mount", "80");
    let options = help.lines().skip_while(|line| !line.starts_with("Options for -o")).skip(1);
    let options: Vec<&str> = options.take_while(|line| !line.is_empty()).collect();
    assert!(options.len() > 10, "{help}");
    for line in options {
        assert!(line.len() <= 80 && line.starts_with("  "), "{line}");
    }
}

#[test]
fn lists_in_a_help_are_never_broken() {
    let tail = |command: &str, columns: &str| {
        let help = help(command, columns);
        let lines = help.lines().skip_while(|line| !line.contains("Print help")).skip(1);
        let lists = lines.filter(|line| line.starts_with("  ")).map(str::to_owned);
        lists.collect::<Vec<String>>()
    };
    for command in ["get", "set", "rm", "explain", "shift", "scan", "mount", "umount"] {
        assert_eq!(tail(command, "80"), tail(command, "100"), "{command}");
    }
    assert!(help("set", "80").contains("Usage: nscap set [OPTIONS] CAPS FILE...\n"));
}

#[test]
fn a_shell_completes_commands_and_who() {
    let script = nscap(&["generate", "completions", "bash"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("completions");
    std::fs::write(&file, &script.stdout).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_nscap")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    // As bash calls it: with the line, and with its words, of which a colon is one.
    let complete = |line: &str, words: &str, current: &str, before: &str| {
        let count = words.split(' ').count() - 1;
        let asked = format!(
            "source {}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({words}); COMP_CWORD={count}; \
             _nscap_or_who nscap '{current}' '{before}'; echo ${{COMPREPLY[@]}}",
            file.display()
        );
        let output = Command::new("bash").args(["-c", &asked]).env("PATH", &path).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("nscap ex", "nscap ex", "ex", "nscap"), "explain");
    assert_eq!(complete("nscap get --as ho", "nscap get --as ho", "ho", "--as"), "host");
    let all = complete("nscap set x y --for ", "nscap set x y --for ''", "", "--for");
    assert!(all.starts_with("host") && all.contains(" ns:"), "{all}");
    // Bash puts what it is given in the place of what comes after the colon.
    let of_ns = complete("nscap get --as ns:/pro", "nscap get --as ns : /pro", "/pro", ":");
    assert_eq!(of_ns, "/proc");
    let words =
        complete("nscap shift --from=x --to us", "nscap shift --from = x --to us", "us", "--to");
    assert!(words.is_empty() || words.starts_with("user:"), "{words}");
    let registered = text(&script.stdout);
    assert!(registered.contains("complete -F _nscap_or_who -o nosort"), "{registered}");
    for (shell, part) in [
        ("zsh", ":WHO:_nscap_who"),
        ("zsh", ":N:_nscap_process"),
        ("fish", "-a \"(nscap generate who --process"),
        ("fish", "-a \"(nscap generate who"),
        ("elvish", "get"),
        ("powershell", "get"),
    ] {
        let script = text(&nscap(&["generate", "completions", shell]).stdout);
        assert!(script.contains(part), "{shell}: {script}");
    }
}

#[test]
fn every_who_that_is_named_is_one() {
    let said = text(&nscap(&["generate", "who"]).stdout);
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(said.lines().count() >= 2, "{said}");
    for who in said.lines().filter(|who| !(*who == "ns:" || Manager::of(who).is_some())) {
        let output = nscap(&["get", "--as", who, file.path().to_str().unwrap()]);
        let complaint = text(&output.stderr);
        // A process may have ended meanwhile.
        assert!(
            output.status.code() != Some(2) || complaint.contains("ESRCH"),
            "{who}: {complaint}"
        );
    }
    for args in [&["--help"][..], &["--version"]] {
        assert!(nscap(args).status.success());
    }
    assert_eq!(nscap(&[]).status.code(), Some(2));
}
