// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the homes of a moved process's ids come to know where it is, and what its source keeps until they
//! do.
//!
//! # Model
//! ```text
//! target: runs it -> Located to the homes -> all know -> Closed to the source -> ClosedAck: may move on
//! source: Given: passes on what still comes, reports it to homes that count -> Closed: forgotten
//! ```
//! A process does not move on before, so that its home never hears of it from three nodes: a source that
//! has not forgotten it would name a target that has nothing any more.
//!
//! `moves` counts a process's moves, so that a home never believes the older of two words. Whoever is home
//! in the present view must have acknowledged: if a view makes another node home meanwhile, it is told
//! again.

use crate::ProcCore;
use crate::cluster::Fact;
use crate::home::SlotSet;
use crate::machine::Machine;
use abi::{Epoch, NodeId, Pid};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proc_api::peer::{Closed, ClosedAck, LOCATED_MAX, Located, LocatedAck};
use runtime::Cx;

/// An id whose process has left this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    /// To whom.
    pub to: NodeId,
    /// Number of that move of the process.
    pub moves: u32,
    /// The process.
    pub pid: u32,
}

/// A process that has come.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// From whom.
    pub from: NodeId,
    /// Its ids, and whether their homes know.
    ids: BTreeMap<u32, bool>,
}

impl<M: Machine> ProcCore<M> {
    /// A process has come from another node.
    pub(crate) fn arrived(&mut self, cx: &mut Cx<'_>, key: (u32, u32), from: NodeId, ids: &[Pid]) {
        let ids = ids.iter().map(|id| (id.get(), false)).collect();
        self.moves.arrivals.insert(key, Arrival { from, ids });
        self.locate(cx, key);
    }

    /// Tells the homes that do not know yet.
    fn locate(&mut self, cx: &mut Cx<'_>, key: (u32, u32)) {
        let Some(arrival) = self.moves.arrivals.get_mut(&key) else { return };
        let mut unknown: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        for (id, known) in arrival.ids.iter_mut().filter(|(_, known)| !**known) {
            let Some(pid) = Pid::new(*id) else { continue };
            let home = cx.view().home(pid.slot());
            if home == cx.node() {
                self.home.here(pid);
                *known = true;
            } else if cx.is_peer_dead(home) {
                *known = true;
            } else {
                unknown.entry(home).or_default().push(*id);
            }
        }
        for (home, ids) in unknown {
            for ids in ids.chunks(LOCATED_MAX) {
                let located = Located { pid: key.0, moves: key.1, ids: ids.to_vec() };
                self.inform(cx, home, &located);
            }
        }
        self.close(cx, key);
    }

    /// If all homes know, the source may forget the process.
    fn close(&mut self, cx: &mut Cx<'_>, key: (u32, u32)) {
        let Some(arrival) = self.moves.arrivals.get(&key) else { return };
        if arrival.ids.values().all(|known| *known) {
            let from = arrival.from;
            self.inform(cx, from, &Closed { pid: key.0, moves: key.1 });
        }
    }

    /// To the home: ids are on the sender's node.
    pub(crate) fn located(&mut self, cx: &mut Cx<'_>, from: NodeId, mut located: Located) {
        let me = cx.node();
        let mine = |id: &u32| Pid::new(*id).is_some_and(|pid| cx.view().home(pid.slot()) == me);
        // Of what is not, another home is told when the sender enters this view.
        located.ids.retain(mine);
        for pid in located.ids.iter().filter_map(|id| Pid::new(*id)) {
            if self.pids.get(pid.get()).is_none() {
                self.home.located(pid, from, located.moves);
            }
        }
        if !located.ids.is_empty() {
            self.inform(cx, from, &LocatedAck(located));
        }
    }

    /// To the target: a home knows.
    pub(crate) fn located_known(&mut self, cx: &mut Cx<'_>, from: NodeId, located: &Located) {
        let key = (located.pid, located.moves);
        let Some(arrival) = self.moves.arrivals.get_mut(&key) else { return };
        for id in &located.ids {
            let home = Pid::new(*id).map(|pid| cx.view().home(pid.slot()));
            if let Some(known) = arrival.ids.get_mut(id).filter(|_| home == Some(from)) {
                *known = true;
            }
        }
        self.close(cx, key);
    }

