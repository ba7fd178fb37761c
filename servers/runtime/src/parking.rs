// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that wait for the next view because their slot is about to move, and calls that follow a slot
//! to its new home.
//!
//! # Model
//! ```text
//! request --NextView--> parked --next view entered--> runs again, under the same ticket
//! call --Moved--> the asking host sends it again, as it was, to the home of now
//! ```
//! The answer "moved" bears the epoch of the view that moved the slot, so who asked has entered that view
//! when it reads it: one more hop is enough. Either way nothing has been done before, so a request is
//! performed once.
//!
//! # Failure
//! A parked request of a node that is down is forgotten. A call that was not kept for want of room ends
//! with EAGAIN.

use crate::node::{Kind, NodeMessage, Urge};
use crate::tables::Parked;
use crate::{Answer, Bulk, Client, Core, Cx, Host, Msg};
use abi::{Errno, NodeId, SlotNo, Ticket};
use alloc::vec;
use alloc::vec::Vec;

impl<C: Core> Host<C> {
    /// Keeps a request; its ticket, or one that does not matter if nobody waits.
    pub(crate) fn park(
        cx: &mut Cx<'_>,
        from: Client,
        (op, msg, bulk): (u16, Msg, Vec<u8>),
        answered: bool,
    ) -> Result<Ticket, Errno> {
        let none = Ticket { index: u32::MAX, generation: 0 };
        let ticket = if answered { Some(cx.open_ticket(from)?) } else { None };
        if let Err(errno) = cx.tables.park(Parked { from, op, msg, bulk, ticket }) {
            if let Some(ticket) = ticket {
                cx.tables.tickets.close(ticket);
            }
            return Err(errno);
        }
        Ok(ticket.unwrap_or(none))
    }

    /// A view was entered: what waited for it runs, in the order of arrival.
    pub(crate) fn run_parked(core: &mut C, cx: &mut Cx<'_>) {
        for parked in core::mem::take(&mut cx.tables.parked) {
            Self::run_again(core, cx, parked);
        }
    }

    fn run_again(core: &mut C, cx: &mut Cx<'_>, parked: Parked) {
        let Parked { from, op, msg, bulk: data, ticket } = parked;
        let len = data.len();
        let mut body = data.clone();
        if matches!(from, Client::Node { .. }) {
            body.resize(crate::limits::NODE_BODY_BYTES, 0);
        }
        let mut bulk = Bulk { buf: &mut body, len, answered: false };
        cx.tables.reuse = ticket;
        let answer = if cx.tables.replication.is_full() {
            Answer::NextView
        } else {
            core.request(cx, from, op, &msg, &mut bulk)
        };
        cx.tables.reuse = None;
        let reply = if bulk.answered { bulk.data().to_vec() } else { vec![] };
        match (answer, ticket) {
            (Answer::Pending(_), _) | (_, None) => {}
            (Answer::Done(msg), Some(ticket)) => cx.complete_msg(ticket, Ok(msg), reply),
            (Answer::Failed(errno), Some(ticket)) => cx.complete::<()>(ticket, Err(errno)),
            (Answer::Moved(slot), Some(ticket)) => cx.moved(ticket, slot),
            (Answer::NextView, Some(_)) => {
                let again = Parked { from, op, msg, bulk: data, ticket };
                // It had room a moment ago.
                let _ = cx.tables.park(again);
            }
        }
    }

    /// A client gave up on a ticket.
    pub(crate) fn give_up(core: &mut C, cx: &mut Cx<'_>, ticket: Ticket) {
        if cx.tables.unpark(ticket) {
            cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        } else {
            core.cancel(cx, ticket);
        }
    }

    pub(crate) fn forget_parked_of(cx: &mut Cx<'_>, node: NodeId) {
        let is_its = |it: &Parked| matches!(it.from, Client::Node { node: of, .. } if of == node);
        let gone = cx.tables.parked.iter().filter(|it| is_its(it)).filter_map(|it| it.ticket);
        let gone: Vec<Ticket> = gone.collect();
        cx.tables.parked.retain(|it| !is_its(it));
        for ticket in gone {
            cx.tables.tickets.close(ticket);
        }
    }

