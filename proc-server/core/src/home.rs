// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ids of the slots that this node is home to: which are given, and where what they name is.
//!
//! # Model
//! ```text
//!   not ours --view--> unsettled --every member has reported--> settled --view--> not ours
//!                         ^-- a node left that an entry names, or all ids are used up --'
//! ```
//! An id is given once between two counts: it is not used again when its process has ended, as groups,
//! sessions and parents elsewhere may still name it. When a slot has none left it is counted anew, like
//! one that has just become ours (see [`crate::rebuild`]).
//!
//! # Invariants
//! In a settled slot every id that is in use on any member is given, and whatever is alive and not here
//! has an entry. New ids come from settled slots that are not frozen.
//!
//! # Limits
//! 4,096 ids per slot: two bits for each, and an entry for what is elsewhere.

use abi::id::{PID_SERIAL_BITS, SLOTS};
use abi::{Epoch, Errno, NodeId, Pid, SlotNo};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::View;

const SERIALS: u32 = 1 << PID_SERIAL_BITS;

/// A set of slots, as it travels: bit n of the whole is slot n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlotSet(pub [u64; SLOTS as usize / 64]);

impl SlotSet {
    /// Puts a slot in.
    pub fn insert(&mut self, slot: SlotNo) {
        self.0[slot.index() / 64] |= 1 << (slot.index() % 64);
    }

    /// Whether it is in.
    pub fn has(&self, slot: SlotNo) -> bool {
        self.0[slot.index() / 64] >> (slot.index() % 64) & 1 != 0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The slots of both.
    pub fn union(mut self, other: Self) -> Self {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
        self
    }
}

/// A bit for each serial of a slot.
struct Serials([u64; SERIALS as usize / 64]);

impl Serials {
    const NONE: Self = Self([0; SERIALS as usize / 64]);

    fn has(&self, serial: u32) -> bool {
        self.0[(serial / 64) as usize] >> (serial % 64) & 1 != 0
    }

    fn set(&mut self, serial: u32, to: bool) {
        let word = &mut self.0[(serial / 64) as usize];
        *word = *word & !(1 << (serial % 64)) | u64::from(to) << (serial % 64);
    }

    /// The lowest serial from `from` on whose bit is not set.
    fn first_clear(&self, from: u32) -> Option<u32> {
        (from..SERIALS).find(|serial| !self.has(*serial))
    }
}

/// Where something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Away {
    node: NodeId,
    /// How often its process had moved by then: the higher knows better.
    moves: u32,
}

/// What is known of a slot's ids.
struct Ids {
    given: Serials,
    /// What they named has ended: word of where it was comes too late.
    ended: Serials,
    away: BTreeMap<u32, Away>,
}

/// A slot that this node is home to since a view.
struct Slot {
    since: Epoch,
    settled: bool,
    /// `None`: nothing is in use.
    ids: Option<Box<Ids>>,
}

impl Slot {
    fn ids(&mut self) -> &mut Ids {
        self.ids.get_or_insert_with(|| {
            let (given, ended) = (Serials::NONE, Serials::NONE);
            Box::new(Ids { given, ended, away: BTreeMap::new() })
        })
    }
}

/// See the module.
pub struct Home {
    /// By slot number; `None`: another node is home.
    slots: Vec<Option<Slot>>,
    /// The settled ones, ascending.
    settled: Vec<SlotNo>,
    /// Where the search for a free id goes on: an index of `settled`, and a serial.
    next: (usize, u32),
}

fn serial(pid: Pid) -> u32 {
    pid.get() % SERIALS
}

impl Home {
    /// The slots of `node` when it starts. In a view of a cluster that has just been founded no id is
    /// in use anywhere; a node that is no member yet has no slots.
    pub fn new(view: &View, node: NodeId) -> Self {
        let mut home =
            Self { slots: (0..SLOTS).map(|_| None).collect(), settled: Vec::new(), next: (0, 0) };
        if view.epoch() > Epoch(0) {
            home.enter(view, node);
            home.settle();
        }
        home
    }

    /// A view came. The slots of this node that are new to it, which are answered, are unsettled; what is
    /// known of slots that it is not home to any more is forgotten.
    pub fn enter(&mut self, view: &View, node: NodeId) -> SlotSet {
        let mut new = SlotSet::default();
        for (slot, row) in View::slot_numbers().zip(&mut self.slots) {
            let now = view.slot(slot);
            if now.primary != node {
                *row = None;
            } else if row.as_ref().is_none_or(|row| row.since != now.since) {
                *row = Some(Slot { since: now.since, settled: false, ids: None });
                new.insert(slot);
            }
        }
        self.index();
        new
    }

