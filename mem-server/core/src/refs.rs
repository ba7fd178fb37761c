// SPDX-License-Identifier: MIT OR Apache-2.0
//! References to objects of other homes: the home counts how many each node has, and each node how many are
//! counted for it.
//!
//! # Failure
//! References of a node that is gone are counted no more. A new home hears of them from its former one, or
//! from who has them.

use crate::MemCore;
use crate::limits::HOLDS_MAX;
use crate::machine::Machine;
use crate::object::{Object, Role, Store, home, is_broken, is_home};
use crate::pages::{Hold, Pages};
use crate::post::Note;
use abi::{Errno, NodeId, ObjectId, Ticket};
use alloc::vec::Vec;
use mem_api::peer::{Drop, Leave};
use mem_api::{ObjectAdopt, ObjectHold};
use runtime::{Answer, Client, Cx, Msg};

impl<M: Machine> MemCore<M> {
    /// Another node wants to refer to an object of this home.
    pub(crate) fn hold_for(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: ObjectHold,
    ) -> Result<Answer, Errno> {
        let slot = op.object.slot();
        if !is_home(cx, op.object) {
            return Ok(Answer::Moved(slot));
        }
        if cx.is_frozen(slot) {
            return Ok(Answer::NextView);
        }
        let known = self.objects.get(op.object).is_ok_and(|it| it.role != Role::Holder);
        if self.rebuild.slots.has(slot) && !known {
            if self.holds_waiting.len() >= HOLDS_MAX {
                return Err(Errno::EAGAIN);
            }
            let ticket = cx.open_ticket(from)?;
            self.holds_waiting.push((op, ticket));
            return Ok(Answer::Pending(ticket));
        }
        self.hold(cx, op)?;
        Ok(Answer::Done(Msg::default()))
    }

    /// All members have been asked: who waited for that is answered.
    pub(crate) fn answer_holds(&mut self, cx: &mut Cx<'_>) {
        for (op, ticket) in core::mem::take(&mut self.holds_waiting) {
            if self.rebuild.slots.has(op.object.slot()) {
                self.holds_waiting.push((op, ticket));
                continue;
            }
            let held = self.hold(cx, op);
            cx.complete(ticket, held);
        }
    }

    /// Sends who waits here for objects of slots that have another home there.
    pub(crate) fn move_holds(&mut self, cx: &mut Cx<'_>) {
        let waiting = core::mem::take(&mut self.holds_waiting);
        let (stay, go) = waiting.into_iter().partition(|(op, _)| is_home(cx, op.object));
        self.holds_waiting = stay;
        let go: Vec<(ObjectHold, Ticket)> = go;
        for (op, ticket) in go {
            cx.moved(ticket, op.object.slot());
        }
    }

    /// False: no call that waits has this ticket.
    pub(crate) fn cancel_hold(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let before = self.holds_waiting.len();
        self.holds_waiting.retain(|(_, waits)| *waits != ticket);
        let found = self.holds_waiting.len() < before;
        if found {
            cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        }
        found
    }

    /// A node refers to the object from now on.
    pub(crate) fn hold(&mut self, cx: &Cx<'_>, op: ObjectHold) -> Result<(), Errno> {
        if !is_home(cx, op.object) || !cx.view().contains(op.node) {
            return Err(Errno::EINVAL);
        }
        let gone = if is_broken(cx, op.object) { Errno::EIO } else { Errno::ESTALE };
        let target = self.objects.get_mut(op.object).map_err(|_| gone)?;
        if !matches!(target.store, Store::Pages { .. }) {
            return Err(Errno::EINVAL);
        }
        if target.role == Role::Holder {
            // Who refers to it is being found out.
            return Err(Errno::EAGAIN);
        }
        target.refs += 1;
        if op.node == cx.node() {
            return Ok(());
        }
        *target.directory.hosts.entry(op.node).or_insert(0) += 1;
        Ok(())
    }

