// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a home comes to know who holds the pages of its objects: it asks every member.
//!
//! # Model
//! ```text
//! settled --view: this node is the home now, or a holder left; a link was down; Doubt--> asking (a new round)
//!   asking --every member has reported--> settling: pages change their holders as `decide` says
//!   settling --every member has obeyed--> settled: Open to all members
//! asking, settling --another view, link or Doubt--> asking (a new round)
//! ```
//! A round covers all slots that are not settled, and one part of a report of each member is on its way at a
//! time. Requests that come meanwhile are void: whoever waits for a page asks again when the slot is opened.
//! An object that no other node refers to is not asked for, and is served all the time.
//!
//! # What is lost
//! A home that lived on knows which pages others had: of those the ones that nobody reports are lost, and no
//! others. A home to which a slot was given knows from its former one which objects there are and what was
//! lost: unless a node that referred to an object is gone since, what nobody reports was never touched. Where
//! the former home died, or such a node did, all that nobody reports is lost: it may have been there.
//!
//! # Invariants
//! A slot is opened only when all members have reported in one round and obeyed. In between no node changes
//! what it reported, as all that was on its way belongs to an earlier round.
//!
//! # Failure
//! A member that does not answer and does not leave keeps slots unsettled: silence is not death. One whose
//! mem-server died is not asked: it counts as gone. What a member reports is input: it speaks only for itself,
//! and where the home knows who refers to an object, others are not heard.
//!
//! # Source
//! PROTOCOLS, 3.6 and 3.8.

use crate::MemCore;
use crate::decide::{Decision, Sighting};
use crate::directory::{Directory, Place, State};
use crate::fetch::Fetch;
use crate::limits::{OBJECT_PAGES_MAX, REBUILT_PAGES_MAX, ROUND_COUNT_BITS};
use crate::machine::Machine;
use crate::mutant::Mutant;
use crate::object::{Object, Role, Store};
use crate::pages::{Entry, Hold, Pages};
use crate::slots::SlotSet;
use abi::{NodeId, ObjectId, SlotNo};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use cluster::View;
use mem_api::peer::{
    self, Held, Obeyed, Open, Query, REPORT_ROWS_MAX, Report, Row, SETTLE_ROWS_MAX, Settle,
    Settling, Verdict,
};
use runtime::Cx;

/// What is under way at a home.
#[derive(Default)]
pub(crate) struct Rebuild {
    round: u64,
    /// Slots of this node that it does not serve yet.
    pub(crate) slots: SlotSet,
    /// Those of them that came without word of what lives there: members say.
    pub(crate) fresh: SlotSet,
    /// Members that have not reported all, and from where on they have not.
    asked: BTreeMap<NodeId, peer::Place>,
    found: BTreeMap<ObjectId, Found>,
    /// Pages that were taken down.
    pages: usize,
    /// What members have not been told yet, and the number of the part that they have not obeyed.
    telling: BTreeMap<NodeId, (u32, VecDeque<Settling>)>,
}

/// What members report of an object.
#[derive(Default)]
struct Found {
    grants: BTreeMap<NodeId, u64>,
    pages: BTreeMap<u64, Sighting>,
    /// Not all could be taken down.
    cut: bool,
}

impl Rebuild {
    /// Whether the home is waiting for `node`.
    fn waits_for(&self, node: NodeId) -> bool {
        self.asked.contains_key(&node) || self.telling.contains_key(&node)
    }
}

/// Whether a node is a member whose mem-server is there.
fn lives(cx: &Cx<'_>, node: NodeId) -> bool {
    cx.view().contains(node) && !cx.is_peer_dead(node)
}

impl<M: Machine> MemCore<M> {
    /// Begins a round for these slots of this node, and all that are not settled.
    pub(crate) fn ask_members(&mut self, cx: &mut Cx<'_>, slots: SlotSet) {
        let mut all = SlotSet::default();
        let mine = |slot: &SlotNo| {
            (slots.has(*slot) || self.rebuild.slots.has(*slot))
                && cx.view().home(*slot) == cx.node()
        };
        View::slot_numbers().filter(mine).for_each(|slot| all.insert(slot));
        let others = cx.view().members().iter().copied();
        let others = others.filter(|node| *node != cx.node() && lives(cx, *node));
        let asked = others.map(|node| (node, peer::Place::default())).collect();
        let next = self.next_round(cx);
        let round = next.unwrap_or(self.rebuild.round);
        let fresh = self.rebuild.fresh;
        self.rebuild = Rebuild { round, slots: all, fresh, asked, ..Rebuild::default() };
        if all.is_empty() || next.is_none() {
            return;
        }
        for (_, it) in self.objects.map.iter_mut().filter(|(id, _)| all.has(id.slot())) {
            let asks = it.role == Role::Home && it.directory.is_shared();
            if asks && matches!(it.store, Store::Pages { .. }) {
                it.role = Role::Asking;
            }
        }
        self.begin_round(all, round);
        for node in self.rebuild.asked.keys().copied().collect::<Vec<_>>() {
            self.ask(cx, node);
        }
        self.reported_all(cx);
    }

