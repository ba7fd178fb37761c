// SPDX-License-Identifier: MIT OR Apache-2.0
//! The home's side of the page protocol, and the references that other nodes hold.
//!
//! # Failure
//! A page whose owner died goes on from the home's own copy, if it has one; else it is lost (EIO).
//! A page that was on its way from or to the dead node counts as having been there. Where the home
//! itself died, each node keeps the pages that it has, as they are, until it needs them no more.

use crate::MemCore;
use crate::directory::{Ask, Order, Place, State};
use crate::fetch::Key;
use crate::limits::PAGE;
use crate::machine::Machine;
use crate::object::{Store, at_home, home, is_lost};
use crate::pages::{Entry, Hold, Pages};
use crate::post::Note;
use crate::resolve::Wanted;
use abi::{Errno, NodeId, ObjectId, SlotNo};
use alloc::vec::Vec;
use mem_api::peer::{Ack, Done, Drop, Fwd, Grant, Inv, Leave, Lost, Req, Transfer};
use mem_api::{Access, ObjectAdopt, ObjectHold};
use runtime::Cx;

impl<M: Machine> MemCore<M> {
    pub(crate) fn home_req(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Req) {
        if let Err(errno) = self.take_req(cx, from, op) {
            let Req { object, page, access, .. } = op;
            self.post(cx, from, Note::Lost(Lost { object, page, errno: errno.number(), access }));
        }
    }

