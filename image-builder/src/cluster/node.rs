// SPDX-License-Identifier: MIT OR Apache-2.0
//! One node's QEMU: its process, its console, its log.

use super::{Console, Event, NodeState};
use crate::qemu::{Machine, tied_to_us};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Bytes read from a console at a time.
const READ_BYTES: usize = 16 * 1024;
/// Bytes from a log's end in which its last lines are looked for.
const TAIL_BYTES: usize = 16 * 1024;
/// Pieces of input that wait until the node takes them.
const INPUTS_MAX: usize = 1024;

/// What root prints when the node ends because somebody asked for it.
const LAST_WORDS: [(&str, Farewell); 2] =
    [("root: halted", Farewell::Halted), ("root: reboot", Farewell::Restarting)];

/// Why a node's QEMU has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Farewell {
    /// The tool ended it.
    Killed,
    /// `halt` was asked for.
    Halted,
    /// `reboot` was asked for.
    Restarting,
    /// Nobody asked.
    Crashed,
}

/// What the tool has done to a QEMU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Switch {
    On,
    Paused,
    Off,
}

/// Where a node belongs in its cluster.
pub struct Place<'a> {
    /// Its index.
    pub index: usize,
    /// Where its logs go.
    pub folder: &'a Path,
    /// Those who look on.
    pub console: &'a Arc<Console>,
    /// Where its events go.
    pub sender: &'a SyncSender<Event>,
}

/// A node's QEMU; it ends when this is dropped.
pub struct Node {
    /// The node's number.
    pub id: u16,
    /// Where its console is logged.
    pub log: PathBuf,
    child: Child,
    input: Option<SyncSender<Vec<u8>>>,
    complaints: PathBuf,
    switch: Switch,
    /// Where in the log the console of this start begins.
    log_start: u64,
}

