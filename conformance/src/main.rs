// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap-conformance`: plays the scenario table on a runner.
#![forbid(unsafe_code)]

mod arguments;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::{Against, Arguments, Attacked, Cases, Command, Fuzz, Run, Told, Vectors, Which};
use clap::Parser as _;
use nscap_conformance::case::{self, Case, Why};
use nscap_conformance::live::{Failure, Front, Machine, Runner};
use nscap_conformance::load::load_dir;
use nscap_conformance::model::{self, Rules};
use nscap_conformance::outcome::Outcome;
use nscap_conformance::report::{Count, Verdict, judge};
use nscap_conformance::scenario::{Column, Scenario};
use nscap_conformance::{attack, begun, fuzz, told, tools, vectors::all as all_vectors};

fn main() -> ExitCode {
    let clean = match Arguments::parse().command {
        Command::Run(run) => play(&run).map(|count| count.failed == 0),
        Command::Fuzz(args) => fuzz(&args).map(|count| count.differences == 0),
        Command::ExplainDiff(args) => explained(&args).map(|count| count.is_good()),
        Command::ExplainStarts(args) => started(&args).map(|count| count.is_good()),
        Command::Attack(args) => cases(&args, attack::all()).map(|count| count.failed == 0),
        Command::Tools(args) => cases(&args, tools::all()).map(|count| count.failed == 0),
        Command::Vectors(args) => vectors(&args),
    };
    match clean {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("nscap-conformance: {problem}");
            ExitCode::from(2)
        }
    }
}

fn play(run: &Run) -> Result<Count, String> {
    let all = load_dir(&run.scenarios).map_err(|error| error.to_string())?;
    let chosen: Vec<&Scenario> = all.iter().filter(|scenario| run.chooses(scenario)).collect();
    if chosen.is_empty() {
        return Err(format!("no scenario to play in {}", run.scenarios.display()));
    }
    if run.list {
        for scenario in &chosen {
            say(format_args!(
                "{}  {}  {}",
                scenario.name,
                scenario.clauses.join(","),
                scenario.about
            ))?;
        }
        return Ok(Count::default());
    }
    let (mut count, chosen) = (Count::default(), run.leave_out(chosen)?);
    match run.runner {
        Which::Model => in_memory(run, Rules::Design, &chosen, &mut count)?,
        Which::Bare => in_memory(run, Rules::Bare, &chosen, &mut count)?,
        Which::Kernel | Which::Linux | Which::Fuse if run.kernel.is_some() => {
            return Err("--kernel is for the runners model and bare".to_owned());
        }
        Which::Kernel => on_kernel(run, Front::Bare, &chosen, &mut count)?,
        Which::Linux => on_kernel(run, Front::Linux, &chosen, &mut count)?,
        Which::Fuse => on_kernel(run, Front::Fuse, &chosen, &mut count)?,
    }
    say(format_args!("{count}"))?;
    Ok(count)
}

fn plan(args: &Told) -> Result<told::Plan, String> {
    let beside = || Ok(std::env::current_exe()?.with_file_name("nscap"));
    let nscap = args.nscap.clone().map_or_else(beside, Ok);
    let nscap = nscap.map_err(|error: std::io::Error| error.to_string())?;
    let seed = args.seed.unwrap_or_else(now);
    say(format_args!("seed {seed}"))?;
    Ok(told::Plan { seed, cases: args.cases, only: args.only, nscap })
}

fn started(args: &Told) -> Result<begun::Count, String> {
    let plan = plan(args)?;
    let count = match begun::run(&plan, args.verbose, &mut |text| say(format_args!("{text}"))) {
        Ok(count) => count,
        Err(Failure::Skipped(reason)) => {
            say(format_args!("skipped: {reason}"))?;
            begun::Count::default()
        }
        Err(Failure::Broken(problem)) => return Err(problem),
    };
    say(format_args!("{count}"))?;
    Ok(count)
}

