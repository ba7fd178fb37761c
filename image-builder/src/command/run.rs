// SPDX-License-Identifier: MIT OR Apache-2.0
//! `run`: the terminal shows one node's console and can switch between them.

use super::Disks;
use super::keys::{Key, Keys};
use crate::cli::RunArgs;
use crate::cluster::{Event, Farewell, Running};
use crate::disks;
use crate::terminal::Raw;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::io::{Read, Write, stdin, stdout};
use std::process::ExitCode;
use std::sync::mpsc::SyncSender;

/// Bytes of a console shown again when the terminal switches to it: about a screen.
const RECALL_BYTES: usize = 4096;
/// Bytes typed at a time.
const TYPED_BYTES: usize = 1024;

const HELP: &str =
    "Ctrl-A then: 1-9 that node's console, n the next node's, q quit, a Ctrl-A itself, ? this help";

/// Boots the cluster and connects the terminal.
///
/// # Errors
/// The cluster cannot be built or started, or the terminal fails.
pub fn run(workspace: &Workspace, args: &RunArgs) -> Result<ExitCode> {
    let disks = if args.new_disks { Disks::KeptAnew } else { Disks::Kept };
    let mut running = super::boot(workspace, &args.cluster, disks)?;
    banner(&running);
    let raw = Raw::enter()?;
    start_keyboard(running.sender.clone())?;
    let mut screen = Screen::new(running.nodes.len());
    let ended = screen.show(&mut running);
    drop(raw);
    println!();
    ended?;
    println!("the cluster has ended; its logs are in {}", running.folder().display());
    Ok(ExitCode::SUCCESS)
}

fn banner(running: &Running) {
    println!("{} nodes on {}", running.nodes.len(), running.accelerator);
    for node in &running.nodes {
        println!("  node {}: log {}", node.id, node.log.display());
    }
    println!("{HELP}");
    println!("In another terminal: `./korrigan ctl --help` ends nodes, cuts links, and more");
}

/// Starts the thread that reads the terminal.
fn start_keyboard(sender: SyncSender<Event>) -> Result<()> {
    std::thread::Builder::new()
        .name("terminal".to_owned())
        .spawn(move || {
            let mut buffer = [0; TYPED_BYTES];
            loop {
                let event = match stdin().read(&mut buffer) {
                    Ok(0) | Err(_) => Event::TerminalClosed,
                    Ok(len) => Event::Typed(buffer[..len].to_vec()),
                };
                let closed = matches!(event, Event::TerminalClosed);
                if sender.send(event).is_err() || closed {
                    return;
                }
            }
        })
        .context("cannot start the terminal's thread")?;
    Ok(())
}

/// What the terminal shows.
struct Screen {
    shown: usize,
    /// The end of what each console printed.
    recent: Vec<VecDeque<u8>>,
    keys: Keys,
}

impl Screen {
    fn new(nodes: usize) -> Self {
        Self { shown: 0, recent: vec![VecDeque::new(); nodes], keys: Keys::default() }
    }

    /// Shows consoles until the person quits or every node has ended.
    fn show(&mut self, running: &mut Running) -> Result<()> {
        while running.is_of_use() {
            match running.events.recv().context("all consoles are closed")? {
                Event::Output { node, bytes } => self.output(node, &bytes)?,
                // A node that was booted again is in another process.
                Event::Ended { node, process } if !running.nodes[node].is_process(process) => {}
                Event::Ended { node, .. } => ended(running, node)?,
                Event::TerminalClosed => return Ok(()),
                Event::Typed(bytes) => {
                    for key in self.keys.feed(&bytes) {
                        if key == Key::Quit {
                            return Ok(());
                        }
                        self.key(running, key)?;
                    }
                }
                Event::TypedAt { node, bytes } => {
                    // What a node does not take is lost, as at a keyboard that is not plugged in.
                    let _ = running.nodes[node].write(&bytes);
                }
                Event::Asked(asked) => {
                    if let Some(done) = running.answer(asked) {
                        say(&done)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn output(&mut self, node: usize, bytes: &[u8]) -> Result<()> {
        let recent = &mut self.recent[node];
        recent.extend(bytes);
        let surplus = recent.len().saturating_sub(RECALL_BYTES);
        recent.drain(..surplus);
        if node == self.shown { print(bytes) } else { Ok(()) }
    }

    fn key(&mut self, running: &mut Running, key: Key) -> Result<()> {
        match key {
            Key::Text(bytes) => {
                if running.nodes[self.shown].write(&bytes).is_err() {
                    say("this node takes no input any more; Ctrl-A ? shows the keys")?;
                }
                Ok(())
            }
            Key::Node(id) => match running.index(id) {
                Ok(index) => self.switch(index, id),
                Err(error) => say(&error.to_string()),
            },
            Key::Next => {
                let index = (self.shown + 1) % running.nodes.len();
                self.switch(index, running.nodes[index].id)
            }
            Key::Help => say(HELP),
            Key::Quit => Ok(()),
        }
    }

    fn switch(&mut self, index: usize, id: u16) -> Result<()> {
        self.shown = index;
        say(&format!("node {id}"))?;
        let (front, back) = self.recent[index].as_slices();
        print(front)?;
        print(back)
    }
}

/// Says why a node ended, and boots it again if that was asked for.
fn ended(running: &mut Running, index: usize) -> Result<()> {
    let id = running.nodes[index].id;
    match running.nodes[index].farewell() {
        // Whoever said so was told.
        Farewell::Killed => Ok(()),
        Farewell::Halted => {
            running.nodes[index].end();
            say(&format!("node {id} is halted; `./korrigan ctl boot {id}` boots it again"))
        }
        Farewell::Restarting => {
            say(&format!("node {id} restarts"))?;
            running.restart(index)
        }
        Farewell::Crashed => {
            running.nodes[index].end();
            let (log, said) =
                (running.nodes[index].log.display(), running.nodes[index].complaint());
            if disks::is_locked(&said) {
                say(&format!("node {id}'s disk: {}", disks::LOCKED))?;
            }
            say(&format!("node {id} crashed; its log is {log}"))
        }
    }
}

/// A line of the tool's own on the raw terminal.
fn say(line: &str) -> Result<()> {
    print(format!("\r\n--- {line} ---\r\n").as_bytes())
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut out = stdout();
    out.write_all(bytes).and_then(|()| out.flush()).context("cannot write to the terminal")
}