    /// The number of the next round; `None`: this view has had all that it can.
    fn next_round(&self, cx: &Cx<'_>) -> Option<u64> {
        let first = cx.view().epoch().0 << ROUND_COUNT_BITS;
        let round = first.max(self.rebuild.round + 1);
        (round >> ROUND_COUNT_BITS == cx.view().epoch().0).then_some(round)
    }

    /// Asks a member for the next part of its report.
    fn ask(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let Some(from) = self.rebuild.asked.get(&node).copied() else { return };
        let (round, slots) = (self.rebuild.round, self.rebuild.slots.0);
        // Where it does not leave, a round begins when the link is up, or the node leaves.
        let _ = cx.inform_node(node, &Query { round, from, slots }, Vec::new());
    }

    /// A member reports.
    pub(crate) fn reported(&mut self, cx: &mut Cx<'_>, from: NodeId, op: &Report) {
        let expected = self.rebuild.asked.get(&from) == Some(&op.from);
        if op.round != self.rebuild.round || !expected || op.rows.len() > REPORT_ROWS_MAX {
            return;
        }
        let mut object = None;
        for row in &op.rows {
            match *row {
                Row::Object { object: raw, grants } => {
                    object = self.find(ObjectId::from_raw(raw), from, grants);
                }
                Row::Run { first, pages, held } => {
                    if let Some(id) = object {
                        self.see(id, from, (first, pages), held);
                    }
                }
            }
        }
        match op.next {
            // A part that does not go on would be asked for again and again.
            Some(next) if next > op.from => {
                self.rebuild.asked.insert(from, next);
                self.ask(cx, from);
            }
            Some(_) | None => {
                self.rebuild.asked.remove(&from);
                self.reported_all(cx);
            }
        }
    }

    /// Takes down that a member refers to an object; the object, if it is asked for and that can be.
    fn find(&mut self, id: ObjectId, from: NodeId, grants: u64) -> Option<ObjectId> {
        if !self.rebuild.slots.has(id.slot()) {
            return None;
        }
        if let Ok(it) = self.objects.get(id) {
            let may = match it.role {
                Role::Holder => true,
                Role::Asking => it.directory.partial || it.directory.involves(from),
                Role::Home => false,
            };
            if !may || !matches!(it.store, Store::Pages { .. }) || it.orphan {
                return None;
            }
        } else if !self.rebuild.found.contains_key(&id)
            && self.objects.map.len() + self.rebuild.found.len() >= crate::limits::OBJECTS_MAX
        {
            return None;
        }
        // Of what this node would know nobody has references; what is left of it goes.
        let counts = self.objects.get(id).is_ok() || self.rebuild.fresh.has(id.slot());
        let found = self.rebuild.found.entry(id).or_default();
        if grants > 0 && counts {
            // No sum of references of all nodes overflows.
            found.grants.insert(from, grants.min(u64::from(u32::MAX)));
        }
        Some(id)
    }

    /// Takes down that a member holds pages.
    fn see(&mut self, id: ObjectId, from: NodeId, (first, pages): (u64, u64), held: Held) {
        let Some(found) = self.rebuild.found.get_mut(&id) else { return };
        let end = first.checked_add(pages).filter(|end| *end <= OBJECT_PAGES_MAX);
        let Some(end) = end else { return };
        for page in first..end {
            if self.rebuild.pages >= REBUILT_PAGES_MAX {
                found.cut = true;
                return;
            }
            self.rebuild.pages += 1;
            found.pages.entry(page).or_default().add(from, held.further(page - first));
        }
    }

