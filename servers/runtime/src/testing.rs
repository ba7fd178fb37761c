// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes and a network in one thread, for the tests of cores.
//!
//! # Model
//! A [`Net`] keeps one queue per pair of nodes and lane. [`Net::deliver`] moves one message, from the
//! queue that the caller chooses, into the inbox of the server that it is for: so a test decides
//! every interleaving, and a seed repeats it. A [`TestNode`] is one server's [`Platform`].

pub mod views;

#[cfg(test)]
use crate::node::Lane;
use crate::node::{NET_SEND, NET_TAKE, NodeMessage, TIMER_ARM, Taken};
use crate::{Bulk, Completion, Core, Host, Lease, Msg, Operation, Platform, Status, Wire, system};
use abi::limits::MESSAGE_BYTES;
use abi::{CoreId, Epoch, Errno, NodeId, ServerId, SlotNo};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use cluster::{Delta, Draft, Goal, Joining, Policy, Slot, View};
use core::cell::RefCell;

/// A call that the net and the timer do not answer: from, to, operation, message, bulk data.
pub type Below = Box<dyn FnMut(ServerId, ServerId, u16, &mut Msg, &mut Bulk<'_>) -> Status>;

/// A link's messages in one direction and lane, each with the server that it is for.
type Messages = VecDeque<(ServerId, Vec<u8>)>;
/// What waits for one server: what it is, the node, the message.
type Inbox = VecDeque<(Taken, NodeId, Vec<u8>)>;

/// All links and all inboxes.
#[derive(Default)]
pub struct Net {
    lanes: BTreeMap<(NodeId, NodeId, u8), Messages>,
    inboxes: BTreeMap<(NodeId, ServerId), Inbox>,
    dead: BTreeSet<NodeId>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// Pairs of nodes between which nothing moves for now, from the first to the second.
    pub held: BTreeSet<(NodeId, NodeId)>,
    /// Messages sent since the start.
    pub sent: u64,
    /// Messages that one lane holds before its sender gets EAGAIN; `None`: any number.
    pub lane_messages_max: Option<usize>,
}

impl Net {
    /// A network that the nodes of a test share.
    pub fn shared() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self::default()))
    }

    /// Moves the next message of one lane to its inbox; `choice` picks among the lanes that hold
    /// any. False if none does.
    pub fn deliver(&mut self, choice: usize) -> bool {
        let moves = |key: &(NodeId, NodeId, u8)| !self.held.contains(&(key.0, key.1));
        let full = self.lanes.iter().filter(|(key, lane)| !lane.is_empty() && moves(key));
        let full: Vec<_> = full.map(|(key, _)| *key).collect();
        if full.is_empty() {
            return false;
        }
        let key = full[choice % full.len()];
        let next = self.lanes.get_mut(&key).and_then(VecDeque::pop_front);
        if let Some((server, data)) = next
            && let Some(inbox) = self.inboxes.get_mut(&(key.1, server))
        {
            inbox.push_back((Taken::Message, key.0, data));
        }
        true
    }

    /// Puts something into a server's inbox.
    #[cfg(test)]
    pub(crate) fn put(&mut self, node: NodeId, server: ServerId, item: (Taken, NodeId, Vec<u8>)) {
        self.inboxes.entry((node, server)).or_default().push_back(item);
    }

    /// What is on its way from one node to another in a lane, oldest first.
    #[cfg(test)]
    pub(crate) fn on_its_way(&self, from: NodeId, to: NodeId, lane: Lane) -> Vec<Vec<u8>> {
        let messages = self.lanes.get(&(from, to, lane as u8)).into_iter().flatten();
        messages.map(|(_, data)| data.clone()).collect()
    }

    /// Cuts a node off for good: what is on its way from and to it is lost, the others hear of it.
    pub fn kill(&mut self, node: NodeId) {
        self.dead.insert(node);
        self.lanes.retain(|(from, to, _), _| *from != node && *to != node);
        for (_, inbox) in self.inboxes.iter_mut().filter(|((of, _), _)| *of == node) {
            inbox.clear();
        }
        self.mark_all(node, Taken::Down);
    }

    /// A server of a node dies: the same server elsewhere is told so, and nothing reaches the node any more.
    pub fn server_dies(&mut self, node: NodeId, server: ServerId) {
        self.dead.insert(node);
        self.lanes.retain(|(from, to, _), _| *from != node && *to != node);
        let gone = NodeMessage::gone(server).encode().expect("it is short");
        for ((of, at), inbox) in &mut self.inboxes {
            if *of == node {
                inbox.clear();
            } else if *at == server && !self.dead.contains(of) {
                inbox.push_back((Taken::Message, node, gone.clone()));
            }
        }
    }

    /// A node that was cut off boots again: the others hear that it answers.
    pub fn boot(&mut self, node: NodeId) {
        self.dead.remove(&node);
        self.mark_all(node, Taken::Up);
    }

    fn mark_all(&mut self, node: NodeId, what: Taken) {
        for ((of, _), inbox) in self.inboxes.iter_mut().filter(|((of, _), _)| *of != node) {
            if !self.dead.contains(of) {
                inbox.push_back((what, node, Vec::new()));
            }
        }
    }

    /// Cuts the link of two nodes, or lets it work again: what is on its way is lost, both hear of it.
    pub fn cut(&mut self, a: NodeId, b: NodeId, is_cut: bool) {
        let pair = if a < b { (a, b) } else { (b, a) };
        let changed = if is_cut { self.cuts.insert(pair) } else { self.cuts.remove(&pair) };
        // Of a node that is dead nothing is heard but that.
        if !changed || self.dead.contains(&a) || self.dead.contains(&b) {
            return;
        }
        self.lanes.retain(|(from, to, _), _| (*from, *to) != (a, b) && (*from, *to) != (b, a));
        let what = if is_cut { Taken::Down } else { Taken::Up };
        for ((of, _), inbox) in &mut self.inboxes {
            match *of {
                of if of == a => inbox.push_back((what, b, Vec::new())),
                of if of == b => inbox.push_back((what, a, Vec::new())),
                _ => {}
            }
        }
    }

    fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cuts.contains(&if a < b { (a, b) } else { (b, a) })
    }

    /// Whether anything waits in a lane or an inbox.
    pub fn is_idle(&self) -> bool {
        self.lanes.values().all(VecDeque::is_empty) && self.inboxes.values().all(VecDeque::is_empty)
    }

    fn send(&mut self, from: NodeId, msg: &Msg, data: &[u8]) -> Status {
        let [to, lane, server, _] = msg.words;
        let to = u16::try_from(to).ok().and_then(NodeId::new).expect("a core names a node");
        let server = u8::try_from(server).ok().and_then(ServerId::from_number);
        if self.dead.contains(&to) || self.dead.contains(&from) || self.is_cut(from, to) {
            return Status::Failed(Errno::EHOSTDOWN);
        }
        let is_new = crate::node::read_send_words(msg.words)
            .is_ok_and(|(.., urge)| urge == crate::node::Urge::New);
        let lane = self.lanes.entry((from, to, lane as u8)).or_default();
        if is_new && self.lane_messages_max.is_some_and(|max| lane.len() >= max) {
            return Status::Failed(Errno::EAGAIN);
        }
        lane.push_back((server.expect("a core names a server"), data.to_vec()));
        self.sent += 1;
        Status::Done
    }

    fn take(&mut self, node: NodeId, server: ServerId, msg: &mut Msg, bulk: &mut Bulk<'_>) {
        let next = self.inboxes.get_mut(&(node, server)).and_then(VecDeque::pop_front);
        *msg = Msg::default();
        if let Some((what, from, data)) = next {
            msg.words = [what as u64, u64::from(from.get()), 0, 0];
            bulk.set(&data).expect("a message fits a window");
        }
    }
}

