// SPDX-License-Identifier: MIT OR Apache-2.0
//! `test`: the checks and the cluster tests, one after the other, each with its name and time.
//!
//! # Model
//! First the [`Step`]s, which need no cluster, then the programs that test kernel and bindings on
//! one machine, then every scenario of tests/cluster on each cluster
//! that it names. A failure does not end the run: all are reported at the end.
//!
//! # Limits
//! Every scenario has its own time-out; a cluster's QEMUs end with it.

mod host;
mod layers;
mod newcomers;
mod programs;
mod scenario;
mod sources;
mod steps;
mod target;

use crate::cli::TestArgs;
use crate::command::build_guest;
use crate::guest::Guest;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use cluster_tests::{Scenario, Variant};
use std::fs;
use std::process::ExitCode;
use std::time::Instant;
use steps::{Done, Step};
use target::Boot;

/// Lines of one step's trouble that the end of the run repeats; it repeats twice as many of a scenario.
const BRIEF_LINES: usize = 12;

/// Runs what the filter selects.
///
/// # Errors
/// A scenario's file is not right, or nothing is selected; a failing test is an exit code.
pub fn test(workspace: &Workspace, args: &TestArgs) -> Result<ExitCode> {
    let steps: Vec<Step> =
        Step::ALL.into_iter().filter(|step| selected(args, step.name())).collect();
    let boots: Vec<Boot> =
        target::BOOTS.into_iter().filter(|boot| selected(args, &boot.name())).collect();
    let cases = cases(workspace, args)?;
    if steps.is_empty() && boots.is_empty() && cases.is_empty() {
        bail!("nothing is selected: `./korrigan test --list` names the tests");
    }
    if args.list {
        steps.iter().for_each(|step| println!("{}", step.name()));
        boots.iter().for_each(|boot| println!("{}", boot.name()));
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    for step in steps {
        report.run(step.name(), || step.run(workspace));
    }
    for boot in boots {
        report.run(&boot.name(), || target::run(workspace, &boot));
    }
    if !cases.is_empty() {
        run_cases(workspace, &cases, &mut report);
    }
    Ok(report.finish())
}

fn selected(args: &TestArgs, name: &str) -> bool {
    args.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
}

/// Whether the filter names a variant of a scenario, maybe one that otherwise only `--full` runs.
fn names_variant(args: &TestArgs) -> bool {
    args.filter.as_ref().is_some_and(|filter| filter.contains('/'))
}

/// A scenario on one cluster.
struct Case {
    name: String,
    scenario: Scenario,
    variant: Variant,
}

/// The scenarios that the arguments select, in the order of their names.
fn cases(workspace: &Workspace, args: &TestArgs) -> Result<Vec<Case>> {
    let folder = workspace.root().join("tests/cluster");
    let cannot = || format!("cannot read {}", folder.display());
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(cannot)?;
        let scenario = cluster_tests::parse(&text)
            .with_context(|| format!("{} is not right", path.display()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if scenario.header.full && !args.full {
            continue;
        }
        let header = &scenario.header;
        let all = args.full || args.composition.is_some() || names_variant(args);
        for variant in if all { header.variants() } else { header.few_variants() } {
            let name = format!("{stem}/{}/{}-core", variant.composition, variant.cores);
            let composed = args.composition.as_ref().is_none_or(|c| *c == variant.composition);
            if composed && selected(args, &name) {
                cases.push(Case { name, scenario: scenario.clone(), variant });
            }
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn run_cases(workspace: &Workspace, cases: &[Case], report: &mut Report) {
    let mut guest: Option<Guest> = None;
    report.run("build", || {
        guest = Some(build_guest(workspace, false)?);
        Ok(Done::Passed)
    });
    let Some(guest) = guest else {
        println!("the cluster tests need what did not build: {} not run", cases.len());
        return;
    };
    for Case { name, scenario, variant } in cases {
        report.run(name, || {
            let wrong =
                scenario::run(&scenario::Job { workspace, guest: &guest, scenario, variant })?;
            for text in &wrong {
                println!("   {text}");
            }
            match wrong.len() {
                0 => Ok(Done::Passed),
                count => bail!("{count} steps went wrong\n{}", brief(&wrong)),
            }
        });
    }
}

/// The beginning of what went wrong, to be read again at the end.
fn brief(wrong: &[String]) -> String {
    let lines = wrong.iter().flat_map(|text| text.lines().take(BRIEF_LINES));
    lines.take(2 * BRIEF_LINES).map(|line| format!("    {line}\n")).collect()
}

/// What passed and what did not.
#[derive(Default)]
struct Report {
    passed: usize,
    skipped: Vec<String>,
    /// Names, and what went wrong.
    failed: Vec<(String, String)>,
}

impl Report {
    fn run(&mut self, name: &str, test: impl FnOnce() -> Result<Done>) {
        println!("== {name}");
        let start = Instant::now();
        let outcome = test();
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Ok(Done::Passed) => {
                self.passed += 1;
                println!("   passed in {seconds:.1} s");
            }
            Ok(Done::Skipped(why)) => {
                println!("   SKIPPED: {why}");
                self.skipped.push(name.to_owned());
            }
            Err(error) => {
                let error = format!("{error:#}");
                let first = error.lines().next().unwrap_or_default();
                println!("   FAILED in {seconds:.1} s: {first}");
                self.failed.push((name.to_owned(), error));
            }
        }
    }

    fn finish(self) -> ExitCode {
        println!(
            "\n{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        );
        self.skipped.iter().for_each(|name| println!("  skipped: {name}"));
        self.failed.iter().for_each(|(name, error)| println!("  failed: {name}: {}", error.trim()));
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