    /// If nobody has to report any more, decides and tells.
    fn reported_all(&mut self, cx: &mut Cx<'_>) {
        if !self.rebuild.asked.is_empty() || self.rebuild.slots.is_empty() {
            return;
        }
        let mut found = core::mem::take(&mut self.rebuild.found);
        let unsettled = self.objects.map.iter().filter(|(id, it)| {
            self.rebuild.slots.has(id.slot())
                && it.role != Role::Home
                && matches!(it.store, Store::Pages { .. })
                && !it.orphan
        });
        let known = unsettled.map(|(id, _)| *id);
        let ids: BTreeSet<ObjectId> = known.chain(found.keys().copied()).collect();
        for id in ids {
            self.decide_object(cx, id, found.remove(&id).unwrap_or_default());
        }
        for node in self.rebuild.telling.keys().copied().collect::<Vec<_>>() {
            self.tell_next(cx, node);
        }
        self.obeyed_all(cx);
    }

    fn decide_object(&mut self, cx: &mut Cx<'_>, id: ObjectId, found: Found) {
        let Found { grants, mut pages, cut } = found;
        if self.objects.get(id).is_err() {
            let store = Store::Pages { pages: Pages::default(), len: u64::MAX / 2 };
            self.objects.map.insert(id, Object::new(store, Role::Holder));
        }
        let broken = !self.makes(Mutant::NothingIsZero);
        let Ok(target) = self.objects.get_mut(id) else { return };
        if target.role == Role::Holder {
            // It was another's, who did not say what there was.
            target.refs += grants.values().sum::<u64>();
            target.grants = 0;
            target.leaving = false;
            target.directory = Directory { hosts: grants, broken, ..Directory::default() };
            target.role = Role::Asking;
        }
        target.directory.broken |= cut;
        let mut old = core::mem::take(&mut target.directory.places);
        let Store::Pages { pages: own, .. } = &target.store else { return };
        let copies = own.held_from(0).filter(|(_, hold)| *hold != Hold::Only).map(|(at, _)| at);
        // What is only waited for may never have been touched.
        let reported = pages.iter().filter(|(_, it)| it.is_anywhere()).map(|(page, _)| page);
        let mut all: BTreeSet<u64> = reported.chain(old.keys()).copied().collect();
        all.extend(copies);
        all.extend(self.kept.keys().filter(|key| key.0 == id).map(|key| key.1));
        for page in all {
            let sighting = pages.remove(&page).unwrap_or_default();
            self.decide_page(cx, (id, page), sighting, old.remove(&page));
        }
    }

    fn decide_page(
        &mut self,
        cx: &mut Cx<'_>,
        key: (ObjectId, u64),
        mut sighting: Sighting,
        old: Option<Place>,
    ) {
        let (me, (id, page)) = (cx.node(), key);
        let Ok(target) = self.objects.get(id) else { return };
        let Store::Pages { pages, .. } = &target.store else { return };
        if let Some((_, hold)) = pages.get(page).page {
            sighting.add(me, hold.reported());
        } else if let Some(kept) = self.kept.get(&key) {
            sighting.add(me, Held::Kept(kept.taker()));
        }
        if let Some(number) = self.fetches.get(&key).and_then(Fetch::awaited) {
            sighting.add(me, Held::Awaited(number));
        }
        if self.makes(Mutant::KeptIsGood) {
            sighting.believe_keepers();
        }
        let was_lost = old.as_ref().is_some_and(|place| place.state == State::Lost);
        let Decision { owner, copies, orders } =
            if was_lost { sighting.lose() } else { sighting.decide(me, |node| lives(cx, node)) };
        for (node, verdict) in orders {
            self.order(me, node, key, verdict);
        }
        let place = match owner {
            Some(owner) if owner == me && copies.is_empty() => None,
            Some(owner) => Some(Place { copies, ..Place::new(owner) }),
            None if old.is_some_and(|place| place.is_untouched()) => None,
            None => Some(Place { state: State::Lost, ..Place::new(me) }),
        };
        let Ok(target) = self.objects.get_mut(id) else { return };
        if owner == Some(me)
            && let Store::Pages { pages, .. } = &mut target.store
            && let Some((frame, _)) = pages.get(page).page
        {
            let hold = if place.is_none() { Hold::Only } else { Hold::Owner };
            let before = pages.get(page);
            pages.set(page, Entry { page: Some((frame, hold)), ..before });
        }
        if let Some(place) = place {
            target.directory.places.insert(page, place);
        }
    }

