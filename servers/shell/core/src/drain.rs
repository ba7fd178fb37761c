// SPDX-License-Identifier: MIT OR Apache-2.0
//! `node drain`, `add`, `remove` and `replace`: a node is seen off by another one, or taken back.
//!
//! # Model
//! ```text
//! Leaving: wish --> processes, one by one, in passes --> slots, as views move them --> drained
//!   drain: done    remove, replace: the node halts or reboots --> Stopping
//! Stopping: remove: it is no member any more    replace: it is one with another life and has slots
//! Staying (add): wish --> it is a member that stays and has slots
//! ```
//! A pass asks the leaving node for its processes in ascending order and has each moved. Passes go on as long
//! as anything came of the last one, as processes beget others; then the slots are waited for, with a pass now and
//! then.
//!
//! # Failure
//! What cannot move is named and stays, and so does what keeps a slot; with `--force` processes are killed, and
//! `remove` and `replace` go on. Who gives up on the command (Ctrl-C) ends it, not the wish: the node goes on
//! leaving. `node add` takes the wish back.

use crate::job::JobId;
use crate::limits::{BACK_PATIENCE_NS, DRAIN_LOOK_NS, DRAIN_PASS_NS, DRAIN_PATIENCE_NS};
use crate::{Machine, Shell, Stop, Wait, command, text};
use abi::{Errno, NodeId};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;
use cluster::{Incarnation, View};
use runtime::{Cx, NodeReply, Wire};
use shell_api::{Leave, MoveNext, MovedNext, RunCommand};

/// What is done with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    Add,
    Drain,
    Remove,
    Replace,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Leaving,
    Stopping,
    Staying,
}

/// A node that goes, or comes back.
#[derive(Debug)]
pub(crate) struct Departure {
    node: NodeId,
    deed: Deed,
    force: bool,
    phase: Phase,
    /// The life of it that goes; `None` if it is no member.
    life: Option<Incarnation>,
    /// The last process of this pass.
    after: u32,
    /// Whether something came of this pass.
    moved: bool,
    /// Processes that did not move in this pass.
    stay: usize,
    /// Those that have been named.
    named: BTreeSet<u32>,
    /// Slots when last counted.
    slots: usize,
    /// When anything last changed.
    changed_ns: u64,
    passed_ns: u64,
    told_ns: u64,
}

impl<M: Machine> Shell<M> {
    pub(crate) fn begin_deed(
        &mut self,
        cx: &mut Cx<'_>,
        id: JobId,
        (deed, node, force): (Deed, NodeId, bool),
    ) {
        if let Err(sentence) = self.may_do(cx, deed, node) {
            return self.end_with(cx, id, &sentence, 1);
        }
        let life = cx.view().member(node).map(|member| member.incarnation);
        let phase = if deed == Deed::Add { Phase::Staying } else { Phase::Leaving };
        let (now, slots) = (cx.now_ns(), cx.view().slots_of(node).count());
        let departure = Departure {
            node,
            deed,
            force,
            phase,
            life,
            after: 0,
            moved: false,
            stay: 0,
            named: BTreeSet::new(),
            slots,
            changed_ns: now,
            passed_ns: now,
            told_ns: now,
        };
        self.departures.insert(id, departure);
        if life.is_none() {
            self.print(
                cx,
                id,
                &format!("node {node} is no member yet: waiting until it is started\n"),
            );
            return self.later(cx, DRAIN_LOOK_NS, Wait::Look(id));
        }
        let cookie = self.expect(Wait::Wished(id));
        cx.call_node(node, &Leave { leaves: deed != Deed::Add }, Vec::new(), cookie);
    }

    fn may_do(&self, cx: &Cx<'_>, deed: Deed, node: NodeId) -> Result<(), alloc::string::String> {
        let known = self.known_nodes(cx.view()).contains(&node);
        let member = cx.view().contains(node);
        if !self.setup.views_agreed {
            return Err("nodes cannot come and go: this cluster has `views = \"static\"` in its cluster.toml\n".into());
        }
        if !known || (!member && deed != Deed::Add) {
            return Err(format!("there is no node {node}: see `nodes`\n"));
        }
        if node == cx.node() && deed != Deed::Add {
            return Err(format!(
                "node {node} cannot see itself off: give the command on another node\n"
            ));
        }
        let stays = |other: &&cluster::Member| other.node != node && !other.draining;
        if deed != Deed::Add && cx.view().roster().iter().find(stays).is_none() {
            return Err("no node would be left to take over: `node add` one first\n".into());
        }
        Ok(())
    }

