// SPDX-License-Identifier: MIT OR Apache-2.0
//! The holder's side of the page protocol: giving pages up, and unmapping them wherever this node
//! shows them.

use crate::MemCore;
use crate::areas::Source;
use crate::fetch::Key;
use crate::limits::PAGE;
use crate::machine::{FrameNo, HardSpace, Machine};
use crate::object::{Store, home};
use crate::pages::{Entry, Hold};
use crate::post::Note;
use crate::slots::SlotSet;
use abi::{NodeId, ObjectId};
use alloc::boxed::Box;
use core::ops::Range;
use mem_api::peer::{Ack, Data, Delivery, Fwd, Got, Inv, Taker, Transfer};
use runtime::Cx;

/// A page given up, whose frame waits until the taker has it.
pub(crate) struct Kept {
    pub(crate) frame: FrameNo,
    /// The taker; `None`: it is gone.
    pub(crate) to: Option<NodeId>,
    /// Its request.
    number: u32,
}

impl Kept {
    /// For whom it is kept.
    pub(crate) fn taker(&self) -> Taker {
        Taker { node: self.to.map_or(0, NodeId::get), number: self.number }
    }
}

impl<M: Machine> MemCore<M> {
    /// The home wants a page that this node owns to go to another.
    pub(crate) fn forward(&mut self, cx: &mut Cx<'_>, op: Fwd) {
        let Fwd { object, page, round, delivery } = op;
        let Delivery { to, transfer, .. } = delivery;
        // Whoever is gone, or whose link is down, is in the next round, or not.
        if self.down.contains(&to) {
            return;
        }
        let Some(frame) = self.give((object, page), delivery) else {
            // The home is wrong about it: it has to ask all members.
            return self.doubt(cx, SlotSet::of(object.slot()));
        };
        let bytes = Box::new(*self.frames.machine.bytes(frame));
        self.post(cx, to, Note::Data(Data { object, page, round, transfer }, bytes));
        self.check_left(cx, object);
    }

    /// Takes the rights to a page away here, as far as the transfer demands; its frame.
    fn give(&mut self, key: Key, delivery: Delivery) -> Option<FrameNo> {
        let (object, page) = key;
        let Delivery { to, number, transfer } = delivery;
        let target = self.objects.get_mut(object).ok()?;
        let Store::Pages { pages, .. } = &mut target.store else { return None };
        let entry = pages.get(page);
        let (frame, hold) = entry.page?;
        match (transfer, hold) {
            (_, Hold::Copy) => return None,
            (Transfer::Read, Hold::Owner) => {}
            (Transfer::Read, Hold::Only) => {
                pages.set(page, Entry { page: Some((frame, Hold::Owner)), ..entry });
                self.protect_object(object, page);
            }
            (Transfer::Write { .. }, Hold::Owner | Hold::Only) => {
                pages.set(page, Entry::default());
                self.unmap_object(object, page..page + 1);
                if let Some(old) = self.kept.insert(key, Kept { frame, to: Some(to), number }) {
                    self.frames.release(old.frame);
                }
            }
        }
        Some(frame)
    }

    pub(crate) fn invalidate(&mut self, cx: &mut Cx<'_>, op: Inv) {
        let Inv { object, page, round, to } = op;
        self.unmap_object(object, page..page + 1);
        if let Ok(target) = self.objects.get_mut(object)
            && let Store::Pages { pages, .. } = &mut target.store
            && let Some((frame, _)) = pages.get(page).page
        {
            pages.set(page, Entry::default());
            self.frames.release(frame);
        }
        self.post(cx, to, Note::Ack(Ack { object, page, round }));
        self.check_left(cx, object);
    }

    /// The page that was kept for `from` has arrived there.
    pub(crate) fn let_go(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Got) {
        let key = (op.object, op.page);
        if self.kept.get(&key).is_none_or(|kept| kept.to != Some(from)) {
            return;
        }
        if let Some(kept) = self.kept.remove(&key) {
            self.frames.release(kept.frame);
        }
        if home(cx, op.object) != from {
            self.post_done(cx, key);
        }
    }

    /// Unmaps pages of an object wherever this node maps them. Private copies stay.
    pub(crate) fn unmap_object(&mut self, object: ObjectId, range: Range<u64>) {
        self.each_mapping(object, range, |machine, hard, addr, entry| {
            if let Some(mapping) = entry.mapping.take() {
                machine.unmap(hard, addr, mapping.handle);
            }
        });
    }

    fn protect_object(&mut self, object: ObjectId, page: u64) {
        self.each_mapping(object, page..page + 1, |machine, hard, addr, entry| {
            if let Some(mapping) = &mut entry.mapping
                && mapping.writable
            {
                machine.protect(hard, addr, mapping.handle, false);
                mapping.writable = false;
            }
        });
    }

    fn each_mapping(
        &mut self,
        object: ObjectId,
        range: Range<u64>,
        mut change: impl FnMut(&mut M, HardSpace, u64, &mut Entry),
    ) {
        let Ok(target) = self.objects.get(object) else { return };
        for &user in &target.users {
            let Ok(space) = self.spaces.get_mut(user) else { continue };
            let hard = space.hard;
            for (start, area) in space.areas.iter() {
                let Source::Object { object: shown, first } = area.source else {
                    continue;
                };
                let from = range.start.max(first);
                let to = range.end.min(first + (area.end - start));
                if shown != object || from >= to {
                    continue;
                }
                let pages = start + (from - first)..start + (to - first);
                space.pages.for_each(pages, |page, entry| {
                    if entry.page.is_none() {
                        change(&mut self.frames.machine, hard, page * PAGE, entry);
                    }
                });
            }
        }
    }
}
