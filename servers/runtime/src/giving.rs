// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving a slot with all that lives in it to another node: how the state travels. What it is, the core
//! says ([`Core::export`], [`Core::import`]).
//!
//! # Model
//! ```text
//! former home                                 joiner
//! Give: not really?            whether it can be given, as far as can be told at once
//! Give: frozen, export --Part--> <--reply--   kept aside
//!                       ...                   admitted with the last part
//! answers Give                                   |
//! enters the view: it moved --> given         import, before anything else of that view
//!                  it stays --> unfrozen      forgotten
//! ```
//! One part is on its way at a time, so that a slot takes no more of a link than its share.
//!
//! # Invariants
//! What is taken into service was exported in the view before the one that makes the joiner the home: in
//! between nothing can have changed.
//!
//! # Failure
//! A part that is refused or not answered ends the giving; the slot stays, until a view asks again.

use crate::limits::{COMING_BYTES_MAX, NODE_BODY_BYTES, SLOT_BYTES_MAX};
use crate::membership::Turn;
use crate::node::{Kind, Urge};
use crate::{Client, Core, Cx, Export, Give, Given, Host, Msg, Platform, Status, Wire, system};
use abi::{Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::{Goal, View};

/// A slot that leaves.
pub(crate) struct Outgoing {
    to: NodeId,
    /// What was exported; `None` while the core makes it ready.
    state: Option<Vec<u8>>,
    /// Bytes that the other node has.
    acknowledged: usize,
    /// The part that is on its way: our number for it, and where it ends.
    part: Option<(u64, usize)>,
    /// Who asked for it.
    ticket: Ticket,
}

/// A slot that comes.
pub(crate) struct Incoming {
    from: NodeId,
    /// The view in which it was exported.
    epoch: u64,
    total: usize,
    state: Vec<u8>,
    admitted: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Gives {
    outgoing: BTreeMap<SlotNo, Outgoing>,
    incoming: BTreeMap<SlotNo, Incoming>,
}

impl Gives {
    /// The slot whose part has this number, at this node.
    pub(crate) fn part_of(&self, node: NodeId, request: u64) -> Option<SlotNo> {
        let is_it = |it: &Outgoing| it.to == node && it.part.is_some_and(|part| part.0 == request);
        self.outgoing.iter().find(|(_, it)| is_it(it)).map(|(slot, _)| *slot)
    }
}

impl<C: Core> Host<C> {
    pub(crate) fn answer_give(&self, platform: &mut dyn Platform, msg: &mut Msg) -> Status {
        let Ok(Give { slot, to, really }) = Give::get(msg) else {
            return Status::Failed(Errno::EINVAL);
        };
        let Some(slot) = SlotNo::new(slot) else { return Status::Failed(Errno::EINVAL) };
        let mut inner = self.inner.lock();
        let (core, tables, membership) = inner.parts();
        if membership.view.home(slot) != self.node || !membership.view.contains(to) {
            return Status::Failed(Errno::EINVAL);
        }
        if !really {
            return answered(msg, !core.stays(slot));
        }
        if tables.gives.outgoing.contains_key(&slot) {
            return Status::Failed(Errno::EBUSY);
        }
        membership.freeze(slot);
        let cx = &mut self.cx(platform, tables, membership);
        let state = match core.export(cx, slot) {
            Export::Nothing => return answered(msg, true),
            Export::State(state) if state.len() <= SLOT_BYTES_MAX => Some(state),
            Export::NotYet => None,
            Export::State(_) | Export::Stays => {
                membership.thaw(slot);
                return answered(msg, false);
            }
        };
        let client = Client::Server { id: ServerId::Views, core: cx.core };
        let ticket = match cx.open_ticket(client) {
            Ok(ticket) => ticket,
            Err(errno) => return Status::Failed(errno),
        };
        let it = Outgoing { to, state, acknowledged: 0, part: None, ticket };
        cx.tables.gives.outgoing.insert(slot, it);
        send_part(cx, slot);
        Status::Pending(ticket)
    }

    /// The core has made a slot ready that it could not export at once.
    pub(crate) fn export_now(&self, platform: &mut dyn Platform, slot: SlotNo) {
        self.locked(platform, |core, cx| {
            let waits = |it: &Outgoing| it.state.is_none();
            if !cx.tables.gives.outgoing.get(&slot).is_some_and(waits) {
                return;
            }
            match core.export(cx, slot) {
                Export::Nothing => end(cx, slot, Ok(true)),
                Export::State(state) if state.len() <= SLOT_BYTES_MAX => {
                    if let Some(it) = cx.tables.gives.outgoing.get_mut(&slot) {
                        it.state = Some(state);
                    }
                    send_part(cx, slot);
                }
                Export::NotYet => {}
                Export::State(_) | Export::Stays => end(cx, slot, Ok(false)),
            }
        });
    }

    /// What was on its way before this view is void, but for slots that it moves.
    pub(crate) fn slots_turned(core: &mut C, cx: &mut Cx<'_>, turn: &Turn) {
        let gives = core::mem::take(&mut cx.tables.gives);
        for it in gives.outgoing.into_values() {
            cx.complete::<()>(it.ticket, Err(Errno::ECANCELED));
        }
        let (me, from) = (cx.node, turn.old.epoch());
        let was_mine = |slot: &SlotNo| from.0 != 0 && turn.old.home(*slot) == me;
        for slot in View::slot_numbers().filter(was_mine) {
            let row = cx.view().slot(slot);
            // It may have come back in a view after the one that moved it.
            if row.since > from && row.lost <= from {
                core.given(cx, slot);
            }
        }
        for (slot, it) in gives.incoming {
            let row = cx.view().slot(slot);
            if it.admitted && row.primary == me && row.since.0 == it.epoch + 1 {
                core.import(cx, &turn.old, slot, &it.state);
            }
        }
    }

    /// A part of a slot's state came.
    pub(crate) fn take_part(
        core: &mut C,
        cx: &mut Cx<'_>,
        from: NodeId,
        (epoch, msg): (u64, &Msg),
        bytes: &[u8],
    ) -> Result<(), Errno> {
        let [slot, at, total, _] = msg.words;
        let slot = u16::try_from(slot).ok().and_then(SlotNo::new).ok_or(Errno::EINVAL)?;
        let (at, total) = (at as usize, total as usize);
        let row = cx.view().slot(slot);
        let joins = row.joining.is_some_and(|it| it.node == cx.node && it.goal == Goal::Primary);
        if row.primary != from || !joins || epoch != cx.view().epoch().0 || total > SLOT_BYTES_MAX {
            return Err(Errno::EINVAL);
        }
        let incoming = &mut cx.tables.gives.incoming;
        if at == 0 {
            incoming.remove(&slot);
            let coming: usize = incoming.values().map(|it| it.total).sum();
            if coming + total > COMING_BYTES_MAX {
                return Err(Errno::ENOSPC);
            }
            let state = Vec::with_capacity(total);
            incoming.insert(slot, Incoming { from, epoch, total, state, admitted: false });
        }
        let it = incoming.get_mut(&slot).ok_or(Errno::EINVAL)?;
        let fits = (it.from, it.epoch, it.total, it.state.len()) == (from, epoch, total, at)
            && !it.admitted
            && bytes.len() <= total - at;
        if !fits {
            incoming.remove(&slot);
            return Err(Errno::EINVAL);
        }
        it.state.extend_from_slice(bytes);
        if it.state.len() < total {
            return Ok(());
        }
        let state = core::mem::take(&mut it.state);
        core.admits(cx, slot, &state)?;
        if let Some(it) = cx.tables.gives.incoming.get_mut(&slot) {
            it.state = state;
            it.admitted = true;
        }
        Ok(())
    }
}

/// The other node has a part, or refuses it.
pub(crate) fn part_answered(cx: &mut Cx<'_>, slot: SlotNo, status: u16) {
    let Some(it) = cx.tables.gives.outgoing.get_mut(&slot) else { return };
    let Some((_, upto)) = it.part.take() else { return };
    if status != 0 {
        return end(cx, slot, Ok(false));
    }
    it.acknowledged = upto;
    if it.state.as_ref().is_some_and(|state| state.len() == upto) {
        return end(cx, slot, Ok(true));
    }
    send_part(cx, slot);
}

/// A node is down: what was to go there stays.
pub(crate) fn gives_node_down(cx: &mut Cx<'_>, node: NodeId) {
    let gives = &mut cx.tables.gives;
    gives.incoming.retain(|_, it| it.from != node);
    let outgoing = gives.outgoing.iter().filter(|(_, it)| it.to == node);
    let slots: Vec<SlotNo> = outgoing.map(|(slot, _)| *slot).collect();
    for slot in slots {
        end(cx, slot, Ok(false));
    }
}

fn send_part(cx: &mut Cx<'_>, slot: SlotNo) {
    let Some(it) = cx.tables.gives.outgoing.get_mut(&slot) else { return };
    let Some(state) = &it.state else { return };
    let (at, total) = (it.acknowledged, state.len());
    let upto = total.min(at + NODE_BODY_BYTES);
    let (to, bulk) = (it.to, state[at..upto].to_vec());
    let request = cx.tables.next_request;
    cx.tables.next_request += 1;
    it.part = Some((request, upto));
    let words = [slot.index() as u64, at as u64, total as u64, 0];
    let header = (Kind::Call, system::PART, 0, request);
    if cx.send(Urge::Owed, to, header, Msg { words, ..Msg::default() }, bulk).is_err() {
        end(cx, slot, Ok(false));
    }
}

fn end(cx: &mut Cx<'_>, slot: SlotNo, given: Result<bool, Errno>) {
    if let Some(it) = cx.tables.gives.outgoing.remove(&slot) {
        cx.complete(it.ticket, given.map(|given| Given { given }));
    }
}

fn answered(msg: &mut Msg, given: bool) -> Status {
    *msg = Msg::default();
    match (Given { given }).put(msg) {
        Ok(()) => Status::Done,
        Err(errno) => Status::Failed(errno),
    }
}