    pub(crate) fn adopt(&mut self, cx: &Cx<'_>, op: ObjectAdopt) -> Result<(), Errno> {
        let known = self.objects.get_mut(op.object);
        if is_home(cx, op.object) {
            // What was counted for this node by the home before it.
            let awaited = known.map(|it| &mut it.directory.awaited);
            return match awaited {
                Ok(awaited) if *awaited > 0 => {
                    *awaited -= 1;
                    Ok(())
                }
                Ok(_) | Err(_) if is_broken(cx, op.object) => Err(Errno::EIO),
                Ok(_) | Err(_) => Err(Errno::EINVAL),
            };
        }
        if known.is_err() && is_broken(cx, op.object) {
            return Err(Errno::EIO);
        }
        let target = self.remote_object(op.object)?;
        target.grants += 1;
        target.refs += 1;
        Ok(())
    }

    /// What this node knows of an object of another home.
    pub(crate) fn remote_object(&mut self, object: ObjectId) -> Result<&mut Object, Errno> {
        let store = Store::Pages { pages: Pages::default(), len: u64::MAX / 2 };
        let target = self.objects.adopt(object, store)?;
        target.leaving = false;
        Ok(target)
    }

    /// A node gives references back, after the home pulled what it owned.
    pub(crate) fn home_drop(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Drop) {
        if !is_home(cx, op.object) {
            // It was on its way while the slot moved.
            if from == op.of {
                self.post(cx, home(cx, op.object), Note::Drop(op));
            }
            return;
        }
        let Ok(target) = self.objects.get_mut(op.object) else { return };
        if from != op.of && target.directory.giver != Some(from) {
            return;
        }
        let Some(held) = target.directory.hosts.get_mut(&op.of) else { return };
        let dropped = op.holds.min(*held);
        *held -= dropped;
        if *held == 0 {
            target.directory.hosts.remove(&op.of);
        }
        for _ in 0..dropped {
            self.drop_ref(cx, op.object);
        }
    }

    /// No reference to a remote object is left here: the home pulls what this node owns of it. While the home
    /// asks what there is, it stays as it is.
    pub(crate) fn leave_object(&mut self, cx: &mut Cx<'_>, id: ObjectId) {
        let (round, closed) = (self.round_of(id), self.is_closed(id));
        let Ok(target) = self.objects.get_mut(id) else { return };
        target.leaving = true;
        let Store::Pages { pages, .. } = &mut target.store else { return };
        if closed {
            return;
        }
        let mut owned = Vec::new();
        pages.for_each(0..u64::MAX, |page, entry| match entry.page {
            Some((frame, Hold::Copy)) => {
                entry.page = None;
                self.frames.release(frame);
            }
            Some((_, Hold::Owner | Hold::Only)) => owned.push(page),
            None => {}
        });
        for page in owned {
            self.post(cx, home(cx, id), Note::Leave(Leave { object: id, page, round }));
        }
        self.check_left(cx, id);
    }

    /// A remote object that is not used here any more goes when its last page has.
    pub(crate) fn check_left(&mut self, cx: &mut Cx<'_>, id: ObjectId) {
        let Ok(target) = self.objects.get(id) else { return };
        let Store::Pages { pages, .. } = &target.store else { return };
        let waited_for = self.fetches.keys().any(|key| key.0 == id);
        if !target.leaving || pages.held() > 0 || waited_for || self.is_closed(id) {
            return;
        }
        let holds = target.grants;
        self.objects.map.remove(&id);
        if holds > 0 {
            let of = cx.node();
            self.post(cx, home(cx, id), Note::Drop(Drop { object: id, holds, of }));
        }
    }

    /// mem-server died on a node: nobody is the home of its objects. What is here can be used as it is.
    pub(crate) fn home_died(&mut self, cx: &mut Cx<'_>, id: ObjectId) {
        self.fail_fetches(cx, id, Errno::EIO);
        let Ok(target) = self.objects.get_mut(id) else { return };
        if matches!(target.store, Store::Pages { .. }) {
            target.grants = 0;
            target.orphan = true;
            if target.leaving {
                self.free_object(id);
            }
        }
    }
}
