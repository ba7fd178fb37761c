// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots of this node that the view wants to be elsewhere, or to have a copy elsewhere.
//!
//! # Model
//! ```text
//! view names a joiner --"would you?" to each keeper--> all would: Give --> all have: Joined
//!                                                  \--> one would not  \--> one has not: Abort
//! ```
//! A server that gives a slot changes nothing in it until the next view, so what is taken into service
//! there is what was given. Any view ends every move under way: it frees the slots, and names joiners
//! again.

use crate::views::Views;
use abi::{Epoch, Errno, NodeId, ServerId, SlotNo};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::{Goal, Joining, Request, View};
use runtime::{Cx, Give, Given, NodeReply, Wire};

/// A slot that is being given away.
struct Move {
    slot: SlotNo,
    to: NodeId,
    goal: Goal,
    epoch: Epoch,
    /// The keepers give it; else they say whether they would.
    really: bool,
    /// Keepers that have not answered.
    waiting: usize,
    stays: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Moves {
    moves: BTreeMap<u64, Move>,
    /// The view whose moves have begun.
    begun: Option<Epoch>,
    next: u64,
}

impl Moves {
    /// A view was entered: what was under way is void. Answers that still come find nothing.
    pub(crate) fn entered(&mut self) {
        self.moves.clear();
    }

    /// Asks the keepers about each slot that another node joins, once in a view.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>, views: &Views, now: u64, keepers: &[ServerId]) {
        let Some(view) = views.view().filter(|view| self.begun != Some(view.epoch())) else {
            return;
        };
        if !views.may_act(now) {
            return;
        }
        self.begun = Some(view.epoch());
        let epoch = view.epoch();
        for (slot, Joining { node: to, goal }) in joined(view, cx.node()) {
            let (really, waiting, stays) = (false, 0, false);
            self.ask(cx, keepers, Move { slot, to, goal, epoch, really, waiting, stays });
        }
    }

    fn ask(&mut self, cx: &mut Cx<'_>, keepers: &[ServerId], it: Move) {
        let cookie = self.next * KEEPERS_MAX;
        self.next += 1;
        let give = Give { slot: it.slot.index() as u16, to: it.to, really: it.really };
        self.moves.insert(cookie, Move { waiting: keepers.len(), ..it });
        for (at, keeper) in keepers.iter().enumerate() {
            cx.ask_server(*keeper, &give, cookie + at as u64);
        }
    }

    /// A keeper has answered.
    pub(crate) fn answered(
        &mut self,
        cx: &mut Cx<'_>,
        (views, now): (&mut Views, u64),
        keepers: &[ServerId],
        (cookie, result): (u64, &Result<NodeReply, Errno>),
    ) {
        let key = cookie / KEEPERS_MAX * KEEPERS_MAX;
        let Some(it) = self.moves.get_mut(&key) else { return };
        let reply = result.as_ref().map_err(|errno| *errno);
        let given = reply.and_then(|reply| Given::get(&reply.msg)).is_ok_and(|it| it.given);
        it.stays |= !given;
        it.waiting -= 1;
        if it.waiting > 0 {
            return;
        }
        let Some(it) = self.moves.remove(&key) else { return };
        if views.view().is_none_or(|view| view.epoch() != it.epoch) {
            return;
        }
        let request = match (it.stays, it.really) {
            (true, _) => Request::Abort(it.slot),
            (false, false) => return self.ask(cx, keepers, Move { really: true, ..it }),
            (false, true) => Request::Joined(it.slot, it.goal),
        };
        // A node that is no member any more has no slots either.
        let _ = views.request(now, request);
    }
}

/// More than the servers that keep things in slots.
const KEEPERS_MAX: u64 = 16;

/// The slots of `me` that another node joins.
fn joined(view: &View, me: NodeId) -> Vec<(SlotNo, Joining)> {
    view.slots_of(me).filter_map(|slot| Some((slot, view.slot(slot).joining?))).collect()
}
