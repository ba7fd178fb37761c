// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one node does for a command, and how the nodes' parts become one answer.

use crate::command::{Scope, Task};
use crate::job::{JobId, Origin};
use crate::limits::{PART_BYTES, STOP_DELAY_NS};
use crate::{Machine, Shell, Wait, text};
use abi::{Errno, NodeId, Pid, ServerId};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use disk_api::Info;
use mem_api::MemoryUse;
use net_api::{LinkUse, StrayUse};
use proc_api::{List, ProcessList};
use runtime::{Crash, Cx, NodeReply, Wire};
use shell_api::{CommandEnd, RunCommand};

/// A node's part of a command.
#[derive(Debug)]
pub(crate) struct Part {
    node: NodeId,
    state: State,
}

#[derive(Debug)]
enum State {
    /// This node stops itself only when the others have answered.
    Last(Task),
    Running,
    /// Its text waits until those of the nodes before it are printed.
    Ended(String),
    Printed,
}

impl<M: Machine> Shell<M> {
    pub(crate) fn begin_parts(&mut self, cx: &mut Cx<'_>, id: JobId, task: Task, scope: Scope) {
        let me = cx.node();
        let nodes = match scope {
            Scope::Here => Vec::from([me]),
            Scope::Node(node) if cx.view().contains(node) => Vec::from([node]),
            Scope::Node(node) => {
                let sentence = format!("there is no node {node}: see `nodes`\n");
                self.end_with(cx, id, &sentence, 1);
                return;
            }
            Scope::All => cx.view().members().to_vec(),
        };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let wait_for_others = matches!(task, Task::Stop(_)) && nodes.len() > 1;
        job.parts = nodes
            .iter()
            .map(|node| match *node == me && wait_for_others {
                true => Part { node: *node, state: State::Last(task) },
                false => Part { node: *node, state: State::Running },
            })
            .collect();
        if !matches!(job.origin, Origin::Node(_)) {
            self.print(cx, id, header(task));
        }
        for (part, node) in nodes.iter().enumerate() {
            if *node != me {
                let cookie = self.expect(Wait::RemotePart { job: id, part });
                let command = RunCommand { words: task.words() };
                cx.call_node(*node, &command, Vec::new(), cookie);
            } else if !wait_for_others {
                self.run_here(cx, id, part, task);
            }
        }
    }

    fn run_here(&mut self, cx: &mut Cx<'_>, id: JobId, part: usize, task: Task) {
        let me = cx.node();
        match task {
            Task::Ps => {
                let wait = Wait::Processes { job: id, part, text: String::new() };
                self.ask(cx, &List { after: 0 }, wait);
            }
            Task::Mem => match cx.leaf(&MemoryUse {}) {
                Ok(figures) => self.part_ended(cx, id, part, text::mem_line(me, &figures), 0),
                Err(errno) => self.part_failed(cx, id, part, errno),
            },
            Task::Net => {
                let nodes = self.known_nodes(cx.view());
                let lines = links(cx, &nodes);
                self.part_ended(cx, id, part, lines, 0);
            }
            Task::Disks => match cx.leaf(&Info {}) {
                Ok(info) => self.part_ended(cx, id, part, text::disks_line(me, &info), 0),
                Err(errno) => self.part_failed(cx, id, part, errno),
            },
            Task::DiskCheck => self.begin_check(cx, id, part),
            Task::Log => {
                let log = self.machine.log(PART_BYTES);
                let log = String::from_utf8_lossy(&log).into_owned();
                self.part_ended(cx, id, part, log, 0);
            }
            Task::Crash(server) => {
                let cookie = self.expect(Wait::Crash { job: id, part, server });
                cx.ask_server(server, &Crash, cookie);
            }
            Task::Stop(how) => {
                self.later(cx, STOP_DELAY_NS, Wait::Stop(how));
                self.part_ended(cx, id, part, format!("node {me}: {}\n", task.name()), 0);
            }
        }
    }

    /// A server that was told to fault ends the call as every server that dies does.
    pub(crate) fn crashed(
        &mut self,
        cx: &mut Cx<'_>,
        id: JobId,
        part: usize,
        server: ServerId,
        result: &Result<NodeReply, Errno>,
    ) {
        let node = cx.node();
        match result {
            Err(Errno::EIO) => {
                self.part_ended(cx, id, part, format!("node {node}: {server} crashed\n"), 0);
            }
            Err(Errno::ENOSYS) => {
                self.part_ended(cx, id, part, format!("node {node} has no {server}\n"), 1);
            }
            Err(errno) => self.part_failed(cx, id, part, *errno),
            Ok(_) => self.part_failed(cx, id, part, Errno::EPROTO),
        }
    }