    fn index(&mut self) {
        let settled = |slot: &SlotNo| self.slots[slot.index()].as_ref().is_some_and(|s| s.settled);
        self.settled = View::slot_numbers().filter(settled).collect();
        self.next = (0, 0);
    }

    /// Whether, in `view`, this node is home to the slot and knows what is in use. `false` also for what
    /// has moved in a view that [`Self::enter`] has not seen yet.
    pub fn is_settled(&self, view: &View, slot: SlotNo) -> bool {
        let row = self.slots[slot.index()].as_ref();
        row.is_some_and(|row| row.settled && row.since == view.slot(slot).since)
    }

    /// Whether this node is home to the slot and is counting its ids.
    pub fn is_unsettled(&self, slot: SlotNo) -> bool {
        self.slots[slot.index()].as_ref().is_some_and(|row| !row.settled)
    }

    /// The slots whose ids in use are not known.
    pub fn unsettled(&self) -> SlotSet {
        self.slots_where(|slot| !slot.settled)
    }

    /// The slots with an entry that names a node of which `is_lost` holds.
    pub fn naming(&self, is_lost: impl Fn(NodeId) -> bool) -> SlotSet {
        let names = |ids: &Ids| ids.away.values().any(|away| is_lost(away.node));
        self.slots_where(|slot| slot.ids.as_ref().is_some_and(|ids| names(ids)))
    }

    /// All slots of this node.
    pub fn all(&self) -> SlotSet {
        self.slots_where(|_| true)
    }

    fn slots_where(&self, chosen: impl Fn(&Slot) -> bool) -> SlotSet {
        let mut set = SlotSet::default();
        for (number, slot) in View::slot_numbers().zip(&self.slots) {
            if slot.as_ref().is_some_and(&chosen) {
                set.insert(number);
            }
        }
        set
    }

    /// Counts these slots anew: nothing is known of them.
    pub fn begin(&mut self, slots: SlotSet) {
        for (number, row) in View::slot_numbers().zip(&mut self.slots) {
            if let Some(row) = row.as_mut().filter(|_| slots.has(number)) {
                (row.settled, row.ids) = (false, None);
            }
        }
        self.index();
    }

    /// All members have reported what they have: the slots are settled.
    pub fn settle(&mut self) {
        for row in self.slots.iter_mut().flatten() {
            row.settled = true;
        }
        self.index();
    }

