// SPDX-License-Identifier: MIT OR Apache-2.0
//! A running cluster: one QEMU per node, the switch between them, their consoles and logs.
//!
//! # Model
//! Each node's console is its QEMU's standard input and output. A thread per node reads it, appends
//! it to the node's log and sends it on as an [`Event`]. Dropping the cluster ends every QEMU; if
//! the tool itself is killed, the kernel ends them (see [`crate::qemu::tied_to_us`]).
//!
//! # Limits
//! Events wait in a queue of [`EVENTS_MAX`]; a node that prints faster waits for the reader.

mod console;
mod folder;
mod node;
mod orders;
mod status;

pub use console::Console;
pub use node::{Farewell, Node};
pub use status::{NodeState, Status};

use crate::config::Cluster;
use crate::control::{Asked, Patience, Server};
use crate::disks;
use crate::images::Images;
use crate::qemu::{Accelerator, Counting, Machine};
use crate::switch::{Link, PortSocket, SwitchThread};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use node::Place;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Events that wait for the reader.
const EVENTS_MAX: usize = 256;
/// Milliseconds in which a QEMU that cannot start has said so.
const START_MS: u64 = 150;
/// Lines of each node's log that a report of a failure shows.
const TAIL_LINES: usize = 40;

/// Something happened on a console.
#[derive(Debug)]
pub enum Event {
    /// A node printed this.
    Output {
        /// Index of the node.
        node: usize,
        /// What it printed.
        bytes: Vec<u8>,
    },
    /// A node's QEMU ended.
    Ended {
        /// Index of the node.
        node: usize,
        /// The QEMU's process number; the node may run in another one by now.
        process: u32,
    },
    /// The person at the terminal typed this.
    Typed(Vec<u8>),
    /// The terminal is closed.
    TerminalClosed,
    /// Somebody asks for something through the control socket.
    Asked(Asked),
    /// Somebody who looks on from another terminal typed this on a node's console.
    TypedAt {
        /// Index of the node.
        node: usize,
        /// What was typed.
        bytes: Vec<u8>,
    },
}

/// A cluster that runs.
pub struct Running {
    /// The nodes, in the cluster's order; links are named by index into it.
    pub nodes: Vec<Node>,
    /// What happens on the consoles.
    pub events: Receiver<Event>,
    /// Where others put their events.
    pub sender: SyncSender<Event>,
    /// What executes the nodes.
    pub accelerator: Accelerator,
    machines: Vec<Machine>,
    consoles: Vec<Arc<Console>>,
    folder: PathBuf,
    switch: SwitchThread,
    /// Serves `./korrigan ctl` until this is dropped; `None` if the folder can hold no socket.
    _control: Option<Server>,
}

/// Makes the folder of a new run: images and logs.
///
/// # Errors
/// The disk is full or read-only.
pub fn run_folder(workspace: &Workspace) -> Result<PathBuf> {
    folder::make(&workspace.target().join("run"))
}

impl Running {
    /// Boots every node; logs go to `folder`, and so do new disks if the cluster has no place for its own.
    ///
    /// # Errors
    /// QEMU is not installed, or ends at once; a disk cannot be made, or is another one's.
    pub fn start(cluster: &Cluster, images: &Images, folder: &Path) -> Result<Self> {
        Self::start_as(cluster, images, folder, None)
    }