    /// A view was entered, or a link is down: calls to homes that cannot be reached go to who has the slot now.
    /// So do those to a life that is over: another of the same node knows nothing of them.
    pub(crate) fn follow_homes(core: &mut C, cx: &mut Cx<'_>, is_over: impl Fn(NodeId) -> bool) {
        for (request, slot, at) in cx.tables.calls_to_homes() {
            let moved = cx.view().home(slot) != at && !cx.membership.reaches(at);
            if moved || is_over(at) {
                Self::call_home_again(core, cx, request, slot);
            }
        }
    }

    /// A link is up again: calls that went there and were not answered are sent again.
    pub(crate) fn call_again(core: &mut C, cx: &mut Cx<'_>, node: NodeId) {
        for (request, slot, at) in cx.tables.calls_to_homes() {
            if at == node {
                Self::call_home_again(core, cx, request, slot);
            }
        }
    }

    fn call_home_again(core: &mut C, cx: &mut Cx<'_>, request: u64, slot: SlotNo) {
        let home = cx.view().home(slot);
        if home == cx.node {
            Self::call_here(core, cx, request);
        } else {
            Self::call_there(cx, request, home);
        }
    }

    fn call_there(cx: &mut Cx<'_>, request: u64, to: NodeId) {
        let Some((op, msg, bulk)) = cx.tables.call_again(request, to) else { return };
        // A link that is down brings it again when it is up, or a view does.
        let _ = cx.send(Urge::Owed, to, (Kind::Call, op, 0, request), msg, bulk);
        // It was told to the home of before, which is gone.
        if cx.tables.is_given_up(request) {
            cx.send_cancel(to, request);
        }
    }

    fn call_here(core: &mut C, cx: &mut Cx<'_>, request: u64) {
        let (me, floor) = (cx.node, cx.tables.floor());
        let Some((op, msg, bulk)) = cx.tables.call_again(request, me) else { return };
        let (kind, server, status, epoch) = (Kind::Call, cx.me, 0, cx.view().epoch().0);
        let (again, life) = (true, cx.membership.life_of(me));
        let message =
            NodeMessage { kind, server, op, status, epoch, request, floor, again, life, msg, bulk };
        Self::run_request(core, cx, me, message);
        if cx.tables.is_given_up(request)
            && let Some(ticket) = cx.tables.tickets.find_node_call(me, request)
        {
            Self::give_up(core, cx, ticket);
        }
    }

    /// Performs a call that this node made to itself, as one of another node.
    pub(crate) fn call_own(
        core: &mut C,
        cx: &mut Cx<'_>,
        request: u64,
        (op, msg, bulk): (u16, Msg, Vec<u8>),
    ) {
        if cx.tables.is_given_up(request) {
            return cx.reply_node(cx.node, request, Err(Errno::ECANCELED), vec![]);
        }
        let (me, floor) = (cx.node, cx.tables.floor());
        let (kind, server, status, epoch) = (Kind::Call, cx.me, 0, cx.view().epoch().0);
        let (again, life) = (false, cx.membership.life_of(me));
        let message =
            NodeMessage { kind, server, op, status, epoch, request, floor, again, life, msg, bulk };
        Self::run_request(core, cx, me, message);
    }

    /// A node says that what a call of ours asks for is at the home of a slot.
    pub(crate) fn follow(core: &mut C, cx: &mut Cx<'_>, (from, request): (NodeId, u64), slot: u64) {
        let Some(call) = cx.tables.call_to(from, request) else { return };
        let slot = u16::try_from(slot).ok().and_then(SlotNo::new);
        // What moved was not performed.
        let given_up = cx.tables.is_given_up(request);
        let sent = match (slot, call.kept.clone()) {
            _ if given_up => Err(Errno::ECANCELED),
            (None, _) => Err(Errno::EPROTO),
            (Some(_), None) => Err(Errno::EAGAIN),
            (Some(slot), Some((op, msg, bulk))) => {
                let home = cx.view().home(slot);
                if home == cx.node {
                    return Self::call_here(core, cx, request);
                }
                cx.tables.redirect(request, home);
                let header = (Kind::Call, op, 0, request);
                let sent = cx.send(Urge::Owed, home, header, msg, bulk);
                sent.inspect_err(|_| cx.tables.redirect(request, from))
            }
        };
        if let Err(errno) = sent
            && let Some(cookie) = cx.tables.end_call(from, request)
        {
            core.completion(cx, cookie, Err(errno));
        }
    }
}
