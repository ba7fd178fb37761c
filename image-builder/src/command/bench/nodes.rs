// SPDX-License-Identifier: MIT OR Apache-2.0
//! Three nodes: round trips, page fetches and migrations, in messages and in time.
//!
//! # Limits
//! Each node's QEMU runs in the host's own time here, so that times depend on the host and its load;
//! messages do not. Times are therefore told as multiples of the round trip measured beside them.

use super::Bench;
use super::node::said;
use crate::cluster::Running;
use crate::session::shell::Shell;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Seconds for boot and measurement.
const TIME_S: u64 = 600;
/// What is moved, in MiB.
const SIZES_MIB: [u64; 3] = [1, 16, 64];

/// A line of `net`: the link from node 1 to node 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Link {
    rtt_us: u64,
    sent: u64,
    received: u64,
}

/// What one migration cost.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Move {
    freeze_ms: f64,
    total_ms: f64,
    on_demand: u64,
    prefetched: u64,
}

/// Measures three nodes and prints the tables.
///
/// # Errors
/// The cluster does not boot, or a command of the measurement fails.
pub fn measure(bench: &Bench<'_>) -> Result<()> {
    let cluster = bench.cluster(3, 1, None)?;
    let start = Instant::now();
    let mut running = bench.boot(&cluster)?;
    let deadline = start + Duration::from_secs(TIME_S);
    let measured = Shell::open(&mut running, deadline).and_then(|mut shell| {
        println!(
            "\n## Three nodes\n\nQEMU's start to the prompt, all three nodes: {:.1} s",
            start.elapsed().as_secs_f32()
        );
        moves(&mut shell, &mut running)
    });
    measured.inspect_err(|_| eprint!("{}", running.tails()))
}

fn moves(shell: &mut Shell, running: &mut Running) -> Result<()> {
    println!(
        "\n| MiB | RTT us before | freeze ms | total ms | pages on demand | by prefetch | messages out | in | first reads |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for mib in SIZES_MIB {
        let hold = format!(
            "/usr/test/hold {mib} >/tmp/hold{mib} & pid=$!; until grep -q holds /tmp/hold{mib}; do sleep 0.1; done"
        );
        said(shell, running, &hold)?;
        let before = link(&said(shell, running, "net")?)?;
        let moved = said(shell, running, "migrate $pid 2")?;
        let after = link(&said(shell, running, "net")?)?;
        let waits = said(shell, running, &format!("wait $pid && tail -n 1 /tmp/hold{mib}"))?;
        let one = migration(&moved).with_context(|| format!("`migrate` printed: {moved}"))?;
        println!(
            "| {mib} | {} | {:.1} | {:.1} | {} | {} | {} | {} | {} |",
            before.rtt_us,
            one.freeze_ms,
            one.total_ms,
            one.on_demand,
            one.prefetched,
            after.sent.saturating_sub(before.sent),
            after.received.saturating_sub(before.received),
            waits.trim(),
        );
    }
    Ok(())
}

/// The link from node 1 to node 2 in what `net` prints.
fn link(text: &str) -> Result<Link> {
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.starts_with(&["1", "2", "up"]));
    let row = row.with_context(|| format!("node 2 is not up: {text}"))?;
    let number = |column: usize| row.get(column).and_then(|word| word.parse().ok());
    let link = (number(3), number(4), number(5));
    let (Some(rtt_us), Some(sent), Some(received)) = link else {
        anyhow::bail!("`net` printed other columns: {text}");
    };
    Ok(Link { rtt_us, sent, received })
}

/// The figures in what `migrate` prints.
fn migration(text: &str) -> Option<Move> {
    let before = |name: &str| {
        let (front, _) = text.split_once(name)?;
        front.rsplit([' ', '\n']).next()
    };
    let after = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        rest.split(' ').next()
    };
    Some(Move {
        freeze_ms: after("freeze ")?.parse().ok()?,
        total_ms: after("total ")?.parse().ok()?,
        on_demand: before(" on demand")?.parse().ok()?,
        prefetched: before(" by prefetch")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migration_is_read() {
        let text = "process 5 moved from node 1 to node 2\n\
            freeze 55.377 ms, total 56.5 ms, 317 pages, 1363 bytes of state\n\
            pages moved: 1 on demand, 267 by prefetch\n";
        let wanted = Move { freeze_ms: 55.377, total_ms: 56.5, on_demand: 1, prefetched: 267 };
        assert_eq!(migration(text), Some(wanted));
        assert_eq!(migration("migrate: no such process"), None);
    }

    #[test]
    fn link_is_read() {
        let text =
            "NODE TO STATE RTT_US MSGS_OUT MSGS_IN\n   1   3 up  9 1 1\n   1   2 up 672 13 4 0 0\n";
        assert_eq!(link(text).expect("a row"), Link { rtt_us: 672, sent: 13, received: 4 });
        assert!(link("   1   2 down 0 0 0").is_err());
    }
}
