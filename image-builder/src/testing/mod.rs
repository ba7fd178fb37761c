// SPDX-License-Identifier: MIT OR Apache-2.0
//! `test`: the checks and the cluster tests, one after the other, each with its name and time.
//!
//! # Model
//! First the [`Step`]s, which need no cluster, then the programs that test kernel and bindings on one machine, then
//! every scenario of tests/cluster on each cluster that it names, as many at a time as the machine has processors
//! for. A failure does not end the run: all are reported at the end.
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
use crate::config::ExtraFile;
use crate::guest::Guest;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use cluster_tests::{Scenario, Variant};
use std::fs;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::{Condvar, Mutex};
use std::time::Instant;
use steps::{Beside, Done, Step};
use target::Boot;

/// Lines of what went wrong that the end of the run repeats.
const BRIEF_LINES: usize = 24;

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
    let mut beside = None;
    for step in steps {
        if step == Step::Sim {
            println!("== {}", step.name());
            beside = Some((Instant::now(), Beside::start(workspace, args.full)?));
        } else {
            report.run(step.name(), || step.run(workspace));
        }
    }
    for boot in boots {
        report.run(&boot.name(), || target::run(workspace, &boot));
    }
    let mut guest = None;
    if !cases.is_empty() {
        report.run("build", || {
            guest = Some(build_guest(workspace, false)?);
            Ok(Done::Passed)
        });
    }
    // Clusters tell time: they run alone.
    if let Some((begun, sim)) = beside {
        report.run_since(begun, Step::Sim.name(), || sim.end());
    }
    match guest {
        Some(guest) => run_cases(workspace, &guest, &cases, &mut report),
        None if cases.is_empty() => {}
        None => {
            println!("the cluster tests need what did not build: {} not run", cases.len());
        }
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

impl Case {
    /// Processors that its cluster can use: one for each core, and one more where nodes talk to each other.
    fn processors(&self) -> usize {
        let nodes = usize::from(self.scenario.header.nodes);
        nodes * usize::from(self.variant.cores) + usize::from(nodes > 1)
    }
}

/// Runs the cases, small ones first, as many at once as there are processors for.
fn run_cases(workspace: &Workspace, guest: &Guest, cases: &[Case], report: &mut Report) {
    let processors = Processors::all();
    let mut order: Vec<&Case> = cases.iter().collect();
    order.sort_by_key(|case| case.processors());
    let report = Mutex::new(report);
    std::thread::scope(|scope| {
        for case in order {
            let files = programs::build(workspace, &case.scenario.header.programs);
            let taken = processors.take(case.processors());
            let report = &report;
            scope.spawn(move || {
                let begun = Instant::now();
                let outcome = files.and_then(|files| run_case(workspace, guest, case, files));
                drop(taken);
                report.lock().expect("no report panics").ended(&case.name, begun, outcome);
            });
        }
    });
}

fn run_case(
    workspace: &Workspace,
    guest: &Guest,
    case: &Case,
    files: Vec<ExtraFile>,
) -> Result<Done> {
    let Case { scenario, variant, .. } = case;
    let wrong = scenario::run(&scenario::Job { workspace, guest, scenario, variant }, files)?;
    match wrong.len() {
        0 => Ok(Done::Passed),
        count => bail!("{count} steps went wrong\n{}", wrong.join("\n")),
    }
}

/// The machine's processors, to be shared out.
struct Processors {
    all: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

/// Some of them, until this is dropped.
struct Taken<'a> {
    from: &'a Processors,
    count: usize,
}

impl Processors {
    fn all() -> Self {
        let all = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { all, free: Mutex::new(all), freed: Condvar::new() }
    }

    /// Waits until so many are free. Who wants more than there are gets all.
    fn take(&self, count: usize) -> Taken<'_> {
        let count = count.min(self.all);
        let free = self.free.lock().expect("nobody panics with it");
        let enough = self.freed.wait_while(free, |free| *free < count);
        *enough.expect("nobody panics with it") -= count;
        Taken { from: self, count }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.from.free.lock().expect("nobody panics with it") += self.count;
        self.from.freed.notify_all();
    }
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
        self.run_since(Instant::now(), name, test);
    }

    /// What began before.
    fn run_since(&mut self, start: Instant, name: &str, test: impl FnOnce() -> Result<Done>) {
        println!("== {name}");
        let outcome = test();
        self.add(name, start, outcome);
    }

    /// What ran beside others.
    fn ended(&mut self, name: &str, start: Instant, outcome: Result<Done>) {
        println!("== {name}");
        self.add(name, start, outcome);
    }

    fn add(&mut self, name: &str, start: Instant, outcome: Result<Done>) {
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
                println!("   FAILED in {seconds:.1} s: {error}");
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
        for (name, error) in &self.failed {
            let brief: Vec<&str> = error.trim().lines().take(BRIEF_LINES).collect();
            println!("  failed: {name}: {}", brief.join("\n    "));
        }
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
