// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a home comes to know the ids of its slots: it asks every member what it has.
//!
//! # Model
//! A *count* begins when a view makes this node home to a slot, when a node leaves that entries name, when
//! a slot's ids are used up, and when somebody says that an entry is wrong. It covers all unsettled slots,
//! and forgets what was known of them. Each member reports, in parts, which processes and threads it has
//! or has just given to another member, and which ids groups, sessions, parents and children there name.
//! When all members have reported, or left, the slots are settled.
//!
//! An id that somebody waits for, as its parent or its child, and that no member has, is that of a process
//! that died with a node: all members are told. Nobody else ever decides that: who knows only that a node
//! is gone does not know whether the process had moved on.
//!
//! # Why a process that moves is not missed
//! Its source reports it until the target says that its home knows, and the target says so only after its
//! home of the present view has acknowledged. So either the source's report names it, or the source
//! reported after the home heard of it. What a member tells after its report follows it on the same lane.
//!
//! # Source
//! PROTOCOLS, 2.6: state that is rebuilt.

use crate::ProcCore;
use crate::cluster::{Fact, others};
use crate::home::SlotSet;
use crate::machine::Machine;
use crate::pids::PidRow;
use crate::process::ChildState;
use abi::{NodeId, Pid};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use proc_api::peer::{ID_ROWS_MAX, IdRow, QueryIds, ReportIds};
use runtime::Cx;

/// The count that is under way.
#[derive(Default)]
pub(crate) struct Rebuild {
    /// Its number: reports of others are too late.
    round: u64,
    /// Members that have not reported all: above which id they have not.
    missing: BTreeMap<NodeId, u32>,
    /// Ids that somebody waits for.
    wanted: BTreeSet<u32>,
}

impl<M: Machine> ProcCore<M> {
    /// Counts the ids of these slots of this node, and of all that are unsettled.
    pub(crate) fn count(&mut self, cx: &mut Cx<'_>, slots: SlotSet) {
        let slots = self.home.unsettled().union(slots);
        if slots.is_empty() {
            return;
        }
        self.home.begin(slots);
        let members = others(cx).into_iter().filter(|node| !cx.is_peer_dead(*node));
        let missing = members.map(|node| (node, 0)).collect();
        let round = self.rebuild.round + 1;
        self.rebuild = Rebuild { round, missing, wanted: BTreeSet::new() };
        for row in self.id_rows(cx, slots).into_values() {
            self.merge(cx, row);
        }
        for node in self.rebuild.missing.keys().copied().collect::<Vec<_>>() {
            self.query(cx, node);
        }
        self.counted(cx);
    }

    /// Counts the slot of an id about which this node has been told wrong things.
    pub(crate) fn doubt(&mut self, cx: &mut Cx<'_>, pid: Pid) {
        let mut slot = SlotSet::default();
        slot.insert(pid.slot());
        if cx.view().home(pid.slot()) == cx.node() {
            self.count(cx, slot);
        }
    }

    /// Asks a member that has not reported for its next part.
    pub(crate) fn query(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let Some(after) = self.rebuild.missing.get(&node).copied() else { return };
        let (round, slots) = (self.rebuild.round, self.home.unsettled().0);
        // Where it does not leave, it is asked again when the node answers, or the node leaves.
        let _ = cx.inform_node(node, &QueryIds { round, after, slots }, Vec::new());
    }

    /// A member that was asked does not have to report any more.
    pub(crate) fn no_report_from(&mut self, node: NodeId) {
        self.rebuild.missing.remove(&node);
    }

    /// A home asks.
    pub(crate) fn report_ids(&mut self, cx: &mut Cx<'_>, to: NodeId, query: &QueryIds) {
        let QueryIds { round, after, slots } = *query;
        let rows = self.id_rows(cx, SlotSet(slots));
        let mut above = rows.into_values().filter(|row| row.id > after);
        let rows: Vec<IdRow> = above.by_ref().take(ID_ROWS_MAX).collect();
        let more = above.next().is_some();
        // If it does not leave, it is asked for again.
        let _ = cx.inform_node(to, &ReportIds { round, after, more, rows }, Vec::new());
    }

