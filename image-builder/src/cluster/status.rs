// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a cluster is doing, as `./korrigan ctl list` shows it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A cluster.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// What executes the nodes' instructions.
    pub accelerator: String,
    /// The nodes, in the cluster's order.
    pub nodes: Vec<NodeStatus>,
    /// Every link, once for each direction.
    pub links: Vec<LinkStatus>,
    /// Frames that the switch has handed over.
    pub frames_forwarded: u64,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its number.
    pub id: u16,
    /// What it is doing.
    pub state: NodeState,
    /// Process number of its QEMU; of the last one, if that has ended.
    pub pid: u32,
    /// CPU cores.
    pub cores: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Where its console is logged.
    pub log: PathBuf,
}

/// What a node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Its QEMU runs.
    Running,
    /// Its QEMU was stopped, and goes on when it is resumed.
    Paused,
    /// The tool ended it, because somebody said so.
    Killed,
    /// It ended because `halt` was typed in it.
    Halted,
    /// It ended, and nobody asked for that.
    Crashed,
}

impl NodeState {
    /// True if it has a QEMU.
    pub fn is_alive(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::Killed | Self::Halted | Self::Crashed => false,
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Killed => "killed",
            Self::Halted => "halted",
            Self::Crashed => "crashed",
        })
    }
}

/// One direction of a link.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The node it comes from.
    pub from: u16,
    /// The node it goes to.
    pub to: u16,
    /// True if nothing passes.
    pub cut: bool,
    /// Milliseconds that everything takes longer.
    pub slow_ms: f64,
    /// Frames that are lost, out of a hundred.
    pub lose_percent: f64,
    /// Frames handed over.
    pub frames_forwarded: u64,
    /// Frames that were cut, lost, or dropped from a full queue.
    pub frames_dropped: u64,
}

impl LinkStatus {
    /// What is wrong with it, in the words of the orders that made it so.
    pub fn faults(&self) -> String {
        let mut faults = Vec::new();
        if self.cut {
            faults.push("cut".to_owned());
        }
        if self.slow_ms > 0.0 {
            faults.push(format!("slow {} ms", self.slow_ms));
        }
        if self.lose_percent > 0.0 {
            faults.push(format!("lose {} %", self.lose_percent));
        }
        if faults.is_empty() { "good".to_owned() } else { faults.join(", ") }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} nodes on {}\n", self.nodes.len(), self.accelerator)?;
        writeln!(f, "{:>4}  {:<8} {:>8} {:>5} {:>6}  LOG", "NODE", "STATE", "PID", "CORES", "MIB")?;
        for node in &self.nodes {
            let NodeStatus { id, state, pid, cores, memory_mib, log } = node;
            let pid = if state.is_alive() { pid.to_string() } else { "-".to_owned() };
            write!(f, "{id:>4}  {state:<8} {pid:>8} {cores:>5} {memory_mib:>6}")?;
            writeln!(f, "  {}", log.display())?;
        }
        if !self.links.is_empty() {
            writeln!(f, "\n{:>9}  {:<24} {:>10} {:>10}", "LINK", "STATE", "FORWARDED", "DROPPED")?;
        }
        for link in &self.links {
            let name = format!("{} > {}", link.from, link.to);
            let (forwarded, dropped) = (link.frames_forwarded, link.frames_dropped);
            writeln!(f, "{name:>9}  {:<24} {forwarded:>10} {dropped:>10}", link.faults())?;
        }
        write!(f, "\n{} frames forwarded", self.frames_forwarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named_together() {
        let good = LinkStatus {
            from: 1,
            to: 2,
            cut: false,
            slow_ms: 0.0,
            lose_percent: 0.0,
            frames_forwarded: 7,
            frames_dropped: 0,
        };
        assert_eq!(good.faults(), "good");
        let bad = LinkStatus { slow_ms: 25.0, lose_percent: 10.0, ..good };
        assert_eq!(bad.faults(), "slow 25 ms, lose 10 %");
        assert_eq!(LinkStatus { cut: true, ..good }.faults(), "cut");
    }

    #[test]
    fn list_shows_no_process_of_a_node_that_has_none() {
        let node = |id, state| NodeStatus {
            id,
            state,
            pid: 4711,
            cores: 1,
            memory_mib: 256,
            log: "node.log".into(),
        };
        let status = Status {
            accelerator: "TCG".to_owned(),
            nodes: vec![node(1, NodeState::Paused), node(2, NodeState::Killed)],
            links: Vec::new(),
            frames_forwarded: 12,
        };
        let text = status.to_string();
        assert!(text.contains("   1  paused       4711     1    256  node.log"), "{text}");
        assert!(text.contains("   2  killed          -     1    256  node.log"), "{text}");
    }
}