    pub(crate) fn processes(
        &mut self,
        cx: &mut Cx<'_>,
        id: JobId,
        part: usize,
        mut text: String,
        result: &Result<NodeReply, Errno>,
    ) {
        let list = result.as_ref().map_err(|errno| *errno);
        let list = match list.and_then(|reply| ProcessList::get(&reply.msg)) {
            Ok(list) => list.0,
            Err(errno) => return self.part_failed(cx, id, part, errno),
        };
        let Some(after) = list.last().map(|process| process.pid) else {
            return self.part_ended(cx, id, part, text, 0);
        };
        for process in &list {
            text.push_str(&text::ps_line(process));
        }
        if text.len() > PART_BYTES {
            text.push_str("(more processes than are shown)\n");
            return self.part_ended(cx, id, part, text, 0);
        }
        self.ask(cx, &List { after }, Wait::Processes { job: id, part, text });
    }

    pub(crate) fn remote_part(
        &mut self,
        cx: &mut Cx<'_>,
        id: JobId,
        part: usize,
        result: Result<NodeReply, Errno>,
    ) {
        match result.and_then(|reply| Ok((CommandEnd::get(&reply.msg)?, reply.bulk))) {
            Ok((end, bulk)) => {
                let text = String::from_utf8_lossy(&bulk).into_owned();
                self.part_ended(cx, id, part, text, end.status);
            }
            Err(errno) => self.part_failed(cx, id, part, errno),
        }
    }

    pub(crate) fn part_failed(&mut self, cx: &mut Cx<'_>, id: JobId, part: usize, errno: Errno) {
        let Some(node) = self.jobs.get(&id).and_then(|job| job.parts.get(part)) else { return };
        let node = node.node;
        let hint = if errno == Errno::EHOSTDOWN { ": see `nodes`" } else { "" };
        self.part_ended(cx, id, part, format!("node {node}: {errno}{hint}\n"), 1);
    }

    /// Prints what is next in the order of nodes; ends the job with its last part.
    pub(crate) fn part_ended(
        &mut self,
        cx: &mut Cx<'_>,
        id: JobId,
        part: usize,
        text: String,
        status: u8,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.status == 0 {
            job.status = status;
        }
        job.parts[part].state = State::Ended(text);
        let status = job.status;
        let mut ready = String::new();
        for part in &mut job.parts {
            match &part.state {
                State::Printed | State::Last(_) => {}
                State::Ended(text) => {
                    ready.push_str(text);
                    part.state = State::Printed;
                }
                State::Running => break,
            }
        }
        let running =
            job.parts.iter().any(|part| matches!(part.state, State::Running | State::Ended(_)));
        let last = job.parts.iter().enumerate().find_map(|(index, part)| match part.state {
            State::Last(task) => Some((index, task)),
            State::Running | State::Ended(_) | State::Printed => None,
        });
        self.print(cx, id, &ready);
        match last {
            _ if running => {}
            Some((index, task)) => self.run_here(cx, id, index, task),
            None => self.end(cx, id, status),
        }
    }

    pub(crate) fn nodes_table(&mut self, cx: &mut Cx<'_>) -> String {
        let mut table = text::NODES_HEADER.to_string();
        for node in self.known_nodes(cx.view()) {
            let other = Some(node).filter(|node| *node != cx.node());
            let link = other.map(|node| cx.leaf(&LinkUse { node }).unwrap_or_default());
            let entry = self.setup.nodes.iter().find(|entry| entry.id == node.get());
            let line = text::nodes_line((node, entry), cx.view(), cx.leader(), link.as_ref());
            table.push_str(&line);
        }
        for entry in cx.view().keys() {
            table.push_str(&text::key_line(entry));
        }
        table.push_str(&text::view_line(cx.view(), cx.leader(), cx.may_act()));
        table
    }

    pub(crate) fn signalled(
        &mut self,
        cx: &mut Cx<'_>,
        id: JobId,
        pid: Pid,
        result: &Result<NodeReply, Errno>,
    ) {
        match result {
            Ok(_) => self.end_with(cx, id, "", 0),
            Err(errno) => self.end_with(cx, id, &format!("kill: process {pid}: {errno}\n"), 1),
        }
    }
}

fn header(task: Task) -> &'static str {
    match task {
        Task::Ps => text::PS_HEADER,
        Task::Mem => text::MEM_HEADER,
        Task::Net => text::NET_HEADER,
        Task::Disks => text::DISKS_HEADER,
        Task::DiskCheck | Task::Log | Task::Stop(_) | Task::Crash(_) => "",
    }
}

fn links(cx: &mut Cx<'_>, nodes: &[NodeId]) -> String {
    let me = cx.node();
    let mut lines = String::new();
    for to in nodes.iter().copied().filter(|to| *to != me) {
        let figures = cx.leaf(&LinkUse { node: to }).unwrap_or_default();
        // Who is no member is of interest if it has tried to be heard.
        if !cx.view().contains(to) && figures.drops.total() == 0 {
            continue;
        }
        lines.push_str(&text::net_line(me, to, &figures));
        lines.push_str(&text::drops_line(me, Some(to), &figures.drops));
    }
    let strays = cx.leaf(&StrayUse {}).unwrap_or_default();
    lines.push_str(&text::drops_line(me, None, &strays));
    lines
}