    fn order(&mut self, me: NodeId, node: NodeId, key: (ObjectId, u64), verdict: Verdict) {
        if node == me {
            return self.obey(key, verdict);
        }
        let at = peer::Place { object: key.0.raw(), page: key.1 };
        let (_, rest) = self.rebuild.telling.entry(node).or_default();
        rest.push_back(Settling { at, verdict });
    }

    /// Sends a member the next part of what it has to change; one that has obeyed all is done.
    fn tell_next(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let round = self.rebuild.round;
        let Some((part, rest)) = self.rebuild.telling.get_mut(&node) else { return };
        if rest.is_empty() {
            self.rebuild.telling.remove(&node);
            return;
        }
        *part += 1;
        let rows = rest.drain(..rest.len().min(SETTLE_ROWS_MAX)).collect();
        // As for questions.
        let _ = cx.inform_node(node, &Settle { round, part: *part, rows }, Vec::new());
    }

    /// A member has done what it was told.
    pub(crate) fn obeyed(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Obeyed) {
        let expected = self.rebuild.telling.get(&from).is_some_and(|(part, _)| *part == op.part);
        if op.round == self.rebuild.round && expected && self.rebuild.asked.is_empty() {
            self.tell_next(cx, from);
            self.obeyed_all(cx);
        }
    }

    /// If nobody has to obey any more, the slots are served.
    fn obeyed_all(&mut self, cx: &mut Cx<'_>) {
        let obeyed = self.rebuild.telling.is_empty() || self.makes(Mutant::OpensUnobeyed);
        if !obeyed || !self.rebuild.asked.is_empty() || self.rebuild.slots.is_empty() {
            return;
        }
        let (round, slots) = (self.rebuild.round, core::mem::take(&mut self.rebuild.slots));
        self.rebuild.fresh = SlotSet::default();
        for (_, it) in self.objects.map.iter_mut().filter(|(id, _)| slots.has(id.slot())) {
            if it.role == Role::Asking {
                it.role = Role::Home;
                it.directory.partial = false;
                it.directory.hosts.retain(|_, refs| *refs > 0);
            }
        }
        self.answer_holds(cx);
        let unused = self.objects.map.iter().filter(|(id, it)| {
            slots.has(id.slot()) && it.refs == 0 && matches!(it.store, Store::Pages { .. })
        });
        for id in unused.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.free_object(id);
        }
        let open = Open { round, slots: slots.0 };
        let me = cx.node();
        for node in cx.view().members().to_vec().into_iter().filter(|node| *node != me) {
            // Where it does not leave, a round begins when the link is up.
            let _ = cx.inform_node(node, &open, Vec::new());
        }
        self.opened(cx, me, &open);
    }

    /// A request of an earlier round came to this node: who sent it may have come after the round began.
    pub(crate) fn tell_round(&mut self, cx: &mut Cx<'_>, node: NodeId, slot: SlotNo) {
        let is_mine = cx.view().home(slot) == cx.node() && !self.rebuild.slots.has(slot);
        if let Some(round) = self.rounds.get(&slot).map(|round| round.number())
            && is_mine
        {
            let _ = cx.inform_node(node, &Open { round, slots: SlotSet::of(slot).0 }, Vec::new());
        }
    }

    /// A node says that something may be lost in these slots: where it has to do with them.
    pub(crate) fn doubted(&mut self, cx: &mut Cx<'_>, slots: SlotSet) {
        let shared = self.objects.map.iter().filter(|(_, it)| {
            it.role != Role::Holder
                && it.directory.is_shared()
                && matches!(it.store, Store::Pages { .. })
        });
        let mut doubtful = SlotSet::default();
        let ids = shared.map(|(id, _)| *id).filter(|id| slots.has(id.slot()));
        ids.for_each(|id| doubtful.insert(id.slot()));
        if !doubtful.is_empty() {
            self.ask_members(cx, doubtful);
        }
    }

    /// The link to a node was down: what was on its way in slots of this node may be lost.
    pub(crate) fn ask_again(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let slots = self.slots_with(node);
        if !slots.is_empty() || self.rebuild.waits_for(node) {
            self.ask_members(cx, slots);
        }
    }

    /// Slots of this node with objects that a node has to do with.
    pub(crate) fn slots_with(&self, node: NodeId) -> SlotSet {
        let mut slots = SlotSet::default();
        let its = self.objects.map.iter().filter(|(_, it)| {
            it.role != Role::Holder
                && it.directory.involves(node)
                && matches!(it.store, Store::Pages { .. })
        });
        its.for_each(|(id, _)| slots.insert(id.slot()));
        slots
    }
}
