// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that move with what lives in them, and requests that are under way meanwhile.

use crate::testing::{Net, TestNode, call, take, views};
use crate::{
    Answer, Bulk, Client, Completion, Core, Cursor, Cx, Event, Export, Give, Given, Host, Msg,
    NodeReply, Operation, Piece, Status, Wire, system,
};
use abi::{Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use core::cell::RefCell;

crate::hot! {
    /// Puts a byte onto the slot's shelf.
    pub struct Put { pub slot: u16, pub byte: u8 }
}

impl Operation for Put {
    const NUMBER: u16 = 7;
    const NAME: &'static str = "Put";
    const LEAF: bool = false;
    const IDEMPOTENT: bool = false;
    const SERVER: ServerId = ServerId::Fs;
    type Reply = ();
}

mod pieces;

/// Bytes of a shelf that go in the head, if a test does not say otherwise. What is behind them goes in
/// pieces, the first of which is empty.
const HEAD_BYTES: usize = 100_000;
/// Bytes of the longest piece.
const PIECE_BYTES: usize = 40_000;

/// Bytes by slot. A first byte of 255 cannot move, one of 254 is not admitted, one of 253 takes a while; with
/// one of 252 the second piece cannot be exported, and with one of 251 it is not admitted.
struct Shelf {
    head_bytes: usize,
    bytes: BTreeMap<SlotNo, Vec<u8>>,
    /// What was admitted, and has to go somewhere.
    admitted: BTreeMap<SlotNo, Vec<u8>>,
    asked: BTreeMap<u64, Ticket>,
    ready: bool,
}

impl Default for Shelf {
    fn default() -> Self {
        let (bytes, admitted, asked) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { head_bytes: HEAD_BYTES, bytes, admitted, asked, ready: false }
    }
}

impl Shelf {
    fn first(&self, slot: SlotNo) -> Option<u8> {
        self.bytes.get(&slot).and_then(|bytes| bytes.first()).copied()
    }
}

impl Core for Shelf {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        _: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        let Ok(put) = Put::get(msg) else { return Answer::Failed(Errno::EPROTO) };
        let slot = SlotNo::new(put.slot).expect("a slot");
        let home = cx.view().home(slot);
        if home != cx.node() {
            if matches!(from, Client::Node { .. }) {
                return Answer::Moved(slot);
            }
            let ticket = cx.open_ticket(from).expect("room");
            let cookie = self.asked.len() as u64;
            self.asked.insert(cookie, ticket);
            cx.call_node(home, &put, bulk.data().to_vec(), cookie);
            return Answer::Pending(ticket);
        }
        if cx.is_frozen(slot) {
            return Answer::NextView;
        }
        self.bytes.entry(slot).or_default().push(put.byte);
        Answer::reply(&())
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        cx.complete(self.asked[&cookie], result.map(|_| ()));
    }

    fn event(&mut self, _: &mut Cx<'_>, _: Event) {}

    fn export(&mut self, _: &mut Cx<'_>, slot: SlotNo) -> Export {
        match self.first(slot) {
            None => Export::Nothing,
            Some(255) => Export::Stays,
            Some(253) if !self.ready => Export::NotYet,
            Some(_) if self.bytes[&slot].len() > self.head_bytes => {
                Export::Head(self.bytes[&slot][..self.head_bytes].to_vec())
            }
            Some(_) => Export::State(self.bytes[&slot].clone()),
        }
    }

    fn export_more(&mut self, _: &mut Cx<'_>, slot: SlotNo, at: Cursor) -> Result<Piece, Errno> {
        let at = at[0] as usize;
        if at == 0 {
            return Ok(Piece { bytes: Vec::new(), next: Some([self.head_bytes as u64, 0]) });
        }
        let bytes = &self.bytes[&slot];
        if bytes[0] == 252 {
            return Err(Errno::EIO);
        }
        let upto = bytes.len().min(at + PIECE_BYTES);
        let next = (upto < bytes.len()).then_some([upto as u64, 0]);
        Ok(Piece { bytes: bytes[at..upto].to_vec(), next })
    }

    fn stays(&self, slot: SlotNo) -> bool {
        self.first(slot) == Some(255)
    }

    fn admits(&mut self, _: &mut Cx<'_>, slot: SlotNo, state: &[u8]) -> Result<(), Errno> {
        if state[0] == 254 {
            return Err(Errno::ENOSPC);
        }
        assert!(self.admitted.insert(slot, state.to_vec()).is_none(), "the former is abandoned");
        Ok(())
    }

    fn admits_more(&mut self, _: &mut Cx<'_>, slot: SlotNo, piece: &[u8]) -> Result<(), Errno> {
        let bytes = self.admitted.get_mut(&slot).expect("the head is admitted first");
        if bytes[0] == 251 && !piece.is_empty() {
            return Err(Errno::ENOMEM);
        }
        bytes.extend_from_slice(piece);
        Ok(())
    }

    fn abandon(&mut self, _: &mut Cx<'_>, slot: SlotNo) {
        self.admitted.remove(&slot).expect("something was admitted");
    }

    fn import(&mut self, _: &mut Cx<'_>, _: &View, slot: SlotNo, state: &[u8]) {
        let bytes = self.admitted.remove(&slot).expect("it was admitted");
        assert!(bytes.starts_with(state), "the head stands here again");
        assert!(self.bytes.insert(slot, bytes).is_none(), "nothing lived there");
    }

    fn given(&mut self, _: &mut Cx<'_>, slot: SlotNo) {
        self.bytes.remove(&slot);
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        let cookie = self.asked.iter().find(|(_, asked)| **asked == ticket);
        cx.cancel(*cookie.expect("only calls of another node wait here").0);
    }
}

const SLOT: u16 = 0;

fn slot() -> SlotNo {
    SlotNo::new(SLOT).expect("a slot")
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

/// Three nodes. The slot is the first one's, and is to move to the second.
struct World {
    nodes: Vec<(Host<Shelf>, TestNode)>,
    net: Rc<RefCell<Net>>,
    view: View,
}

impl World {
    fn new(bytes: &[u8]) -> Self {
        let net = Net::shared();
        let view = View::fixed((1..=3).map(node).collect()).expect("a view");
        let named = views::moving(&view, slot(), node(2));
        let make = |number| {
            let platform = TestNode::new(node(number), ServerId::Fs, Rc::clone(&net));
            (Host::new(ServerId::Fs, node(number), view.clone(), Shelf::default()), platform)
        };
        let mut world = Self { nodes: (1..=3).map(make).collect(), net, view: named.clone() };
        (0..3).for_each(|at| world.enter(at, &named));
        if !bytes.is_empty() {
            world.shelf(0, |shelf| shelf.bytes.insert(slot(), bytes.to_vec()));
        }
        world
    }

    fn shelf<R>(&mut self, at: usize, run: impl FnOnce(&mut Shelf) -> R) -> R {
        let (host, platform) = &mut self.nodes[at];
        host.step(platform, |shelf, _| run(shelf))
    }

    fn bytes(&mut self, at: usize) -> Option<Vec<u8>> {
        self.shelf(at, |shelf| shelf.bytes.get(&slot()).cloned())
    }

    /// Whether something is kept there that was admitted.
    fn has_admitted(&mut self, at: usize) -> bool {
        self.shelf(at, |shelf| !shelf.admitted.is_empty())
    }

    fn enter(&mut self, at: usize, view: &View) {
        let (host, platform) = &mut self.nodes[at];
        views::enter(host, platform, view);
    }

    fn settle(&mut self) {
        loop {
            let delivered = self.net.borrow_mut().deliver(0);
            for (host, platform) in &mut self.nodes {
                host.collect(platform, ServerId::Net);
            }
            if !delivered {
                return;
            }
        }
    }

    fn put(&mut self, at: usize, byte: u8) -> Result<(), Status> {
        self.put_with(at, byte, 0)
    }

    /// The same, with bulk data that means nothing.
    fn put_with(&mut self, at: usize, byte: u8, len: usize) -> Result<(), Status> {
        let (host, platform) = &mut self.nodes[at];
        let op = Put { slot: SLOT, byte };
        call(host, platform, ServerId::Proc, &op, &mut vec![0; len]).map(|_| ())
    }

    fn pending(&mut self, at: usize, byte: u8) -> Ticket {
        match self.put(at, byte) {
            Err(Status::Pending(ticket)) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn taken(&mut self, at: usize, client: ServerId) -> Option<(Ticket, Result<Msg, Errno>)> {
        let (host, platform) = &mut self.nodes[at];
        match take(host, platform, client)? {
            Completion::Ticket { ticket, result } => Some((ticket, result)),
            Completion::Event { .. } => panic!("no event is due"),
        }
    }

    /// Gives the slot; whether the joiner has it.
    fn give(&mut self) -> Option<bool> {
        let (host, platform) = &mut self.nodes[0];
        let op = Give { slot: SLOT, to: node(2), really: true };
        match call(host, platform, ServerId::Views, &op, &mut []) {
            Ok((Given { given }, _)) => return Some(given),
            Err(Status::Pending(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        self.settle();
        let (_, result) = self.taken(0, ServerId::Views)?;
        result.ok().map(|msg| Given::get(&msg).expect("an answer").given)
    }
}

#[test]
fn give_brings_what_lives_there_when_the_view_says_so() {
    let state: Vec<u8> = (0..200_000u32).map(|at| at as u8).collect();
    let mut world = World::new(&state);
    assert_eq!(world.give(), Some(true));
    assert_eq!((world.bytes(0), world.bytes(1)), (Some(state.clone()), None));
    let moved = views::moved(&world.view, slot());
    (0..3).for_each(|at| world.enter(at, &moved));
    assert_eq!((world.bytes(0), world.bytes(1)), (None, Some(state)));
}

#[test]
fn give_of_a_slot_in_which_nothing_lives_costs_no_message() {
    let mut world = World::new(&[]);
    assert_eq!(world.give(), Some(true));
    assert_eq!(world.net.borrow().sent, 0);
}

#[test]
fn question_whether_a_slot_would_be_given_freezes_nothing() {
    for (first, given) in [(1, true), (255, false)] {
        let mut world = World::new(&[first]);
        let (host, platform) = &mut world.nodes[0];
        let op = Give { slot: SLOT, to: node(2), really: false };
        let answer = call(host, platform, ServerId::Views, &op, &mut []);
        assert_eq!(answer, Ok((Given { given }, 0)));
        assert_eq!(world.put(0, 1), Ok(()));
    }
}

#[test]
fn give_refused_on_either_side_lets_the_slot_go_on() {
    for first in [255, 254] {
        let mut world = World::new(&[first]);
        assert_eq!(world.give(), Some(false));
        let stayed = views::stayed(&world.view, slot());
        (0..3).for_each(|at| world.enter(at, &stayed));
        assert_eq!(world.put(0, 1), Ok(()));
        assert_eq!((world.bytes(0), world.bytes(1)), (Some(vec![first, 1]), None));
    }
}

#[test]
fn give_that_is_not_ready_at_once_is_answered_later() {
    let mut world = World::new(&[253]);
    assert_eq!(world.give(), None);
    world.shelf(0, |shelf| shelf.ready = true);
    let (host, platform) = &mut world.nodes[0];
    host.step(platform, |_, cx| cx.export_now(slot()));
    world.settle();
    assert!(world.taken(0, ServerId::Views).is_some_and(|(_, result)| result.is_ok()));
    let moved = views::moved(&world.view, slot());
    world.enter(1, &moved);
    assert_eq!(world.bytes(1), Some(vec![253]));
}

#[test]
fn give_to_a_node_that_ends_is_no_give() {
    let mut world = World::new(&[1]);
    let (host, platform) = &mut world.nodes[0];
    let op = Give { slot: SLOT, to: node(2), really: true };
    let given = call(host, platform, ServerId::Views, &op, &mut []);
    assert!(matches!(given, Err(Status::Pending(_))));
    world.net.borrow_mut().kill(node(2));
    world.settle();
    let (_, result) = world.taken(0, ServerId::Views).expect("an answer");
    assert_eq!(Given::get(&result.expect("an answer")), Ok(Given { given: false }));
}

#[test]
fn state_that_no_view_asks_for_is_forgotten() {
    let mut world = World::new(&[1]);
    assert_eq!(world.give(), Some(true));
    let stayed = views::stayed(&world.view, slot());
    (0..3).for_each(|at| world.enter(at, &stayed));
    assert_eq!(world.put(0, 2), Ok(()));
    let named = views::moving(&stayed, slot(), node(2));
    (0..3).for_each(|at| world.enter(at, &named));
    assert_eq!(world.give(), Some(true));
    let moved = views::moved(&named, slot());
    (0..3).for_each(|at| world.enter(at, &moved));
    assert_eq!((world.bytes(0), world.bytes(1)), (None, Some(vec![1, 2])));
}

#[test]
fn requests_of_the_time_between_are_performed_once_wherever_the_slot_goes() {
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
        for moves in [true, false] {
            let mut world = World::new(&[1]);
            assert_eq!(world.give(), Some(true));
            let tickets: Vec<(usize, Ticket)> =
                (0..3).map(|at| (at, world.pending(at, 2 + at as u8))).collect();
            world.settle();
            assert_eq!(world.bytes(0), Some(vec![1]), "it is frozen");
            // This one finds the slot where it was, or not any more.
            let late = world.pending(2, 5);
            let next = if moves {
                views::moved(&world.view, slot())
            } else {
                views::stayed(&world.view, slot())
            };
            for at in order {
                world.enter(at, &next);
                world.settle();
            }
            let mut ended = Vec::new();
            for at in 0..3 {
                while let Some((ticket, result)) = world.taken(at, ServerId::Proc) {
                    assert_eq!(result, Ok(Msg::default()), "{order:?} {moves}");
                    ended.push((at, ticket));
                }
            }
            let mut begun: Vec<_> = tickets.into_iter().chain([(2, late)]).collect();
            begun.sort_unstable();
            ended.sort_unstable();
            assert_eq!(ended, begun, "{order:?} {moves}");
            let (home, other) = if moves { (1, 0) } else { (0, 1) };
            let mut bytes = world.bytes(home).expect("it lives there");
            bytes.sort_unstable();
            assert_eq!((bytes, world.bytes(other)), (vec![1, 2, 3, 4, 5], None));
        }
    }
}

#[test]
fn request_that_waits_for_the_view_can_be_cancelled() {
    let mut world = World::new(&[1]);
    assert_eq!(world.give(), Some(true));
    for at in [0, 2] {
        let ticket = world.pending(at, 9);
        world.settle();
        let (host, platform) = &mut world.nodes[at];
        let mut msg = Msg { words: [ticket.to_word(), 0, 0, 0], ..Msg::default() };
        host.request(platform, ServerId::Proc, system::CANCEL, &mut msg, &mut Bulk::none());
        world.settle();
        let end = world.taken(at, ServerId::Proc);
        assert_eq!(end, Some((ticket, Err(Errno::ECANCELED))));
    }
    let stayed = views::stayed(&world.view, slot());
    (0..3).for_each(|at| world.enter(at, &stayed));
    assert_eq!(world.bytes(0), Some(vec![1]));
}

#[test]
fn give_is_for_the_views_server_to_ask() {
    let mut world = World::new(&[]);
    let (host, platform) = &mut world.nodes[0];
    let op = Give { slot: SLOT, to: node(2), really: true };
    let refused = call(host, platform, ServerId::Proc, &op, &mut []).map(|_| ());
    assert_eq!(refused, Err(Status::Failed(Errno::EPERM)));
}