/// What surrounds one server of one node in a test.
pub struct TestNode {
    node: NodeId,
    net: Rc<RefCell<Net>>,
    /// Nanoseconds since boot; the test moves it.
    pub now_ns: u64,
    /// Bytes of the server's heap that are free.
    pub heap_left: usize,
    /// The earliest deadline that was armed.
    pub armed_ns: Option<u64>,
    /// Who was notified: the client and its core.
    pub notified: VecDeque<(ServerId, CoreId)>,
    /// Answers calls to other servers of the node; without it they fail with ENOSYS.
    pub below: Option<Below>,
}

impl TestNode {
    /// The surroundings of `server` on `node`.
    pub fn new(node: NodeId, server: ServerId, net: Rc<RefCell<Net>>) -> Self {
        net.borrow_mut().inboxes.insert((node, server), VecDeque::new());
        let notified = VecDeque::new();
        Self { node, net, now_ns: 0, heap_left: usize::MAX, armed_ns: None, notified, below: None }
    }
}

impl Platform for TestNode {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn core(&self) -> CoreId {
        CoreId(0)
    }

    fn heap_left(&self) -> usize {
        self.heap_left
    }

    fn call(
        &mut self,
        from: ServerId,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        match (to, op) {
            (ServerId::Net, NET_SEND) => self.net.borrow_mut().send(self.node, msg, bulk.data()),
            (ServerId::Net, NET_TAKE) => {
                self.net.borrow_mut().take(self.node, from, msg, bulk);
                Status::Done
            }
            (ServerId::Timer, TIMER_ARM) => {
                self.armed_ns = Some(msg.words[0]);
                Status::Done
            }
            _ => match &mut self.below {
                Some(below) => below(from, to, op, msg, bulk),
                None => Status::Failed(Errno::ENOSYS),
            },
        }
    }

