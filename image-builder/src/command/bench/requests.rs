// SPDX-License-Identifier: MIT OR Apache-2.0
//! A null request between the net-servers of two nodes, in instructions of each node and in messages.
//!
//! # Model
//! On both nodes a tick is one instruction (`-icount`), and a program, tests/bench/soak.c, keeps the
//! processor busy and counts what others execute. So no time passes idle, and how late the host
//! delivers a frame changes nothing. What others execute is
//!
//! ```text
//! what the commands around cost + rate * ticks + instructions of a request * requests
//! ```
//!
//! The first is the same for every run and falls out of a difference of two; the rate (timer ticks,
//! keepalives) comes from two runs without requests; the last is the figure.

use super::Bench;
use super::commands::{Link, link, said};
use crate::cluster::{Running, run_folder};
use crate::config::ExtraFile;
use crate::images::{self, PrivateKeys};
use crate::qemu::Counting;
use crate::session::shell::Shell;
use anyhow::{Context, Result};
use std::fs;
use std::time::{Duration, Instant};

/// Seconds for boot and measurement; an idle machine needs a tenth of it.
const TIME_S: u64 = 900;
const NODES: usize = 2;
/// Requests of the two runs with requests.
const REQUESTS: [u64; 2] = [200, 2200];
/// Seconds of guest time of the two runs without.
const PAUSES_S: [&str; 2] = ["0.2", "1.2"];
/// Starts the program on a node when its login shell starts. It leaves its number in a file when signals may
/// come and the nodes have found each other, so that it can write to their one tree.
const START: &str = "/usr/test/soak /tmp/soak.$$ /tmp/soak.pid.$$ </dev/null >/dev/null 2>&1 &\n";
/// Waits for both programs.
const READY: &str = "until [ $(cat /tmp/soak.pid.* 2>/dev/null | wc -l) = 2 ]; do sleep 0.1; done";

/// What one node's program said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sample {
    ticks: u64,
    others: u64,
}

/// What passed on every node, and on the link of the first, in one run.
struct Passed {
    nodes: [Sample; NODES],
    messages: u64,
}

/// Measures and prints.
///
/// # Errors
/// The cluster does not boot, or a command of the measurement fails.
pub fn measure(bench: &Bench<'_>) -> Result<()> {
    let script = bench.workspace.target().join("programs/soak.sh");
    fs::write(&script, START).with_context(|| format!("cannot write {}", script.display()))?;
    let mut cluster = bench.cluster(NODES as u16, 1, None)?;
    // Each node's time is its instructions, so that they differ: no lease would be good for both.
    cluster.agreed_views = false;
    let path = "etc/profile.d/soak.sh".to_owned();
    cluster.root.files.push(ExtraFile { path, from: script, mode: Some(0o644) });
    let folder = run_folder(bench.workspace)?;
    let images =
        images::write(bench.workspace, &cluster, bench.guest, &folder, PrivateKeys::Included)?;
    let counting = Counting { idles: true, ..Counting::default() };
    let mut running = Running::start_as(&cluster, &images, &folder, Some(&counting))?;
    let deadline = Instant::now() + Duration::from_secs(TIME_S);
    let measured =
        Shell::open(&mut running, 0, deadline).and_then(|mut shell| runs(&mut shell, &mut running));
    measured.inspect_err(|_| eprint!("{}", running.tails()))
}

fn runs(shell: &mut Shell, running: &mut Running) -> Result<()> {
    said(shell, running, READY)?;
    let mut idle = Vec::new();
    for pause in PAUSES_S {
        idle.push(run(shell, running, &format!("sleep {pause}"))?);
    }
    let mut busy = Vec::new();
    for requests in REQUESTS {
        busy.push(run(shell, running, &format!("net --ping 2 {requests} >/dev/null"))?);
    }
    let count = REQUESTS[1] - REQUESTS[0];
    println!("\n## A null request between two nodes\n");
    println!("| | instructions |\n|---|---|");
    for (node, role) in ["the node that asks", "the node that answers"].into_iter().enumerate() {
        let pair = |runs: &[Passed]| [runs[0].nodes[node], runs[1].nodes[node]];
        println!("| {role} | {:.0} |", instructions(pair(&idle), pair(&busy), count));
    }
    let messages = busy[1].messages.saturating_sub(busy[0].messages) as f64 / count as f64;
    println!("\n{messages:.2} messages for each of {count} requests");
    Ok(())
}

/// Instructions of one of `count` requests.
fn instructions(idle: [Sample; 2], busy: [Sample; 2], count: u64) -> f64 {
    let grown = |[first, second]: [Sample; 2]| {
        let grown = |to: u64, from: u64| to as f64 - from as f64;
        (grown(second.ticks, first.ticks), grown(second.others, first.others))
    };
    let (idle_ticks, idle_others) = grown(idle);
    let (ticks, others) = grown(busy);
    (others - ticks * idle_others / idle_ticks) / count as f64
}

/// What passes while a command runs.
fn run(shell: &mut Shell, running: &mut Running, command: &str) -> Result<Passed> {
    let before = samples(shell, running)?;
    let sent: Link = link(shell, running)?;
    said(shell, running, command)?;
    let messages = link(shell, running)?.since(sent);
    let after = samples(shell, running)?;
    let mut nodes = [Sample::default(); NODES];
    for (node, passed) in nodes.iter_mut().enumerate() {
        passed.ticks = after[node].ticks - before[node].ticks;
        passed.others = after[node].others - before[node].others;
    }
    Ok(Passed { nodes, messages })
}

/// Asks the programs; they write when the processor is theirs again.
fn samples(shell: &mut Shell, running: &mut Running) -> Result<[Sample; NODES]> {
    let command = "for p in /tmp/soak.pid.*; do \
         f=/tmp/soak.${p##*.}; n=$(cat $f 2>/dev/null | wc -l); kill -USR1 $(cat $p); \
         until [ $(cat $f 2>/dev/null | wc -l) -gt $n ]; do sleep 0.01; done; \
         echo $(cat /proc/$(cat $p)/node) $(tail -n 1 $f); done";
    read(&said(shell, running, command)?)
}

/// The samples in lines of node, ticks and others.
fn read(text: &str) -> Result<[Sample; NODES]> {
    let mut samples = [None; NODES];
    for line in text.lines() {
        let words: Option<Vec<u64>> =
            line.split_whitespace().map(|word| word.parse().ok()).collect();
        if let Some([node, ticks, others]) = words.as_deref()
            && let Some(row) = (*node as usize).checked_sub(1).and_then(|at| samples.get_mut(at))
        {
            *row = Some(Sample { ticks: *ticks, others: *others });
        }
    }
    let missing = || format!("not every node's program answered: {text}");
    let [Some(first), Some(second)] = samples else { anyhow::bail!(missing()) };
    Ok([first, second])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_leave_out_rate_and_commands() {
        let sample = |ticks, others| Sample { ticks, others };
        // Commands cost 5,000, a tenth of a tick is the rate, a request costs 300.
        let idle = [sample(1_000, 5_100), sample(11_000, 6_100)];
        let busy =
            [sample(20_000, 5_000 + 2_000 + 3_000), sample(200_000, 5_000 + 20_000 + 33_000)];
        assert!((instructions(idle, busy, 100) - 300.0).abs() < 1e-6);
    }

    #[test]
    fn samples_are_read_by_node() {
        let samples = read("2 30 4\r\nsomething else\n1 10 2\n").expect("two samples");
        assert_eq!(samples, [Sample { ticks: 10, others: 2 }, Sample { ticks: 30, others: 4 }]);
        assert!(read("1 10 2\n").is_err());
    }
}
