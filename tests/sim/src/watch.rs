// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the world knows of its nodes, so that a step costs no more where there are many of them.
//!
//! # Model
//! Whoever may change a node touches it. What it could do next, and when it wants to be woken, is asked of touched
//! nodes only.

use crate::node::Node;
use crate::threads::Activity;
use crate::worker::Choice;
use abi::NodeId;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of the nodes that do not stand still.
#[derive(Default)]
pub(crate) struct Watch {
    touched: RefCell<BTreeSet<NodeId>>,
    /// What each could do next, if there is anything.
    ready: BTreeMap<NodeId, Vec<Choice>>,
    alarms: BTreeSet<(u64, NodeId)>,
    alarm_of: BTreeMap<NodeId, u64>,
    /// Where each process runs, by its number.
    runs: BTreeMap<u64, NodeId>,
    runs_on: BTreeMap<NodeId, Vec<u64>>,
}

impl Watch {
    /// The node may change now.
    pub(crate) fn touch(&self, id: NodeId) {
        self.touched.borrow_mut().insert(id);
    }

    /// The nodes that were touched since [`Self::take_touched`].
    pub(crate) fn touched(&self) -> Vec<NodeId> {
        self.touched.borrow().iter().copied().collect()
    }

    pub(crate) fn take_touched(&self) -> BTreeSet<NodeId> {
        self.touched.take()
    }

    /// The node stands still, or is dead.
    pub(crate) fn forget(&mut self, id: NodeId) {
        self.ready.remove(&id);
        if let Some(at) = self.alarm_of.remove(&id) {
            self.alarms.remove(&(at, id));
        }
    }

    /// Looks at a node.
    pub(crate) fn look(&mut self, node: &Node) {
        let choices = self.ready.entry(node.id).or_default();
        choices.clear();
        node.choices(choices);
        if choices.is_empty() {
            self.ready.remove(&node.id);
        }
        self.look_at_alarm(node);
    }

    /// Looks when it wants to be woken.
    pub(crate) fn look_at_alarm(&mut self, node: &Node) {
        let deadline_ns = node.deadline_ns();
        if self.alarm_of.get(&node.id).copied() == deadline_ns {
            return;
        }
        if let Some(at) = self.alarm_of.remove(&node.id) {
            self.alarms.remove(&(at, node.id));
        }
        if let Some(at) = deadline_ns {
            self.alarm_of.insert(node.id, at);
            self.alarms.insert((at, node.id));
        }
    }

    /// How many things could happen next.
    pub(crate) fn count(&self) -> usize {
        self.ready.values().map(Vec::len).sum()
    }

    /// One of them.
    pub(crate) fn choice(&self, mut index: usize) -> Choice {
        for choices in self.ready.values() {
            match choices.get(index) {
                Some(choice) => return *choice,
                None => index -= choices.len(),
            }
        }
        unreachable!("it is less than there are");
    }

    /// When the first node wants to be woken.
    pub(crate) fn first_alarm_ns(&self) -> Option<u64> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The nodes that want to be woken by now, by their numbers.
    pub(crate) fn due(&self, now_ns: u64) -> BTreeSet<NodeId> {
        self.alarms.iter().take_while(|(at, _)| *at <= now_ns).map(|(_, id)| *id).collect()
    }

    /// Programs put their process id into r15 when they begin: no two threads that can run have the same. Looks at
    /// nodes that were touched, or are dead.
    pub(crate) fn one_running_copy(&mut self, touched: &[NodeId], nodes: &BTreeMap<NodeId, Node>) {
        for id in touched {
            for token in self.runs_on.remove(id).unwrap_or_default() {
                self.runs.remove(&token);
            }
        }
        for node in touched.iter().filter_map(|id| nodes.get(id)) {
            let mut tokens = Vec::new();
            for (_, thread) in node.threads.borrow().iter() {
                let runs = matches!(thread.activity, Activity::Ready | Activity::Queued(_));
                let token = thread.registers.r15;
                if !runs || token == 0 {
                    continue;
                }
                if let Some(other) = self.runs.insert(token, node.id) {
                    panic!("process {token} runs on node {other} and on node {}", node.id);
                }
                tokens.push(token);
            }
            self.runs_on.insert(node.id, tokens);
        }
    }
}
