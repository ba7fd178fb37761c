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
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

/// Seconds for boot and measurement; an idle machine needs a tenth of it.
const TIME_S: u64 = 900;
const NODES: usize = 2;
/// Requests of the two runs with requests.
const REQUESTS: [u64; 2] = [200, 2200];
/// Seconds of guest time of the two runs without.
const PAUSES_S: [&str; 2] = ["0.2", "1.2"];
/// Starts the program on a node when its login shell starts, and leaves its number in a file as soon as
/// the nodes have found each other and can write to their one tree.
const START: &str = "\
(/usr/test/soak /tmp/soak.$$ & p=$!; until echo $p >/tmp/soak.pid.$$; do sleep 0.1; done) \
</dev/null >/dev/null 2>&1 &\n";
/// Waits for both programs.
const READY: &str = "until [ $(cat /tmp/soak.pid.* 2>/dev/null | wc -l) = 2 ]; do sleep 0.1; done";

/// Runs: two of each kind.
const RUNS: usize = PAUSES_S.len() + REQUESTS.len();
/// Asks both programs for a sample. They write it when the processor is theirs again, which is long
/// before the pause ends; nothing here depends on when, so that it costs the same each time.
const SAMPLE: &str = "kill -USR1 $(cat /tmp/soak.pid.*); sleep 1";
/// All samples: node, ticks, others.
const SAMPLES: &str = "for p in /tmp/soak.pid.*; do \
    n=$(cat /proc/$(cat $p)/node); while read s; do echo $n $s; done </tmp/soak.${p##*.}; done";

/// What one node's program said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sample {
    ticks: u64,
    others: u64,
}

/// Measures and prints.
///
/// # Errors
/// The cluster does not boot, or a command of the measurement fails.
pub fn measure(bench: &Bench<'_>) -> Result<()> {
    let script = bench.workspace.target().join("programs/soak.sh");
    fs::write(&script, START).with_context(|| format!("cannot write {}", script.display()))?;
    let mut cluster = bench.cluster(NODES as u16, 1, None)?;
    let path = "etc/profile.d/soak.sh".to_owned();
    cluster.root.files.push(ExtraFile { path, from: script, mode: Some(0o644) });
    let folder = run_folder(bench.workspace)?;
    let images =
        images::write(bench.workspace, &cluster, bench.guest, &folder, PrivateKeys::Included)?;
    let mut running = Running::start_as(&cluster, &images, &folder, Some(&Counting::default()))?;
    let deadline = Instant::now() + Duration::from_secs(TIME_S);
    let measured =
        Shell::open(&mut running, deadline).and_then(|mut shell| runs(&mut shell, &mut running));
    measured.inspect_err(|_| eprint!("{}", running.tails()))
}

fn runs(shell: &mut Shell, running: &mut Running) -> Result<()> {
    said(shell, running, READY)?;
    for pause in PAUSES_S {
        run(shell, running, &format!("sleep {pause}"))?;
    }
    let mut sent = Vec::new();
    for requests in REQUESTS {
        sent.push(run(shell, running, &format!("net --ping 2 {requests} >/dev/null"))?);
    }
    let runs = passed(&said(shell, running, SAMPLES)?)?;
    let count = REQUESTS[1] - REQUESTS[0];
    println!("\n## A null request between two nodes\n");
    println!("| | instructions |\n|---|---|");
    for (node, role) in ["the node that asks", "the node that answers"].into_iter().enumerate() {
        let pair = |first: usize| [runs[first][node], runs[first + 1][node]];
        println!("| {role} | {:.0} |", instructions(pair(0), pair(2), count));
    }
    let messages = sent[1].saturating_sub(sent[0]) as f64 / count as f64;
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

/// Runs a command between two samples of every node; the messages that its link carried.
fn run(shell: &mut Shell, running: &mut Running, command: &str) -> Result<u64> {
    let sent: Link = link(shell, running)?;
    said(shell, running, SAMPLE)?;
    said(shell, running, command)?;
    said(shell, running, SAMPLE)?;
    Ok(link(shell, running)?.since(sent))
}

/// What passed on every node in each of the runs: two samples for each.
fn passed(text: &str) -> Result<Vec<[Sample; NODES]>> {
    let mut samples: [Vec<Sample>; NODES] = Default::default();
    for line in text.lines() {
        let words: Option<Vec<u64>> =
            line.split_whitespace().map(|word| word.parse().ok()).collect();
        if let Some([node, ticks, others]) = words.as_deref()
            && let Some(rows) = (*node as usize).checked_sub(1).and_then(|at| samples.get_mut(at))
        {
            rows.push(Sample { ticks: *ticks, others: *others });
        }
    }
    let complete = samples.iter().all(|rows| rows.len() == 2 * RUNS);
    ensure!(complete, "not every node's program wrote {} samples: {text}", 2 * RUNS);
    let grown = |rows: &[Sample], run: usize| Sample {
        ticks: rows[2 * run + 1].ticks - rows[2 * run].ticks,
        others: rows[2 * run + 1].others - rows[2 * run].others,
    };
    Ok((0..RUNS).map(|run| core::array::from_fn(|node| grown(&samples[node], run))).collect())
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
    fn samples_are_read_by_node_and_run() {
        let lines = |node: usize| {
            let line = |at: usize| format!("{node} {} {}\n", at * at * 10, at * node);
            (0..2 * RUNS).map(line).collect::<String>()
        };
        let runs = passed(&(lines(2) + "something else\n" + &lines(1))).expect("all samples");
        assert_eq!(runs.len(), RUNS);
        assert_eq!(runs[0], [Sample { ticks: 10, others: 1 }, Sample { ticks: 10, others: 2 }]);
        assert_eq!(runs[1], [Sample { ticks: 50, others: 1 }, Sample { ticks: 50, others: 2 }]);
        assert!(passed(&lines(1)).is_err());
    }
}
