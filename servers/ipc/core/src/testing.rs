// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two nodes with real hosts and ipc cores over a fake memory, console and net.

use crate::Ipc;
use abi::{CoreId, Errno, NodeId, ObjectId, ServerId, SlotNo, SpaceId, Ticket};
use cluster::View;
use ipc_api::console::{ConsoleInput, ConsoleWrite, EVENT_INPUT, EVENT_ROOM};
use mem_api::{
    CopyIn, CopyOut, ObjectAdopt, ObjectCreate, ObjectCreated, ObjectHold, ObjectRelease,
    ObjectResize, Prepare,
};
use runtime::node::{NET_SEND, NET_TAKE, Taken};
use runtime::{
    Bulk, Core, Event, Export, Give, Given, Host, Msg, Operation, Platform, Status, Wire, system,
};
use std::collections::{BTreeMap, VecDeque};
use std::vec;
use std::vec::Vec;

pub(crate) const SPACE: SpaceId = SpaceId { index: 1, generation: 1 };
const MEMORY_BYTES: usize = 1 << 20;

/// How a call ended at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Now<T> {
    Done(T),
    Pending(Ticket),
    Failed(Errno),
}

/// What a client took.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) enum Later {
    Ended(Ticket, Result<Msg, Errno>),
    Event(u16, Msg),
}

pub(crate) struct World {
    me: NodeId,
    pub(crate) now_ns: u64,
    /// Bytes of the server's heap that are free.
    pub(crate) heap_left: usize,
    pub(crate) memory: Vec<u8>,
    /// Memory objects, and how often each is referred to.
    pub(crate) objects: BTreeMap<u64, u32>,
    /// Every page of the program rests elsewhere.
    pub(crate) absent: bool,
    pub(crate) console: Vec<u8>,
    pub(crate) console_full: bool,
    outbox: VecDeque<(NodeId, Vec<u8>)>,
    inbox: VecDeque<(u64, NodeId, Vec<u8>)>,
    down: Vec<NodeId>,
}

