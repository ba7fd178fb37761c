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
        !self.is_moved(object) && self.rounds.get(&object.slot()).is_some_and(|round| round.closed)
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
        let extras = self.extras(slots);
        for id in self.ids_from(slots, from.object, &extras) {
            let first = if id.raw() == from.object { from.page } else { 0 };
            if let Some(page) = self.object_rows(id, first, &extras, &mut part) {
                return (part.rows, Some(Place { object: id.raw(), page }));
            }
        }
        (part.rows, None)
    }

    /// What is kept or waited for in these slots.
    fn extras(&self, slots: SlotSet) -> Extras {
        let kept = self.kept.iter().map(|(key, kept)| ((*key, false), Held::Kept(kept.taker())));
        let awaited = self.fetches.iter().filter_map(|(key, fetch)| {
            fetch.awaited().map(|number| ((*key, true), Held::Awaited(number)))
        });
        let all = kept.chain(awaited).filter(|((key, _), _)| slots.has(key.0.slot()));
        all.filter(|((key, _), _)| !self.is_moved(key.0)).collect()
    }

    /// Whether these are pages of a moved space.
    fn is_moved(&self, object: ObjectId) -> bool {
        let store = self.objects.get(object).map(|it| &it.store);
        matches!(store, Ok(Store::Private(_) | Store::Left(_)))
    }

    /// Objects in these slots that this node holds, from one on, ascending.
    fn ids_from(&self, slots: SlotSet, from: u64, extras: &Extras) -> BTreeSet<ObjectId> {
        let held = self.objects.map.iter().filter(|(id, it)| {
            slots.has(id.slot()) && matches!(it.store, Store::Pages { .. }) && !it.orphan
        });
        let held = held.map(|(id, _)| *id);
        let extras = extras.keys().map(|(key, _)| key.0);
        held.chain(extras).filter(|id| id.raw() >= from).collect()
    }

    /// Adds the rows of one object; the page at which the part is full.
    fn object_rows(
        &self,
        id: ObjectId,
        first: u64,
        extras: &Extras,
        part: &mut Part,
    ) -> Option<u64> {
        if part.rows.len() + 2 > REPORT_ROWS_MAX {
            return Some(first);
        }
        let target = self.objects.get(id);
        let grants = target.as_ref().map_or(0, |it| it.grants);
        part.rows.push(Row::Object { object: id.raw(), grants });
        let range = ((id, first), false)..=((id, u64::MAX), true);
        let mut extras = extras.range(range).map(|((key, _), how)| (key.1, *how)).peekable();
        let pages = match target.map(|it| &it.store) {
            Ok(Store::Pages { pages, .. }) => Some(pages),
            Ok(_) | Err(_) => None,
        };
        let held = pages.into_iter().flat_map(|pages| pages.held_from(first));
        for (page, hold) in held {
            while let Some((at, how)) = extras.next_if(|(at, _)| *at <= page) {
                // A page that is here is kept for nobody, and not waited for.
                if at < page && !part.add(at, how) {
                    return Some(at);
                }
            }
            if !part.add(page, hold.reported()) {
                return Some(page);
            }
        }
        extras.find(|(at, how)| !part.add(*at, *how)).map(|(at, _)| at)
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
        if verdict == Verdict::Drop {
            return self.drop_page(key, kept);
        }
        let hold = Hold::Owner;
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
        let open = self.fetches.keys().chain(self.kept.keys()).map(|key| key.0);
        open.filter(|id| !self.is_moved(*id)).for_each(|id| slots.insert(id.slot()));
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

/// What this node keeps (false) or waits for (true) without having the page.
type Extras = BTreeMap<(Key, bool), Held>;

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
            Some(Row::Run { first, pages, held })
                if *first + *pages == page && held.further(*pages) == how =>
            {
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
