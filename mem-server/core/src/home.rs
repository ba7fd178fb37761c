// SPDX-License-Identifier: MIT OR Apache-2.0
//! The home's side of the page protocol.
//!
//! # Failure
//! What a dead node leaves behind, and what a new home does not know, is found out by asking all members
//! ([`rebuild`](crate::rebuild)). Requests that come meanwhile are void: who sent them sends them again.

use crate::MemCore;
use crate::directory::{Ask, Order, Place};
use crate::fetch::Key;
use crate::limits::PAGE;
use crate::machine::Machine;
use crate::object::{Role, Store, is_home};
use crate::pages::{Entry, Hold};
use crate::post::Note;
use crate::resolve::Wanted;
use abi::{Errno, NodeId};
use alloc::vec::Vec;
use mem_api::Access;
use mem_api::peer::{
    Delivery, Done, Fwd, Grant, Inv, Leave, Lost, Refusal, Req, Terms, Transfer, Want,
};
use runtime::Cx;

impl<M: Machine> MemCore<M> {
    pub(crate) fn home_req(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Req) {
        if let Err(errno) = self.take_req(cx, from, op) {
            let Req { object, page, round, want } = op;
            let refusal = Refusal { errno: errno.number(), access: want.access };
            self.post(cx, from, Note::Lost(Lost { object, page, round, refusal }));
        }
    }

    fn take_req(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Req) -> Result<(), Errno> {
        let me = cx.node();
        let Req { object, page, want, .. } = op;
        if !is_home(cx, object) {
            // One of the two nodes has not entered the other's view: the new home opens the slot, and hears it then.
            return Ok(());
        }
        if self.rebuild.slots.has(object.slot())
            && self.objects.get(object).map_or(true, |it| it.role != Role::Home)
        {
            // It is sent again when the slot is opened.
            return Ok(());
        }
        let target = self.objects.get_mut(object)?;
        let (owner, untouched) = match &target.store {
            Store::Pages { pages, len } => {
                if from != me && !target.directory.hosts.contains_key(&from) {
                    return Err(Errno::ESTALE);
                }
                if page >= len.div_ceil(PAGE) {
                    return Err(Errno::EIO);
                }
                let nowhere = target.directory.owned_here(page) && pages.get(page).page.is_none();
                if nowhere && target.directory.broken {
                    return Err(Errno::EIO);
                }
                (me, nowhere)
            }
            Store::Private(_) | Store::Root { .. } | Store::Left(_) => return Err(Errno::ESTALE),
        };
        let mut orders = Vec::new();
        let place = target.directory.places.entry(page).or_insert_with(|| Place::new(owner));
        let Want { access, have, number } = want;
        let ask = Ask { node: from, access, have, number };
        let taken = place.ask(ask, untouched, &mut orders);
        self.carry_out(cx, (object, page), &orders);
        if taken { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    fn carry_out(&mut self, cx: &mut Cx<'_>, (object, page): Key, orders: &[Order]) {
        let round = self.round_of(object);
        for order in orders {
            let (to, note) = match *order {
                Order::Forward { owner, to, number, access, acks } => {
                    let transfer = match access {
                        Access::Read => Transfer::Read,
                        Access::Write => Transfer::Write { acks },
                    };
                    let delivery = Delivery { to, number, transfer };
                    (owner, Note::Fwd(Fwd { object, page, round, delivery }))
                }
                Order::Invalidate { holder, to } => {
                    (holder, Note::Inv(Inv { object, page, round, to }))
                }
                Order::Grant { to, acks, zero } => {
                    let terms = Terms { acks, zero };
                    (to, Note::Grant(Grant { object, page, round, terms }))
                }
                Order::Lost { to, access } => {
                    let refusal = Refusal { errno: Errno::EIO.number(), access };
                    (to, Note::Lost(Lost { object, page, round, refusal }))
                }
            };
            self.post(cx, to, note);
        }
    }

    pub(crate) fn home_done(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Done) {
        if !is_home(cx, op.object) {
            return;
        }
        let Ok(target) = self.objects.get_mut(op.object) else { return };
        if target.role != Role::Home {
            return;
        }
        let Some(place) = target.directory.places.get_mut(&op.page) else { return };
        let mut orders = Vec::new();
        place.done(from, &mut orders);
        if place.is_local(cx.node()) {
            target.directory.places.remove(&op.page);
            make_only(&mut target.store, op.page);
        }
        self.carry_out(cx, (op.object, op.page), &orders);
    }

    /// A node has no use for a page that it owns: the home pulls it. One of an object that nobody uses, or that
    /// does not count this node, goes: so does one that is lost, as another node may have written it since.
    pub(crate) fn home_leave(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Leave) {
        let Leave { object, page, round } = op;
        let me = cx.node();
        if !is_home(cx, object) || self.rebuild.slots.has(object.slot()) {
            return;
        }
        let owned = self.objects.get(object).is_ok_and(|it| {
            it.directory.places.get(&page).is_some_and(|place| place.may_come_from(from))
        });
        if owned {
            // Without a free frame the page stays where it is: nothing is lost.
            let _ = self.fetch(cx, Wanted { object, page, access: Access::Write });
        } else {
            self.post(cx, from, Note::Inv(Inv { object, page, round, to: me }));
        }
    }
}

/// Nobody else holds the home's page any more.
fn make_only(store: &mut Store, page: u64) {
    if let Store::Pages { pages, .. } = store {
        let entry = pages.get(page);
        if let Some((frame, _)) = entry.page {
            pages.set(page, Entry { page: Some((frame, Hold::Only)), ..entry });
        }
    }
}
