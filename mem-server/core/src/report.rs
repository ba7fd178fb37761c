// SPDX-License-Identifier: MIT OR Apache-2.0
//! The holder's side of a rebuild: what this node has, and what becomes of it.
//!
//! # Model
//! ```text
//! open, round r --Query r' > r--> closed, round r': fetches start anew, what comes of round r is void
//!   --Query, more of them--> reports, a part each
//!   --Settle--> pages change as the home says
//!   --Open r'--> open: fetches are requested again, objects that nobody uses here leave
//! ```
//!
//! # Invariants
//! While a slot is closed, this node drops no page of it that it reported, and takes none: what it reported
//! is what it has.
//!
//! # Failure
//! Only the slot's home may say any of this; a round of a later view than this node's is refused, so that no
//! home can claim rounds that belong to others.

use crate::MemCore;
use crate::fetch::Key;
use crate::limits::{REPORT_PAGES_MAX, ROUND_COUNT_BITS};
use crate::machine::{FrameNo, Machine};
use crate::object::{Object, Store};
use crate::pages::{Entry, Hold};
use crate::slots::SlotSet;
use abi::{NodeId, ObjectId, SlotNo};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use mem_api::peer::{
    Doubt, Held, Obeyed, Open, Place, Query, REPORT_ROWS_MAX, Report, Row, Settle, Verdict,
};
use runtime::Cx;

/// The round of a slot, as this node knows it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Round {
    number: u64,
    /// Its home has asked and does not serve it yet.
    closed: bool,
}

impl Round {
    pub(crate) fn number(self) -> u64 {
        self.number
    }

    /// Its home is another one from now on, which will ask.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}

impl Hold {
    pub(crate) fn reported(self) -> Held {
        match self {
            Self::Copy => Held::Copy,
            Self::Owner => Held::Owner,
            Self::Only => Held::Only,
        }
    }
}

impl<M: Machine> MemCore<M> {
    /// The round to which messages about this object belong now. Pages of moved spaces know no rounds.
    pub(crate) fn round_of(&self, object: ObjectId) -> u64 {
        match self.objects.get(object).map(|it| &it.store) {
            Ok(Store::Private(_) | Store::Left(_)) => 0,
            Ok(Store::Pages { .. } | Store::Root { .. }) | Err(_) => {
                self.rounds.get(&object.slot()).map_or(0, |round| round.number)
            }
        }
    }

    /// Whether the object's home has asked for it and does not serve it yet.
    pub(crate) fn is_closed(&self, object: ObjectId) -> bool {
        let moved = matches!(self.objects.get(object).map(|it| &it.store), Ok(Store::Private(_)));
        !moved && self.rounds.get(&object.slot()).is_some_and(|round| round.closed)
    }

    /// A round begins in these slots.
    pub(crate) fn begin_round(&mut self, slots: SlotSet, number: u64) {
        for slot in slots.iter() {
            self.rounds.insert(slot, Round { number, closed: true });
        }
        for key in self.fetches_in(slots) {
            self.restart_fetch(key);
        }
    }

    /// Pages of objects in these slots that are on their way here.
    fn fetches_in(&self, slots: SlotSet) -> Vec<Key> {
        let shared = |id: ObjectId| {
            matches!(self.objects.get(id).map(|it| &it.store), Ok(Store::Pages { .. }))
        };
        let keys = self.fetches.keys().filter(|key| slots.has(key.0.slot()) && shared(key.0));
        let mut keys: Vec<Key> = keys.copied().collect();
        keys.sort_unstable();
        keys
    }

    /// The slots of these that are in this round here.
    fn in_round(&self, cx: &Cx<'_>, from: NodeId, slots: SlotSet, number: u64) -> SlotSet {
        let mut current = SlotSet::default();
        let is_current = |slot: &SlotNo| {
            let round = self.rounds.get(slot).copied().unwrap_or_default();
            cx.view().home(*slot) == from && round.number == number
        };
        slots.iter().filter(is_current).for_each(|slot| current.insert(slot));
        current
    }

    /// A home asks.
    pub(crate) fn queried(&mut self, cx: &mut Cx<'_>, from: NodeId, op: &Query) {
        let Query { round, from: at, slots } = *op;
        if round >> ROUND_COUNT_BITS > cx.view().epoch().0 || from == cx.node() {
            return;
        }
        if at == Place::default() {
            let mut begun = SlotSet::default();
            let known = |slot: &SlotNo| self.rounds.get(slot).map_or(0, |round| round.number);
            let begins = |slot: &SlotNo| cx.view().home(*slot) == from && known(slot) < round;
            SlotSet(slots).iter().filter(begins).for_each(|slot| begun.insert(slot));
            self.begin_round(begun, round);
        }
        let slots = self.in_round(cx, from, SlotSet(slots), round);
        let (rows, next) = self.rows(slots, at);
        // Where it does not leave, the home asks again when the link is up.
        let _ = cx.inform_node(from, &Report { round, from: at, next, rows }, Vec::new());
    }

