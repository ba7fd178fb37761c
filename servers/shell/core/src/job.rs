// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that run: what they print and how they end.

use crate::command::{self, Command};
use crate::console::PROMPT;
use crate::limits::{COMMAND_BYTES, JOBS_MAX, PART_BYTES, REPLY_BYTES, RETRY_NS};
use crate::part::Part;
use crate::{Machine, Shell, Wait, text};
use abi::{Errno, Ticket};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proc_api::AdminReply;
use runtime::{Answer, Client, Cx, NodeReply};
use shell_api::{CommandEnd, RunCommand};

/// Names a job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct JobId(u64);

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A program, through proc-server.
    Admin { request: u64, uid: u32 },
    /// Whoever types at the console.
    Rescue,
    /// The shell server of another node.
    Node(Ticket),
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) origin: Origin,
    pub(crate) parts: Vec<Part>,
    /// The first failing part's status.
    pub(crate) status: u8,
    /// Printed, and not handed on.
    out: String,
    end: Option<u8>,
    sending: bool,
}

impl<M: Machine> Shell<M> {
    /// Runs a command of this node's administrator.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>, origin: Origin, words: &[String]) {
        let full = self.jobs.len() >= JOBS_MAX;
        let id = self.new_job(origin);
        if full {
            self.end_with(cx, id, "too many commands run at once: try again in a moment\n", 1);
            return;
        }
        match read(words) {
            Ok(command) if command.needs_root() && !is_root(origin) => {
                self.end_with(cx, id, "only root may do that\n", 1);
            }
            Ok(command) => self.begin(cx, id, command),
            Err(sentence) => self.end_with(cx, id, &(sentence + "\n"), 2),
        }
    }

    /// Runs a node's part of a command for another node, whose words are untrusted.
    pub(crate) fn run_for_node(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: &RunCommand,
    ) -> Result<Answer, Errno> {
        let Ok(Command::On(task, command::Scope::Here)) = read(&request.words) else {
            return Err(Errno::EINVAL);
        };
        if self.jobs.len() >= JOBS_MAX {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        let id = self.new_job(Origin::Node(ticket));
        self.begin(cx, id, Command::On(task, command::Scope::Here));
        Ok(Answer::Pending(ticket))
    }

    fn new_job(&mut self, origin: Origin) -> JobId {
        self.next += 1;
        let id = JobId(self.next);
        let (parts, out) = (Vec::new(), String::new());
        let job = Job { origin, parts, status: 0, out, end: None, sending: false };
        self.jobs.insert(id, job);
        id
    }

    fn begin(&mut self, cx: &mut Cx<'_>, id: JobId, command: Command) {
        match command {
            Command::Nodes => {
                let table = self.nodes_table(cx);
                self.end_with(cx, id, &table, 0);
            }
            Command::On(task, scope) => self.begin_parts(cx, id, task, scope),
            Command::Migrate(pid, to) => self.begin_migrate(cx, id, pid, to),
            Command::Ping(node, count) => self.begin_ping(cx, id, node, count),
            Command::Load(node, mib, raw) => self.begin_load(cx, id, (node, mib, raw)),
            Command::Kill(pid, signal) => {
                let wait = Wait::Signal { job: id, pid };
                self.ask(cx, &proc_api::Signal { pid, signal }, wait);
            }
            Command::LinkKey(key) => self.take_key(cx, id, key),
            Command::ForgetKey => self.forget_key(cx, id),
            Command::NodeKey(node, key) => self.begin_key(cx, id, node, key),
            Command::NewNode(new) => self.begin_adding(cx, id, new),
            Command::Node(deed, node, force) => self.begin_deed(cx, id, (deed, node, force)),
            Command::Help => self.end_with(cx, id, command::HELP, 0),
            Command::Exit if self.jobs[&id].origin == Origin::Rescue => {
                self.end_rescue(cx);
                self.end(cx, id, 0);
            }
            Command::Exit => self.end_with(cx, id, "exit leaves the rescue prompt only\n", 2),
        }
    }

    /// Prints something for a job.
    pub(crate) fn print(&mut self, cx: &mut Cx<'_>, id: JobId, text: &str) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match job.origin {
            Origin::Admin { .. } => {
                job.out.push_str(text);
                self.send_reply(cx, id);
            }
            Origin::Rescue => self.print_console(cx, text),
            Origin::Node(_) => job.out.push_str(text),
        }
    }

    /// The command is over.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>, id: JobId, status: u8) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.end = Some(status);
        match job.origin {
            Origin::Admin { .. } => self.send_reply(cx, id),
            Origin::Rescue => {
                self.jobs.remove(&id);
                if self.rescue.is_some() {
                    self.print_console(cx, PROMPT);
                }
            }
            Origin::Node(ticket) => {
                let (text, cut) = text::newest(&job.out, PART_BYTES);
                let mut bulk = text.as_bytes().to_vec();
                if cut {
                    bulk.extend_from_slice(b"(what came before was cut)\n");
                }
                cx.complete_bulk(ticket, Ok(CommandEnd { status }), bulk);
                self.jobs.remove(&id);
            }
        }
    }

    pub(crate) fn end_with(&mut self, cx: &mut Cx<'_>, id: JobId, text: &str, status: u8) {
        self.print(cx, id, text);
        self.end(cx, id, status);
    }

    /// Hands the next piece of text to the program, one at a time so that they stay in order.
    pub(crate) fn send_reply(&mut self, cx: &mut Cx<'_>, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Origin::Admin { request, .. } = job.origin else { return };
        if job.sending || (job.out.is_empty() && job.end.is_none()) {
            return;
        }
        job.sending = true;
        let text = text::first(&job.out, REPLY_BYTES).to_string();
        let last = text.len() == job.out.len();
        let status = if last { job.end } else { None };
        let reply = AdminReply { request, text, status };
        self.ask(
            cx,
            &reply,
            Wait::AdminReply { job: id, sent: reply.text.len(), last: status.is_some() },
        );
    }

    pub(crate) fn reply_sent(
        &mut self,
        cx: &mut Cx<'_>,
        id: JobId,
        sent: usize,
        last: bool,
        result: &Result<NodeReply, Errno>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.sending = false;
        match result {
            Ok(_) if last => {
                self.jobs.remove(&id);
            }
            Ok(_) => {
                job.out.drain(..sent);
                self.send_reply(cx, id);
            }
            Err(Errno::EAGAIN) => self.later(cx, RETRY_NS, Wait::AdminRoom(id)),
            // Nobody reads any more. What the command asked for goes on.
            Err(_) => {
                self.jobs.remove(&id);
            }
        }
    }

    pub(crate) fn forget_ticket(&mut self, ticket: Ticket) {
        self.jobs.retain(|_, job| job.origin != Origin::Node(ticket));
    }
}

/// Who sits at the console, and other nodes' shell servers, which have checked it themselves, are.
fn is_root(origin: Origin) -> bool {
    match origin {
        Origin::Admin { uid, .. } => uid == 0,
        Origin::Rescue | Origin::Node(_) => true,
    }
}

fn read(words: &[String]) -> Result<Command, String> {
    if words.iter().map(String::len).sum::<usize>() > COMMAND_BYTES {
        return Err("the command is too long".to_string());
    }
    command::parse(words)
}
