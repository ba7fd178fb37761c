// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers for which links have no room, and calls that are given up while they follow their slot.

use crate::testing::{Net, TestNode, call, take, views};
use crate::{
    Answer, Bulk, Client, Completion, Core, Cx, Event, Host, Msg, NodeReply, Operation, Status,
    Wire,
    limits::{CROWDED_NS, OWED_BYTES_MAX},
    system,
};
use abi::{Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use core::cell::RefCell;

crate::hot! {
    /// Draws so many bytes from the well; none: waits for ever.
    pub struct Draw { pub bytes: u32 }
}

impl Operation for Draw {
    const NUMBER: u16 = 7;
    const NAME: &'static str = "Draw";
    const LEAF: bool = false;
    const IDEMPOTENT: bool = false;
    const SERVER: ServerId = ServerId::Ipc;
    type Reply = ();
}

/// What is drawn is gone: each draw brings the next number.
struct Well {
    waits_for_room: bool,
    drawn: u8,
    waiting: Vec<Ticket>,
    asked: BTreeMap<u64, Ticket>,
    brought: Vec<u8>,
}

impl Well {
    fn new(waits_for_room: bool) -> Self {
        let (drawn, waiting, asked, brought) = (0, vec![], BTreeMap::new(), vec![]);
        Self { waits_for_room, drawn, waiting, asked, brought }
    }
}

impl Core for Well {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        _: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        let Ok(draw) = Draw::get(msg) else { return Answer::Failed(Errno::EPROTO) };
        let home = cx.view().home(slot());
        if home != cx.node() {
            if matches!(from, Client::Node { .. }) {
                return Answer::Moved(slot());
            }
            let ticket = cx.open_ticket(from).expect("room");
            let cookie = self.asked.len() as u64;
            self.asked.insert(cookie, ticket);
            cx.call_node(home, &draw, Vec::new(), cookie);
            return Answer::Pending(ticket);
        }
        if draw.bytes == 0 {
            let ticket = cx.open_ticket(from).expect("room");
            self.waiting.push(ticket);
            return Answer::Pending(ticket);
        }
        self.drawn += 1;
        bulk.set(&vec![self.drawn; draw.bytes as usize]).expect("it fits");
        Answer::reply(&())
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        if let Ok(reply) = &result {
            self.brought.push(reply.bulk[0]);
        }
        cx.complete(self.asked[&cookie], result.map(|_| ()));
    }

    fn event(&mut self, _: &mut Cx<'_>, _: Event) {}

    fn waits_for_room(&self) -> bool {
        self.waits_for_room
    }

    fn given(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        for ticket in self.waiting.drain(..) {
            cx.moved(ticket, slot);
        }
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        if self.waiting.contains(&ticket) {
            self.waiting.retain(|it| *it != ticket);
            return cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        }
        let asked = self.asked.iter().find(|(_, asked)| **asked == ticket);
        cx.cancel(*asked.expect("it waits here or elsewhere").0);
    }
}

fn slot() -> SlotNo {
    SlotNo::new(0).expect("a slot")
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

/// Three nodes; the slot is the first one's.
struct World {
    nodes: Vec<(Host<Well>, TestNode)>,
    net: Rc<RefCell<Net>>,
    view: View,
}

impl World {
    fn new(waits_for_room: bool) -> Self {
        let net = Net::shared();
        let view = View::fixed((1..=3).map(node).collect()).expect("a view");
        let make = |number| {
            let platform = TestNode::new(node(number), ServerId::Ipc, Rc::clone(&net));
            let well = Well::new(waits_for_room);
            (Host::new(ServerId::Ipc, node(number), view.clone(), well), platform)
        };
        Self { nodes: (1..=3).map(make).collect(), net, view }
    }

    fn draw(&mut self, at: usize, bytes: u32) -> Ticket {
        let (host, platform) = &mut self.nodes[at];
        match call(host, platform, ServerId::Proc, &Draw { bytes }, &mut []) {
            Err(Status::Pending(ticket)) => ticket,
            other => panic!("{other:?}"),
        }
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

    /// Calls are performed before an answer has left, and the links have room for one message from then on.
    fn crowd(&mut self) {
        while self.net.borrow_mut().deliver(0) {}
        self.net.borrow_mut().lane_messages_max = Some(1);
        let (host, platform) = &mut self.nodes[0];
        host.collect(platform, ServerId::Net);
    }

    fn pass(&mut self, ns: u64) {
        for (host, platform) in &mut self.nodes {
            platform.now_ns += ns;
            host.collect(platform, ServerId::Timer);
        }
    }

    fn give_up(&mut self, at: usize, ticket: Ticket) {
        let (host, platform) = &mut self.nodes[at];
        let mut msg = Msg { words: [ticket.to_word(), 0, 0, 0], ..Msg::default() };
        host.request(platform, ServerId::Proc, system::CANCEL, &mut msg, &mut Bulk::none());
    }

    /// How calls of a node ended since the last look.
    fn ends(&mut self, at: usize) -> Vec<Result<(), Errno>> {
        let (host, platform) = &mut self.nodes[at];
        let mut ends = vec![];
        while let Some(Completion::Ticket { result, .. }) = take(host, platform, ServerId::Proc) {
            ends.push(result.map(|_| ()));
        }
        ends
    }

    fn brought(&mut self, at: usize) -> Vec<u8> {
        let (host, platform) = &mut self.nodes[at];
        host.step(platform, |well, _| core::mem::take(&mut well.brought))
    }

    /// The slot moves to another node, by two views; `late` enters the last of them later.
    fn move_to(&mut self, to: u16, late: Option<usize>) -> View {
        let named = views::moving(&self.view, slot(), node(to));
        (0..3).for_each(|at| self.enter(at, &named));
        let moved = views::moved(&named, slot());
        (0..3).filter(|at| Some(*at) != late).for_each(|at| self.enter(at, &moved));
        self.view = moved.clone();
        moved
    }

    fn enter(&mut self, at: usize, view: &View) {
        let (host, platform) = &mut self.nodes[at];
        views::enter(host, platform, view);
    }
}

#[test]
fn answers_with_bytes_wait_for_room_and_lose_nothing() {
    let mut world = World::new(true);
    for _ in 0..5 {
        world.draw(1, 4096);
    }
    world.crowd();
    for number in 1..=5 {
        world.settle();
        assert_eq!(world.ends(1), [Ok(())], "one finds room each time");
        assert_eq!(world.brought(1), [number], "in the order in which they were drawn");
        world.pass(CROWDED_NS);
    }
}

#[test]
fn answers_beyond_the_bound_are_left_to_the_link() {
    let mut world = World::new(true);
    let each = 32 * 1024;
    let count = OWED_BYTES_MAX as u32 / each + 3;
    for _ in 0..count {
        world.draw(1, each);
    }
    world.crowd();
    for _ in 0..count {
        world.settle();
        world.pass(CROWDED_NS);
    }
    world.settle();
    let mut brought = world.brought(1);
    brought.sort_unstable();
    assert_eq!(brought, (1..=count as u8).collect::<Vec<_>>());
}

#[test]
fn who_asks_again_is_told_that_there_was_no_room() {
    let mut world = World::new(false);
    for _ in 0..3 {
        world.draw(1, 4096);
    }
    world.crowd();
    world.settle();
    let ends = world.ends(1);
    assert_eq!(ends.len(), 3);
    assert!(ends.contains(&Err(Errno::EAGAIN)), "{ends:?}");
}

#[test]
fn what_waits_for_a_node_that_goes_is_forgotten() {
    let mut world = World::new(true);
    for _ in 0..3 {
        world.draw(1, 4096);
    }
    world.crowd();
    world.settle();
    world.net.borrow_mut().cut(node(1), node(2), true);
    world.settle();
    world.net.borrow_mut().cut(node(1), node(2), false);
    for _ in 0..3 {
        world.pass(CROWDED_NS);
        world.settle();
    }
    assert_eq!(world.ends(1), [Ok(()), Err(Errno::EHOSTDOWN), Err(Errno::EHOSTDOWN)]);
    assert_eq!(world.brought(1), [1], "the others' calls have failed");
}

/// The home answers "moved" while the cancel is on its way to it.
#[test]
fn cancel_that_meets_a_move_ends_the_call() {
    for late in [None, Some(1)] {
        let mut world = World::new(true);
        let ticket = world.draw(1, 0);
        world.settle();
        let moved = world.move_to(3, late);
        world.give_up(1, ticket);
        if let Some(late) = late {
            world.enter(late, &moved);
        }
        world.settle();
        assert_eq!(world.ends(1), [Err(Errno::ECANCELED)], "late: {late:?}");
        let (host, platform) = &mut world.nodes[2];
        assert_eq!(host.step(platform, |well, _| well.waiting.len()), 0, "nothing is left there");
    }
}

#[test]
fn cancel_that_comes_after_the_move_reaches_the_new_home() {
    let mut world = World::new(true);
    let ticket = world.draw(1, 0);
    world.settle();
    world.move_to(3, None);
    world.settle();
    assert_eq!(world.ends(1), [], "it waits at the new home");
    world.give_up(1, ticket);
    world.settle();
    assert_eq!(world.ends(1), [Err(Errno::ECANCELED)]);
}

/// The asking node becomes the home itself.
#[test]
fn cancel_that_meets_a_move_to_the_asking_node_ends_the_call() {
    let mut world = World::new(true);
    let ticket = world.draw(1, 0);
    world.settle();
    world.move_to(2, None);
    world.give_up(1, ticket);
    world.settle();
    assert_eq!(world.ends(1), [Err(Errno::ECANCELED)]);
    let (host, platform) = &mut world.nodes[1];
    assert_eq!(host.step(platform, |well, _| well.waiting.len()), 0);
}

/// A call that waits for room is given up: it ends, and the link hears nothing of it.
#[test]
fn call_that_never_left_ends_without_a_word() {
    let mut world = World::new(true);
    world.net.borrow_mut().lane_messages_max = Some(1);
    world.draw(1, 0);
    let ticket = world.draw(1, 0);
    world.give_up(1, ticket);
    let sent = world.net.borrow().sent;
    world.pass(CROWDED_NS);
    assert_eq!(world.ends(1), [Err(Errno::ECANCELED)]);
    world.pass(CROWDED_NS);
    assert_eq!(world.net.borrow().sent, sent, "neither a call nor a cancel");
}
