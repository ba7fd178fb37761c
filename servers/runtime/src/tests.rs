// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop itself: timers, interrupts, and what becomes of calls when somebody dies.

use crate::limits::HELD_MESSAGES_MAX;
use crate::node::{Kind, Lane, NodeMessage, Taken};
use crate::testing::{Net, TestNode};
use crate::{
    Answer, Bulk, Client, Core, Cx, Event, Host, Msg, NodeReply, Operation, Platform, Service,
    Status, system,
};
use abi::{Errno, NodeId, ServerId, Ticket};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use core::cell::RefCell;

crate::hot! {
    /// Something that is asked of mem-server, or of the same server elsewhere.
    pub struct Ask { pub number: u64 }
}

impl Operation for Ask {
    const NUMBER: u16 = 7;
    const NAME: &'static str = "Ask";
    const LEAF: bool = false;
    const IDEMPOTENT: bool = false;
    const SERVER: ServerId = ServerId::Mem;
    type Reply = ();
}

/// Remembers what it hears.
#[derive(Default)]
struct Listener {
    ended: Vec<(u64, Result<(), Errno>)>,
    events: Vec<Event>,
}

impl Core for Listener {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        _: u16,
        msg: &Msg,
        _: &mut Bulk<'_>,
    ) -> Answer {
        match msg.words[0] {
            DONE => Answer::reply(&()),
            LATER => cx.open_ticket(from).map_or_else(Answer::Failed, Answer::Pending),
            _ => Answer::Failed(Errno::ENOSYS),
        }
    }

    fn completion(&mut self, _: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        self.ended.push((cookie, result.map(|_| ())));
    }

    fn event(&mut self, _: &mut Cx<'_>, event: Event) {
        self.events.push(event);
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
    }
}

/// What [`Listener`] answers at once, and later.
const DONE: u64 = 100;
const LATER: u64 = 101;

const TICKET: Ticket = Ticket { index: 5, generation: 1 };

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

/// fs-server of node 1 of two, below which mem-server answers "later".
struct World {
    host: Host<Listener>,
    platform: TestNode,
    net: Rc<RefCell<Net>>,
}

impl World {
    fn new() -> Self {
        let net = Net::shared();
        let mut platform = TestNode::new(node(1), ServerId::Fs, Rc::clone(&net));
        platform.below = Some(alloc::boxed::Box::new(|_, _, op, msg, _| {
            if op == system::TAKE {
                *msg = Msg::default();
                return Status::Done;
            }
            Status::Pending(TICKET)
        }));
        let view = View::fixed(Vec::from([node(1), node(2)])).expect("a view");
        let host = Host::new(ServerId::Fs, node(1), view, Listener::default());
        Self { host, platform, net }
    }

