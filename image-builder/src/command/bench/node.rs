// SPDX-License-Identifier: MIT OR Apache-2.0
//! One node under `-icount`: a tick of its time stamp counter is one instruction, in every run.

use super::commands::said;
use super::entries::EntryPoints;
use super::{Bench, figures};
use crate::cluster::{Running, run_folder};
use crate::images::{self, PrivateKeys};
use crate::qemu::{Counting, Trace};
use crate::session::shell::Shell;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, Instant};

/// Seconds for boot and measurement; an idle machine needs a quarter of it.
const TIME_S: u64 = 900;
/// The composition's names, in the order of the targets' columns.
const COMPOSITIONS: [&str; 2] = ["isolated", "fast"];

/// Measures both compositions and prints a table for each.
///
/// # Errors
/// The node does not boot or the program fails.
pub fn measure(bench: &Bench<'_>) -> Result<()> {
    for (column, name) in COMPOSITIONS.into_iter().enumerate() {
        let only = bench.args.cluster.composition.as_deref();
        if only.is_none_or(|only| only == name) {
            composition(bench, name, column)?;
        }
    }
    Ok(())
}

fn composition(bench: &Bench<'_>, name: &str, column: usize) -> Result<()> {
    let cluster = bench.cluster(1, 1, Some(name))?;
    let folder = run_folder(bench.workspace)?;
    let images =
        images::write(bench.workspace, &cluster, bench.guest, &folder, PrivateKeys::Included)?;
    sizes(&images.kernel, &images.modules[0].1)?;
    let points = EntryPoints::of(&bench.guest.kernel.elf64)?;
    let log = folder.join("entries.log");
    let trace = Trace { log: log.clone(), filter: points.filter() };
    let counting = Counting { trace: Some(trace), idles: false };
    let mut running = Running::start_as(&cluster, &images, &folder, Some(&counting))?;
    let (memory, printed) =
        program(&mut running).inspect_err(|_| eprint!("{}", running.tails()))?;
    // Dropped first, so that QEMU has written all of its log.
    drop(running);
    let read = File::open(&log).context("QEMU wrote no log")?;
    let tallies = points.count(BufReader::new(read))?;
    // It is large, and the next run writes it again.
    fs::remove_file(&log).context("cannot remove QEMU's log")?;
    println!(
        "\n## One node, `{name}`\n\n{}",
        figures::table(&figures::parse(&printed), &tallies, column)
    );
    println!("{memory}");
    Ok(())
}

/// Runs the program; what `mem` and the program printed.
fn program(running: &mut Running) -> Result<(String, String)> {
    let deadline = Instant::now() + Duration::from_secs(TIME_S);
    let mut shell = Shell::open(running, 0, deadline)?;
    let memory = said(&mut shell, running, "mem")?;
    let printed = said(&mut shell, running, "/usr/test/bench")?;
    Ok((memory, printed))
}

fn sizes(kernel: &Path, module: &Path) -> Result<()> {
    let kib = |path: &Path| fs::metadata(path).map(|meta| meta.len() / 1024);
    let (kernel, module) = (kib(kernel)?, kib(module)?);
    println!("image: kernel {kernel} KiB, module {module} KiB");
    Ok(())
}