    fn notify(&mut self, _from: ServerId, client: ServerId, core: CoreId) {
        self.notified.push_back((client, core));
    }
}

/// Lets a host enter a view, as the views server does.
pub fn enter<C: Core>(host: &Host<C>, platform: &mut dyn Platform, view: &View) {
    let bytes = view.encode();
    for (at, piece) in bytes.chunks(MESSAGE_BYTES).enumerate() {
        let words = [(at * MESSAGE_BYTES) as u64, bytes.len() as u64, 0, 0];
        let mut msg = Msg { words, bytes: piece.to_vec() };
        let bulk = &mut Bulk::none();
        let status = host.request(platform, ServerId::Views, system::ENTER, &mut msg, bulk);
        assert_eq!(status, Status::Done, "a view that this crate encoded");
    }
}

/// Lets a host act until this time of its clock.
pub fn lease<C: Core>(host: &Host<C>, platform: &mut dyn Platform, until_ns: u64) {
    let given = call(host, platform, ServerId::Views, &Lease { until_ns, leader: 1 }, &mut []);
    given.expect("a host takes a lease");
}

/// The next view, without `left`, with `came` under this boot number, and slots where they must be.
pub fn next_view(view: &View, left: &[NodeId], came: &[(NodeId, u64)]) -> View {
    let mut draft = Draft::new(view);
    for node in left {
        draft.leave(*node);
    }
    for (node, boot) in came {
        draft.admit(*node, *boot, None).expect("it is no member");
    }
    draft.settle(Policy { backups: false });
    let delta = draft.finish().expect("something changed");
    view.apply(&delta).expect("a draft is lawful")
}

/// The view after the next one, in which `slot` is where `to` says.
pub fn moved_view(view: &View, slot: SlotNo, to: NodeId) -> View {
    let row = *view.slot(slot);
    let joining = Some(Joining { node: to, goal: Goal::Primary });
    let change = |view: &View, slots| {
        let delta = Delta { slots, ..Delta::new(view.epoch()) };
        view.apply(&delta).expect("a lawful move")
    };
    let joins = change(view, Vec::from([(slot, Slot { joining, backup: None, ..row })]));
    let next = Epoch(joins.epoch().0 + 1);
    let moved = joins.slot(slot).moved(next).expect("one joins");
    change(&joins, Vec::from([(slot, Slot { backup: None, ..moved })]))
}

/// Calls an operation of a host as server `client` would, with `buf` as its window; the bytes that
/// came back stand there, their number is given.
///
/// # Errors
/// What the core answers: the status, if it is not done.
pub fn call<C: Core, O: Operation>(
    host: &Host<C>,
    platform: &mut dyn Platform,
    client: ServerId,
    op: &O,
    buf: &mut [u8],
) -> Result<(O::Reply, usize), Status> {
    let mut msg = Msg::of(op).map_err(Status::Failed)?;
    let mut bulk = Bulk::new(buf);
    match host.request(platform, client, O::NUMBER, &mut msg, &mut bulk) {
        Status::Done => {
            let len = bulk.len;
            Ok((O::Reply::get(&msg).map_err(Status::Failed)?, len))
        }
        other => Err(other),
    }
}

/// Collects one completion or event for server `client`, if one waits.
pub fn take<C: Core>(
    host: &Host<C>,
    platform: &mut dyn Platform,
    client: ServerId,
) -> Option<Completion> {
    let mut msg = Msg::default();
    host.request(platform, client, system::TAKE, &mut msg, &mut Bulk::none());
    Completion::unpack(&msg).expect("a host packs well")
}