    fn step<R>(&mut self, run: impl FnOnce(&mut Listener, &mut Cx<'_>) -> R) -> R {
        self.host.step(&mut self.platform, run)
    }

    fn server_down(&mut self, server: ServerId) {
        self.host.server_down(&mut self.platform, server);
    }

    fn ended(&mut self) -> Vec<(u64, Result<(), Errno>)> {
        self.step(|core, _| core::mem::take(&mut core.ended))
    }

    fn events(&mut self) -> Vec<Event> {
        self.step(|core, _| core::mem::take(&mut core.events))
    }

    fn arrives(&mut self, what: Taken, data: Vec<u8>) {
        self.net.borrow_mut().put(node(1), ServerId::Fs, (what, node(2), data));
        self.host.collect(&mut self.platform, ServerId::Net);
    }
}

#[test]
fn notification_of_the_timer_lets_a_later_deadline_be_armed() {
    let mut world = World::new();
    world.step(|_, cx| cx.arm(100, 1).expect("room"));
    world.step(|_, cx| cx.arm(200, 2).expect("room"));
    assert_eq!(world.platform.armed_ns.take(), Some(100));
    world.platform.now_ns = 100;
    world.host.collect(&mut world.platform, ServerId::Timer);
    assert_eq!(world.events(), [Event::Timer(1)]);
    assert_eq!(world.platform.armed_ns.take(), Some(200), "the timer server forgot them all");
    world.platform.now_ns = 200;
    world.host.collect(&mut world.platform, ServerId::Timer);
    assert_eq!(world.events(), [Event::Timer(2)]);
}

#[test]
fn notification_of_the_timer_before_its_time_arms_again() {
    let mut world = World::new();
    world.step(|_, cx| cx.arm(100, 1).expect("room"));
    world.platform.armed_ns = None;
    world.platform.now_ns = 50;
    world.host.collect(&mut world.platform, ServerId::Timer);
    assert_eq!(world.platform.armed_ns, Some(100));
}

#[test]
fn dead_server_ends_what_it_answered_later_and_what_comes_too_late() {
    let mut world = World::new();
    world.step(|_, cx| cx.ask(&Ask { number: 1 }, 10));
    assert_eq!(world.ended(), []);
    world.server_down(ServerId::Mem);
    assert_eq!(world.ended(), [(10, Err(Errno::EIO))]);
    assert_eq!(world.events(), [Event::ServerDown(ServerId::Mem)]);
    // As if another core's worker had got this answer just before.
    world.step(|_, cx| cx.ask(&Ask { number: 2 }, 11));
    assert_eq!(world.ended(), [(11, Err(Errno::EIO))]);
}

#[test]
fn dead_server_ends_no_calls_to_others() {
    let mut world = World::new();
    world.step(|_, cx| cx.ask(&Ask { number: 1 }, 10));
    world.server_down(ServerId::Ipc);
    assert_eq!(world.ended(), []);
}

#[test]
fn dead_net_server_takes_all_nodes_down() {
    let mut world = World::new();
    world.step(|_, cx| cx.call_node(node(2), &Ask { number: 1 }, Vec::new(), 10));
    world.server_down(ServerId::Net);
    assert_eq!(world.ended(), [(10, Err(Errno::EHOSTDOWN))]);
    let events = [Event::NodeDown(node(2)), Event::ServerDown(ServerId::Net)];
    assert_eq!(world.events(), events);
}

#[test]
fn dead_timer_server_ends_all_timers_and_refuses_more() {
    let mut world = World::new();
    world.step(|_, cx| cx.arm(100, 1).expect("room"));
    world.step(|_, cx| cx.arm(50, 2).expect("room"));
    world.server_down(ServerId::Timer);
    let down = Event::ServerDown(ServerId::Timer);
    assert_eq!(world.events(), [Event::Timer(2), Event::Timer(1), down]);
    assert_eq!(world.step(|_, cx| cx.arm(200, 3)), Err(Errno::EIO));
}

#[test]
fn dead_client_is_told_nothing_any_more() {
    let mut world = World::new();
    world.server_down(ServerId::Shell);
    world.step(|_, cx| cx.raise(ServerId::Shell, 1, &()));
    assert!(world.platform.notified.is_empty());
}

#[test]
fn server_that_died_elsewhere_is_a_node_that_is_down_until_it_boots_again() {
    let mut world = World::new();
    world.step(|_, cx| cx.call_node(node(2), &Ask { number: 1 }, Vec::new(), 10));
    let gone = NodeMessage::gone(ServerId::Fs).encode().expect("short");
    world.arrives(Taken::Message, gone);
    assert_eq!(world.ended(), [(10, Err(Errno::EHOSTDOWN))]);
    assert_eq!(world.events(), [Event::NodeDown(node(2))]);
    let sent = world.net.borrow().sent;
    world.step(|_, cx| cx.call_node(node(2), &Ask { number: 2 }, Vec::new(), 11));
    assert_eq!(world.ended(), [(11, Err(Errno::EHOSTDOWN))]);
    assert_eq!(world.net.borrow().sent, sent, "nothing leaves");
    world.arrives(Taken::Up, Vec::new());
    world.step(|_, cx| cx.call_node(node(2), &Ask { number: 3 }, Vec::new(), 12));
    assert_eq!(world.net.borrow().sent, sent + 1);
}

#[test]
fn call_over_a_link_that_nobody_has_heard_of_ends_when_its_node_leaves() {
    let mut world = World::new();
    world.arrives(Taken::Down, Vec::new());
    world.step(|_, cx| cx.call_node(node(2), &Ask { number: 1 }, Vec::new(), 10));
    let old = View::fixed(Vec::from([node(1), node(2)])).expect("a view");
    let new = crate::testing::next_view(&old, &[node(2)], &[]);
    crate::testing::enter(&world.host, &mut world.platform, &new);
    assert_eq!(world.ended(), [(10, Err(Errno::EHOSTDOWN))]);
}

/// Counts the messages of other nodes.
#[derive(Default)]
struct Counter(u32);

impl Core for Counter {
    fn request(&mut self, _: &mut Cx<'_>, _: Client, _: u16, _: &Msg, _: &mut Bulk<'_>) -> Answer {
        self.0 += 1;
        Answer::Failed(Errno::ENOSYS)
    }

