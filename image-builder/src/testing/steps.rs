// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks that need no cluster: format, lints, dependencies, unit tests.

use super::{layers, sources};
use crate::process::{output, run, typed};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// Seconds for which CI runs simulated clusters, and for which `--full` does.
const SIM_SECONDS: [u32; 2] = [300, 7200];
/// Nodes of the cluster that `--full` simulates beside: it takes 2 GiB.
const SIM_NODES: u32 = 300;
/// Seconds for which CI fuzzes.
const FUZZ_SECONDS: u32 = 60;

/// A check that needs no cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Source text is formatted.
    Format,
    /// Clippy is content with what runs on the host.
    Lints,
    /// Clippy is content with what runs on seL4, and with the Linux tools.
    GuestLints,
    /// Licences, bans and advisories.
    Deny,
    /// Dependencies and unsafe code are where they may be.
    Structure,
    /// The tests of the host's crates are built.
    UnitBuild,
    /// Clusters in the simulator: the same seeds each time, then fresh ones. They need one processor for minutes, and
    /// run beside the steps that follow.
    Sim,
    /// Unit, property and simulator tests.
    Unit,
    /// The decoder of frames holds against a minute of mutated input.
    Fuzz,
}

/// How a step went, if it did not fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// Everything is right.
    Passed,
    /// It could not run here; why, and what to do.
    Skipped(String),
}

impl Step {
    /// All of them, in the order in which they run: what is fast first.
    pub const ALL: [Self; 9] = [
        Self::Format,
        Self::Structure,
        Self::Lints,
        Self::GuestLints,
        Self::Deny,
        Self::UnitBuild,
        Self::Sim,
        Self::Unit,
        Self::Fuzz,
    ];

    /// Its name for the filter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Lints => "lints",
            Self::GuestLints => "guest-lints",
            Self::Deny => "deny",
            Self::Structure => "structure",
            Self::UnitBuild => "unit-build",
            Self::Unit => "unit",
            Self::Fuzz => "fuzz",
            Self::Sim => "sim",
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// It fails; what it found has been printed.
    pub fn run(self, workspace: &Workspace) -> Result<Done> {
        match self {
            Self::Format => cargo(workspace, &["fmt", "--all", "--check"]),
            Self::Lints => {
                let clippy =
                    ["clippy", "--locked", "--quiet", "--all-targets", "--", "-D", "warnings"];
                cargo(workspace, &clippy)
            }
            Self::GuestLints => guest_lints(workspace),
            Self::Deny => deny(workspace),
            Self::Structure => structure(workspace),
            Self::UnitBuild => cargo(workspace, &["test", "--locked", "--quiet", "--no-run"]),
            Self::Unit => cargo(workspace, &["test", "--locked", "--quiet"]),
            Self::Fuzz => {
                let seconds = FUZZ_SECONDS.to_string();
                let package = ["run", "--locked", "--quiet", "--package", "fuzz", "--"];
                cargo(workspace, &[&package[..], &["--seconds", &seconds]].concat())
            }
            Self::Sim => Beside::start(workspace, false)?.end(),
        }
    }
}

/// The simulator as it runs beside other steps. What it prints is shown when it has ended.
pub struct Beside {
    thread: JoinHandle<Result<()>>,
    log: PathBuf,
}

impl Beside {
    /// Starts it: first mistakes made on purpose, then seeds; in full also a large cluster.
    ///
    /// # Errors
    /// Its log cannot be written.
    pub fn start(workspace: &Workspace, full: bool) -> Result<Self> {
        let folder = workspace.target().join("sim");
        let log = folder.join("test.log");
        let cannot = || format!("cannot write {}", log.display());
        fs::create_dir_all(&folder).with_context(cannot)?;
        let file = File::create(&log).with_context(cannot)?;
        println!("   beside what follows; as it goes on: {}", log.display());
        let root = workspace.root().to_path_buf();
        let thread = std::thread::spawn(move || {
            let seconds = SIM_SECONDS[usize::from(full)].to_string();
            let nodes = SIM_NODES.to_string();
            let mut runs = vec![vec!["--mutants"], vec!["--ci", "--seconds", &seconds]];
            if full {
                runs.push(vec!["--figures", "--nodes", &nodes]);
            }
            for arguments in runs {
                let mut command = Command::new("cargo");
                command.current_dir(&root);
                command.args([
                    "run",
                    "--locked",
                    "--quiet",
                    "--package",
                    "sim",
                    "--bin",
                    "sim",
                    "--",
                ]);
                command.args(arguments).stdout(file.try_clone()?).stderr(file.try_clone()?);
                run(&mut command)?;
            }
            Ok(())
        });
        Ok(Self { thread, log })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// A seed fails, or a mistake is not noticed.
    pub fn end(self) -> Result<Done> {
        let ended = self.thread.join();
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        said.lines().for_each(|line| println!("   {line}"));
        match ended {
            Ok(ended) => ended.map(|()| Done::Passed),
            Err(_) => bail!("what waits for the simulator has panicked"),
        }
    }
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<Done> {
    let mut command = Command::new("cargo");
    command.current_dir(workspace.root()).args(arguments);
    println!("   {}", typed(&command));
    run(&mut command)?;
    Ok(Done::Passed)
}

/// The programs for seL4 and for Linux are no default members: their flags are their own. They
/// have no test harness, so `--all-targets` would not build.
fn guest_lints(workspace: &Workspace) -> Result<Done> {
    for (packages, flags) in [
        (
            &["root", "domain", "kernel-tests", "microkernel-hello"][..],
            "-C relocation-model=static",
        ),
        (&["cluster-tools"][..], "-C target-feature=+crt-static"),
    ] {
        let mut command = Command::new("cargo");
        command.current_dir(workspace.root()).env("RUSTFLAGS", flags);
        command.args(["clippy", "--locked", "--quiet", "--target", "x86_64-unknown-linux-gnu"]);
        // As they are built: without std nothing unwinds.
        command.args(["--profile", "guest"]);
        command.arg("--target-dir").arg(workspace.target().join("guest-lints"));
        for package in packages {
            command.args(["-p", package]);
        }
        command.args(["--", "-D", "warnings"]);
        println!("   RUSTFLAGS='{flags}' {}", typed(&command));
        run(&mut command)?;
    }
    Ok(Done::Passed)
}

fn deny(workspace: &Workspace) -> Result<Done> {
    let mut probe = Command::new("cargo");
    probe.args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        let why = "cargo-deny is not installed: `cargo install cargo-deny --locked` brings it";
        return Ok(Done::Skipped(why.to_owned()));
    }
    cargo(workspace, &["deny", "check", "bans", "licenses", "sources"])?;
    let mut fetch = Command::new("cargo");
    fetch.current_dir(workspace.root()).args(["deny", "fetch", "db"]);
    if fetch.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return cargo(workspace, &["deny", "--offline", "check", "advisories"]);
    }
    println!("   the list of advisories cannot be reached from here: not checked");
    Ok(Done::Passed)
}

fn structure(workspace: &Workspace) -> Result<Done> {
    let mut command = Command::new("cargo");
    command.current_dir(workspace.root());
    command.args(["metadata", "--locked", "--format-version", "1", "--no-deps"]);
    println!("   {}", typed(&command));
    let packages = layers::packages(&output(&mut command)?, workspace.root())?;
    let mut wrong = layers::check(&packages);
    wrong.extend(sources::check(workspace.root(), &packages).context("cannot check the sources")?);
    for sentence in &wrong {
        println!("   {sentence}");
    }
    if wrong.is_empty() { Ok(Done::Passed) } else { bail!("{} places are wrong", wrong.len()) }
}
