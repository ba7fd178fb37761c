// SPDX-License-Identifier: MIT OR Apache-2.0
//! Views that change in a test: how they follow each other, and hosts that enter them.

use crate::{Bulk, Core, Host, Msg, Platform, Status, system};
use abi::limits::MESSAGE_BYTES;
use abi::{Epoch, NodeId, ServerId, SlotNo};
use alloc::vec::Vec;
use cluster::{Delta, Draft, Goal, Joining, Policy, Request, Slot, View};

/// Lets a server enter a view, as the views server of its node does.
pub fn enter<C: Core>(host: &Host<C>, platform: &mut dyn Platform, view: &View) {
    let view = view.encode();
    for (at, piece) in view.chunks(MESSAGE_BYTES).enumerate() {
        let words = [(at * MESSAGE_BYTES) as u64, view.len() as u64, 0, 0];
        let mut msg = Msg { words, bytes: piece.to_vec() };
        let status = ask(host, platform, system::ENTER, &mut msg);
        assert_eq!(status, Status::Done, "a host takes every view");
    }
}

fn ask<C: Core>(host: &Host<C>, platform: &mut dyn Platform, op: u16, msg: &mut Msg) -> Status {
    host.request(platform, ServerId::Views, op, msg, &mut Bulk::none())
}

/// The view that follows when `node` died: what it was home to begins anew elsewhere.
pub fn without(view: &View, node: NodeId) -> View {
    change(view, |draft| draft.leave(node))
}

/// The view that follows when `node` came. It is home to nothing yet.
pub fn with(view: &View, node: NodeId) -> View {
    let came = change(view, |draft| {
        draft.admit(node, u64::from(node.get()), None).expect("there is room");
    });
    // No moves but those that the test makes.
    let named = View::slot_numbers().filter(|slot| came.slot(*slot).joining.is_some());
    let rows = named.map(|slot| (slot, Slot { joining: None, ..*came.slot(slot) })).collect();
    with_rows(&came, rows)
}

fn change(view: &View, make: impl FnOnce(&mut Draft<'_>)) -> View {
    let mut draft = Draft::new(view);
    make(&mut draft);
    draft.settle(Policy { backups: false });
    view.apply(&draft.finish().expect("something changes")).expect("it is lawful")
}

/// The view in which `slot` is to move to `to`.
pub fn moving(view: &View, slot: SlotNo, to: NodeId) -> View {
    let joining = Some(Joining { node: to, goal: Goal::Primary });
    with_rows(view, Vec::from([(slot, Slot { joining, ..*view.slot(slot) })]))
}

/// The view in which it has moved.
pub fn moved(view: &View, slot: SlotNo) -> View {
    let next = Epoch(view.epoch().0 + 1);
    let row = view.slot(slot).moved(next).expect("somebody joins to be its home");
    with_rows(view, Vec::from([(slot, Slot { backup: None, ..row })]))
}

/// The view in which it stays after all.
pub fn stayed(view: &View, slot: SlotNo) -> View {
    with_rows(view, Vec::from([(slot, Slot { joining: None, ..*view.slot(slot) })]))
}

/// The view in which a member wishes to leave, or to stay after all. Some of its slots have joiners.
pub fn draining(view: &View, node: NodeId, wish: bool) -> View {
    let life = view.member(node).expect("it is a member").incarnation;
    change(view, |draft| {
        draft
            .request(node, life, view.epoch(), &Request::Drain(wish))
            .expect("it wished otherwise");
    })
}

/// The views until a member that wishes to leave has no slots any more; the last of them.
pub fn drained(view: &View, node: NodeId) -> View {
    let mut view = view.clone();
    while view.slots_of(node).next().is_some() {
        let next = Epoch(view.epoch().0 + 1);
        let moves =
            view.slots_of(node).filter_map(|slot| Some((slot, view.slot(slot).moved(next)?)));
        let rows = moves.map(|(slot, row)| (slot, Slot { backup: None, ..row })).collect();
        view = with_rows(&view, rows);
        if view.slots_of(node).next().is_some() {
            view = change(&view, |_| ());
        }
    }
    view
}

fn with_rows(view: &View, slots: Vec<(SlotNo, Slot)>) -> View {
    if slots.is_empty() {
        return view.clone();
    }
    let delta = Delta { slots, ..Delta::new(view.epoch()) };
    view.apply(&delta).expect("it is lawful")
}
