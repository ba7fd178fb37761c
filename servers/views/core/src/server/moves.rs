// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots of this node that the view wants to be elsewhere.
//!
//! # Model
//! ```text
//! view names a joiner --Freeze to each keeper--> all: nothing there  --> Joined
//!                                           \--> one: something there --> Abort
//! ```
//! A server that froze a slot begins nothing in it until the next view, so what is given away is what
//! was looked at. Any view ends every move under way: it frees the slots, and names joiners again.

use crate::views::Views;
use abi::{Epoch, Errno, NodeId, ServerId, SlotNo};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::{Goal, Request, View};
use runtime::{Cx, Freeze, NodeReply, Occupied, Wire};

/// A slot that is being looked at.
struct Move {
    slot: SlotNo,
    epoch: Epoch,
    /// Keepers that have not answered.
    waiting: usize,
    occupied: bool,
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

    /// Asks the keepers about each slot that is to leave this node, once in a view.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>, views: &Views, now: u64, keepers: &[ServerId]) {
        let Some(view) = views.view().filter(|view| self.begun != Some(view.epoch())) else {
            return;
        };
        if !views.may_act(now) {
            return;
        }
        self.begun = Some(view.epoch());
        for slot in leaving(view, cx.node()) {
            let cookie = self.next * KEEPERS_MAX;
            self.next += 1;
            let epoch = view.epoch();
            let it = Move { slot, epoch, waiting: keepers.len(), occupied: false };
            self.moves.insert(cookie, it);
            for (at, keeper) in keepers.iter().enumerate() {
                let freeze = Freeze { slot: slot.index() as u16 };
                cx.ask_server(*keeper, &freeze, cookie + at as u64);
            }
        }
    }

    /// A keeper has answered.
    pub(crate) fn answered(
        &mut self,
        views: &mut Views,
        now: u64,
        cookie: u64,
        result: &Result<NodeReply, Errno>,
    ) {
        let key = cookie / KEEPERS_MAX * KEEPERS_MAX;
        let Some(it) = self.moves.get_mut(&key) else { return };
        let reply = result.as_ref().map_err(|errno| *errno);
        let free = reply.and_then(|reply| Occupied::get(&reply.msg)).is_ok_and(|it| !it.occupied);
        it.occupied |= !free;
        it.waiting -= 1;
        if it.waiting > 0 {
            return;
        }
        let Some(Move { slot, epoch, occupied, .. }) = self.moves.remove(&key) else { return };
        if views.view().is_none_or(|view| view.epoch() != epoch) {
            return;
        }
        let request =
            if occupied { Request::Abort(slot) } else { Request::Joined(slot, Goal::Primary) };
        // A node that is no member any more has no slots either.
        let _ = views.request(now, request);
    }
}

/// More than the servers that keep things in slots.
const KEEPERS_MAX: u64 = 16;

/// The slots of `me` that the view wants to be elsewhere.
fn leaving(view: &View, me: NodeId) -> Vec<SlotNo> {
    let moves = |slot: &SlotNo| {
        view.slot(*slot).joining.is_some_and(|joining| joining.goal == Goal::Primary)
    };
    view.slots_of(me).filter(moves).collect()
}
