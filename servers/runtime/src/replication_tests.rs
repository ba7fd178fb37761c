// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots with backups: whatever fails, what was acknowledged is there, once.

use crate::limits::CROWDED_NS;
use crate::testing::{Net, TestNode, call, take, views};
use crate::{
    Alone, Answer, Bulk, Client, Completion, Core, Cx, EVENT_ALONE, Event, Export, Give, Given,
    Host, Msg, NodeReply, Operation, Status, Wire,
};
use abi::{Epoch, Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use cluster::{Delta, Draft, Goal, Joining, Policy, Slot, View};
use core::cell::RefCell;

crate::hot! {
    /// Writes a line into the slot's book.
    pub struct Put { pub slot: u16, pub line: u32 }
}

crate::hot! {
    /// At which place it stands.
    pub struct At { pub place: u32 }
}

impl Operation for Put {
    const NUMBER: u16 = 7;
    const NAME: &'static str = "Put";
    const LEAF: bool = false;
    const IDEMPOTENT: bool = false;
    const SERVER: ServerId = ServerId::Fs;
    type Reply = At;
}

/// Lines by slot. A line of [`TOO_LONG`] is more than a package holds, and who is `full` takes in none.
#[derive(Default)]
struct Books {
    lines: BTreeMap<SlotNo, Vec<u32>>,
    changed: Vec<(SlotNo, u32)>,
    admitted: BTreeSet<SlotNo>,
    asked: BTreeMap<u64, Ticket>,
    promotions: usize,
    full: bool,
}

const TOO_LONG: u32 = u32::MAX;

impl Core for Books {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        _: u16,
        msg: &Msg,
        _: &mut Bulk<'_>,
    ) -> Answer {
        let Ok(put) = Put::get(msg) else { return Answer::Failed(Errno::EPROTO) };
        let slot = SlotNo::new(put.slot).expect("a slot");
        if cx.view().home(slot) != cx.node() {
            if matches!(from, Client::Node { .. }) {
                return Answer::Moved(slot);
            }
            let ticket = cx.open_ticket(from).expect("room");
            let cookie = self.asked.len() as u64;
            self.asked.insert(cookie, ticket);
            cx.call_home(slot, &put, Vec::new(), cookie);
            return Answer::Pending(ticket);
        }
        if cx.is_frozen(slot) {
            return Answer::NextView;
        }
        let lines = self.lines.entry(slot).or_default();
        lines.push(put.line);
        self.changed.push((slot, put.line));
        Answer::reply(&At { place: lines.len() as u32 - 1 })
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        cx.complete(self.asked[&cookie], result.and_then(|reply| At::get(&reply.msg)));
    }

    fn event(&mut self, _: &mut Cx<'_>, _: Event) {}

    fn waits_for_room(&self) -> bool {
        true
    }

    fn is_replicated(&self) -> bool {
        true
    }

    fn changes(&mut self, cx: &mut Cx<'_>) {
        for (slot, line) in core::mem::take(&mut self.changed) {
            let len = if line == TOO_LONG { crate::limits::CHANGES_BYTES_MAX } else { 0 };
            let mut change = line.to_le_bytes().to_vec();
            change.resize(4 + len, 0);
            cx.replicate(slot, change);
        }
    }

    fn apply(&mut self, _: &mut Cx<'_>, slot: SlotNo, change: &[u8]) -> Result<(), Errno> {
        if self.full {
            return Err(Errno::ENOSPC);
        }
        let line = change.first_chunk().ok_or(Errno::EPROTO)?;
        self.lines.entry(slot).or_default().push(u32::from_le_bytes(*line));
        Ok(())
    }

    fn promoted(&mut self, _: &mut Cx<'_>, _: &View, _: SlotNo) {
        self.promotions += 1;
    }

    fn stays(&self, _: SlotNo) -> bool {
        false
    }

    fn export(&mut self, _: &mut Cx<'_>, slot: SlotNo) -> Export {
        match self.lines.get(&slot) {
            None => Export::Nothing,
            Some(lines) => Export::State(lines.iter().flat_map(|it| it.to_le_bytes()).collect()),
        }
    }

    fn admits(&mut self, _: &mut Cx<'_>, slot: SlotNo, _: &[u8]) -> Result<(), Errno> {
        self.admitted.insert(slot);
        Ok(())
    }

    fn abandon(&mut self, _: &mut Cx<'_>, slot: SlotNo) {
        self.admitted.remove(&slot);
    }

    fn import(&mut self, _: &mut Cx<'_>, _: &View, slot: SlotNo, state: &[u8]) {
        let line = |it: &[u8]| u32::from_le_bytes(it.try_into().expect("four bytes"));
        assert!(self.admitted.remove(&slot), "it was admitted");
        let lines = state.chunks_exact(4).map(line).collect();
        assert!(self.lines.insert(slot, lines).is_none(), "nothing lived there");
    }

    fn given(&mut self, _: &mut Cx<'_>, slot: SlotNo) {
        self.lines.remove(&slot);
    }

    fn cancel(&mut self, _: &mut Cx<'_>, _: Ticket) {}
}

const SLOT: u16 = 0;
const WITH_BACKUPS: Policy = Policy { backups: true };

fn slot() -> SlotNo {
    SlotNo::new(SLOT).expect("a slot")
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

/// Nodes with one server each, and the view that was agreed last. The slot's first home is node 1, and its
/// backup node 2.
struct World {
    nodes: BTreeMap<u16, (Host<Books>, TestNode)>,
    net: Rc<RefCell<Net>>,
    view: View,
    /// Lines by node and ticket, and where they stand if that was answered.
    begun: BTreeMap<(u16, Ticket), u32>,
    answered: BTreeMap<u32, Result<u32, Errno>>,
}

impl World {
    fn new(count: u16) -> Self {
        let net = Net::shared();
        let view = View::fixed((1..=count).map(node).collect()).expect("a view").with_backups();
        let make = |number| {
            let platform = TestNode::new(node(number), ServerId::Fs, Rc::clone(&net));
            (number, (Host::outside(ServerId::Fs, node(number), Books::default()), platform))
        };
        let nodes = (1..=count).map(make).collect();
        let (begun, answered) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { nodes, net, view, begun, answered };
        for at in 1..=count {
            let (host, platform) = world.nodes.get_mut(&at).expect("it is up");
            crate::testing::lease(host, platform, u64::MAX);
            world.enter(at);
        }
        world
    }

    fn books<R>(&mut self, at: u16, run: impl FnOnce(&mut Books) -> R) -> R {
        let (host, platform) = self.nodes.get_mut(&at).expect("it is up");
        host.step(platform, |books, _| run(books))
    }

    fn lines(&mut self, at: u16) -> Vec<u32> {
        self.books(at, |books| books.lines.get(&slot()).cloned().unwrap_or_default())
    }

    fn enter(&mut self, at: u16) {
        let (host, platform) = self.nodes.get_mut(&at).expect("it is up");
        views::enter(host, platform, &self.view);
        self.take_all(at);
    }

    fn enter_all(&mut self) {
        for at in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.enter(at);
        }
    }

    fn row(&self) -> Slot {
        *self.view.slot(slot())
    }

    fn put(&mut self, at: u16, line: u32) {
        let (host, platform) = self.nodes.get_mut(&at).expect("it is up");
        match call(host, platform, ServerId::Proc, &Put { slot: SLOT, line }, &mut []) {
            Ok((At { place }, _)) => {
                self.answered.insert(line, Ok(place));
            }
            Err(Status::Pending(ticket)) => {
                self.begun.insert((at, ticket), line);
            }
            Err(Status::Failed(errno)) => {
                self.answered.insert(line, Err(errno));
            }
            Err(Status::Done) => unreachable!("done is no error"),
        }
        self.take_all(at);
    }

    fn take_all(&mut self, at: u16) {
        let (host, platform) = self.nodes.get_mut(&at).expect("it is up");
        while let Some(taken) = take(host, platform, ServerId::Proc) {
            let Completion::Ticket { ticket, result } = taken else { panic!("no event is due") };
            let line = self.begun.remove(&(at, ticket)).expect("it was begun");
            let result = result.map(|msg| At::get(&msg).expect("an answer").place);
            assert!(self.answered.insert(line, result).is_none(), "answered once");
        }
    }

    /// Time passes at a node.
    fn pass(&mut self, at: u16, ns: u64) {
        let (host, platform) = self.nodes.get_mut(&at).expect("it is up");
        platform.now_ns += ns;
        host.collect(platform, ServerId::Timer);
        self.take_all(at);
    }

    fn deliver(&mut self, choice: usize) -> bool {
        let delivered = self.net.borrow_mut().deliver(choice);
        for at in self.nodes.keys().copied().collect::<Vec<_>>() {
            let (host, platform) = self.nodes.get_mut(&at).expect("it is up");
            host.collect(platform, ServerId::Net);
            self.take_all(at);
        }
        delivered
    }

    fn settle(&mut self) {
        while self.deliver(0) || !self.net.borrow().is_idle() {}
    }

    fn kill(&mut self, at: u16) {
        self.net.borrow_mut().kill(node(at));
        self.nodes.remove(&at);
        self.begun.retain(|(of, _), _| *of != at);
    }

    fn agree(&mut self, change: impl FnOnce(&mut Draft<'_>)) {
        let mut draft = Draft::new(&self.view);
        View::slot_numbers().filter(|it| *it != slot()).for_each(|it| draft.avoid(it));
        change(&mut draft);
        draft.settle(WITH_BACKUPS);
        if let Some(delta) = draft.finish() {
            self.view = self.view.apply(&delta).expect("it is lawful");
        }
    }

    fn agree_row(&mut self, row: Slot) {
        let delta = Delta { slots: vec![(slot(), row)], ..Delta::new(self.view.epoch()) };
        self.view = self.view.apply(&delta).expect("it is lawful");
    }

    /// The home gives the slot to who joins it; whether the joiner has it.
    fn give(&mut self) -> Option<bool> {
        let (home, to) = (self.row().primary.get(), self.row().joining.expect("one joins").node);
        let (host, platform) = self.nodes.get_mut(&home).expect("it is up");
        let op = Give { slot: SLOT, to, really: true };
        match call(host, platform, ServerId::Views, &op, &mut []) {
            Ok((Given { given }, _)) => Some(given),
            Err(Status::Pending(_)) => None,
            Err(_) => Some(false),
        }
    }

    /// What the home's host has for the views server.
    fn for_views(&mut self, at: u16) -> Option<Completion> {
        let (host, platform) = self.nodes.get_mut(&at).expect("it is up");
        take(host, platform, ServerId::Views)
    }

    fn given(&mut self, at: u16) -> bool {
        while let Some(taken) = self.for_views(at) {
            if let Completion::Ticket { result: Ok(msg), .. } = taken {
                return Given::get(&msg).expect("an answer").given;
            }
        }
        false
    }

    fn join(&mut self) {
        let home = self.row().primary.get();
        let given = self.give();
        self.settle();
        assert!(given.unwrap_or_else(|| self.given(home)), "nothing stands against it");
        let next = Epoch(self.view.epoch().0 + 1);
        let row = self.row();
        self.agree_row(match row.joining.expect("one joins").goal {
            Goal::Backup => row.joined(next).expect("one joins"),
            Goal::Primary => row.moved(next).expect("one joins"),
        });
        self.enter_all();
    }

    /// Nothing that was acknowledged is missing, and nothing is there twice.
    fn check(&mut self, what: &str) {
        let lines = self.lines(self.row().primary.get());
        let unique: BTreeSet<u32> = lines.iter().copied().collect();
        assert_eq!(unique.len(), lines.len(), "{what}: {lines:?} has something twice");
        for (line, answer) in &self.answered {
            let Ok(place) = answer else { continue };
            assert_eq!(lines.get(*place as usize), Some(line), "{what}: {lines:?}");
        }
        assert!(self.begun.is_empty(), "{what}: not answered: {:?}", self.begun);
        if let Some(backup) = self.row().backup {
            assert_eq!(self.lines(backup.get()), lines, "{what}: as the backup has it");
        }
    }
}

#[test]
fn answer_waits_until_the_backup_has_the_change() {
    for at in [1, 3] {
        let mut world = World::new(3);
        world.put(at, 5);
        while world.lines(1).is_empty() {
            world.deliver(0);
        }
        assert_eq!((world.lines(2), world.answered.len()), (vec![], 0));
        world.settle();
        assert_eq!((world.lines(2), world.answered.get(&5)), (vec![5], Some(&Ok(0))));
    }
}

#[test]
fn slot_without_a_backup_answers_at_once() {
    let mut world = World::new(1);
    world.put(1, 5);
    assert_eq!(world.answered.get(&5), Some(&Ok(0)));
}

/// After each message of a call its home dies: it is performed once, and what the caller hears is true.
#[test]
fn call_for_which_a_link_has_no_room_is_sent_when_it_has() {
    let mut world = World::new(3);
    world.net.borrow_mut().lane_messages_max = Some(1);
    (0..4).for_each(|line| world.put(3, line));
    for sent in 1..=4 {
        world.settle();
        assert_eq!(world.answered.len(), sent, "one finds room each time");
        world.pass(3, CROWDED_NS);
    }
    world.settle();
    world.check("all have come");
}

#[test]
fn call_that_waits_for_room_follows_its_slot() {
    let mut world = World::new(3);
    world.net.borrow_mut().lane_messages_max = Some(1);
    (0..3).for_each(|line| world.put(3, line));
    world.kill(1);
    world.agree(|draft| draft.leave(node(1)));
    world.enter_all();
    world.settle();
    assert_eq!(world.answered.len(), 3);
    world.pass(3, CROWDED_NS);
    world.settle();
    world.check("what had no room was done once");
}

#[test]
fn home_dies_at_every_step_of_a_call() {
    let mut ends = BTreeSet::new();
    for steps in 0..8 {
        for order in [[2, 3], [3, 2]] {
            let mut world = World::new(3);
            world.put(3, 5);
            for _ in 0..steps {
                world.deliver(0);
            }
            world.kill(1);
            world.agree(|draft| draft.leave(node(1)));
            for at in order {
                world.deliver(0);
                world.enter(at);
            }
            world.settle();
            world.check(&alloc::format!("after {steps}"));
            assert_eq!((world.lines(2), world.answered.get(&5)), (vec![5], Some(&Ok(0))));
            ends.insert(world.books(2, |books| books.promotions));
            world.put(3, 6);
            world.settle();
            assert_eq!(world.answered.get(&6), Some(&Ok(1)), "after {steps}");
        }
    }
    // Every slot that node 1 was home to, and node 2 had a copy of.
    assert_eq!(ends.len(), 1);
}

#[test]
fn backup_that_dies_holds_nobody_up() {
    for steps in 0..4 {
        let mut world = World::new(3);
        world.put(3, 5);
        for _ in 0..steps {
            world.deliver(0);
        }
        world.kill(2);
        world.settle();
        world.agree(|draft| draft.leave(node(2)));
        world.enter_all();
        world.settle();
        world.check("alone");
        assert_eq!(world.answered.get(&5), Some(&Ok(0)), "after {steps}");
        assert_eq!(world.row().joining, Some(Joining { node: node(3), goal: Goal::Backup }));
        world.join();
        world.put(1, 6);
        world.settle();
        world.check("with another one");
        assert_eq!(world.lines(3), [5, 6]);
    }
}

/// A server that died stays a member, and home to its slots.
#[test]
fn server_that_dies_ends_calls_to_it_and_is_no_backup_any_more() {
    let mut world = World::new(3);
    world.put(3, 4);
    world.settle();
    world.put(3, 5);
    world.net.borrow_mut().server_dies(node(2), ServerId::Fs);
    world.nodes.remove(&2);
    world.settle();
    world.put(3, 6);
    world.settle();
    assert_eq!(world.answered.len(), 1, "the backup has not all of it");
    assert!(matches!(world.for_views(1), Some(Completion::Event { number: EVENT_ALONE, .. })));
    world.agree_row(Slot { backup: None, ..world.row() });
    world.enter_all();
    world.settle();
    world.check("alone");
    assert_eq!(world.answered.len(), 3);
    world.put(3, 7);
    world.net.borrow_mut().server_dies(node(1), ServerId::Fs);
    world.nodes.remove(&1);
    world.settle();
    world.put(3, 8);
    world.settle();
    assert_eq!([7, 8].map(|line| world.answered[&line]), [Err(Errno::EHOSTDOWN); 2]);
}

#[test]
fn links_that_are_cut_for_a_while_lose_nothing() {
    for (a, b) in [(1, 2), (1, 3)] {
        for steps in 0..6 {
            let mut world = World::new(3);
            world.put(3, 5);
            for _ in 0..steps {
                world.deliver(0);
            }
            world.net.borrow_mut().cut(node(a), node(b), true);
            world.settle();
            world.put(3, 6);
            world.settle();
            world.net.borrow_mut().cut(node(a), node(b), false);
            world.settle();
            world.check(&alloc::format!("{a} to {b}, after {steps}"));
            assert_eq!(world.answered.len(), 2);
            assert!(world.answered.values().all(Result::is_ok), "{:?}", world.answered);
        }
    }
}

/// The node that calls hears neither of the answer nor of the view for a long time.
#[test]
fn answer_of_a_home_that_is_gone_is_not_given_by_doing_it_again() {
    let mut world = World::new(3);
    world.put(3, 5);
    while world.lines(2).is_empty() {
        world.deliver(0);
    }
    world.kill(1);
    world.agree(|draft| draft.leave(node(1)));
    world.enter(2);
    world.put(2, 6);
    world.settle();
    world.enter(3);
    world.settle();
    world.check("at the end");
    assert_eq!((world.lines(2), world.answered.len()), (vec![5, 6], 2));
}

#[test]
fn slot_that_moves_keeps_its_backup_and_its_answers() {
    let mut world = World::new(4);
    world.put(3, 5);
    world.settle();
    let joining = Some(Joining { node: node(4), goal: Goal::Primary });
    world.agree_row(Slot { joining, ..world.row() });
    world.enter_all();
    world.put(3, 6);
    world.join();
    world.settle();
    let row = world.row();
    assert_eq!((row.primary, row.backup), (node(4), Some(node(2))));
    world.put(1, 7);
    world.settle();
    world.check("moved");
    assert_eq!((world.lines(4), world.lines(1)), (vec![5, 6, 7], vec![]));
    world.kill(4);
    world.agree(|draft| draft.leave(node(4)));
    world.enter_all();
    world.put(1, 8);
    world.settle();
    world.check("taken over");
    assert_eq!(world.lines(2), [5, 6, 7, 8]);
}

#[test]
fn slot_goes_to_its_backup_and_back() {
    let mut world = World::new(2);
    world.put(2, 4);
    for (home, to) in [(1, 2), (2, 1)] {
        let joining = Some(Joining { node: node(to), goal: Goal::Primary });
        world.agree_row(Slot { joining, ..world.row() });
        world.enter_all();
        world.put(home, 5 + u32::from(home));
        world.put(to, 7 + u32::from(to));
        world.join();
        world.settle();
        let row = world.row();
        assert_eq!((row.primary, row.backup), (node(to), Some(node(home))));
        world.check("swapped");
    }
    world.kill(1);
    world.agree(|draft| draft.leave(node(1)));
    world.enter_all();
    world.put(2, 20);
    world.settle();
    world.check("taken over");
    assert_eq!(world.lines(2).len(), 6);
}

#[test]
fn who_gave_a_slot_away_without_a_backup_is_its_backup() {
    let mut world = World::new(3);
    world.agree_row(Slot { backup: None, ..world.row() });
    let joining = Some(Joining { node: node(3), goal: Goal::Primary });
    world.agree_row(Slot { joining, ..world.row() });
    world.enter_all();
    world.put(1, 5);
    world.join();
    assert_eq!((world.row().primary, world.row().backup), (node(3), Some(node(1))));
    world.put(2, 6);
    world.settle();
    world.check("moved");
    assert_eq!(world.lines(1), [5, 6]);
}

#[test]
fn backup_that_cannot_follow_is_given_up_before_anything_is_acknowledged() {
    for (line, full) in [(5, true), (TOO_LONG, false)] {
        let mut world = World::new(3);
        world.put(1, 4);
        world.settle();
        world.books(2, |books| books.full = full);
        world.put(3, line);
        world.settle();
        world.put(3, 6);
        world.settle();
        assert_eq!(world.answered.len(), 1, "the backup has not all of it");
        let Some(Completion::Event { number: EVENT_ALONE, msg }) = world.for_views(1) else {
            panic!("the views server hears of it");
        };
        assert_eq!(Alone::get(&msg), Ok(Alone { slot: SLOT, backup: node(2) }));
        assert!(world.for_views(1).is_none(), "once");
        world.agree_row(Slot { backup: None, ..world.row() });
        world.enter_all();
        world.settle();
        world.check("alone");
        assert_eq!((world.lines(1).len(), world.lines(2).len(), world.answered.len()), (3, 0, 3));
    }
}

#[test]
fn changes_of_who_is_not_the_primary_are_not_applied() {
    let mut world = World::new(3);
    // Node 3 takes itself for the home, by a view that nobody agreed on.
    let row = Slot { primary: node(3), since: Epoch(2), ..world.row() };
    let mut lie = world.row();
    lie.joining = Some(Joining { node: node(3), goal: Goal::Primary });
    world.agree_row(lie);
    world.enter(3);
    let truth = world.view.clone();
    world.agree_row(Slot {
        backup: Some(node(2)),
        ..truth.slot(slot()).moved(Epoch(3)).expect("one")
    });
    world.enter(3);
    world.put(3, 9);
    world.view = truth;
    world.enter(1);
    world.enter(2);
    world.settle();
    assert!(world.lines(2).is_empty() && row.primary == node(3));
}

/// A number that follows from the one before.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Calls from all nodes, while homes die, links are cut, backups join and slots move, in an order that the
/// seed says.
fn storm(seed: u64) {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut world = World::new(5);
    let (mut line, mut kills, mut cut) = (0, 0, None);
    let mut giving: Option<(u16, Epoch)> = None;
    for _ in 0..300 {
        let some: Vec<u16> = world.nodes.keys().copied().collect();
        let at = some[next(&mut state) % some.len()];
        match next(&mut state) % 20 {
            0..7 => {
                let choice = next(&mut state);
                world.deliver(choice);
            }
            7..11 => {
                line += 1;
                world.put(at, line);
            }
            11..15 => world.enter(at),
            15 if kills < 3 && next(&mut state).is_multiple_of(4) => {
                // Not both copies of what was acknowledged at once.
                let row = world.row();
                if row.backup.is_some() || row.primary != node(at) {
                    kills += 1;
                    cut = cut.filter(|(a, b)| *a != at && *b != at);
                    world.kill(at);
                    world.agree(|draft| draft.leave(node(at)));
                }
            }
            16 => {
                let other = some[next(&mut state) % some.len()];
                cut = cut_or_heal(&world, cut, (at, other));
            }
            17 if world.row().joining.is_none() => {
                let row = world.row();
                let goal = if row.backup.is_some() { Goal::Primary } else { Goal::Backup };
                let swaps = goal == Goal::Primary && row.backup == Some(node(at));
                if (swaps || !row.involves(node(at))) && world.view.contains(node(at)) {
                    world
                        .agree_row(Slot { joining: Some(Joining { node: node(at), goal }), ..row });
                }
            }
            18 if world.row().joining.is_some() => {
                let home = world.row().primary.get();
                world.enter(home);
                let epoch = world.view.epoch();
                // Nobody waits for earlier answers any more.
                while world.for_views(home).is_some() {}
                match world.give() {
                    Some(true) => join(&mut world, epoch),
                    Some(false) => {}
                    None => giving = Some((home, epoch)),
                }
            }
            _ => {
                if let Some((home, epoch)) = giving
                    && world.nodes.contains_key(&home)
                    && world.given(home)
                {
                    join(&mut world, epoch);
                }
            }
        }
    }
    if let Some((a, b)) = cut {
        world.net.borrow_mut().cut(node(a), node(b), false);
    }
    world.enter_all();
    world.settle();
    // A slot that was being given away goes on with the next view.
    world.agree_row(Slot { joining: None, ..world.row() });
    world.enter_all();
    world.settle();
    world.check(&alloc::format!("seed {seed}"));
}

/// Heals the link that is cut, or cuts another; which one is cut then.
fn cut_or_heal(world: &World, cut: Option<(u16, u16)>, (a, b): (u16, u16)) -> Option<(u16, u16)> {
    let mut net = world.net.borrow_mut();
    if let Some((a, b)) = cut {
        net.cut(node(a), node(b), false);
        return None;
    }
    if a == b {
        return None;
    }
    net.cut(node(a), node(b), true);
    Some((a, b))
}

fn join(world: &mut World, epoch: Epoch) {
    if world.view.epoch() != epoch {
        return;
    }
    let (row, next) = (world.row(), Epoch(epoch.0 + 1));
    if let Some(row) = row.joined(next).or_else(|| row.moved(next)) {
        world.agree_row(row);
    }
}

#[test]
fn storm_of_calls_and_failures_loses_nothing_and_does_nothing_twice() {
    for seed in 0..300 {
        storm(seed);
    }
}
