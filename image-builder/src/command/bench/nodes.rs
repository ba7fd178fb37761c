// SPDX-License-Identifier: MIT OR Apache-2.0
//! Three nodes: page fetches and migrations, in messages and in round trips.
//!
//! # Model
//! The switch delays every frame, so that a round trip takes [`DELAY_US`] twice and a little: much
//! longer than the host makes anybody wait. What takes n round trips then takes n times as long as a
//! null request, measured in the same run, whatever the host's load.

use super::Bench;
use super::commands::{before, link, migration, round_trip_ms, said};
use crate::cluster::Running;
use crate::session::shell::Shell;
use crate::switch::Link;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Seconds for boot and measurement.
const TIME_S: u64 = 1200;
/// Microseconds that a frame takes, one way.
const DELAY_US: u64 = 25_000;
/// What is moved, in MiB.
const SIZES_MIB: [u64; 3] = [1, 16, 64];
/// Null requests that tell the round trip.
const REQUESTS: u64 = 20;
/// Pages of the file that is fetched.
const FETCHES: u64 = 64;

/// Measures three nodes and prints the tables.
///
/// # Errors
/// The cluster does not boot, or a command of the measurement fails.
pub fn measure(bench: &Bench<'_>) -> Result<()> {
    let cluster = bench.cluster(3, 1, None)?;
    let start = Instant::now();
    let mut running = bench.boot(&cluster)?;
    let deadline = start + Duration::from_secs(TIME_S);
    let measured = Shell::open(&mut running, 0, deadline).and_then(|mut shell| {
        println!(
            "\n## Three nodes\n\nQEMU's start to the prompt, all three nodes: {:.1} s",
            start.elapsed().as_secs_f32()
        );
        let undelayed = round_trip_ms(&mut shell, &mut running, REQUESTS)?;
        println!("Round trip of a null request, as the host lets it: {undelayed:.3} ms");
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            running.set_link(a, b, Link { delay_us: DELAY_US, ..Link::default() });
        }
        fetches(&mut shell, &mut running)?;
        moves(&mut shell, &mut running)
    });
    measured.inspect_err(|_| eprint!("{}", running.tails()))
}

/// Pages of a file that rests on node 1, read on node 2 one after the other.
fn fetches(shell: &mut Shell, running: &mut Running) -> Result<()> {
    let make = format!("head -c {} /dev/zero | tr '\\0' k >/tmp/fetched", FETCHES * 4096);
    said(shell, running, &make)?;
    let rtt_ms = round_trip_ms(shell, running, REQUESTS)?;
    // Once without pages, so that what the program itself costs can be left out.
    let mut messages = [0; 2];
    let mut printed = String::new();
    for (count, command) in messages.iter_mut().zip([
        "head -c 4096 /tmp/fetched >/tmp/one; onnode 2 /usr/test/fetch /tmp/one",
        "onnode 2 /usr/test/fetch /tmp/fetched",
    ]) {
        let sent = link(shell, running)?;
        printed = said(shell, running, command)?;
        *count = link(shell, running)?.since(sent);
    }
    let us = |name| before(&printed, name).and_then(|word| word.parse::<f64>().ok());
    let took = us(" us, again").with_context(|| format!("`fetch` printed: {printed}"))?;
    println!(
        "\nA remote page, of {FETCHES} read one after the other: {:.2} round trips ({:.1} ms of {rtt_ms:.1} ms), \
         {:.2} messages",
        took / 1000.0 / rtt_ms,
        took / 1000.0,
        (messages[1] as f64 - messages[0] as f64) / (FETCHES - 1) as f64,
    );
    Ok(())
}

fn moves(shell: &mut Shell, running: &mut Running) -> Result<()> {
    println!(
        "\n| MiB | round trip ms | freeze ms | freeze in round trips | its messages | total ms | pages on demand | by prefetch | reads meanwhile |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for mib in SIZES_MIB {
        let rtt_ms = round_trip_ms(shell, running, REQUESTS)?;
        // A read that takes half a round trip waited for a page.
        let wait_us = (rtt_ms * 500.0) as u64;
        let hold = format!(
            "/usr/test/hold {mib} {wait_us} >/tmp/hold{mib} & pid=$!; until grep -q holds /tmp/hold{mib}; do sleep 0.1; done"
        );
        said(shell, running, &hold)?;
        let moved = said(shell, running, "migrate $pid 2")?;
        let ended = format!(
            "until grep -q wrong /tmp/hold{mib}; do sleep 0.1; done; kill $pid; tail -n 1 /tmp/hold{mib}"
        );
        let reads = said(shell, running, &ended)?;
        ensure!(reads.contains(", 0 wrong"), "memory is wrong after a move: {reads}");
        let one = migration(&moved).with_context(|| format!("`migrate` printed: {moved}"))?;
        println!(
            "| {mib} | {rtt_ms:.1} | {:.1} | {:.2} | {} | {:.0} | {} | {} | {} |",
            one.freeze_ms,
            one.freeze_ms / rtt_ms,
            one.messages,
            one.total_ms,
            one.on_demand,
            one.prefetched,
            reads.trim(),
        );
    }
    Ok(())
}