impl Node {
    /// Starts QEMU; its console is read by a thread of its own.
    ///
    /// # Errors
    /// QEMU is not installed, or the logs cannot be written.
    pub fn start(place: &Place<'_>, machine: &Machine) -> Result<Self> {
        let &Place { index, folder, console, sender } = place;
        let id = machine.node.id;
        let log = folder.join(format!("node-{id}.log"));
        let complaints = folder.join(format!("node-{id}.qemu"));
        // A node that is started again goes on in the same log.
        let create = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write {}", path.display()))
        };
        let mut file = create(&log)?;
        if file.metadata().is_ok_and(|meta| meta.len() > 0) {
            let line = format!("\r\n--- node {id} boots again ---\r\n");
            // A full disk must not end the session.
            let _ = file.write_all(line.as_bytes());
            console.show(line.as_bytes());
        }
        let mut child = tied_to_us(&machine.command())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(create(&complaints)?)
            .spawn()
            .context("cannot start setpriv (Debian package util-linux): is it installed?")?;
        let stdin = child.stdin.take().context("a piped input is there")?;
        let stdout = child.stdout.take().context("a piped output is there")?;
        let process = child.id();
        let log_start = file.metadata().map_or(0, |meta| meta.len());
        let thread = std::thread::Builder::new().name(format!("console-{id}"));
        let copy = Copy { index, process, log: file, console: Arc::clone(console) };
        let sender = sender.clone();
        thread
            .spawn(move || read_console(copy, stdout, &sender))
            .context("cannot start a console's thread")?;
        let input = Some(start_writer(id, stdin)?);
        Ok(Self { id, log, child, input, complaints, switch: Switch::On, log_start })
    }

    /// Types bytes on the console.
    ///
    /// # Errors
    /// The node has ended, or has not taken what was typed before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = self.input.as_ref().map(|input| input.try_send(bytes.to_vec()));
        let taken = matches!(sent, Some(Ok(())));
        anyhow::ensure!(taken, "node {} takes no input any more: see its log", self.id);
        Ok(())
    }

    /// True if its QEMU has, or had, this process number.
    pub fn is_process(&self, process: u32) -> bool {
        self.child.id() == process
    }

    /// True while its QEMU runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Process number of its QEMU.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// What it is doing.
    pub fn state(&mut self) -> NodeState {
        match (self.switch, self.is_running()) {
            (Switch::Off, _) => NodeState::Killed,
            (Switch::On, true) => NodeState::Running,
            (Switch::Paused, true) => NodeState::Paused,
            (Switch::On | Switch::Paused, false) => match self.farewell() {
                Farewell::Killed => NodeState::Killed,
                Farewell::Halted | Farewell::Restarting => NodeState::Halted,
                Farewell::Crashed => NodeState::Crashed,
            },
        }
    }

    /// Stops its QEMU; nothing happens if it is stopped already. A stopped QEMU can be killed, and
    /// ends with the tool, like any other.
    ///
    /// # Errors
    /// It has ended.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        self.switch = Switch::Paused;
        Ok(())
    }

    /// Lets a stopped QEMU go on; nothing happens if it runs.
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)?;
        self.switch = Switch::On;
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        // Only a process that was not waited for keeps its number.
        anyhow::ensure!(self.is_running(), "node {} has ended", self.id);
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let process = process.context("a process has a number above 0")?;
        kill_process(process, signal).with_context(|| format!("cannot signal node {}", self.id))
    }

    /// Ends its QEMU at once, as a power cut would.
    pub fn kill(&mut self) {
        if self.is_running() {
            self.switch = Switch::Off;
        }
        self.end();
    }

    /// Waits for a QEMU whose console is closed, and ends it if that is not enough.
    pub fn end(&mut self) {
        self.input = None;
        // It may have ended by itself; then there is nothing to kill and wait returns at once.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Why its QEMU has ended, by the last words in its log.
    pub fn farewell(&self) -> Farewell {
        if self.switch == Switch::Off {
            return Farewell::Killed;
        }
        let log = fs::read(&self.log).unwrap_or_default();
        let start = (self.log_start as usize).max(log.len().saturating_sub(TAIL_BYTES));
        let text = String::from_utf8_lossy(log.get(start..).unwrap_or_default());
        let found = LAST_WORDS.into_iter().find(|(words, _)| text.contains(words));
        found.map_or(Farewell::Crashed, |(_, farewell)| farewell)
    }

    /// What QEMU itself said.
    pub fn complaint(&self) -> String {
        fs::read_to_string(&self.complaints).unwrap_or_default()
    }

    /// The log's last lines, and what QEMU itself said.
    pub fn tail(&self, lines: usize) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL_BYTES)..]);
        let all: Vec<&str> = text.lines().map(|line| line.trim_end_matches('\r')).collect();
        let mut tail = all[all.len().saturating_sub(lines)..].join("\n");
        tail.push('\n');
        let complaint = self.complaint();
        if !complaint.trim().is_empty() {
            tail.push_str("QEMU says: ");
            tail.push_str(complaint.trim());
            tail.push('\n');
        }
        tail
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a console is copied to.
struct Copy {
    index: usize,
    process: u32,
    log: File,
    console: Arc<Console>,
}

/// Copies the console to the log, to those who look on and to the events, until QEMU ends.
fn read_console(mut copy: Copy, mut stdout: ChildStdout, sender: &SyncSender<Event>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let bytes = match stdout.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(len) => &buffer[..len],
        };
        // A full disk must not end the session; what is lost is the log.
        let _ = copy.log.write_all(bytes);
        copy.console.show(bytes);
        if sender.send(Event::Output { node: copy.index, bytes: bytes.to_vec() }).is_err() {
            return;
        }
    }
    // Nobody listens any more: nothing to tell.
    let _ = sender.send(Event::Ended { node: copy.index, process: copy.process });
}

/// Starts the thread that types: a node that takes no input must not hold up the others.
fn start_writer(id: u16, mut stdin: ChildStdin) -> Result<SyncSender<Vec<u8>>> {
    let (sender, inputs) = sync_channel::<Vec<u8>>(INPUTS_MAX);
    let thread = std::thread::Builder::new().name(format!("keyboard-{id}"));
    thread
        .spawn(move || {
            for bytes in inputs {
                if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        })
        .context("cannot start a keyboard's thread")?;
    Ok(sender)
}
