// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes that fall silent, come back, and leave; and views.
//!
//! # Model
//! ```text
//!   answers --link down--> silent --link up--> answers: what may be lost is told again
//!      \----view without it-----\----view without it---> gone, with all that lived there
//! ```
//! A silent node is still a member: it may run its processes, and others may reach it. Nothing is
//! decided about them until a view comes. What has become of an id that named something on a node that
//! left, its home finds out (see [`crate::rebuild`]) and tells. A member whose proc-server died does not come
//! back in this life, and its slots stay its own: nobody else can say what became of their ids, so each
//! node decides for itself.

use crate::ProcCore;
use crate::cluster::{Fact, STATUS_LOST, others};
use crate::machine::Machine;
use crate::process::{ChildState, Phase};
use abi::{NodeId, Pid};
use alloc::vec::Vec;
use cluster::View;
use fs_api::file::LoseLocks;
use runtime::Cx;

/// Whether `node` is a member of both views in the same life.
fn stays(node: NodeId, old: &View, new: &View) -> bool {
    let life = |view: &View| view.member(node).map(|member| member.incarnation);
    life(old).is_some() && life(old) == life(new)
}

impl<M: Machine> ProcCore<M> {
    /// Whether a node that does not answer may do so again in this life.
    pub(crate) fn may_answer(&self, cx: &Cx<'_>, node: NodeId) -> bool {
        stays(node, &self.view, cx.view()) && !cx.is_peer_dead(node)
    }

    /// A node does not answer; calls to it have been ended.
    pub(crate) fn node_down(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        if self.may_answer(cx, node) {
            self.silent.insert(node);
        } else if cx.is_peer_dead(node) && stays(node, &self.view, cx.view()) {
            self.peer_died(cx, node);
        }
        // Else a view comes in a moment.
    }

    /// A node answers.
    pub(crate) fn node_up(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        if !self.silent.remove(&node) {
            return self.query(cx, node);
        }
        self.moves_again(cx, node);
        // What others told each other by way of this node is lost too.
        for other in others(cx) {
            self.tell(cx, Some(other), &Fact::Again);
        }
        self.tell_parents_again(cx);
        // What it told this home meanwhile is lost, or what this home told it.
        self.count(cx, self.home.all());
    }

    /// A view came.
    pub(crate) fn enter_view(&mut self, cx: &mut Cx<'_>, old: &View) {
        let left = |node: &NodeId| *node != cx.node() && !stays(*node, old, cx.view());
        let left: Vec<NodeId> = old.members().iter().copied().filter(left).collect();
        let new = self.home.enter(cx.view(), cx.node());
        let named = self.home.naming(|node| left.contains(&node));
        for node in &left {
            if cx.view().contains(*node) {
                // Its next life may have got what was sent before this view was known.
                self.silent.insert(*node);
            } else {
                self.silent.remove(node);
            }
            self.no_report_from(*node);
            self.node_gone(cx, *node);
        }
        self.view = cx.view().clone();
        if let Some(member) = cx.view().member(cx.node()) {
            self.moves.begin_life(member.incarnation);
        }
        // Who left may have reported what is nowhere now.
        if !left.is_empty() || !new.is_empty() {
            self.count(cx, named);
        }
        self.locate_again(cx, old.epoch());
        // A node that came and left in views that were skipped may have had to pass something on.
        if !left.is_empty() || cx.view().epoch().0 > old.epoch().0 + 1 {
            self.tell_parents_again(cx);
        }
        self.unpark(cx);
    }

    /// What lived on `node` is gone, and so is what it knew.
    fn node_gone(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        self.moves_lost(cx, node);
        for no in self.processes.numbers() {
            let Some(process) = self.processes.get_mut(no) else { continue };
            // Another life of the node has another terminal under this number, and another shell server.
            if process.own.terminal == node.get() {
                process.own.terminal = 0;
            }
            if process.own.watcher == node.get() {
                process.own.watcher = 0;
            }
        }
    }

    /// The proc-server of a member died.
    fn peer_died(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        self.silent.remove(&node);
        self.no_report_from(node);
        self.node_gone(cx, node);
        let is_home = |id: u32| Pid::new(id).is_some_and(|pid| cx.view().home(pid.slot()) == node);
        let mut lost = Vec::new();
        for process in self.processes.iter() {
            let children = process.own.children.iter();
            let there = children.filter(|(_, child)| child.node == node).map(|(pid, _)| *pid);
            let parent = Some(process.own.parent).filter(|pid| !self.is_here(*pid));
            lost.extend(there.chain(parent).filter(|pid| is_home(*pid)));
        }
        for pid in lost {
            self.learn(cx, Fact::Lost { pid });
        }
        self.locate_all(cx);
        self.count(cx, self.home.naming(|at| at == node));
        self.counted(cx);
    }

    /// A process was lost: its parent hears of its end, its children are orphans.
    pub(crate) fn process_lost(&mut self, cx: &mut Cx<'_>, pid: u32) {
        if self.is_here(pid) {
            return;
        }
        let cookie = self.forgotten_cookie();
        cx.ask(&LoseLocks { pid }, cookie);
        let mut facts = Vec::new();
        for process in self.processes.iter() {
            if process.own.parent == pid {
                facts.push(Fact::Orphaned { pid: process.own.pid.get() });
            }
            let Some(child) = process.own.children.get(&pid) else { continue };
            let (parent, state) = (process.own.pid.get(), ChildState::Ended(STATUS_LOST));
            facts.push(Fact::Child { parent, pid, group: child.group, uid: child.uid, state });
        }
        for fact in facts {
            self.learn(cx, fact);
        }
        if let Some(pid) = Pid::new(pid).filter(|pid| self.watched.contains(&pid.get())) {
            self.watched_ended(cx, pid, STATUS_LOST);
        }
    }

    /// Tells parents elsewhere how their children here stand: what was told before may have been lost on its
    /// way. Whose parent is no more hears of that.
    pub(crate) fn tell_parents_again(&mut self, cx: &mut Cx<'_>) {
        for no in self.processes.numbers() {
            let Some(process) = self.processes.get(no) else { continue };
            let parent = process.own.parent;
            let state = match process.phase {
                // Its parent is told where it is when it has arrived.
                Phase::Moving(_) => continue,
                Phase::Zombie(status) => ChildState::Ended(status),
                Phase::Live | Phase::Exec(_) | Phase::Ending(_) if process.is_stopped() => {
                    ChildState::Stopped { signal: process.own.stopped_by, seen: false }
                }
                Phase::Live | Phase::Exec(_) | Phase::Ending(_) => ChildState::Running,
            };
            if parent != 0 && self.pids.process(parent).is_none() {
                self.tell_parent(cx, no, state);
            }
        }
    }
}