    /// A part of what this node holds in these slots, and where the next one begins.
    pub(crate) fn rows(&self, slots: SlotSet, from: Place) -> (Vec<Row>, Option<Place>) {
        let mut part = Part { rows: Vec::new(), left: REPORT_PAGES_MAX };
        let kept: BTreeMap<Key, Held> = self
            .kept
            .iter()
            .filter(|(key, _)| slots.has(key.0.slot()))
            .map(|(key, kept)| (*key, Held::Kept(kept.to.map_or(0, NodeId::get))))
            .collect();
        for id in self.ids_from(slots, from.object, &kept) {
            let first = if id.raw() == from.object { from.page } else { 0 };
            if let Some(page) = self.object_rows(id, first, &kept, &mut part) {
                return (part.rows, Some(Place { object: id.raw(), page }));
            }
        }
        (part.rows, None)
    }

    /// Objects in these slots that this node holds, from one on, ascending.
    fn ids_from(
        &self,
        slots: SlotSet,
        from: u64,
        kept: &BTreeMap<Key, Held>,
    ) -> BTreeSet<ObjectId> {
        let held = self.objects.map.iter().filter(|(id, it)| {
            slots.has(id.slot()) && matches!(it.store, Store::Pages { .. }) && !it.orphan
        });
        let held = held.map(|(id, _)| *id);
        let kept = kept
            .keys()
            .map(|key| key.0)
            .filter(|id| !matches!(self.objects.get(*id).map(|it| &it.store), Ok(Store::Left(_))));
        held.chain(kept).filter(|id| id.raw() >= from).collect()
    }

    /// Adds the rows of one object; the page at which the part is full.
    fn object_rows(
        &self,
        id: ObjectId,
        first: u64,
        kept: &BTreeMap<Key, Held>,
        part: &mut Part,
    ) -> Option<u64> {
        if part.rows.len() + 2 > REPORT_ROWS_MAX {
            return Some(first);
        }
        let target = self.objects.get(id);
        let grants = target.as_ref().map_or(0, |it| it.grants);
        part.rows.push(Row::Object { object: id.raw(), grants });
        let mut kept = kept.range((id, first)..=(id, u64::MAX)).map(|(key, held)| (key.1, *held));
        let mut next_kept = kept.next();
        let pages = match target.map(|it| &it.store) {
            Ok(Store::Pages { pages, .. }) => Some(pages),
            Ok(_) | Err(_) => None,
        };
        let held = pages.into_iter().flat_map(|pages| pages.held_from(first));
        for (page, hold) in held {
            while let Some((at, how)) = next_kept.filter(|(at, _)| *at < page) {
                if !part.add(at, how) {
                    return Some(at);
                }
                next_kept = kept.next();
            }
            // A page that came back has been kept for nobody.
            next_kept =
                if next_kept.is_some_and(|(at, _)| at == page) { kept.next() } else { next_kept };
            if !part.add(page, hold.reported()) {
                return Some(page);
            }
        }
        while let Some((at, how)) = next_kept {
            if !part.add(at, how) {
                return Some(at);
            }
            next_kept = kept.next();
        }
        None
    }

    /// The home has decided about pages that this node reported.
    pub(crate) fn settle_pages(&mut self, cx: &mut Cx<'_>, from: NodeId, op: &Settle) {
        for row in &op.rows {
            let id = ObjectId::from_raw(row.at.object);
            let current = self.in_round(cx, from, SlotSet::of(id.slot()), op.round);
            if current.is_empty() || !self.is_closed(id) {
                return;
            }
            self.obey((id, row.at.page), row.verdict);
        }
        // Where it does not leave, the home asks anew when the link is up.
        let _ = cx.inform_node(from, &Obeyed { round: op.round, part: op.part }, Vec::new());
    }

    /// Changes how a page is held here.
    pub(crate) fn obey(&mut self, key: Key, verdict: Verdict) {
        let (object, page) = key;
        let kept = self.kept.remove(&key).map(|kept| kept.frame);
        let hold = match verdict {
            Verdict::Own => Hold::Owner,
            Verdict::Share => Hold::Copy,
            Verdict::Drop => return self.drop_page(key, kept),
        };
        if kept.is_some() && self.objects.get(object).is_err() {
            // Nobody here uses it: it leaves as soon as the home serves it. Without room it is lost.
            if let Ok(target) = self.remote_object(object) {
                target.leaving = true;
            }
        }
        let Ok(Store::Pages { pages, .. }) = self.objects.get_mut(object).map(|it| &mut it.store)
        else {
            return kept.into_iter().for_each(|frame| self.frames.release(frame));
        };
        let before = pages.get(page);
        match (before.page, kept) {
            (None, Some(frame)) => pages.set(page, Entry { page: Some((frame, hold)), ..before }),
            (Some((frame, Hold::Copy)), kept) => {
                pages.set(page, Entry { page: Some((frame, hold)), ..before });
                kept.into_iter().for_each(|frame| self.frames.release(frame));
            }
            (Some((_, Hold::Owner | Hold::Only)), Some(frame)) => self.frames.release(frame),
            (Some((_, Hold::Owner | Hold::Only)) | None, None) => {}
        }
    }