    pub(crate) fn wished(&mut self, cx: &mut Cx<'_>, id: JobId, result: &Result<NodeReply, Errno>) {
        let Some(it) = self.departures.get(&id) else { return };
        match (result, it.phase) {
            (Ok(_), Phase::Staying) => self.later(cx, DRAIN_LOOK_NS, Wait::Look(id)),
            (Ok(_), _) => self.next_step(cx, id),
            (Err(errno), _) => {
                let sentence = format!("node {}: {errno}: see `nodes`\n", it.node);
                self.end_deed(cx, id, &sentence, 1);
            }
        }
    }

    fn next_step(&mut self, cx: &mut Cx<'_>, id: JobId) {
        let Some(it) = self.departures.get(&id) else { return };
        let (node, op) = (it.node, MoveNext { after: it.after, force: it.force });
        let cookie = self.expect(Wait::Stepped(id));
        cx.call_node(node, &op, Vec::new(), cookie);
    }

    pub(crate) fn stepped(
        &mut self,
        cx: &mut Cx<'_>,
        id: JobId,
        result: &Result<NodeReply, Errno>,
    ) {
        if !self.jobs.contains_key(&id) {
            self.departures.remove(&id);
            return;
        }
        let Some(it) = self.departures.get_mut(&id) else { return };
        let now = cx.now_ns();
        let step = result.as_ref().map_err(|errno| *errno);
        let step = match step.and_then(|reply| MovedNext::get(&reply.msg)) {
            Ok(step) => step,
            // Whether it is a member still shows when it is looked at.
            Err(_) => {
                it.stay += 1;
                return self.end_pass(cx, id);
            }
        };
        if let Some(pid) = step.pid() {
            it.after = pid;
        }
        let line = match step {
            MovedNext::End => return self.end_pass(cx, id),
            MovedNext::Gone { .. } => {
                it.moved = true;
                None
            }
            MovedNext::Moved { pid, name, to } => {
                it.moved = true;
                it.changed_ns = now;
                Some(format!("process {pid} ({name}) moved to node {to}\n"))
            }
            MovedNext::Killed { pid, name } => {
                it.moved = true;
                it.changed_ns = now;
                Some(format!("process {pid} ({name}) could not be moved and was killed\n"))
            }
            MovedNext::Stays { pid, name, to, errno } => {
                it.stay += 1;
                let errno = Errno::from_number(errno);
                let is_new = errno != Errno::EBUSY && it.named.insert(pid);
                is_new.then(|| {
                    let why = text::why_not_moved(errno);
                    format!("process {pid} ({name}) does not go to node {to}: {why}\n")
                })
            }
        };
        if let Some(line) = line {
            self.print(cx, id, &line);
        }
        self.next_step(cx, id);
    }

    fn end_pass(&mut self, cx: &mut Cx<'_>, id: JobId) {
        let Some(it) = self.departures.get_mut(&id) else { return };
        it.passed_ns = cx.now_ns();
        it.after = 0;
        if core::mem::take(&mut it.moved) {
            it.stay = 0;
            return self.next_step(cx, id);
        }
        self.look(cx, id);
    }

    /// Looks at what has become of the node.
    pub(crate) fn look(&mut self, cx: &mut Cx<'_>, id: JobId) {
        if !self.jobs.contains_key(&id) {
            self.departures.remove(&id);
            return;
        }
        let Some(it) = self.departures.get(&id) else { return };
        match it.phase {
            Phase::Leaving => self.look_leaving(cx, id),
            Phase::Stopping | Phase::Staying => self.look_waiting(cx, id),
        }
    }

    fn look_leaving(&mut self, cx: &mut Cx<'_>, id: JobId) {
        let now = cx.now_ns();
        let Some(it) = self.departures.get_mut(&id) else { return };
        let node = it.node;
        if cx.view().member(node).map(|member| member.incarnation) != it.life {
            let sentence =
                format!("node {node} failed before it was drained: what ran there is lost\n");
            return self.end_deed(cx, id, &sentence, 1);
        }
        let slots = cx.view().slots_of(node).count();
        if slots == 0 && it.stay == 0 && is_leaving(cx.view(), node) {
            return self.drained(cx, id);
        }
        if slots != it.slots {
            it.changed_ns = now;
        }
        let tell = slots != it.slots && now >= it.told_ns + DRAIN_PASS_NS;
        it.slots = slots;
        if now > it.changed_ns + DRAIN_PATIENCE_NS {
            return self.stuck(cx, id);
        }
        if tell {
            it.told_ns = now;
        }
        let pass = now >= it.passed_ns + DRAIN_PASS_NS;
        if pass {
            it.stay = 0;
        }
        if tell {
            self.print(cx, id, &format!("node {node} has {slots} slots left\n"));
        }
        if pass { self.next_step(cx, id) } else { self.later(cx, DRAIN_LOOK_NS, Wait::Look(id)) }
    }

