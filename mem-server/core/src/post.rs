// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending and receiving the page protocol's messages.
//!
//! What this node says to itself goes through a queue that is emptied before the step ends, so the
//! protocol has one path. What finds the link full waits here and keeps its order.

use crate::MemCore;
use crate::limits::{OUTBOX_MAX, OUTBOX_RETRY_NS};
use crate::machine::Machine;
use crate::mutant::Mutant;
use crate::object::home;
use crate::slots::SlotSet;
use abi::limits::PAGE_BYTES;
use abi::{Errno, NodeId, ObjectId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use mem_api::peer::{
    Ack, Data, Done, Doubt, Drop, Forget, Fwd, Given, Got, Grant, Inv, Leave, Lost, Obeyed, Open,
    Pull, Pulled, Query, Report, Req, Settle, Settled,
};
use runtime::{Bulk, Cx, Msg, Operation, Wire};

/// Cookie of the timer that sends what waits.
pub(crate) const TIMER_OUTBOX: u64 = 1;

/// A message of the page protocol.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    Req(Req),
    Fwd(Fwd),
    Inv(Inv),
    Ack(Ack),
    Data(Data, Box<[u8; PAGE_BYTES]>),
    Grant(Grant),
    Got(Got),
    Done(Done),
    Lost(Lost),
    Leave(Leave),
    Drop(Drop),
    Pull(Pull),
    Pulled(Pulled, Box<[u8]>),
    Given(Given),
    Settled(Settled),
    Forget(Forget),
}

impl Note {
    /// The page that it is about, and the round that it belongs to.
    fn about(&self) -> Option<(ObjectId, u64, u64)> {
        Some(match self {
            Self::Req(op) => (op.object, op.page, op.round),
            Self::Fwd(op) => (op.object, op.page, op.round),
            Self::Inv(op) => (op.object, op.page, op.round),
            Self::Ack(op) => (op.object, op.page, op.round),
            Self::Data(op, _) => (op.object, op.page, op.round),
            Self::Grant(op) => (op.object, op.page, op.round),
            Self::Got(op) => (op.object, op.page, op.round),
            Self::Done(op) => (op.object, op.page, op.round),
            Self::Lost(op) => (op.object, op.page, op.round),
            Self::Leave(op) => (op.object, op.page, op.round),
            Self::Pull(_) | Self::Pulled(..) => return None,
            Self::Drop(_) | Self::Given(_) | Self::Settled(_) | Self::Forget(_) => return None,
        })
    }

    fn send(&self, cx: &mut Cx<'_>, to: NodeId) -> Result<(), Errno> {
        let none = Vec::new();
        match self {
            Self::Req(op) => cx.tell_node(to, op, none),
            Self::Fwd(op) => cx.tell_node(to, op, none),
            Self::Inv(op) => cx.tell_node(to, op, none),
            Self::Ack(op) => cx.tell_node(to, op, none),
            Self::Data(op, bytes) => cx.tell_node(to, op, bytes.to_vec()),
            Self::Grant(op) => cx.tell_node(to, op, none),
            Self::Got(op) => cx.tell_node(to, op, none),
            Self::Done(op) => cx.tell_node(to, op, none),
            Self::Lost(op) => cx.tell_node(to, op, none),
            Self::Leave(op) => cx.tell_node(to, op, none),
            Self::Drop(op) => cx.tell_node(to, op, none),
            Self::Pull(op) => cx.tell_node(to, op, none),
            Self::Pulled(op, bytes) => cx.tell_node(to, op, bytes.to_vec()),
            Self::Given(op) => cx.tell_node(to, op, none),
            Self::Settled(op) => cx.tell_node(to, op, none),
            Self::Forget(op) => cx.tell_node(to, op, none),
        }
    }

    /// The message with this number; `None` if it is none of the page protocol.
    pub(crate) fn decode(op: u16, msg: &Msg, bulk: &Bulk<'_>) -> Result<Option<Self>, Errno> {
        Ok(Some(match op {
            Req::NUMBER => Self::Req(Req::get(msg)?),
            Fwd::NUMBER => Self::Fwd(Fwd::get(msg)?),
            Inv::NUMBER => Self::Inv(Inv::get(msg)?),
            Ack::NUMBER => Self::Ack(Ack::get(msg)?),
            Data::NUMBER => {
                let bytes: [u8; PAGE_BYTES] = bulk.data().try_into().map_err(|_| Errno::EPROTO)?;
                Self::Data(Data::get(msg)?, Box::new(bytes))
            }
            Grant::NUMBER => Self::Grant(Grant::get(msg)?),
            Got::NUMBER => Self::Got(Got::get(msg)?),
            Done::NUMBER => Self::Done(Done::get(msg)?),
            Lost::NUMBER => Self::Lost(Lost::get(msg)?),
            Leave::NUMBER => Self::Leave(Leave::get(msg)?),
            Drop::NUMBER => Self::Drop(Drop::get(msg)?),
            Pull::NUMBER => Self::Pull(Pull::get(msg)?),
            Pulled::NUMBER => Self::Pulled(Pulled::get(msg)?, bulk.data().into()),
            Given::NUMBER => Self::Given(Given::get(msg)?),
            Settled::NUMBER => Self::Settled(Settled::get(msg)?),
            Forget::NUMBER => Self::Forget(Forget::get(msg)?),
            _ => return Ok(None),
        }))
    }
}