    /// Takes an id that is free. `usable` says of a slot that became ours in that view whether it may
    /// be used.
    ///
    /// # Errors
    /// EAGAIN: none is free.
    pub fn allocate(&mut self, usable: impl Fn(SlotNo, Epoch) -> bool) -> Result<Pid, Errno> {
        let count = self.settled.len();
        for step in 0..=count {
            let Some(at) = (self.next.0 + step).checked_rem(count) else { break };
            let number = self.settled[at];
            // The first one comes twice: from where the search goes on, and at last from its beginning.
            let from = if step == 0 { self.next.1 } else { 0 };
            let Some(slot) = self.slots[number.index()].as_mut() else { continue };
            if !usable(number, slot.since) {
                continue;
            }
            let ids = slot.ids();
            let mut found = ids.given.first_clear(from);
            // 0 is no id.
            if found.is_some_and(|serial| Pid::in_slot(number, serial).is_none()) {
                found = ids.given.first_clear(1.max(from));
            }
            if let Some(pid) = found.and_then(|serial| Pid::in_slot(number, serial)) {
                ids.given.set(serial(pid), true);
                self.next = (at, serial(pid) + 1);
                return Ok(pid);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Takes back an id that named nothing yet.
    pub fn put_back(&mut self, pid: Pid) {
        if let Some(slot) = &mut self.slots[pid.slot().index()] {
            slot.ids().given.set(serial(pid), false);
        }
        if self.settled.get(self.next.0) == Some(&pid.slot()) {
            self.next.1 = self.next.1.min(serial(pid));
        }
    }

    /// Whether a count would find free ids.
    pub fn has_ended(&self) -> bool {
        let ended = |ids: &Ids| ids.ended.0.iter().any(|word| *word != 0);
        !self.slots_where(|slot| slot.ids.as_ref().is_some_and(|ids| ended(ids))).is_empty()
    }

    fn ids_of(&mut self, pid: Pid) -> Option<&mut Ids> {
        self.slots[pid.slot().index()].as_mut().map(Slot::ids)
    }

    /// The id is in use somewhere.
    pub fn used(&mut self, pid: Pid) {
        if let Some(ids) = self.ids_of(pid) {
            ids.given.set(serial(pid), true);
        }
    }

    /// What the id names came to `node` with its process's `moves`th move.
    pub fn located(&mut self, pid: Pid, node: NodeId, moves: u32) {
        let Some(ids) = self.ids_of(pid) else { return };
        ids.given.set(serial(pid), true);
        let known = ids.away.get(&pid.get());
        if !ids.ended.has(serial(pid)) && known.is_none_or(|known| known.moves <= moves) {
            ids.away.insert(pid.get(), Away { node, moves });
        }
    }

    /// What the id names is here.
    pub fn here(&mut self, pid: Pid) {
        if let Some(ids) = self.ids_of(pid) {
            ids.given.set(serial(pid), true);
            ids.away.remove(&pid.get());
        }
    }

    /// What the id named has ended.
    pub fn ended(&mut self, pid: Pid) {
        if let Some(ids) = self.ids_of(pid) {
            ids.given.set(serial(pid), true);
            ids.ended.set(serial(pid), true);
            ids.away.remove(&pid.get());
        }
    }

    /// The node where what the id names is, if it is elsewhere.
    pub fn away(&self, pid: Pid) -> Option<NodeId> {
        let ids = self.slots[pid.slot().index()].as_ref()?.ids.as_ref()?;
        Some(ids.away.get(&pid.get())?.node)
    }

    /// Whether the id is not free.
    pub fn is_given(&self, pid: Pid) -> bool {
        let slot = self.slots[pid.slot().index()].as_ref();
        slot.and_then(|slot| slot.ids.as_ref()).is_some_and(|ids| ids.given.has(serial(pid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).expect("a node")
    }

    fn any(_: SlotNo, _: Epoch) -> bool {
        true
    }

    fn view() -> View {
        View::fixed(vec![node(1), node(2)]).expect("a view")
    }

    #[test]
    fn first_pid_of_the_first_node_is_one() {
        let mut first = Home::new(&view(), node(1));
        let mut second = Home::new(&view(), node(2));
        assert_eq!(first.allocate(any).map(Pid::get), Ok(1));
        assert_eq!(first.allocate(any).map(Pid::get), Ok(2));
        let pid = second.allocate(any).expect("free ids");
        assert_eq!(view().home(pid.slot()), node(2));
    }

    #[test]
    fn id_that_named_nothing_is_given_again_and_one_that_did_is_not() {
        let mut home = Home::new(&view(), node(1));
        let one = home.allocate(any).expect("free ids");
        home.put_back(one);
        assert_eq!(home.allocate(any), Ok(one));
        home.ended(one);
        let total = SERIALS as usize * home.settled.len();
        for _ in 2..total {
            assert_ne!(home.allocate(any).expect("free ids"), one);
        }
        assert_eq!(home.allocate(any), Err(Errno::EAGAIN), "until it is counted");
        assert!(home.has_ended());
        home.begin(home.all());
        assert_eq!(home.allocate(any), Err(Errno::EAGAIN), "nothing is known");
        home.used(Pid::new(2).expect("an id"));
        home.settle();
        assert_eq!(home.allocate(any), Ok(one));
        assert_eq!(home.allocate(any).map(Pid::get), Ok(3));
    }

    #[test]
    fn slot_that_is_not_usable_gives_no_id() {
        let mut home = Home::new(&view(), node(1));
        let first = SlotNo::new(0).expect("a slot");
        let pid = home.allocate(|slot, _| slot != first).expect("others are");
        assert_ne!(pid.slot(), first);
        assert_eq!(home.allocate(|_, _| false), Err(Errno::EAGAIN));
    }

    #[test]
    fn later_move_counts_and_what_has_ended_stays_so() {
        let mut home = Home::new(&view(), node(1));
        let pid = home.allocate(any).expect("free ids");
        home.located(pid, node(2), 2);
        home.located(pid, node(1), 1);
        assert_eq!(home.away(pid), Some(node(2)));
        home.ended(pid);
        home.located(pid, node(2), 3);
        assert_eq!(home.away(pid), None);
        assert!(home.is_given(pid));
    }
}