    /// Nothing has changed for a long time.
    fn stuck(&mut self, cx: &mut Cx<'_>, id: JobId) {
        let Some(it) = self.departures.get(&id) else { return };
        let Departure { node, deed, force, stay, slots, .. } = *it;
        let what = format!(
            "node {node} is not drained: {stay} processes and {slots} slots stay (a slot stays for mapped \
             files, open terminals, and pages that are on their way)\n"
        );
        if force && deed != Deed::Drain {
            self.print(cx, id, &what);
            return self.stop(cx, id);
        }
        let hint = format!("It goes on leaving as far as it can. `node add {node}` takes it back");
        let force = if force { ".\n" } else { ", --force kills what cannot move.\n" };
        self.end_deed(cx, id, &(what + &hint + force), 1);
    }

    fn drained(&mut self, cx: &mut Cx<'_>, id: JobId) {
        let Some(it) = self.departures.get(&id) else { return };
        let node = it.node;
        let line = format!("node {node} is drained: it has no processes and no slots\n");
        if it.deed == Deed::Drain {
            return self.end_deed(cx, id, &line, 0);
        }
        self.print(cx, id, &line);
        self.stop(cx, id);
    }

    fn stop(&mut self, cx: &mut Cx<'_>, id: JobId) {
        let Some(it) = self.departures.get_mut(&id) else { return };
        (it.phase, it.changed_ns) = (Phase::Stopping, cx.now_ns());
        let how = if it.deed == Deed::Remove { Stop::Halt } else { Stop::Reboot };
        let (node, words) = (it.node, command::Task::Stop(how).words());
        let cookie = self.expect(Wait::Stopping(id));
        cx.call_node(node, &RunCommand { words }, Vec::new(), cookie);
    }

    /// Waits for the node to be gone, or to be there.
    fn look_waiting(&mut self, cx: &mut Cx<'_>, id: JobId) {
        let Some(it) = self.departures.get(&id) else { return };
        let Departure { node, deed, life, changed_ns, .. } = *it;
        let member = cx.view().member(node);
        let slots = cx.view().slots_of(node).count();
        let stays = member.filter(|member| !member.draining && slots > 0);
        let done = match deed {
            Deed::Remove if member.is_none_or(|member| Some(member.incarnation) != life) => {
                Some(format!("node {node} has left the cluster and is stopped\n"))
            }
            Deed::Remove => None,
            Deed::Replace => stays
                .filter(|member| Some(member.incarnation) != life)
                .map(|member| format!("node {node} is back, in its life {}\n", member.incarnation)),
            Deed::Add | Deed::Drain => {
                stays.map(|_| format!("node {node} takes part in the cluster\n"))
            }
        };
        if let Some(line) = done {
            return self.end_deed(cx, id, &line, 0);
        }
        if cx.now_ns() > changed_ns + BACK_PATIENCE_NS {
            let sentence = match deed {
                Deed::Remove => format!(
                    "node {node} was told to stop, and is a member still: see its console\n"
                ),
                Deed::Replace => {
                    format!("node {node} has not come back: see its console, or start it\n")
                }
                Deed::Add | Deed::Drain => format!(
                    "node {node} is not in service yet: start it with its image (it joins by itself), and see \
                     its console\n"
                ),
            };
            return self.end_deed(cx, id, &sentence, 1);
        }
        self.later(cx, DRAIN_LOOK_NS, Wait::Look(id));
    }

    fn end_deed(&mut self, cx: &mut Cx<'_>, id: JobId, sentence: &str, status: u8) {
        self.departures.remove(&id);
        self.end_with(cx, id, sentence, status);
    }
}

fn is_leaving(view: &View, node: NodeId) -> bool {
    view.member(node).is_some_and(|member| member.draining)
}
