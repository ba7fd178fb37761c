// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bench`: the figures of docs/bench.md.
//!
//! # Model
//! `node` counts instructions on one node, exact and the same in every run; `entries` finds the
//! kernel entries and address-space switches in QEMU's log; `figures` puts both beside Linux's and
//! the targets. `requests` counts the instructions of a null request between two nodes, `nodes`
//! measures migrations and page fetches in round trips between three; `commands` runs and reads what
//! both type.

mod commands;
mod entries;
mod figures;
mod node;
mod nodes;
mod requests;

use super::build_guest;
use crate::cli::{BenchArgs, BenchPart};
use crate::cluster::{Running, run_folder};
use crate::config::{Cluster, ExtraFile};
use crate::guest::Guest;
use crate::images::{self, PrivateKeys};
use crate::process::run;
use crate::session::shell::Shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// The programs that measure, in tests/bench.
const PROGRAMS: [&str; 4] = ["bench", "hold", "fetch", "soak"];
/// Seconds for a boot.
const BOOT_S: u64 = 300;

/// Measures a part and prints it.
type Measure = fn(&Bench<'_>) -> Result<()>;

/// What every measurement needs.
struct Bench<'a> {
    workspace: &'a Workspace,
    args: &'a BenchArgs,
    guest: &'a Guest,
    programs: Vec<ExtraFile>,
}

impl Bench<'_> {
    /// A cluster with the programs in it.
    fn cluster(&self, nodes: u16, cores: u8, composition: Option<&str>) -> Result<Cluster> {
        let mut args = self.args.cluster.clone();
        args.nodes = Some(nodes);
        args.cores = Some(cores);
        args.composition = composition.map(str::to_owned).or(args.composition);
        let mut cluster = Cluster::load(&args)?;
        cluster.root.files.extend(self.programs.iter().cloned());
        Ok(cluster)
    }

    fn boot(&self, cluster: &Cluster) -> Result<Running> {
        let folder = run_folder(self.workspace)?;
        let images =
            images::write(self.workspace, cluster, self.guest, &folder, PrivateKeys::Included)?;
        Running::start(cluster, &images, &folder)
    }
}

/// Measures everything and prints it.
///
/// # Errors
/// A part does not build, a cluster does not boot, or a measurement fails.
pub fn bench(workspace: &Workspace, args: &BenchArgs) -> Result<ExitCode> {
    let guest = build_guest(workspace, args.cluster.debug_kernel)?;
    let programs =
        PROGRAMS.into_iter().map(|name| program(workspace, name)).collect::<Result<_>>()?;
    let bench = Bench { workspace, args, guest: &guest, programs };
    let parts: [(BenchPart, Measure); 4] = [
        (BenchPart::Prompt, prompt),
        (BenchPart::Node, node::measure),
        (BenchPart::Requests, requests::measure),
        (BenchPart::Nodes, nodes::measure),
    ];
    for (part, measure) in parts {
        if args.part.is_none_or(|only| only == part) {
            measure(&bench)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn program(workspace: &Workspace, name: &str) -> Result<ExtraFile> {
    let folder = workspace.target().join("programs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (source, to) = (workspace.root().join(format!("tests/bench/{name}.c")), folder.join(name));
    let mut command = Command::new("gcc");
    command.args(["-O2", "-Wall", "-static", "-o"]).arg(&to).arg(&source);
    run(&mut command).with_context(|| format!("cannot build {}", source.display()))?;
    Ok(ExtraFile { path: format!("usr/test/{name}"), from: to, mode: Some(0o755) })
}

/// Says how long a node takes from QEMU's start to its prompt, as a person sees it.
fn prompt(bench: &Bench<'_>) -> Result<()> {
    let cluster = bench.cluster(1, 1, None)?;
    let start = Instant::now();
    let mut running = bench.boot(&cluster)?;
    Shell::open(&mut running, 0, start + Duration::from_secs(BOOT_S))?;
    println!("QEMU's start to the prompt, one node: {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}