    /// Boots every node, counting its instructions if `counting` says how; logs go to `folder`.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_as(
        cluster: &Cluster,
        images: &Images,
        folder: &Path,
        counting: Option<&Counting>,
    ) -> Result<Self> {
        let own = folder.join("disks");
        let disks = disks::prepare(cluster.disks.as_ref().unwrap_or(&own), cluster)?;
        let (sender, events) = sync_channel(EVENTS_MAX);
        let accelerator = Accelerator::find();
        let consoles: Vec<Arc<Console>> = cluster.nodes.iter().map(|_| Arc::default()).collect();
        let (mut nodes, mut machines, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (entry, (_, module))) in cluster.nodes.iter().zip(&images.modules).enumerate() {
            let port = PortSocket::new()?;
            let machine = Machine {
                node: entry.clone(),
                kernel: images.kernel.clone(),
                module: module.clone(),
                accelerator,
                netdev: Some(port.netdev("n0")?),
                disk: disks[index].clone(),
                counting: counting.cloned(),
            };
            let place = Place { index, folder, console: &consoles[index], sender: &sender };
            nodes.push(Node::start(&place, &machine)?);
            machines.push(machine);
            ports.push(port);
        }
        // The seed is fixed: a lossy link loses the same frames of the same traffic every time.
        let switch = SwitchThread::start(ports, 1)?;
        let ids = nodes.iter().map(|node: &Node| node.id).zip(consoles.iter().cloned()).collect();
        let control = Server::start(folder, sender.clone(), ids, Patience::default())
            .inspect_err(|error| eprintln!("korrigan: `./korrigan ctl` will not work: {error:#}"))
            .ok();
        let folder = folder.to_path_buf();
        let mut running = Self {
            nodes,
            events,
            sender,
            accelerator,
            machines,
            consoles,
            folder,
            switch,
            _control: control,
        };
        std::thread::sleep(Duration::from_millis(START_MS));
        for index in 0..running.nodes.len() {
            running.until_started(index)?;
        }
        Ok(running)
    }

    /// Boots a node again, with the same image and command line.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.nodes[index].kill();
        self.start_node(index)?;
        std::thread::sleep(Duration::from_millis(START_MS));
        self.until_started(index)
    }

    /// Starts a node whose QEMU ended at once again, as long as another program takes its port.
    fn until_started(&mut self, index: usize) -> Result<()> {
        while !self.nodes[index].is_running() {
            let port = another_port(&self.nodes[index])?;
            self.machines[index].netdev = Some(port.netdev("n0")?);
            self.switch.replug(index, port);
            self.start_node(index)?;
            std::thread::sleep(Duration::from_millis(START_MS));
        }
        Ok(())
    }

    fn start_node(&mut self, index: usize) -> Result<()> {
        let (folder, console, sender) = (&self.folder, &self.consoles[index], &self.sender);
        let place = Place { index, folder, console, sender };
        self.nodes[index] = Node::start(&place, &self.machines[index])?;
        Ok(())
    }

    /// Sets the rule of the link between two nodes, both ways, named by index.
    pub fn set_link(&self, a: usize, b: usize, link: Link) {
        self.switch.set_link(a, b, link);
        self.switch.set_link(b, a, link);
    }

    /// Index of the node with this number.
    ///
    /// # Errors
    /// The cluster has no such node.
    pub fn index(&self, id: u16) -> Result<usize> {
        let found = self.nodes.iter().position(|node| node.id == id);
        found.with_context(|| {
            let ids: Vec<String> = self.nodes.iter().map(|node| node.id.to_string()).collect();
            format!("the cluster has no node {id}: it has {}", ids.join(", "))
        })
    }

    /// Where the logs are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The last lines of every node's log, for a report of a failure.
    pub fn tails(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let log = node.log.display();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "--- node {}, last {TAIL_LINES} lines of {log}", node.id);
            text.push_str(&node.tail(TAIL_LINES));
        }
        let _ = writeln!(text, "--- switch: {}", self.switch.counters());
        text
    }
}

/// A new port for a node whose QEMU ended at once, if it ended because another program took its
/// port. That is a rare race, so that it is not counted.
fn another_port(node: &Node) -> Result<PortSocket> {
    let said = node.complaint();
    ensure!(!disks::is_locked(&said), "the disk of node {}: {}", node.id, disks::LOCKED);
    let last = said.trim().lines().last().unwrap_or("it did not say why");
    ensure!(last.contains("in use"), "QEMU of node {} ended at once: {last}", node.id);
    PortSocket::new()
}
