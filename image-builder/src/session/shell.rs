// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a session over a running cluster's console: waits, types, and watches all nodes meanwhile.

use super::{Action, Session};
use crate::cluster::{Event, Farewell, NodeState, Running};
use anyhow::{Result, bail, ensure};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// The shell server prints "node N: ready" when the node is in service.
const READY: &str = ": ready";
/// Bytes of a console kept while its "ready" has not been seen.
const BOOT_TAIL_BYTES: usize = 4096;

/// The login shell of one node.
pub struct Shell {
    /// The node, by index.
    at: usize,
    session: Session,
    /// The QEMU that it is in: a node that was booted again has another.
    process: u32,
    deadline: Instant,
}

impl Shell {
    /// Waits until every node is in service and the login shell of the one with index `at` shows its
    /// prompt.
    ///
    /// # Errors
    /// A node ends, or the time is up.
    pub fn open(running: &mut Running, at: usize, deadline: Instant) -> Result<Self> {
        Self::open_without(running, at, deadline, &[])
    }

    /// The same, without waiting for the nodes with these numbers: the cluster does not know them yet.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_without(
        running: &mut Running,
        at: usize,
        deadline: Instant,
        strangers: &[u16],
    ) -> Result<Self> {
        let process = running.nodes[at].process();
        let mut shell = Self { at, session: Session::default(), process, deadline };
        let awaited = |id: u16| (!strangers.contains(&id)).then(String::new);
        let mut boots: Vec<_> = running.nodes.iter().map(|node| awaited(node.id)).collect();
        let mut prompt = false;
        while !prompt || boots.iter().any(Option::is_some) {
            let (node, bytes) = match next(running, deadline)? {
                Heard::Output(node, bytes) => (node, bytes),
                // Somebody did that from outside: the others go on without it.
                Heard::Ended(node) if node != at && was_killed(running, node) => {
                    boots[node] = None;
                    continue;
                }
                Heard::Ended(node) if was_killed(running, node) => {
                    bail!(
                        "node {} was killed before its login shell was there",
                        running.nodes[node].id
                    )
                }
                Heard::Ended(node) => bail!("node {} ended", running.nodes[node].id),
                Heard::TimeUp => {
                    bail!("the time is up, and {}", waiting_for(running, at, &boots, prompt))
                }
            };
            watch_boot(&mut boots[node], running.nodes[node].id, &bytes);
            if node == at {
                for action in shell.session.feed(&bytes) {
                    prompt |= action == Action::Ready;
                    if let Action::Type(line) = action {
                        running.nodes[at].write(&line)?;
                    }
                }
            }
        }
        Ok(shell)
    }

    /// Runs a command line; `output` gets what it prints as it comes. Returns its status.
    ///
    /// # Errors
    /// The command cannot be typed, a node ends, or the time is up.
    pub fn run(
        &mut self,
        running: &mut Running,
        command: &str,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<u8> {
        self.until_idle(running, command)?;
        let line = self.session.start(command)?;
        running.nodes[self.at].write(&line)?;
        let (at, id) = (self.at, running.nodes[self.at].id);
        loop {
            let bytes = match next(running, self.deadline)? {
                Heard::Output(node, bytes) if node == at => bytes,
                Heard::Ended(node) if node == at && was_killed(running, at) => {
                    bail!("node {id} was killed, and this command ran there: {command}")
                }
                // The shell went with its node, as the command asked.
                Heard::Ended(node) if node == at => {
                    self.renew(running);
                    return Ok(0);
                }
                Heard::Output(..) | Heard::Ended(_) => continue,
                Heard::TimeUp => bail!("the time is up, and this command still runs: {command}"),
            };
            if self.renew(running) {
                bail!(
                    "node {id} was killed and booted again, and this command ran there: {command}"
                );
            }
            for action in self.session.feed(&bytes) {
                match action {
                    Action::Type(line) => running.nodes[self.at].write(&line)?,
                    Action::Output(bytes) => output(&bytes),
                    Action::Done(status) => return Ok(status),
                    Action::Ready => {}
                }
            }
        }
    }

    /// Waits for the prompt of a shell that was started again with its node.
    fn until_idle(&mut self, running: &mut Running, command: &str) -> Result<()> {
        self.renew(running);
        while !self.session.is_idle() {
            let (id, state) = (running.nodes[self.at].id, running.nodes[self.at].state());
            ensure!(state.is_alive(), "node {id} is {state}: nobody runs {command}");
            match next(running, self.deadline)? {
                Heard::Output(node, bytes) if node == self.at => self.overhear(running, &bytes)?,
                Heard::Output(..) | Heard::Ended(_) => {}
                Heard::TimeUp => {
                    bail!("the time is up, and node {id} has not come back for {command}")
                }
            }
        }
        Ok(())
    }

    /// Whether it is the shell of the node with this index.
    pub fn is_at(&self, node: usize) -> bool {
        self.at == node
    }

    /// Takes what the node's console printed while no command ran: the prompt may be in it.
    ///
    /// # Errors
    /// The node takes no input.
    pub fn overhear(&mut self, running: &mut Running, bytes: &[u8]) -> Result<()> {
        self.renew(running);
        for action in self.session.feed(bytes) {
            if let Action::Type(line) = action {
                running.nodes[self.at].write(&line)?;
            }
        }
        Ok(())
    }

    /// Begins anew if the node was booted again; true if it was.
    fn renew(&mut self, running: &Running) -> bool {
        let again = !running.nodes[self.at].is_process(self.process);
        if again {
            self.process = running.nodes[self.at].process();
            self.session = Session::default();
        }
        again
    }
}