    fn take_req(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Req) -> Result<(), Errno> {
        let me = cx.node();
        if is_lost(cx, op.object) {
            return Err(Errno::EIO);
        }
        if !at_home(cx, op.object) {
            return Err(Errno::ESTALE);
        }
        let target = self.objects.get_mut(op.object)?;
        let (owner, untouched) = match &target.store {
            Store::Pages { pages, len } => {
                if from != me && !target.directory.hosts.contains_key(&from) {
                    return Err(Errno::ESTALE);
                }
                if op.page >= len.div_ceil(PAGE) {
                    return Err(Errno::EIO);
                }
                let known = target.directory.places.contains_key(&op.page);
                (me, !known && pages.get(op.page).page.is_none())
            }
            Store::Private(space) if from == me => {
                let moving = self.spaces.get(*space)?.moving.as_ref().ok_or(Errno::ESTALE)?;
                (moving.from, false)
            }
            Store::Private(_) | Store::Root { .. } | Store::Left(_) => return Err(Errno::ESTALE),
        };
        let mut orders = Vec::new();
        let place = target.directory.places.entry(op.page).or_insert_with(|| Place::new(owner));
        let ask = Ask { node: from, access: op.access, have: op.have };
        let taken = place.ask(ask, untouched, &mut orders);
        self.carry_out(cx, (op.object, op.page), &orders);
        if taken { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    fn carry_out(&mut self, cx: &mut Cx<'_>, (object, page): Key, orders: &[Order]) {
        for order in orders {
            let (to, note) = match *order {
                Order::Forward { owner, to, access, acks } => {
                    let transfer = match access {
                        Access::Read => Transfer::Read,
                        Access::Write => Transfer::Write { acks },
                    };
                    (owner, Note::Fwd(Fwd { object, page, to, transfer }))
                }
                Order::Invalidate { holder, to } => (holder, Note::Inv(Inv { object, page, to })),
                Order::Grant { to, acks, zero } => {
                    (to, Note::Grant(Grant { object, page, acks, zero }))
                }
                Order::Lost { to, access } => {
                    (to, Note::Lost(Lost { object, page, errno: Errno::EIO.number(), access }))
                }
                Order::Acknowledge { of, to } => (to, Note::Ack(Ack { object, page, of })),
            };
            self.post(cx, to, note);
        }
    }

    pub(crate) fn home_done(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Done) {
        if !at_home(cx, op.object) {
            return;
        }
        let Ok(target) = self.objects.get_mut(op.object) else { return };
        let Some(place) = target.directory.places.get_mut(&op.page) else { return };
        let mut orders = Vec::new();
        place.revive(from);
        place.done(from, &mut orders);
        if place.is_local(cx.node()) {
            target.directory.places.remove(&op.page);
            make_only(&mut target.store, op.page);
        }
        self.carry_out(cx, (op.object, op.page), &orders);
    }

    /// A node has no use for a page that it owns: the home pulls it.
    pub(crate) fn home_leave(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Leave) {
        let Leave { object, page } = op;
        let me = cx.node();
        let Ok(target) = self.objects.get(object) else { return };
        if !at_home(cx, object) || !target.directory.hosts.contains_key(&from) {
            return;
        }
        let lost = target.directory.places.get(&page).is_some_and(|it| it.state == State::Lost);
        if lost {
            // What another node may have written since is lost: this content must not come back.
            self.post(cx, from, Note::Inv(Inv { object, page, to: me }));
        } else {
            // Without a free frame the page stays where it is: nothing is lost.
            let _ = self.fetch(cx, Wanted { object, page, access: Access::Write }, false);
        }
    }

    /// A node refers to the object from now on.
    pub(crate) fn hold(&mut self, cx: &Cx<'_>, op: ObjectHold) -> Result<(), Errno> {
        if is_lost(cx, op.object) {
            return Err(Errno::EIO);
        }
        if !at_home(cx, op.object) || !cx.view().contains(op.node) {
            return Err(Errno::EINVAL);
        }
        let target = self.objects.get_mut(op.object)?;
        if !matches!(target.store, Store::Pages { .. }) {
            return Err(Errno::EINVAL);
        }
        target.refs += 1;
        if op.node == cx.node() {
            return Ok(());
        }
        *target.directory.hosts.entry(op.node).or_insert(0) += 1;
        Ok(())
    }

    pub(crate) fn adopt(&mut self, cx: &Cx<'_>, op: ObjectAdopt) -> Result<(), Errno> {
        if is_lost(cx, op.object) {
            return Err(Errno::EIO);
        }
        if at_home(cx, op.object) {
            return Err(Errno::EINVAL);
        }
        let target = self.remote_object(op.object)?;
        target.grants += 1;
        target.refs += 1;
        Ok(())
    }

    /// What this node knows of an object of another home.
    pub(crate) fn remote_object(
        &mut self,
        object: ObjectId,
    ) -> Result<&mut crate::object::Object, Errno> {
        let store = Store::Pages { pages: Pages::default(), len: u64::MAX / 2 };
        let target = self.objects.adopt(object, store)?;
        target.leaving = false;
        Ok(target)
    }

    /// A node gives references back, after the home pulled what it owned.
    pub(crate) fn home_drop(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Drop) {
        if !at_home(cx, op.object) {
            return;
        }
        let Ok(target) = self.objects.get_mut(op.object) else { return };
        let Some(held) = target.directory.hosts.get_mut(&from) else { return };
        let dropped = op.holds.min(*held);
        *held -= dropped;
        if *held == 0 {
            target.directory.hosts.remove(&from);
        }
        for _ in 0..dropped {
            self.drop_ref(cx, op.object);
        }
    }

    /// No reference to a remote object is left here: the home pulls what this node owns of it.
    pub(crate) fn leave_object(&mut self, cx: &mut Cx<'_>, id: ObjectId) {
        let Ok(target) = self.objects.get_mut(id) else { return };
        target.leaving = true;
        let Store::Pages { pages, .. } = &mut target.store else { return };
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
            self.post(cx, home(cx, id), Note::Leave(Leave { object: id, page }));
        }
        self.check_left(cx, id);
    }

    /// A remote object that is not used here any more goes when its last page has.
    pub(crate) fn check_left(&mut self, cx: &mut Cx<'_>, id: ObjectId) {
        let Ok(target) = self.objects.get(id) else { return };
        let Store::Pages { pages, .. } = &target.store else { return };
        let waited_for = self.fetches.keys().any(|key| key.0 == id);
        if !target.leaving || pages.held() > 0 || waited_for {
            return;
        }
        let holds = target.grants;
        self.objects.map.remove(&id);
        if holds > 0 {
            self.post(cx, home(cx, id), Note::Drop(Drop { object: id, holds }));
        }
    }

    /// A node died: what it held of objects of this home, and objects of its own.
    pub(crate) fn objects_node_down(&mut self, cx: &mut Cx<'_>, dead: NodeId) {
        let ids: Vec<ObjectId> = self.objects.map.keys().copied().collect();
        for id in ids {
            if home(cx, id) == dead {
                self.home_died(cx, id);
            } else if at_home(cx, id) {
                self.host_died(cx, id, dead);
            }
        }
        self.kept.retain(|_, (frame, to)| {
            if *to == dead {
                self.frames.release(*frame);
            }
            *to != dead
        });
    }

    /// Objects whose homes left with this view go the way of those whose homes do not answer.
    pub(crate) fn objects_entered(&mut self, cx: &mut Cx<'_>) {
        let lost = self.objects.map.iter().filter(|(id, it)| is_lost(cx, **id) && !it.orphan);
        let lost: Vec<ObjectId> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            self.home_died(cx, id);
        }
    }

