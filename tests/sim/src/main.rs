// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the simulator from seeds. A failure prints its seed and the command that repeats it, and leaves a
//! trace to read.

#![forbid(unsafe_code)]

use runtime::Mutant;
use sim::faults::Fault;
use sim::figures;
use sim::scenario::{self, Disaster};
use sim::storm::{self, Options};
use sim::trace;
use sim::world::Setting;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, panic};

const USAGE: &str = "\
Usage: sim [--seed S] [--runs N] [--nodes N] [--cores C] [--ticks T] [--faults LIST]
           [--seconds T] [--ci] [--full] [--threads M] [--disaster] [--mutants] [--mutant NAME]
Runs whole clusters in one thread. Clients on several nodes do random operations on shared files, names,
pipes and children and are moved about, while faults begin and end; then the world heals, and everything
must end within 10 s of its time and be right.

  --seed S        first seed (1)
  --runs N        seeds to run (1), one after the other from S on
  --nodes N       nodes (each run has 3 or 4)
  --cores C       CPU cores of each (each run has 1 or 2)
  --ticks T       milliseconds of the world's time with faults (1500)
  --faults LIST   of: loss double reorder delay cut oneway slow pause crash disk drain drift
                  epoch; with commas; all (the default) or none
  --seconds T     ends after this time, however many runs there were
  --ci            a fixed set of seeds, then fresh ones, in --seconds (120)
  --full          fresh seeds for hours: --seconds 14400
  --threads M     moves a program with threads, a pipe and alarms M times instead
  --figures       messages that operations take, and how long a dead node is waited for, on 3, 10 and 30
                  nodes, or on --nodes N, instead
  --disaster      the target of a move dies, with each seed at another step, instead
  --mutants       makes mistakes in the servers on purpose, one at a time: each must be noticed
  --mutant NAME   makes one of them
A failure prints the seed and the command that repeats it, and writes target/sim/SEED.txt.
";

/// Most nodes of a run. With a thousand one takes hours.
const NODES_MAX: u16 = 1000;
/// Seeds that CI always runs.
const FIXED_SEEDS: u64 = 40;

struct Arguments {
    seed: u64,
    runs: u64,
    nodes: Option<u16>,
    cores: Option<u8>,
    ticks: u64,
    faults: String,
    seconds: Option<u64>,
    ci: bool,
    full: bool,
    threads: Option<u32>,
    mutants: bool,
    disaster: bool,
    figures: bool,
}

fn parse() -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments {
        seed: 1,
        runs: 1,
        nodes: None,
        cores: None,
        ticks: 1500,
        faults: "all".to_string(),
        seconds: None,
        ci: false,
        full: false,
        threads: None,
        mutants: false,
        disaster: false,
        figures: false,
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--ci" => arguments.ci = true,
            "--full" => arguments.full = true,
            "--mutants" => arguments.mutants = true,
            "--disaster" => arguments.disaster = true,
            "--figures" => arguments.figures = true,
            _ => {
                let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
                set(&mut arguments, &word, &value)?;
            }
        }
    }
    if arguments.nodes.is_some_and(|nodes| !(2..=NODES_MAX).contains(&nodes)) {
        return Err(format!("a run has 2 to {NODES_MAX} nodes"));
    }
    if arguments.figures && arguments.nodes.is_some_and(|nodes| nodes < 3) {
        return Err("--figures takes 3 nodes at least".to_string());
    }
    Fault::list(&arguments.faults)?;
    Ok(Some(arguments))
}

fn set(arguments: &mut Arguments, word: &str, value: &str) -> Result<(), String> {
    fn number<T: std::str::FromStr>(word: &str, value: &str) -> Result<T, String> {
        value.parse().map_err(|_| format!("{word} {value}: not such a number"))
    }
    match word {
        "--seed" => arguments.seed = number(word, value)?,
        "--runs" => arguments.runs = number(word, value)?,
        "--nodes" => arguments.nodes = Some(number(word, value)?),
        "--cores" => arguments.cores = Some(number(word, value)?),
        "--ticks" => arguments.ticks = number(word, value)?,
        "--seconds" => arguments.seconds = Some(number(word, value)?),
        "--threads" => arguments.threads = Some(number(word, value)?),
        "--mutant" => {
            let named = Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == value);
            Mutant::choose(Some(named.ok_or_else(|| format!("there is no mutant {value}"))?));
        }
        "--faults" => arguments.faults = value.to_string(),
        _ => return Err(format!("there is no option {word}")),
    }
    Ok(())
}

/// Prints what repeats a run that fails, and writes its trace.
fn on_failure(seed: u64, arguments: &Arguments) {
    let Arguments { ticks, faults, .. } = arguments;
    let (nodes, cores) = (nodes(seed, arguments), cores(seed, arguments));
    let disaster = if arguments.disaster { " --disaster" } else { "" };
    let threads = arguments.threads.map(|times| format!(" --threads {times}"));
    let threads = threads.unwrap_or_else(|| disaster.to_owned());
    let command = format!(
        "./korrigan sim --seed {seed} --nodes {nodes} --cores {cores} --ticks {ticks} --faults {faults}{threads}"
    );
    panic::set_hook(Box::new(move |info| {
        eprintln!("\nsim: seed {seed} fails: {info}");
        eprintln!("sim: again with {command}");
        let path = PathBuf::from(format!("target/sim/{seed}.txt"));
        let text = format!("{command}\n{info}\n\n{}", trace::read());
        let written = fs::create_dir_all("target/sim").and_then(|()| fs::write(&path, text));
        match written {
            Ok(()) => eprintln!("sim: what happened last is in {}", path.display()),
            Err(error) => eprintln!("sim: {} cannot be written: {error}", path.display()),
        }
    }));
}

