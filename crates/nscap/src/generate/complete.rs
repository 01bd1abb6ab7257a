// SPDX-License-Identifier: MIT OR Apache-2.0
//! Completions: the script that clap makes, and in bash, zsh and fish the values of WHO and of
//! --pid, for which the script asks `nscap generate who`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;
use nscap_core::root_kuid;
use nscap_linux::Manager;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::out::Out;
use crate::system::System;

/// The options whose value is a WHO, or a MAP, for which a WHO may be given.
const TAKE_WHO: [&str; 8] =
    ["as", "for", "from", "gid-from", "gid-to", "ids-after", "ids-before", "to"];

/// What a script asks, for a WHO and for a process; the word so far follows.
const ASK: &str = "nscap generate who";
const ASK_PROCESS: &str = "nscap generate who --process";

pub(super) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nscap", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => bash(&script),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script),
        _ => script,
    }
}

/// For bash a colon ends a word, unless COMP_WORDBREAKS lacks it. So the word is taken from the
/// line.
fn bash(script: &str) -> String {
    let options = TAKE_WHO.map(|name| format!("--{name}")).join("|");
    let ours = format!(
        r#"
_nscap_or_who() {{
    local line=${{COMP_LINE:0:COMP_POINT}}
    local word=${{line##*[[:space:]]}}
    local before=${{line%"$word"}}
    before=${{before%"${{before##*[![:space:]]}}"}}
    local process=
    case ${{before##*[[:space:]]}} in
        {options}) ;;
        --pid) process=--process ;;
        *)
            _nscap "$@"
            return
            ;;
    esac
    if [[ $word == ns:* ]]; then
        COMPREPLY=($(compgen -f -- "${{word#ns:}}"))
        COMPREPLY=("${{COMPREPLY[@]/#/ns:}}")
    else
        COMPREPLY=($(compgen -W "$({ASK} $process -- "$word" 2>/dev/null)" -- "$word"))
    fi
    if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"${{word%"${{word##*:}}"}}"}}")
    fi
    [[ ${{COMPREPLY[*]}} != *: ]] || compopt -o nospace 2>/dev/null
}}
"#
    );
    // What clap registers comes last.
    let (functions, registered) = script.split_at(script.rfind("\nif [[").unwrap_or(script.len()));
    format!("{functions}{ours}{}", registered.replace("-F _nscap ", "-F _nscap_or_who "))
}

fn zsh(script: &str) -> String {
    let function = |name: &str, ask: &str| {
        // No blank after the prefix of a manager.
        format!(
            "\n(( $+functions[{name}] )) ||\n{name}() {{\n    local -a who\n    \
             who=(${{(f)\"$({ask} -- \"$PREFIX\" 2>/dev/null)\"}})\n    \
             compadd -S '' -- ${{(M)who:#*:}}\n    compadd -- ${{who:#*:}}\n}}\n"
        )
    };
    let ours = function("_nscap_who", ASK) + &function("_nscap_process", ASK_PROCESS) + "\n";
    let line = |line: &str| {
        let line = line.replace(":WHO:_default", ":WHO:_nscap_who");
        let line = line.replace(":MAP:_default", ":MAP:_nscap_who");
        match line.contains("--pid=[") {
            true => line.replace(":N:_default", ":N:_nscap_process") + "\n",
            false => line + "\n",
        }
    };
    let script: String = script.lines().map(line).collect();
    let (begin, rest) = script.split_at(script.find("\n_nscap()").unwrap_or(0));
    format!("{begin}{ours}{rest}")
}

fn fish(script: &str) -> String {
    let takes = |line: &str, name: &str| line.contains(&format!(" -l {name} "));
    let line = |line: &str| {
        let ask = match line {
            line if TAKE_WHO.iter().any(|name| takes(line, name)) => ASK,
            line if takes(line, "pid") => ASK_PROCESS,
            line => return format!("{line}\n"),
        };
        format!(
            "{line} -f -a \"({ask} -- (commandline -ct | string replace -r '^--[^=]*=' '') 2>/dev/null)\"\n"
        )
    };
    script.lines().map(line).collect()
}

/// Each WHO that there is here, or each process that --pid takes, one a line. Of a manager's the
/// names only where the word has its prefix: each asks a program.
pub(super) fn who(process: bool, word: &str, out: &mut Out) -> Result<(), Failure> {
    let mut text = String::new();
    // A shell splits and expands what it is given here.
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-.:@/".contains(c);
    if let Some(manager) = Manager::of(word) {
        for name in manager.names()?.iter().filter(|name| name.chars().all(harmless)) {
            let _ = writeln!(text, "{name}");
        }
        return Ok(out.bytes(text.as_bytes())?);
    }
    let mut system = System::new()?;
    system.scan()?;
    let mut roots = BTreeSet::new();
    if !process {
        text.push_str("host\n");
    }
    for ns in system.namespaces.iter().filter(|ns| ns.is_namespace() && !ns.is_initial()) {
        if let (Some(root), Some(pid)) = (root_kuid(ns), ns.first_pid()) {
            roots.insert(root.get());
            let _ = writeln!(text, "{}{pid}", if process { "" } else { "pid:" });
        }
    }
    if !process {
        for root in roots {
            let _ = writeln!(text, "{root}");
        }
        let users: BTreeSet<_> = system.subids()?.ranges.iter().map(|range| &range.user).collect();
        for user in users.iter().filter_map(|user| std::str::from_utf8(user).ok()) {
            if user.chars().all(|c| harmless(c) && !"@:/".contains(c)) {
                let _ = writeln!(text, "user:{user}");
            }
        }
        text.push_str("ns:\n");
    }
    for prefix in Manager::installed() {
        let _ = writeln!(text, "{prefix}");
    }
    Ok(out.bytes(text.as_bytes())?)
}