fn was_killed(running: &mut Running, node: usize) -> bool {
    running.nodes[node].state() == NodeState::Killed
}

/// What is heard of the nodes.
pub enum Heard {
    /// A node, by index, printed this.
    Output(usize, Vec<u8>),
    /// A node, by index, ended because that was asked for.
    Ended(usize),
    /// Nothing in time.
    TimeUp,
}

/// The next thing that is heard of any node. One that restarts is booted again.
///
/// # Errors
/// A node crashed.
pub fn next(running: &mut Running, deadline: Instant) -> Result<Heard> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Ok(Heard::TimeUp);
        }
        let node = match running.events.recv_timeout(left) {
            Ok(Event::Output { node, bytes }) => return Ok(Heard::Output(node, bytes)),
            Ok(Event::Typed(_) | Event::TerminalClosed) => continue,
            Ok(Event::Asked(asked)) => {
                if let Some(done) = running.answer(asked) {
                    eprintln!("korrigan: {done}");
                }
                continue;
            }
            Ok(Event::TypedAt { node, bytes }) => {
                // What a node does not take is lost, as at a keyboard that is not plugged in.
                let _ = running.nodes[node].write(&bytes);
                continue;
            }
            Ok(Event::Ended { node, process }) if running.nodes[node].is_process(process) => node,
            Ok(Event::Ended { .. }) => continue,
            Err(RecvTimeoutError::Timeout) => return Ok(Heard::TimeUp),
            Err(RecvTimeoutError::Disconnected) => bail!("all nodes have ended"),
        };
        match running.nodes[node].farewell() {
            Farewell::Halted | Farewell::Killed => {
                // Its console is closed; the process itself may take a moment longer.
                running.nodes[node].end();
                return Ok(Heard::Ended(node));
            }
            Farewell::Restarting => {
                running.restart(node)?;
                return Ok(Heard::Ended(node));
            }
            Farewell::Crashed => bail!("node {} crashed: its QEMU ended", running.nodes[node].id),
        }
    }
}

/// Looks for the node's "ready" in what it printed; then nothing more is kept.
fn watch_boot(boot: &mut Option<String>, id: u16, bytes: &[u8]) {
    let Some(text) = boot else { return };
    text.push_str(&String::from_utf8_lossy(bytes));
    if text.contains(&format!("node {id}{READY}")) {
        *boot = None;
    } else if text.len() > BOOT_TAIL_BYTES {
        let tail: String = text.chars().skip(text.chars().count() / 2).collect();
        *text = tail;
    }
}

fn waiting_for(running: &Running, at: usize, boots: &[Option<String>], prompt: bool) -> String {
    let late: Vec<String> = running
        .nodes
        .iter()
        .zip(boots)
        .filter(|(_, boot)| boot.is_some())
        .map(|(node, _)| node.id.to_string())
        .collect();
    match (late.is_empty(), prompt) {
        (false, _) => format!("node {} is not in service yet", late.join(", ")),
        (true, false) => {
            format!("node {}'s login shell shows no prompt yet", running.nodes[at].id)
        }
        (true, true) => "the login shell is busy".to_owned(),
    }
}