fn cores(seed: u64, arguments: &Arguments) -> u8 {
    arguments.cores.unwrap_or(1 + (seed % 2) as u8)
}

fn nodes(seed: u64, arguments: &Arguments) -> u16 {
    arguments.nodes.unwrap_or(3 + (seed / 2 % 2) as u16)
}

fn run_seed(seed: u64, arguments: &Arguments) {
    on_failure(seed, arguments);
    let cores = cores(seed, arguments);
    if let Some(times) = arguments.threads {
        let setting = Setting { nodes: arguments.nodes.unwrap_or(3), cores, ..Setting::new(seed) };
        scenario::threads_move(&setting, times);
        println!("seed {seed}: {times} moves");
        return;
    }
    if arguments.disaster {
        // Each seed at another step of the move.
        let setting = Setting { cores, ..Setting::new(seed) };
        scenario::migration_disturbed(&setting, Disaster::Target, seed * 3);
        println!("seed {seed}: the target of a move died");
        return;
    }
    let faults = Fault::list(&arguments.faults).unwrap_or_default();
    let (nodes, ticks) = (nodes(seed, arguments), arguments.ticks);
    let report = storm::run(&Options { seed, nodes, cores, ticks, faults });
    println!(
        "seed {seed}: {} operations, {} faults, {} moves, {} messages{}",
        report.operations,
        report.faults,
        report.moves,
        report.messages,
        if report.lost { ", slots were lost" } else { "" }
    );
}

/// Within so many seeds each mutant must be noticed.
const MUTANT_SEEDS: u64 = 200;

/// Makes each mistake until a run fails, which ends the process: so each has one of its own.
fn notice_mutants() -> ExitCode {
    let program = env::current_exe().expect("this program has a path");
    let mut unnoticed = 0;
    for mutant in Mutant::ALL {
        let mut command = Command::new(&program);
        command.args(["--mutant", &format!("{mutant:?}"), "--runs", &MUTANT_SEEDS.to_string()]);
        match mutant {
            Mutant::SignalsOvertake => _ = command.args(["--threads", "12"]),
            Mutant::CallsOutliveTheirNode => _ = command.arg("--disaster"),
            // Half of these runs crash the home of what all clients write.
            Mutant::BackupsAreNotAwaited => _ = command.args(["--nodes", "3"]),
            // It takes a second crash, of who took over.
            Mutant::BackupsBeginEmpty => _ = command.args(["--nodes", "4", "--ticks", "4000"]),
            _ => {}
        }
        let run = command.output().expect("this program can be started");
        let said = String::from_utf8_lossy(&run.stderr);
        let noticed =
            said.lines().find_map(|line| line.strip_prefix("sim: seed ")?.split(' ').next());
        match noticed.filter(|_| !run.status.success()) {
            Some(seed) => println!("{mutant:?}: noticed with seed {seed}"),
            None => {
                println!("{mutant:?}: NOT noticed within {MUTANT_SEEDS} seeds");
                unnoticed += 1;
            }
        }
    }
    if unnoticed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_figures(arguments: &Arguments) {
    println!("nodes   call  call of one that moved  migration  drain (slots, views)  takeover, ms");
    let sizes = arguments.nodes.map_or_else(|| vec![3, 10, 30], |nodes| vec![nodes]);
    for nodes in sizes {
        let it = figures::measure(nodes);
        println!(
            "{nodes:>5} {:>6} {:>23} {:>10} {:>6} ({:>3}, {:>3}) {:>14}",
            it.call,
            it.lookup,
            it.migration,
            it.drain,
            it.slots,
            it.views,
            it.takeover_ns / 1_000_000
        );
    }
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("sim: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.mutants {
        return notice_mutants();
    }
    if arguments.figures {
        print_figures(&arguments);
        return ExitCode::SUCCESS;
    }
    let standard = if arguments.full { Some(14_400) } else { arguments.ci.then_some(120) };
    let seconds = arguments.seconds.or(standard);
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let late = || end.is_some_and(|end| Instant::now() >= end);
    let fresh = arguments.ci || arguments.full;
    let fixed = if arguments.ci { FIXED_SEEDS } else { arguments.runs };
    let mut count = 0;
    if !arguments.full {
        for seed in arguments.seed..arguments.seed.saturating_add(fixed) {
            if late() {
                break;
            }
            run_seed(seed, &arguments);
            count += 1;
        }
    }
    if fresh {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let mut seed = since * 1000;
        println!("fresh seeds from {seed} on");
        while !late() {
            run_seed(seed, &arguments);
            (seed, count) = (seed + 1, count + 1);
        }
    }
    println!("sim: {count} runs, all well");
    ExitCode::SUCCESS
}