impl World {
    fn copy(&mut self, op: u16, msg: &Msg, bulk: &mut Bulk<'_>) -> Result<(), Errno> {
        if self.absent {
            return Err(Errno::ERESTART);
        }
        let addr = msg.words[1] as usize;
        if addr > MEMORY_BYTES {
            return Err(Errno::EFAULT);
        }
        match op {
            CopyIn::NUMBER => {
                let len = msg.words[2] as usize;
                let data = self.memory.get(addr..addr + len).ok_or(Errno::EFAULT)?;
                bulk.set(data)
            }
            CopyOut::NUMBER => {
                let data = bulk.data();
                let to = self.memory.get_mut(addr..addr + data.len()).ok_or(Errno::EFAULT)?;
                to.copy_from_slice(data);
                Ok(())
            }
            Prepare::NUMBER => {
                let len = msg.words[2] as usize;
                self.memory.get(addr..addr + len).ok_or(Errno::EFAULT).map(|_| ())
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Operations on memory objects; `None`: it is none.
    fn object(&mut self, op: u16, msg: &mut Msg) -> Option<Result<(), Errno>> {
        let refer = |objects: &mut BTreeMap<u64, u32>, object: ObjectId| {
            *objects.entry(object.raw()).or_default() += 1;
        };
        Some(match op {
            ObjectCreate::NUMBER => ObjectCreate::get(msg).and_then(|create| {
                let serial = self.objects.len() as u64 + 1;
                let slot = create.slot.ok_or(Errno::EINVAL)?;
                let object = ObjectId::new(slot, serial).ok_or(Errno::ENFILE)?;
                refer(&mut self.objects, object);
                ObjectCreated { object }.put(msg)
            }),
            ObjectResize::NUMBER => Ok(()),
            ObjectHold::NUMBER => {
                ObjectHold::get(msg).map(|it| refer(&mut self.objects, it.object))
            }
            ObjectAdopt::NUMBER => {
                ObjectAdopt::get(msg).map(|it| refer(&mut self.objects, it.object))
            }
            ObjectRelease::NUMBER => ObjectRelease::get(msg).map(|it| {
                *self.objects.get_mut(&it.object.raw()).expect("it is referred to") -= 1;
            }),
            _ => return None,
        })
    }

    fn net(&mut self, op: u16, msg: &mut Msg, bulk: &mut Bulk<'_>) -> Result<(), Errno> {
        match op {
            NET_SEND => {
                let to = NodeId::new(msg.words[0] as u16).ok_or(Errno::EINVAL)?;
                if self.down.contains(&to) {
                    return Err(Errno::EHOSTDOWN);
                }
                self.outbox.push_back((to, bulk.data().to_vec()));
                Ok(())
            }
            NET_TAKE => {
                msg.words = [0; 4];
                if let Some((what, node, data)) = self.inbox.pop_front() {
                    msg.words = [what, u64::from(node.get()), 0, 0];
                    bulk.set(&data)?;
                }
                Ok(())
            }
            _ => Err(Errno::ENOSYS),
        }
    }
}

impl Platform for World {
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
        _from: ServerId,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let result = match to {
            ServerId::Mem => self.object(op, msg).unwrap_or_else(|| self.copy(op, msg, bulk)),
            ServerId::Net => self.net(op, msg, bulk),
            ServerId::Console if self.console_full => Err(Errno::EAGAIN),
            ServerId::Console => ConsoleWrite::get(msg).map(|text| self.console.extend(text.0)),
            ServerId::Timer => Ok(()),
            _ => Err(Errno::ENOSYS),
        };
        result.map_or_else(Status::Failed, |()| Status::Done)
    }

    fn notify(&mut self, _from: ServerId, _client: ServerId, _core: CoreId) {}
}

pub(crate) struct Node {
    pub(crate) host: Host<Ipc>,
    pub(crate) world: World,
}

pub(crate) fn node_id(number: u16) -> NodeId {
    NodeId::new(number).expect("a node number")
}

impl Node {
    fn new(number: u16, nodes: u16) -> Self {
        let me = node_id(number);
        let view = View::fixed((1..=nodes).map(node_id).collect()).expect("a view");
        let world = World {
            me,
            now_ns: 0,
            heap_left: usize::MAX,
            memory: vec![0; MEMORY_BYTES],
            objects: BTreeMap::new(),
            absent: false,
            console: Vec::new(),
            console_full: false,
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            down: Vec::new(),
        };
        Self { host: Host::new(ServerId::Ipc, me, view, Ipc::new()), world }
    }

    /// Calls as proc-server.
    pub(crate) fn call<O: Operation>(&mut self, op: &O) -> Now<O::Reply> {
        let mut msg = Msg::of(op).expect("a message");
        let bulk = &mut Bulk::none();
        match self.host.request(&mut self.world, ServerId::Proc, O::NUMBER, &mut msg, bulk) {
            Status::Done => Now::Done(O::Reply::get(&msg).expect("a reply")),
            Status::Pending(ticket) => Now::Pending(ticket),
            Status::Failed(errno) => Now::Failed(errno),
        }
    }

    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        let mut msg = Msg { words: [ticket.to_word(), 0, 0, 0], ..Msg::default() };
        let bulk = &mut Bulk::none();
        self.host.request(&mut self.world, ServerId::Proc, system::CANCEL, &mut msg, bulk);
    }

    /// Takes all that waits for `client`.
    pub(crate) fn take_for(&mut self, client: ServerId) -> Vec<Later> {
        let mut all = Vec::new();
        loop {
            let mut msg = Msg::default();
            let bulk = &mut Bulk::none();
            self.host.request(&mut self.world, client, system::TAKE, &mut msg, bulk);
            if msg.words[0] == 0 {
                return all;
            }
            all.push(unpack(&msg.bytes));
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Later> {
        self.take_for(ServerId::Proc)
    }

    fn event(&mut self, event: Event) {
        self.host.step(&mut self.world, |core, cx| core.event(cx, event));
    }

    pub(crate) fn typed(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(256) {
            let msg = Msg::of(&ConsoleInput(part.to_vec())).expect("a message");
            self.event(Event::Upcall { from: ServerId::Console, number: EVENT_INPUT, msg });
        }
    }

    pub(crate) fn console_room(&mut self) {
        self.world.console_full = false;
        let msg = Msg::default();
        self.event(Event::Upcall { from: ServerId::Console, number: EVENT_ROOM, msg });
    }

    pub(crate) fn enter(&mut self, view: &View) {
        runtime::testing::views::enter(&self.host, &mut self.world, view);
    }

    /// Whether anything lives in the slot; freezes it if not.
    pub(crate) fn occupies(&self, slot: u16) -> bool {
        let slot = SlotNo::new(slot).expect("a slot");
        self.host.freeze(slot).expect("its home")
    }

    /// Whether anything lives in the slot; freezes nothing.
    pub(crate) fn host_occupies(&mut self, slot: SlotNo) -> bool {
        self.host.step(&mut self.world, |core, _| core.occupies(slot))
    }

    pub(crate) fn export(&mut self, slot: SlotNo) -> Vec<u8> {
        match self.host.step(&mut self.world, |core, cx| core.export(cx, slot)) {
            Export::State(state) => state,
            other => panic!("nothing to give: {other:?}"),
        }
    }

    pub(crate) fn admits(&mut self, slot: SlotNo, state: &[u8]) -> Result<(), Errno> {
        self.host.step(&mut self.world, |core, cx| core.admits(cx, slot, state))
    }

    /// Begins to give the slot to another node.
    pub(crate) fn give(&mut self, slot: u16, to: u16) -> Status {
        let mut msg = Msg::of(&Give { slot, to: node_id(to), really: true }).expect("a message");
        let bulk = &mut Bulk::none();
        self.host.request(&mut self.world, ServerId::Views, system::GIVE, &mut msg, bulk)
    }

    /// Whether the other node has the slot.
    pub(crate) fn given(&mut self) -> bool {
        match &self.take_for(ServerId::Views)[..] {
            [Later::Ended(_, Ok(msg))] => Given::get(msg).expect("an answer").given,
            other => panic!("no answer: {other:?}"),
        }
    }

    /// Another server of the node dies.
    pub(crate) fn server_down(&mut self, server: ServerId) {
        self.host.server_down(&mut self.world, server);
    }

    pub(crate) fn pass(&mut self, ns: u64) {
        self.world.now_ns += ns;
        self.host.collect(&mut self.world, ServerId::Timer);
    }

    /// What the console showed since the last call.
    pub(crate) fn shown(&mut self) -> std::string::String {
        std::string::String::from_utf8_lossy(&core::mem::take(&mut self.world.console)).into_owned()
    }
}

fn unpack(bytes: &[u8]) -> Later {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let number = u16::from_le_bytes([bytes[2], bytes[3]]);
    let words = [word(12), word(20), word(28), word(36)];
    let msg = Msg { words, bytes: bytes[44..].to_vec() };
    if bytes[0] == 2 {
        return Later::Event(number, msg);
    }
    let result = if number == 0 { Ok(msg) } else { Err(Errno::from_number(number)) };
    Later::Ended(Ticket::from_word(word(4)), result)
}

/// A cluster of two nodes.
pub(crate) struct Pair(pub(crate) [Node; 2]);

impl Pair {
    pub(crate) fn new() -> Self {
        Self([Node::new(1, 2), Node::new(2, 2)])
    }

    /// Carries messages until none is on its way.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..2 {
                let source = self.0[from].world.me;
                while let Some((to, data)) = self.0[from].world.outbox.pop_front() {
                    let node = &mut self.0[usize::from(to.get()) - 1];
                    node.world.inbox.push_back((1, source, data));
                    moved = true;
                }
            }
            if !moved {
                return;
            }
            for node in &mut self.0 {
                node.host.collect(&mut node.world, ServerId::Net);
            }
        }
    }

    /// The link between them fails, or is up again.
    pub(crate) fn cut(&mut self, is_cut: bool) {
        for (node, other) in self.0.iter_mut().zip([node_id(2), node_id(1)]) {
            node.world.down.retain(|it| *it != other);
            node.world.down.extend(is_cut.then_some(other));
            let taken = if is_cut { Taken::Down } else { Taken::Up };
            node.world.inbox.push_back((taken as u64, other, Vec::new()));
            node.host.collect(&mut node.world, ServerId::Net);
        }
    }

    /// Node 2 dies.
    pub(crate) fn kill_second(&mut self) {
        let node = &mut self.0[0];
        node.world.down.push(node_id(2));
        node.world.inbox.push_back((2, node_id(2), Vec::new()));
        node.host.collect(&mut node.world, ServerId::Net);
    }
}

/// A node alone.
pub(crate) fn single() -> Node {
    Node::new(1, 1)
}
