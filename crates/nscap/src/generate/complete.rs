// SPDX-License-Identifier: MIT OR Apache-2.0
//! Completions: the script that clap makes, and in bash, zsh and fish the values of WHO, for which
//! the script asks `nscap generate who`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;
use nscap_core::root_kuid;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::out::Out;
use crate::system::System;

/// The options whose value is a WHO, or a MAP, for which a WHO may be given.
const TAKE_WHO: [&str; 8] =
    ["as", "for", "from", "gid-from", "gid-to", "ids-after", "ids-before", "to"];

/// What a script asks.
const ASK: &str = "nscap generate who 2>/dev/null";

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
    case ${{before##*[[:space:]]}} in
        {options}) ;;
        *)
            _nscap "$@"
            return
            ;;
    esac
    if [[ $word == ns:* ]]; then
        COMPREPLY=($(compgen -f -- "${{word#ns:}}"))
        COMPREPLY=("${{COMPREPLY[@]/#/ns:}}")
    else
        COMPREPLY=($(compgen -W "$({ASK})" -- "$word"))
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
    let ours = format!(
        "\n(( $+functions[_nscap_who] )) ||\n_nscap_who() {{\n    local -a who\n    \
         who=(${{(f)\"$({ASK})\"}})\n    compadd -a who\n}}\n\n"
    );
    let script = script.replace(":WHO:_default", ":WHO:_nscap_who");
    let script = script.replace(":MAP:_default", ":MAP:_nscap_who");
    let (begin, rest) = script.split_at(script.find("\n_nscap()").unwrap_or(0));
    format!("{begin}{ours}{rest}")
}

fn fish(script: &str) -> String {
    let takes = |line: &&str| TAKE_WHO.iter().any(|name| line.contains(&format!(" -l {name} ")));
    let line = |line: &str| match Some(line).filter(takes) {
        Some(line) => format!("{line} -f -a \"({ASK})\"\n"),
        None => format!("{line}\n"),
    };
    script.lines().map(line).collect()
}

/// Each WHO that there is here, one a line.
pub(super) fn who(out: &mut Out) -> Result<(), Failure> {
    let mut system = System::new()?;
    system.scan()?;
    let mut text = String::from("host\n");
    let mut roots = BTreeSet::new();
    for ns in system.namespaces.iter().filter(|ns| ns.is_namespace() && !ns.is_initial()) {
        if let (Some(root), Some(pid)) = (root_kuid(ns), ns.first_pid()) {
            roots.insert(root.get());
            let _ = writeln!(text, "pid:{pid}");
        }
    }
    for root in roots {
        let _ = writeln!(text, "{root}");
    }
    let users: BTreeSet<_> = system.subids()?.ranges.iter().map(|range| &range.user).collect();
    for user in users.iter().filter_map(|user| std::str::from_utf8(user).ok()) {
        // A shell splits and expands what it is given here.
        if user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            let _ = writeln!(text, "user:{user}");
        }
    }
    text.push_str("ns:\n");
    Ok(out.bytes(text.as_bytes())?)
}