    /// Whether objects live here whose home is the slot's. One that shows the root file system does
    /// not count: every node has its own, and nobody else asks for it.
    pub(crate) fn any_object_in(&self, slot: SlotNo) -> bool {
        self.objects.map.iter().any(|(id, it)| {
            let here = match it.store {
                Store::Pages { .. } => !it.orphan,
                Store::Private(_) => true,
                Store::Root { .. } | Store::Left(_) => false,
            };
            id.slot() == slot && here
        })
    }

    /// Whether an object of the slot needs its home. One that only a server of this node refers to does
    /// not: whoever keeps something in it gives it up when the slot has moved.
    pub(crate) fn any_needs_home(&self, slot: SlotNo) -> bool {
        let in_slot = self.objects.map.iter().filter(|(id, _)| id.slot() == slot);
        let mut needs = in_slot.map(|(id, it)| match it.store {
            Store::Pages { .. } => !it.orphan && !self.is_alone(*id, it),
            Store::Private(_) => true,
            Store::Root { .. } | Store::Left(_) => false,
        });
        needs.any(|needs| needs)
    }

    /// The slot has moved away: what is here of it is this node's alone.
    pub(crate) fn slot_given(&mut self, slot: SlotNo) {
        for (_, it) in self.objects.map.iter_mut().filter(|(id, _)| id.slot() == slot) {
            it.given |= !it.orphan && matches!(it.store, Store::Pages { .. });
            it.orphan |= it.given;
        }
    }

    fn home_died(&mut self, cx: &mut Cx<'_>, id: ObjectId) {
        self.fail_fetches(cx, id, Errno::EIO);
        let Ok(target) = self.objects.get_mut(id) else { return };
        match &mut target.store {
            Store::Left(_) => self.free_left(cx, id),
            Store::Pages { .. } => {
                target.grants = 0;
                target.orphan = true;
                if target.leaving {
                    self.free_object(id);
                }
            }
            Store::Root { .. } | Store::Private(_) => {}
        }
    }

    fn host_died(&mut self, cx: &mut Cx<'_>, id: ObjectId, dead: NodeId) {
        let me = cx.node();
        let Ok(target) = self.objects.get_mut(id) else { return };
        let Store::Pages { pages, .. } = &target.store else { return };
        let mut all = Vec::new();
        for (&page, place) in &mut target.directory.places {
            let mut orders = Vec::new();
            let copy_here = pages.get(page).page.is_some();
            place.node_down(dead, me, copy_here, &mut orders);
            all.push((page, orders));
        }
        let held = target.directory.hosts.remove(&dead).unwrap_or(0);
        for (page, orders) in all {
            let Ok(target) = self.objects.get_mut(id) else { return };
            if target.directory.places.get(&page).is_some_and(|place| place.is_local(me)) {
                target.directory.places.remove(&page);
                make_only(&mut target.store, page);
            } else if target.directory.places.get(&page).is_some_and(|it| it.owner == me) {
                make(&mut target.store, page, Hold::Owner);
            }
            self.carry_out(cx, (id, page), &orders);
        }
        for _ in 0..held {
            self.drop_ref(cx, id);
        }
    }
}

/// Nobody else holds the home's page any more.
fn make_only(store: &mut Store, page: u64) {
    make(store, page, Hold::Only);
}

fn make(store: &mut Store, page: u64, hold: Hold) {
    if let Store::Pages { pages, .. } = store {
        let entry = pages.get(page);
        if let Some((frame, _)) = entry.page {
            pages.set(page, Entry { page: Some((frame, hold)), ..entry });
        }
    }
}