    fn completion(&mut self, _: &mut Cx<'_>, _: u64, _: Result<NodeReply, Errno>) {}

    fn event(&mut self, _: &mut Cx<'_>, _: Event) {}

    fn cancel(&mut self, _: &mut Cx<'_>, _: Ticket) {}
}

/// A message of this epoch for this life of its receiver.
fn tell(epoch: u64, life: u32) -> Vec<u8> {
    let (kind, server, msg, bulk) = (Kind::Tell, ServerId::Fs, Msg::default(), Vec::new());
    let (op, status, request, floor, again) = (7, 0, 0, 0, false);
    let tell =
        NodeMessage { kind, server, op, status, epoch, request, floor, again, life, msg, bulk };
    tell.encode().expect("short")
}

/// Node 2 sends these messages to a node 1 that is outside and becomes a member, with its second life. How many
/// of them counted, and whether node 2 can still be reached.
fn outside(sent: impl IntoIterator<Item = Vec<u8>>) -> (u32, bool) {
    heard_outside(sent.into_iter().map(|data| (Taken::Message, data)))
}

fn heard_outside(heard: impl IntoIterator<Item = (Taken, Vec<u8>)>) -> (u32, bool) {
    let net = Net::shared();
    let mut platform = TestNode::new(node(1), ServerId::Fs, Rc::clone(&net));
    let host = Host::outside(ServerId::Fs, node(1), Counter::default());
    let first = View::fixed(Vec::from([node(1), node(2)])).expect("a view");
    let without = crate::testing::next_view(&first, &[node(1)], &[]);
    let again = crate::testing::next_view(&without, &[], &[(node(1), 7)]);
    assert_eq!(again.member(node(1)).map(|it| it.incarnation.get()), Some(3));
    net.borrow_mut().put(node(1), ServerId::Fs, (Taken::Up, node(2), Vec::new()));
    for (what, data) in heard {
        net.borrow_mut().put(node(1), ServerId::Fs, (what, node(2), data));
    }
    host.collect(&mut platform, ServerId::Net);
    crate::testing::enter(&host, &mut platform, &again);
    crate::testing::lease(&host, &mut platform, u64::MAX);
    host.step(&mut platform, |core, cx| (core.0, cx.membership.reaches(node(2))))
}

#[test]
fn message_for_an_earlier_life_of_its_receiver_is_dropped() {
    assert_eq!(outside([tell(1, 1), tell(3, 3), tell(1, 1)]), (1, true));
}

#[test]
fn flood_for_an_earlier_life_costs_the_next_one_nothing() {
    let flood = || vec![tell(1, 1); 3 * HELD_MESSAGES_MAX];
    assert_eq!(outside(flood()), (0, true));
    assert_eq!(outside(flood().into_iter().chain([tell(3, 3), tell(3, 3)])), (2, true));
}

#[test]
fn flood_for_a_life_that_has_not_begun_ends_its_sender() {
    let flood = vec![tell(3, 3); HELD_MESSAGES_MAX + 1];
    assert_eq!(outside(flood), (0, false));
}

#[test]
fn link_that_was_down_takes_a_flood_with_it() {
    let flood = vec![(Taken::Message, tell(3, 3)); HELD_MESSAGES_MAX + 1];
    let again = [(Taken::Down, vec![]), (Taken::Up, vec![]), (Taken::Message, tell(3, 3))];
    assert_eq!(heard_outside(flood.into_iter().chain(again)), (1, true));
}

#[test]
fn flood_of_one_node_costs_another_nothing() {
    // Node 2 pretends that there are views, and later lives of node 1, that nobody has heard of.
    let flood = vec![tell(90, u32::MAX); HELD_MESSAGES_MAX];
    for inside in [false, true] {
        let net = Net::shared();
        let mut platform = TestNode::new(node(1), ServerId::Fs, Rc::clone(&net));
        let host = Host::outside(ServerId::Fs, node(1), Counter::default());
        let view = View::fixed(Vec::from([node(1), node(2), node(3)])).expect("a view");
        let next = crate::testing::next_view(&view, &[], &[(node(4), 9)]);
        if inside {
            crate::testing::enter(&host, &mut platform, &view);
        }
        let send = |from, data| {
            let message = (Taken::Message, node(from), data);
            net.borrow_mut().put(node(1), ServerId::Fs, message);
        };
        net.borrow_mut().put(node(1), ServerId::Fs, (Taken::Up, node(2), Vec::new()));
        net.borrow_mut().put(node(1), ServerId::Fs, (Taken::Up, node(3), Vec::new()));
        flood.iter().for_each(|data| send(2, data.clone()));
        send(3, tell(2, 1));
        host.collect(&mut platform, ServerId::Net);
        crate::testing::enter(&host, &mut platform, &next);
        crate::testing::lease(&host, &mut platform, u64::MAX);
        let found = host.step(&mut platform, |core, cx| {
            (core.0, cx.membership.reaches(node(2)), cx.membership.reaches(node(3)))
        });
        // Outside node 2 has lost only what was for a life that is not this one.
        assert_eq!(found, (1, !inside, true), "inside: {inside}");
    }
}

#[test]
fn message_that_waited_for_a_view_without_its_sender_is_dropped() {
    let net = Net::shared();
    let mut platform = TestNode::new(node(1), ServerId::Fs, Rc::clone(&net));
    let host = Host::outside(ServerId::Fs, node(1), Counter::default());
    let old = View::fixed(Vec::from([node(1), node(2), node(3)])).expect("a view");
    let new = crate::testing::next_view(&old, &[node(2)], &[]);
    for from in [2, 3] {
        let data = tell(1, 1);
        net.borrow_mut().put(node(1), ServerId::Fs, (Taken::Message, node(from), data));
    }
    host.collect(&mut platform, ServerId::Net);
    crate::testing::enter(&host, &mut platform, &new);
    crate::testing::lease(&host, &mut platform, u64::MAX);
    assert_eq!(host.step(&mut platform, |core, _| core.0), 1);
}

#[test]
fn message_of_a_dead_server_names_its_server_and_kind() {
    let gone = NodeMessage::gone(ServerId::Mem).encode().expect("short");
    let decoded = NodeMessage::decode(&gone).expect("well-formed");
    assert_eq!((decoded.kind, decoded.server), (Kind::Gone, ServerId::Mem));
}

#[test]
fn crash_is_for_the_shell_server_to_ask() {
    let may: Vec<_> = ServerId::ALL.into_iter().filter(|it| system::may_crash(*it)).collect();
    assert_eq!(may, [ServerId::Shell]);
}

/// A driver: whether its interrupt was acknowledged, and whether it was when it was handled.
struct Checked(spin::Mutex<(bool, Option<bool>)>);

impl Service for Checked {
    fn id(&self) -> ServerId {
        ServerId::Timer
    }

    fn start(&self, _: &mut dyn Platform) {}

    fn request(
        &self,
        _: &mut dyn Platform,
        _: ServerId,
        _: u16,
        _: &mut Msg,
        _: &mut Bulk<'_>,
    ) -> Status {
        Status::Failed(Errno::ENOSYS)
    }

    fn collect(&self, _: &mut dyn Platform, _: ServerId) {}

    fn server_down(&self, _: &mut dyn Platform, _: ServerId) {}

    fn interrupt(&self, _: &mut dyn Platform, _: u8) {
        let mut seen = self.0.lock();
        seen.1 = Some(seen.0);
    }
}

#[test]
fn interrupt_is_acknowledged_before_it_is_handled() {
    let mut world = World::new();
    let driver = Checked(spin::Mutex::new((false, None)));
    crate::handle_interrupt(&driver, &mut world.platform, 0, || driver.0.lock().0 = true);
    assert_eq!(driver.0.lock().1, Some(true), "a shot during the handling would be lost");
}

#[test]
fn cancel_follows_its_call_in_the_same_lane() {
    let mut world = World::new();
    for (cookie, lane, bulk) in [(1, Lane::Control, 0), (2, Lane::Pages, 5000)] {
        world.step(|_, cx| {
            cx.call_node(node(2), &Ask { number: cookie }, alloc::vec![0; bulk], cookie);
            cx.cancel(cookie);
        });
        let sent = world.net.borrow().on_its_way(node(1), node(2), lane);
        let kinds: Vec<_> = sent
            .iter()
            .map(|data| NodeMessage::decode(data).expect("it was encoded here").kind)
            .collect();
        assert_eq!(kinds, [Kind::Call, Kind::Cancel], "{lane:?}");
    }
}

#[test]
fn call_to_oneself_is_performed_after_the_step_as_one_of_another_node() {
    let mut world = World::new();
    for (number, cookie, end) in [(DONE, 10, Ok(())), (1, 11, Err(Errno::ENOSYS))] {
        world.step(|core, cx| {
            cx.call_node(node(1), &Ask { number }, Vec::new(), cookie);
            assert_eq!(core.ended, [], "not under the lock of its own step");
        });
        assert_eq!(world.ended(), [(cookie, end)]);
    }
    assert_eq!(world.net.borrow().sent, 0, "no message is made of it");
}

#[test]
fn call_to_oneself_that_waits_is_given_up() {
    let mut world = World::new();
    let ask = Ask { number: LATER };
    world.step(|_, cx| cx.call_node(node(1), &ask, Vec::new(), 10));
    assert_eq!(world.ended(), []);
    world.step(|_, cx| cx.cancel(10));
    assert_eq!(world.ended(), [(10, Err(Errno::ECANCELED))]);
    world.step(|_, cx| {
        cx.call_node(node(1), &ask, Vec::new(), 11);
        cx.cancel(11);
    });
    assert_eq!(world.ended(), [(11, Err(Errno::ECANCELED))]);
}

#[test]
fn call_to_oneself_that_is_given_up_before_it_begins_does_not_begin() {
    let mut world = World::new();
    world.step(|_, cx| {
        cx.call_node(node(1), &Ask { number: DONE }, Vec::new(), 10);
        // As a worker of another core that is quicker may do it.
        let request = cx.tables.next_request - 1;
        cx.tables.give_up(request);
    });
    assert_eq!(world.ended(), [(10, Err(Errno::ECANCELED))]);
}