    /// A member reports.
    pub(crate) fn ids_reported(&mut self, cx: &mut Cx<'_>, from: NodeId, report: &ReportIds) {
        let expected = self.rebuild.missing.get(&from) == Some(&report.after);
        if report.round != self.rebuild.round || !expected {
            return;
        }
        for row in report.rows.iter().take(ID_ROWS_MAX) {
            self.merge(cx, *row);
        }
        match report.rows.last() {
            Some(last) if report.more && last.id > report.after => {
                self.rebuild.missing.insert(from, last.id);
                self.query(cx, from);
            }
            Some(_) | None => {
                self.rebuild.missing.remove(&from);
                self.counted(cx);
            }
        }
    }

    fn merge(&mut self, cx: &Cx<'_>, row: IdRow) {
        let Some(pid) = Pid::new(row.id).filter(|pid| self.home.is_unsettled(pid.slot())) else {
            return;
        };
        self.home.used(pid);
        let at = NodeId::new(row.at).filter(|node| *node != cx.node());
        if let Some(node) = at.filter(|node| cx.view().contains(*node)) {
            self.home.located(pid, node, row.moves);
        }
        if row.wanted {
            self.rebuild.wanted.insert(row.id);
        }
    }

    /// If nobody has to report any more, the slots are settled.
    pub(crate) fn counted(&mut self, cx: &mut Cx<'_>) {
        if !self.rebuild.missing.is_empty() || self.home.unsettled().is_empty() {
            return;
        }
        self.home.settle();
        for id in core::mem::take(&mut self.rebuild.wanted) {
            let Some(pid) = Pid::new(id) else { continue };
            let settled = self.home.is_settled(cx.view(), pid.slot());
            if settled && self.pids.get(id).is_none() && self.home.away(pid).is_none() {
                self.is_lost(cx, pid);
            }
        }
        self.unpark(cx);
    }

    /// No member has what an id named.
    fn is_lost(&mut self, cx: &mut Cx<'_>, pid: Pid) {
        self.machine.log(format_args!("process {pid} is lost with its node"));
        self.home.ended(pid);
        let fact = Fact::Lost { pid: pid.get() };
        for node in others(cx) {
            self.tell(cx, Some(node), &fact);
        }
        self.learn(cx, fact);
    }

    /// What this node has of ids in these slots, by id.
    fn id_rows(&self, cx: &Cx<'_>, slots: SlotSet) -> BTreeMap<u32, IdRow> {
        let mut rows = Rows { slots, rows: BTreeMap::new() };
        for (id, row) in self.pids.iter() {
            let no = match row {
                PidRow::Process(no) => Some(no),
                PidRow::Thread(thread) => self.threads.get(thread).map(|thread| thread.process),
            };
            let process = no.and_then(|no| self.processes.get(no));
            rows.at(id, cx.node(), process.map_or(0, |process| process.own.moves));
        }
        for (id, given) in self.moves.given() {
            if cx.view().contains(given.to) {
                rows.at(id, given.to, given.moves);
            }
        }
        for process in self.processes.iter() {
            let own = &process.own;
            rows.named(own.group, false);
            rows.named(own.session, false);
            rows.named(own.parent, true);
            for (child, entry) in &own.children {
                rows.named(*child, !matches!(entry.state, ChildState::Ended(_)));
            }
        }
        for pid in &self.watched {
            rows.named(*pid, true);
        }
        rows.rows
    }
}

struct Rows {
    slots: SlotSet,
    rows: BTreeMap<u32, IdRow>,
}

impl Rows {
    fn row(&mut self, id: u32) -> Option<&mut IdRow> {
        Pid::new(id).filter(|pid| self.slots.has(pid.slot()))?;
        Some(self.rows.entry(id).or_insert(IdRow { id, at: 0, moves: 0, wanted: false }))
    }

    fn at(&mut self, id: u32, node: NodeId, moves: u32) {
        if let Some(row) = self.row(id).filter(|row| row.at == 0 || row.moves < moves) {
            (row.at, row.moves) = (node.get(), moves);
        }
    }

    fn named(&mut self, id: u32, wanted: bool) {
        if let Some(row) = self.row(id) {
            row.wanted |= wanted;
        }
    }
}