    fn drop_page(&mut self, key: Key, kept: Option<FrameNo>) {
        kept.into_iter().for_each(|frame| self.frames.release(frame));
        self.unmap_object(key.0, key.1..key.1 + 1);
        let Ok(Store::Pages { pages, .. }) = self.objects.get_mut(key.0).map(|it| &mut it.store)
        else {
            return;
        };
        let Some((frame, _)) = pages.get(key.1).page else { return };
        pages.set(key.1, Entry::default());
        // A fetch that had its page here needs a place for it again.
        if !self.fetches.get_mut(&key).is_some_and(|fetch| fetch.take_place(frame)) {
            self.frames.release(frame);
        }
    }

    /// The home serves these slots. A node that came after the round began, and holds nothing there, learns of
    /// it in this way.
    pub(crate) fn opened(&mut self, cx: &mut Cx<'_>, from: NodeId, op: &Open) {
        if op.round >> ROUND_COUNT_BITS > cx.view().epoch().0 {
            return;
        }
        let mut opened = SlotSet::default();
        for slot in SlotSet(op.slots).iter().filter(|slot| cx.view().home(*slot) == from) {
            let round = self.rounds.entry(slot).or_default();
            if round.number <= op.round {
                *round = Round { number: op.round, closed: false };
                opened.insert(slot);
            }
        }
        for key in self.fetches_in(opened) {
            self.request_again(cx, key);
        }
        let leaves =
            |(id, it): &(&ObjectId, &Object)| opened.has(id.slot()) && it.leaving && !it.orphan;
        let mut leaving: Vec<ObjectId> =
            self.objects.map.iter().filter(leaves).map(|(id, _)| *id).collect();
        leaving.sort_unstable();
        for id in leaving {
            self.leave_object(cx, id);
        }
    }

    /// A link was down, so that something on its way to or from a node may be lost: the homes of what this
    /// node waits for, or keeps, have to ask all members.
    pub(crate) fn link_was_down(&mut self, cx: &mut Cx<'_>) {
        let mut slots = SlotSet::default();
        let shared = |id: &ObjectId| {
            !matches!(
                self.objects.get(*id).map(|it| &it.store),
                Ok(Store::Private(_) | Store::Left(_))
            )
        };
        let open = self.fetches.keys().chain(self.kept.keys()).map(|key| key.0);
        open.filter(shared).for_each(|id| slots.insert(id.slot()));
        let leaving = self.objects.map.iter().filter(|(_, it)| it.leaving);
        leaving.for_each(|(id, _)| slots.insert(id.slot()));
        if !slots.is_empty() {
            self.doubt(cx, slots);
        }
    }

    /// Asks the homes of these slots to ask all members.
    pub(crate) fn doubt(&mut self, cx: &mut Cx<'_>, slots: SlotSet) {
        let mut of: BTreeMap<NodeId, SlotSet> = BTreeMap::new();
        for slot in slots.iter() {
            of.entry(cx.view().home(slot)).or_default().insert(slot);
        }
        for (node, slots) in of {
            if node == cx.node() {
                self.doubted(cx, slots);
            } else {
                // Where it does not leave, the link is down: this node doubts again when it is up.
                let _ = cx.inform_node(node, &Doubt { slots: slots.0 }, Vec::new());
            }
        }
    }
}

/// A part of a report as it grows.
struct Part {
    rows: Vec<Row>,
    /// Pages that may be added.
    left: usize,
}

impl Part {
    /// Adds a page; false if the part is full.
    fn add(&mut self, page: u64, how: Held) -> bool {
        if self.left == 0 {
            return false;
        }
        let room = self.rows.len() < REPORT_ROWS_MAX;
        let fits = match self.rows.last_mut() {
            Some(Row::Run { first, pages, held }) if *held == how && *first + *pages == page => {
                *pages += 1;
                true
            }
            Some(_) | None if room => {
                self.rows.push(Row::Run { first: page, pages: 1, held: how });
                true
            }
            Some(_) | None => false,
        };
        self.left -= usize::from(fits);
        fits
    }
}
