// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that measurements type, and what they read out of the answers.

use crate::cluster::Running;
use crate::session::shell::Shell;
use anyhow::{Context, Result, bail, ensure};

/// The link from node 1 to node 2 since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Messages sent.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
}

impl Link {
    /// Messages both ways since `before`.
    pub fn since(self, before: Self) -> u64 {
        (self.sent + self.received).saturating_sub(before.sent + before.received)
    }
}

/// What one migration cost.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Move {
    /// Until the target said that it runs there.
    pub freeze_ms: f64,
    /// Until its last page was there.
    pub total_ms: f64,
    /// Messages in the freeze.
    pub messages: u64,
    /// Pages that a thread waited for.
    pub on_demand: u64,
    /// Pages that came ahead.
    pub prefetched: u64,
}

/// What a command that must succeed prints.
///
/// # Errors
/// It fails, or the time is up.
pub fn said(shell: &mut Shell, running: &mut Running, command: &str) -> Result<String> {
    let mut output = Vec::new();
    let status = shell.run(running, command, &mut |bytes| output.extend_from_slice(bytes))?;
    let text = String::from_utf8_lossy(&output).replace('\r', "");
    ensure!(status == 0, "`{command}` ended with {status}: {text}");
    Ok(text)
}

/// The messages that went over the link from node 1 to node 2.
///
/// # Errors
/// `net` fails, or node 2 is not up.
pub fn link(shell: &mut Shell, running: &mut Running) -> Result<Link> {
    read_link(&said(shell, running, "net")?)
}

/// The mean round trip of `count` null requests from node 1 to node 2, in milliseconds.
///
/// # Errors
/// Not all are answered.
pub fn round_trip_ms(shell: &mut Shell, running: &mut Running, count: u64) -> Result<f64> {
    let text = said(shell, running, &format!("net --ping 2 {count}"))?;
    let mean = after(&text, "mean ").and_then(|word| word.parse().ok());
    mean.with_context(|| format!("`net --ping` printed: {text}"))
}

fn read_link(text: &str) -> Result<Link> {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = rows.iter().find(|row| row.starts_with(&["1", "2", "up"]));
    let row = row.with_context(|| format!("node 2 is not up: {text}"))?;
    let number = |name: &str| {
        let column = rows.iter().find_map(|row| row.iter().position(|word| *word == name))?;
        row.get(column)?.parse().ok()
    };
    let (Some(sent), Some(received)) = (number("MSGS_OUT"), number("MSGS_IN")) else {
        bail!("`net` printed other columns: {text}");
    };
    Ok(Link { sent, received })
}

/// The word behind `name`.
pub fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(name)?;
    rest.split([' ', '\n', ',']).next()
}

/// The word in front of `name`.
pub fn before<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (front, _) = text.split_once(name)?;
    front.rsplit([' ', '\n']).next()
}

/// The figures in what `migrate` prints.
pub fn migration(text: &str) -> Option<Move> {
    Some(Move {
        freeze_ms: after(text, "freeze ")?.parse().ok()?,
        total_ms: after(text, "total ")?.parse().ok()?,
        messages: before(text, " messages")?.parse().ok()?,
        on_demand: before(text, " on demand")?.parse().ok()?,
        prefetched: before(text, " by prefetch")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migration_is_read() {
        let text = "process 5 moved from node 1 to node 2\n\
            freeze 55.377 ms, 5 messages, 1363 bytes of state\n\
            pages moved: 1 on demand, 267 by prefetch; total 156.500 ms\n";
        let wanted =
            Move { freeze_ms: 55.377, total_ms: 156.5, messages: 5, on_demand: 1, prefetched: 267 };
        assert_eq!(migration(text), Some(wanted));
        assert_eq!(migration("migrate: no such process"), None);
    }

    #[test]
    fn link_is_read() {
        let text = "NODE TO STATE LIVES RTT_US MSGS_OUT MSGS_IN\n\
            \x20  1   3 up 1  9 1 1\n   1   2 up 1 672 13 4 0 0\n";
        let link = read_link(text).expect("a row");
        assert_eq!(link, Link { sent: 13, received: 4 });
        assert_eq!(link.since(Link { sent: 10, received: 2 }), 5);
        assert!(read_link("   1   2 down 0 0 0").is_err());
    }
}