    /// To the source: all homes know.
    pub(crate) fn move_closed(&mut self, cx: &mut Cx<'_>, from: NodeId, closed: Closed) {
        let Closed { pid, moves } = closed;
        self.taken(cx, pid, from);
        self.moves.given.retain(|_, it| (it.pid, it.to) != (pid, from) || it.moves > moves);
        self.inform(cx, from, &ClosedAck { pid, moves });
    }

    /// To the target: the source has forgotten the process.
    pub(crate) fn close_known(&mut self, cx: &mut Cx<'_>, from: NodeId, known: ClosedAck) {
        let key = (known.pid, known.moves);
        if self.moves.arrivals.get(&key).is_some_and(|arrival| arrival.from == from) {
            self.moves.arrivals.remove(&key);
            self.may_move_on(cx, known.pid);
        }
    }

    /// Arrivals from a node that has left are over: it reports nothing.
    pub(crate) fn arrivals_lost(&mut self, cx: &mut Cx<'_>, from: NodeId) {
        let lost = self.moves.arrivals.iter().filter(|(_, arrival)| arrival.from == from);
        for key in lost.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.moves.arrivals.remove(&key);
            self.may_move_on(cx, key.0);
        }
    }

    /// Whether the source of a process may not have forgotten it.
    pub(crate) fn is_arriving(&self, pid: u32) -> bool {
        self.moves.arrivals.range((pid, 0)..=(pid, u32::MAX)).next().is_some()
    }

    /// A view came after `old`: homes that are new in it do not know.
    pub(crate) fn locate_again(&mut self, cx: &mut Cx<'_>, old: Epoch) {
        for arrival in self.moves.arrivals.values_mut() {
            for (id, known) in &mut arrival.ids {
                let slot = Pid::new(*id).map(|pid| cx.view().slot(pid.slot()));
                *known &= slot.is_some_and(|slot| slot.since <= old);
            }
        }
        self.locate_all(cx);
    }

    /// Tells all homes that have not said that they know.
    pub(crate) fn locate_all(&mut self, cx: &mut Cx<'_>) {
        for key in self.moves.arrivals.keys().copied().collect::<Vec<_>>() {
            self.locate(cx, key);
        }
    }

    /// What an id named here has ended, and its home was told.
    pub(crate) fn arrival_ended(&mut self, cx: &mut Cx<'_>, pid: Pid) {
        let mut with = Vec::new();
        for (key, arrival) in &mut self.moves.arrivals {
            if let Some(known) = arrival.ids.get_mut(&pid.get()) {
                *known = true;
                with.push(*key);
            }
        }
        for key in with {
            self.close(cx, key);
        }
    }

    /// An id names something on another node from now on.
    pub(crate) fn gone_to(&mut self, cx: &Cx<'_>, id: Pid, given: Given) {
        self.pids.clear(id);
        if cx.view().home(id.slot()) == cx.node() {
            self.home.located(id, given.to, given.moves);
        }
        self.moves.given.insert(id.get(), given);
    }

    /// What was given is not where it was given to, as far as this node knows: the homes find out.
    pub(crate) fn given_missing(&mut self, cx: &mut Cx<'_>, is: impl Fn(&Given) -> bool) {
        let ids: Vec<u32> =
            self.moves.given.iter().filter(|(_, it)| is(it)).map(|it| *it.0).collect();
        let mut told = SlotSet::default();
        for pid in ids.into_iter().filter_map(Pid::new) {
            self.moves.given.remove(&pid.get());
            if told.has(pid.slot()) {
                continue;
            }
            told.insert(pid.slot());
            let (home, fact) = (cx.view().home(pid.slot()), Fact::Missing { pid: pid.get() });
            if home == cx.node() {
                self.learn(cx, fact);
            } else {
                self.tell(cx, Some(home), &fact);
            }
        }
    }
}
