// SPDX-License-Identifier: MIT OR Apache-2.0
//! `conformance`: what others wrote to judge a system, run on Korrigan and on Linux, and compared.
//!
//! # Model
//! ```text
//! source (Debian's) ─ suite: a folder for the root file system, /judge/run ─┬─ linux: QEMU, Debian's kernel ─ record
//!                                                                           └─ a cluster ─ report: beside the record
//! ```
//! The suites are built unmodified. What passes on Linux is recorded in tests/conformance, with the reason of
//! each difference that is known.

mod busybox;
mod linux;
mod posix;
mod report;
mod source;

use crate::cli::{ConformanceArgs, Suite};
use crate::cluster::Running;
use crate::command::{Disks, boot};
use crate::session::shell::Shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use report::{Record, Verdicts};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What of a suite's cases that pass on Linux must pass here, of a hundred.
const SHARE_MIN: usize = 95;
/// Where a suite's runner is in the root file system; its argument is the number of nodes.
const RUNNER: &str = "judge/run";

/// Runs a suite and says what differs.
///
/// # Errors
/// The suite cannot be fetched or built, or the system does not start. A run that takes too long counts as far as
/// it came.
pub fn conformance(workspace: &Workspace, args: &ConformanceArgs) -> Result<ExitCode> {
    let folder = workspace.target().join("conformance").join(args.suite.name());
    let overlay = prepare(workspace, args.suite, &folder)?;
    let record = workspace.root().join("tests/conformance");
    let linux = record.join(format!("{}.linux", args.suite.name()));
    if args.on_linux {
        let printed = linux::run(workspace, &overlay, Duration::from_secs(args.timeout))?;
        let verdicts = Verdicts::read(&printed);
        println!("{}", verdicts.counts());
        fs::write(&linux, verdicts.text(args.suite.name()))
            .with_context(|| format!("cannot write {}", linux.display()))?;
        println!("recorded in {}", linux.display());
        return Ok(ExitCode::SUCCESS);
    }
    let here = on_cluster(workspace, args, &overlay)?;
    println!("{}", here.counts());
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| {
            format!("cannot read {}: `--on-linux` makes the record", path.display())
        })
    };
    let known = read(&record.join("differences"))?;
    let record = Record::new(args.suite.name(), &read(&linux)?, &known);
    let report = record.compare(&here, args.only.is_none());
    print!("{report}");
    Ok(if report.is_good(SHARE_MIN) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder that goes over the root file system.
fn prepare(workspace: &Workspace, suite: Suite, folder: &Path) -> Result<PathBuf> {
    let overlay = folder.join("root");
    fs::create_dir_all(&overlay).with_context(|| format!("cannot make {}", overlay.display()))?;
    match suite {
        Suite::Busybox => busybox::prepare(workspace, folder, &overlay)?,
        Suite::Posix => posix::prepare(folder, &overlay)?,
    }
    Ok(overlay)
}

fn on_cluster(workspace: &Workspace, args: &ConformanceArgs, overlay: &Path) -> Result<Verdicts> {
    let mut cluster = args.cluster.clone();
    cluster.nodes = Some(cluster.nodes.unwrap_or(1));
    cluster.memory = Some(cluster.memory.unwrap_or(512));
    cluster.overlay.push(overlay.to_path_buf());
    let mut running = boot(workspace, &cluster, Disks::New)?;
    let mut printed = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    if let Err(error) = run(&mut running, args, deadline, &mut printed) {
        eprintln!("{error:#}\n{}", running.tails());
    }
    Ok(Verdicts::read(&String::from_utf8_lossy(&printed)))
}

fn run(
    running: &mut Running,
    args: &ConformanceArgs,
    deadline: Instant,
    printed: &mut Vec<u8>,
) -> Result<()> {
    let nodes = running.nodes.len();
    let mut shell = Shell::open(running, 0, deadline)?;
    let only = args.only.as_deref().unwrap_or("");
    let command = format!("sh /{RUNNER} {nodes} '{only}'");
    shell.run(running, &command, &mut |bytes| {
        if args.verbose {
            eprint!("{}", String::from_utf8_lossy(bytes));
        }
        printed.extend_from_slice(bytes);
    })?;
    Ok(())
}