fn explained(args: &Told) -> Result<told::Count, String> {
    let plan = plan(args)?;
    let count = match told::run(&plan, args.verbose, &mut |text| say(format_args!("{text}"))) {
        Ok(count) => count,
        Err(Failure::Skipped(reason)) => {
            say(format_args!("skipped: {reason}"))?;
            told::Count::default()
        }
        Err(Failure::Broken(problem)) => return Err(problem),
    };
    say(format_args!("{count}"))?;
    Ok(count)
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

fn fuzz(args: &Fuzz) -> Result<fuzz::Count, String> {
    let seed = args.seed.unwrap_or_else(now);
    let front = if args.linux { Front::Linux } else { Front::Bare };
    if let (true, Some(number)) = (args.print, args.world) {
        let world = fuzz::world(seed, number, &Machine::this(), front);
        say(format_args!("{}", fuzz::toml(&world, &[], Rules::Bare)))?;
        return Ok(fuzz::Count::default());
    }
    say(format_args!("seed {seed}"))?;
    let plan = fuzz::Plan { seed, operations: args.ops, only: args.world, front };
    let count = match fuzz::run(plan, &mut |text| say(format_args!("{text}"))) {
        Ok(count) => count,
        Err(Failure::Skipped(reason)) => {
            say(format_args!("skipped: {reason}"))?;
            fuzz::Count::default()
        }
        Err(Failure::Broken(problem)) => return Err(problem),
    };
    say(format_args!("{count}"))?;
    Ok(count)
}

fn cases(args: &Cases, all: Vec<Case>) -> Result<Count, String> {
    let chosen = all.into_iter().filter(|case| {
        args.filter.as_ref().is_none_or(|filter| case.name.contains(filter.as_str()))
    });
    let mut count = Count::default();
    for case in chosen {
        if args.list {
            say(format_args!("{}  {}  {}", case.name, case.clauses.join(","), case.about))?;
            continue;
        }
        for setting in case.settings(args.runner == Attacked::Fuse) {
            let name = format!("{}{setting}", case.name);
            match case::play(&case, setting) {
                Ok(()) => count.passed += 1,
                Err(Why::Skipped(reason)) => {
                    count.skipped += 1;
                    say(format_args!("{name}: skipped: {reason}"))?;
                }
                Err(why) => {
                    count.failed += 1;
                    say(format_args!("FAILED {name}: {}\n  {why}", case.about))?;
                }
            }
        }
    }
    if !args.list {
        say(format_args!("{count}"))?;
    }
    Ok(count)
}

fn in_memory(
    run: &Run,
    rules: Rules,
    chosen: &[&Scenario],
    count: &mut Count,
) -> Result<(), String> {
    let machine = Machine::ideal(run.kernel.unwrap_or_else(|| Machine::this().kernel));
    for scenario in chosen {
        let verdict = match model::play(scenario, rules, &machine) {
            Ok(outcomes) => {
                run.tell(scenario, &outcomes)?;
                judge(scenario, &outcomes, rules.column(), &machine)
            }
            Err(problem) => Verdict::Broken(problem),
        };
        add(count, scenario, &verdict)?;
    }
    Ok(())
}

fn on_kernel(
    run: &Run,
    front: Front,
    chosen: &[&Scenario],
    count: &mut Count,
) -> Result<(), String> {
    let column = match (front, run.column) {
        (Front::Linux, _) | (_, Some(Against::Design)) => Column::Design,
        (Front::Fuse, None) => Column::Fuse,
        (Front::Bare, None) | (_, Some(Against::Kernel)) => Column::Kernel,
    };
    let runner = match Runner::with(front, chosen) {
        Ok(runner) => runner,
        Err(Failure::Skipped(reason)) => {
            let skipped = Verdict::Skipped(reason);
            return chosen.iter().try_for_each(|s| add(count, s, &skipped));
        }
        Err(Failure::Broken(problem)) => return Err(problem),
    };
    let machine: Machine = *runner.machine();
    for (n, scenario) in chosen.iter().enumerate() {
        let verdict = match runner.run(n, scenario) {
            Ok(outcomes) => {
                run.tell(scenario, &outcomes)?;
                judge(scenario, &outcomes, column, &machine)
            }
            Err(Failure::Skipped(reason)) => Verdict::Skipped(reason),
            Err(Failure::Broken(problem)) => Verdict::Broken(problem),
        };
        add(count, scenario, &verdict)?;
    }
    Ok(())
}

fn vectors(args: &Vectors) -> Result<bool, String> {
    let table = load_dir(&args.scenarios).map_err(|error| error.to_string())?;
    let mut same = true;
    for (name, text) in all_vectors(&table)? {
        let path = args.dir.join(name);
        let at = |error: std::io::Error| format!("{}: {error}", path.display());
        if !args.check {
            std::fs::write(&path, text).map_err(at)?;
        } else if std::fs::read_to_string(&path).map_err(at)? != text {
            same = false;
            say(format_args!("{} is not what the table makes", path.display()))?;
        }
    }
    Ok(same)
}

/// Prints a line on standard output; a closed pipe is an error and not a panic.
fn say(line: std::fmt::Arguments<'_>) -> Result<(), String> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| format!("standard output: {error}"))
}

fn add(count: &mut Count, scenario: &Scenario, verdict: &Verdict) -> Result<(), String> {
    let added = count.add(&mut std::io::stdout(), scenario, verdict);
    added.map_err(|error| format!("standard output: {error}"))
}

impl Run {
    /// Without the scenarios in which the runner has no part.
    fn leave_out<'s>(&self, chosen: Vec<&'s Scenario>) -> Result<Vec<&'s Scenario>, String> {
        let mut with_a_part = Vec::new();
        for scenario in chosen {
            let (what, reason) = match self.runner {
                Which::Model | Which::Linux => ("", &None),
                Which::Bare | Which::Kernel => ("about the design only", &scenario.design_only),
                Which::Fuse => ("not on a FUSE mount", &scenario.fuse_skip),
            };
            match reason {
                Some(reason) => say(format_args!("{}: {what}: {reason}", scenario.name))?,
                None => with_a_part.push(scenario),
            }
        }
        Ok(with_a_part)
    }

    /// With `--verbose`: what every step gave.
    fn tell(&self, scenario: &Scenario, outcomes: &[Outcome]) -> Result<(), String> {
        if !self.verbose {
            return Ok(());
        }
        say(format_args!("{}", scenario.name))?;
        let mut numbered = (1..).zip(outcomes);
        numbered.try_for_each(|(n, outcome)| say(format_args!("  {n}: {outcome}")))
    }

    fn chooses(&self, scenario: &Scenario) -> bool {
        self.filter.as_ref().is_none_or(|filter| {
            scenario.name.contains(filter.as_str()) || scenario.clauses.contains(filter)
        })
    }
}