impl<M: Machine> MemCore<M> {
    /// Sends a message to a node, or to this one.
    pub(crate) fn post(&mut self, cx: &mut Cx<'_>, to: NodeId, note: Note) {
        if to == cx.node() {
            self.loopback.push_back((to, note));
            return;
        }
        let waiting = self.outbox.get(&to).is_some_and(|queue| !queue.is_empty());
        let result = if waiting { Err(Errno::EAGAIN) } else { note.send(cx, to) };
        // EHOSTDOWN: the node's death is told to this server soon, and ends what waits for it.
        if result == Err(Errno::EAGAIN) {
            let queue = self.outbox.entry(to).or_default();
            if queue.len() < OUTBOX_MAX {
                queue.push_back(note);
            } else {
                self.notes_lost += 1;
            }
            if !waiting {
                let _ = cx.arm(cx.now_ns() + OUTBOX_RETRY_NS, TIMER_OUTBOX);
            }
        }
    }

    /// Sends what found a link full.
    pub(crate) fn empty_outbox(&mut self, cx: &mut Cx<'_>) {
        let mut left = false;
        for (&to, queue) in &mut self.outbox {
            while let Some(note) = queue.front() {
                if note.send(cx, to) == Err(Errno::EAGAIN) {
                    left = true;
                    break;
                }
                queue.pop_front();
            }
        }
        self.outbox.retain(|_, queue| !queue.is_empty());
        if left {
            let _ = cx.arm(cx.now_ns() + OUTBOX_RETRY_NS, TIMER_OUTBOX);
        }
    }

    /// Handles what this node said to itself.
    pub(crate) fn drain_loopback(&mut self, cx: &mut Cx<'_>) {
        while let Some((from, note)) = self.loopback.pop_front() {
            self.note(cx, from, note);
        }
    }

    /// Handles one message. A sender that may not say it is ignored, and what belongs to another round is void.
    pub(crate) fn note(&mut self, cx: &mut Cx<'_>, from: NodeId, note: Note) {
        let Some((object, page, round)) = note.about() else {
            return self.other_note(cx, from, note);
        };
        let from_home = home(cx, object) == from;
        let current = self.round_of(object);
        if round != current && !self.makes(Mutant::OldRoundsCount) {
            if matches!(note, Note::Req(_)) && round < current {
                self.tell_round(cx, from, object.slot());
            }
            return;
        }
        let may_wait = from_home && matches!(note, Note::Fwd(_) | Note::Inv(_));
        if may_wait && self.put_off(cx, from, (object, page), &note) {
            return;
        }
        match note {
            Note::Fwd(op) if from_home => self.forward(cx, op),
            Note::Inv(op) if from_home => self.invalidate(cx, op),
            Note::Req(op) => self.home_req(cx, from, op),
            Note::Ack(op) => self.got_ack(cx, from, op),
            Note::Data(op, bytes) => self.got_data(cx, from, op, &bytes),
            Note::Grant(op) if from_home => self.got_grant(cx, op),
            Note::Got(op) => self.let_go(cx, from, op),
            Note::Done(op) => self.home_done(cx, from, op),
            Note::Lost(op) => self.got_lost(cx, from, op),
            Note::Leave(op) => self.home_leave(cx, from, op),
            _ => {}
        }
    }

    /// Handles what is not about one page.
    fn other_note(&mut self, cx: &mut Cx<'_>, from: NodeId, note: Note) {
        match note {
            Note::Drop(op) => self.home_drop(cx, from, op),
            Note::Pull(op) => self.pulled_from(cx, from, op),
            Note::Pulled(op, bytes) => self.got_pulled(cx, from, op, &bytes),
            Note::Given(op) => self.given(cx, from, op),
            Note::Settled(op) => self.settled(cx, from, op),
            Note::Forget(op) => self.forgotten(cx, from, op),
            _ => {}
        }
    }

    /// Handles a message of a rebuild; false if it is none.
    pub(crate) fn rebuild_note(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        op: u16,
        msg: &Msg,
    ) -> Result<bool, Errno> {
        match op {
            Query::NUMBER => self.queried(cx, from, &Query::get(msg)?),
            Report::NUMBER => self.reported(cx, from, &Report::get(msg)?),
            Settle::NUMBER => self.settle_pages(cx, from, &Settle::get(msg)?),
            Obeyed::NUMBER => self.obeyed(cx, from, Obeyed::get(msg)?),
            Open::NUMBER => self.opened(cx, from, &Open::get(msg)?),
            Doubt::NUMBER => self.doubted(cx, SlotSet(Doubt::get(msg)?.slots)),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
