// SPDX-License-Identifier: MIT OR Apache-2.0
//! One node: the real cores of all servers in their real hosts, over simulated machines.

use crate::console::Console;
use crate::isa;
use crate::memory::Memory;
use crate::rng::Rng;
use crate::threads::{Activity, Fault, ThreadMachine, Threads};
use crate::wire::mac;
use abi::image::{NodeEntry, RootEntry};
use abi::{CoreId, Errno, NodeId, ServerId, Ticket};
use cluster::View;
use fs_core::FsCore;
use ipc_core::Ipc;
use mem_core::MemCore;
use net_api::{LinkUse, StrayUse};
use net_core::{Item, Net, Peer, Secret};
use proc_core::{FaultAnswer, ProcCore, UserFault};
use runtime::node::{NET_SEND, NET_TAKE, TIMER_ARM, Taken, read_send_words};
use runtime::{Bulk, Completion, Core, Host, Msg, Operation, Platform, Status, Wire};
use shell_core::{Machine, Setup, Shell, Stop};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a node is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its number.
    pub node: NodeId,
    /// All nodes.
    pub nodes: Vec<NodeId>,
    /// CPU cores.
    pub cores: u8,
    /// Page frames.
    pub frames: usize,
    /// The root file system.
    pub root: Vec<RootEntry>,
    /// Its data.
    pub root_data: Rc<Vec<u8>>,
    /// The program on the console.
    pub login: Vec<String>,
    /// Chance.
    pub seed: u64,
}

/// Virtual time that a step of a server takes.
pub const STEP_NS: u64 = 2_000;
/// Virtual time that a program's instruction takes: slow, so that seconds have few of them.
const INSTRUCTION_NS: u64 = 1_000;

/// The server in whose name a scenario asks: none runs that could be confused with it.
pub const DRIVER: ServerId = ServerId::Ckpt;

/// The servers that run cores here.
const SERVERS: [ServerId; 6] = [
    ServerId::Console,
    ServerId::Mem,
    ServerId::Fs,
    ServerId::Ipc,
    ServerId::Proc,
    ServerId::Shell,
];

/// A signal that waits for a worker: who holds something, for whom, on which core.
pub type Notice = (ServerId, ServerId, CoreId);

/// Root, as the shell server knows it.
#[derive(Default)]
pub struct Root {
    /// How the node was stopped.
    pub stopped: Option<Stop>,
}

impl Machine for Root {
    fn stop(&mut self, how: Stop) {
        self.stopped = Some(how);
    }

    fn log(&mut self, _bytes_max: usize) -> Vec<u8> {
        Vec::new()
    }
}

/// What changes beside the servers' own state.
struct Surroundings {
    net: Net,
    /// Earliest deadline of each server.
    deadlines: BTreeMap<ServerId, u64>,
    notices: Vec<Notice>,
    /// Servers that died.
    dead: BTreeSet<ServerId>,
    /// Who has not heard of it yet: the dead server, and the one to be told.
    obituaries: Vec<(ServerId, ServerId)>,
    outbox: Vec<Vec<u8>>,
    /// Servers that are in a call, innermost last.
    calling: Vec<ServerId>,
    /// How calls of the scenario ended.
    ended: BTreeMap<Ticket, Result<Msg, Errno>>,
}

/// A node.
pub struct Node {
    /// Its number.
    pub id: NodeId,
    pub(crate) threads: Rc<RefCell<Threads>>,
    pub(crate) mem: Host<MemCore<Memory>>,
    pub(crate) fs: Host<FsCore>,
    pub(crate) ipc: Host<Ipc>,
    pub(crate) proc: Host<ProcCore<ThreadMachine>>,
    pub(crate) shell: Host<Shell<Root>>,
    pub(crate) console: Host<Console>,
    around: RefCell<Surroundings>,
}

struct Worker<'a> {
    node: &'a Node,
    core: CoreId,
    now_ns: u64,
}

impl Platform for Worker<'_> {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn core(&self) -> CoreId {
        self.core
    }

    fn call(
        &mut self,
        from: ServerId,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        {
            let calling = &mut self.node.around.borrow_mut().calling;
            assert!(!calling.contains(&to), "{from} calls {to}, which waits for it: {calling:?}");
            calling.push(from);
        }
        let status = self.serve(from, to, op, msg, bulk);
        self.node.around.borrow_mut().calling.pop();
        status
    }

    fn notify(&mut self, from: ServerId, client: ServerId, core: CoreId) {
        self.node.notice((from, client, core));
    }
}

impl Worker<'_> {
    fn serve(
        &mut self,
        from: ServerId,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let node = self.node;
        if node.is_dead(to) {
            return Status::Failed(Errno::EIO);
        }
        match to {
            ServerId::Net => node.net_request(self.now_ns, from, op, msg, bulk),
            ServerId::Timer if op == TIMER_ARM => {
                let deadlines = &mut node.around.borrow_mut().deadlines;
                let deadline = deadlines.entry(from).or_insert(u64::MAX);
                *deadline = msg.words[0].min(*deadline);
                Status::Done
            }
            ServerId::Console => node.console.request(self, from, op, msg, bulk),
            ServerId::Mem => node.mem.request(self, from, op, msg, bulk),
            ServerId::Fs => node.fs.request(self, from, op, msg, bulk),
            ServerId::Ipc => node.ipc.request(self, from, op, msg, bulk),
            ServerId::Proc => node.proc.request(self, from, op, msg, bulk),
            ServerId::Timer | ServerId::Ckpt | ServerId::Shell => Status::Failed(Errno::ENOSYS),
        }
    }
}

impl Node {
    /// A node at its boot.
    pub fn new(plan: &Plan, now_ns: u64) -> Self {
        let view = View::fixed(plan.nodes.clone()).expect("a cluster has nodes");
        let threads = Rc::new(RefCell::new(Threads::default()));
        let memory = Memory::new(plan.frames, &plan.root_data, Rc::clone(&threads));
        let mem = MemCore::new(memory).expect("a node has memory");
        let machine = ThreadMachine::new(Rc::clone(&threads), plan.cores, plan.seed);
        let proc = ProcCore::new(machine, &view, plan.node);
        let config = fs_core::Config {
            root: plan.root.clone(),
            wall_ns: 1_700_000_000_000_000_000,
            seed: [plan.seed as u8; 32],
            bytes_max: 16 << 20,
        };
        let fs = FsCore::new(plan.node, view.clone(), config).expect("the image is sound");
        let shell = Shell::new(Root::default(), setup(plan));
        let around = Surroundings {
            net: Net::new(&net_config(plan, now_ns), now_ns),
            deadlines: BTreeMap::new(),
            notices: Vec::new(),
            dead: BTreeSet::new(),
            obituaries: Vec::new(),
            outbox: Vec::new(),
            calling: Vec::new(),
            ended: BTreeMap::new(),
        };
        let id = plan.node;
        Self {
            id,
            threads,
            mem: Host::new(ServerId::Mem, id, view.clone(), mem),
            fs: Host::new(ServerId::Fs, id, view.clone(), fs),
            ipc: Host::new(ServerId::Ipc, id, view.clone(), Ipc::new()),
            proc: Host::new(ServerId::Proc, id, view.clone(), proc),
            shell: Host::new(ServerId::Shell, id, view.clone(), shell),
            console: Host::new(ServerId::Console, id, view, Console::default()),
            around: RefCell::new(around),
        }
    }

    fn worker(&self, core: CoreId, now_ns: u64) -> Worker<'_> {
        Worker { node: self, core, now_ns }
    }

    /// Starts all servers, the lowest first.
    pub fn start(&self, now_ns: u64) {
        let worker = &mut self.worker(CoreId(0), now_ns);
        self.mem.step(worker, |core, cx| core.start(cx));
        self.fs.step(worker, |core, cx| core.start(cx));
        self.ipc.step(worker, |core, cx| core.start(cx));
        self.proc.step(worker, |core, cx| core.start(cx));
        self.shell.step(worker, |core, cx| core.start(cx));
        self.tick(now_ns);
    }

    fn notice(&self, notice: Notice) {
        let notices = &mut self.around.borrow_mut().notices;
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }

    fn net_request(
        &self,
        now_ns: u64,
        from: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let result = match op {
            NET_SEND => self.net_send(from, msg.words, bulk.data()).map(|()| Msg::default()),
            NET_TAKE => self.net_take(from, now_ns, bulk),
            LinkUse::NUMBER => LinkUse::get(msg)
                .and_then(|link| self.around.borrow().net.figures(link.node))
                .and_then(|figures| Msg::of(&figures)),
            StrayUse::NUMBER => Msg::of(&self.around.borrow().net.strays()),
            _ => Err(Errno::ENOSYS),
        };
        self.settle_net(now_ns);
        match result {
            Ok(reply) => {
                *msg = reply;
                Status::Done
            }
            Err(errno) => Status::Failed(errno),
        }
    }

    fn net_send(&self, from: ServerId, words: [u64; 4], data: &[u8]) -> Result<(), Errno> {
        let (node, lane, urge) = read_send_words(words)?;
        assert_eq!(words[2], from as u64, "a server speaks to its own kind");
        self.around.borrow_mut().net.send(node, (lane, urge), from, data.to_vec())
    }

    fn net_take(&self, from: ServerId, now_ns: u64, bulk: &mut Bulk<'_>) -> Result<Msg, Errno> {
        let taken = self.around.borrow_mut().net.take(from, bulk.buf.len(), now_ns)?;
        let words = match taken {
            None => [Taken::Nothing as u64, 0, 0, 0],
            Some((Item::Message(node, data), more)) => {
                bulk.set(&data)?;
                [Taken::Message as u64, u64::from(node.get()), u64::from(more), 0]
            }
            Some((Item::Down(node), more)) => {
                [Taken::Down as u64, u64::from(node.get()), u64::from(more), 0]
            }
            Some((Item::Up(node), more)) => {
                [Taken::Up as u64, u64::from(node.get()), u64::from(more), 0]
            }
        };
        Ok(Msg { words, ..Msg::default() })
    }

    fn settle_net(&self, now_ns: u64) {
        if self.is_dead(ServerId::Net) {
            return;
        }
        let around = &mut *self.around.borrow_mut();
        let mut frame = Vec::new();
        while around.net.next_frame(now_ns, &mut frame) {
            around.outbox.push(frame.clone());
        }
        while let Some(server) = around.net.next_to_tell() {
            let notice = (ServerId::Net, server, CoreId(0));
            if !around.notices.contains(&notice) {
                around.notices.push(notice);
            }
        }
    }

    /// Time has passed for the links and the timers.
    pub fn tick(&self, now_ns: u64) {
        let due = {
            let around = &mut *self.around.borrow_mut();
            if around.net.deadline_ns().is_some_and(|deadline| deadline <= now_ns) {
                around.net.tick(now_ns);
            }
            let due = around.deadlines.iter().filter(|(_, at)| **at <= now_ns);
            let due: Vec<ServerId> = due.map(|(server, _)| *server).collect();
            around.deadlines.retain(|_, at| *at > now_ns);
            due
        };
        for server in due {
            self.notice((ServerId::Timer, server, CoreId(0)));
        }
        self.settle_net(now_ns);
    }

    fn is_dead(&self, server: ServerId) -> bool {
        self.around.borrow().dead.contains(&server)
    }

    /// A server dies between two of its steps: nothing answers for it but errors, and the others hear
    /// of it, each when chance wants it.
    pub fn kill_server(&self, server: ServerId, now_ns: u64) {
        {
            let around = &mut *self.around.borrow_mut();
            around.dead.insert(server);
            around.notices.retain(|(_, client, _)| *client != server);
            around.deadlines.retain(|it, _| *it != server && server != ServerId::Timer);
            around.net.server_down(server, now_ns);
            let living = SERVERS.into_iter().filter(|it| !around.dead.contains(it));
            around.obituaries.extend(living.map(|it| (server, it)));
        }
        self.settle_net(now_ns);
    }

    fn server_down(&self, dead: ServerId, told: ServerId, now_ns: u64) {
        let worker = &mut self.worker(CoreId(0), now_ns);
        match told {
            ServerId::Mem => self.mem.server_down(worker, dead),
            ServerId::Fs => self.fs.server_down(worker, dead),
            ServerId::Ipc => self.ipc.server_down(worker, dead),
            ServerId::Proc => self.proc.server_down(worker, dead),
            ServerId::Shell => self.shell.server_down(worker, dead),
            ServerId::Console => self.console.server_down(worker, dead),
            ServerId::Timer | ServerId::Net | ServerId::Ckpt => {}
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline_ns(&self) -> Option<u64> {
        let around = self.around.borrow();
        let lives = !around.dead.contains(&ServerId::Net);
        let links = around.net.deadline_ns().filter(|_| lives);
        around.deadlines.values().copied().chain(links).min()
    }

    /// A frame arrived.
    pub fn received(&self, frame: &mut [u8], now_ns: u64) {
        if self.is_dead(ServerId::Net) {
            return;
        }
        self.around.borrow_mut().net.received(frame, now_ns);
        self.settle_net(now_ns);
    }

    /// The frames to be sent.
    pub fn take_frames(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.around.borrow_mut().outbox)
    }

    /// What could happen next on this node.
    pub(crate) fn choices(&self, out: &mut Vec<Choice>) {
        let id = self.id;
        for notice in &self.around.borrow().notices {
            out.push(Choice::Notice(id, *notice));
        }
        for (dead, told) in &self.around.borrow().obituaries {
            out.push(Choice::ServerDown(id, *dead, *told));
        }
        let threads = self.threads.borrow();
        out.extend(threads.kicks.iter().map(|core| Choice::Kick(id, *core)));
        for (slot, thread) in threads.iter() {
            match thread.activity {
                Activity::Ready => out.push(Choice::Run(id, slot)),
                Activity::Queued(_) => out.push(Choice::Fault(id, slot)),
                Activity::Stopped | Activity::Handled => {}
            }
        }
    }

    /// Does one of [`Self::choices`]; the time that it takes in nanoseconds.
    pub(crate) fn act(&self, choice: Choice, now_ns: u64, rng: &mut Rng) -> u64 {
        match choice {
            Choice::Notice(_, notice) => {
                self.around.borrow_mut().notices.retain(|it| *it != notice);
                self.collect(notice, now_ns);
            }
            Choice::Kick(_, core) => {
                self.threads.borrow_mut().kicks.retain(|it| *it != core);
                let worker = &mut self.worker(core, now_ns);
                self.proc.step(worker, |it, cx| it.kicked(cx));
            }
            Choice::Run(_, slot) => {
                let instructions = 1 + rng.below(100);
                let threads = &mut *self.threads.borrow_mut();
                let thread = threads.get(slot);
                let worker = &mut self.worker(thread.core, now_ns);
                self.mem.step(worker, |core, _| isa::run(thread, core.machine(), instructions));
                return instructions * INSTRUCTION_NS;
            }
            Choice::Fault(_, slot) => self.fault(slot, now_ns),
            Choice::ServerDown(_, dead, told) => {
                self.around.borrow_mut().obituaries.retain(|it| *it != (dead, told));
                self.server_down(dead, told, now_ns);
            }
        }
        STEP_NS
    }

    fn collect(&self, (from, client, core): Notice, now_ns: u64) {
        if self.is_dead(client) {
            return;
        }
        let worker = &mut self.worker(core, now_ns);
        match client {
            ServerId::Mem => self.mem.collect(worker, from),
            ServerId::Fs => self.fs.collect(worker, from),
            ServerId::Ipc => self.ipc.collect(worker, from),
            ServerId::Proc => self.proc.collect(worker, from),
            ServerId::Shell => self.shell.collect(worker, from),
            ServerId::Console => self.console.collect(worker, from),
            DRIVER if from == ServerId::Proc => {
                while let Some(completion) = runtime::testing::take(&self.proc, worker, DRIVER) {
                    if let Completion::Ticket { ticket, result } = completion {
                        self.around.borrow_mut().ended.insert(ticket, result);
                    }
                }
            }
            ServerId::Timer | ServerId::Net | ServerId::Ckpt => {}
        }
    }

    fn fault(&self, slot: u64, now_ns: u64) {
        let (id, core, registers, fault) = {
            let mut threads = self.threads.borrow_mut();
            let thread = threads.get(slot);
            let Activity::Queued(fault) = thread.activity else { return };
            thread.activity = Activity::Handled;
            (thread.id, thread.core, thread.registers, fault)
        };
        if self.is_dead(ServerId::Proc) {
            return;
        }
        let fault = match fault {
            Fault::SystemCall => UserFault::SystemCall(&registers),
            Fault::Page(addr, access) => UserFault::Page { addr, access },
            Fault::Invalid => UserFault::Exception { number: 6, code: 0 },
        };
        let worker = &mut self.worker(core, now_ns);
        let answer = self.proc.step(worker, |it, cx| it.fault(cx, id, fault));
        let mut threads = self.threads.borrow_mut();
        match answer {
            FaultAnswer::Return(value) => {
                let thread = threads.get(slot);
                assert_eq!(thread.activity, Activity::Handled, "an answered thread waited");
                thread.registers.rax = value;
                thread.activity = Activity::Ready;
            }
            FaultAnswer::Retry => {
                let thread = threads.get(slot);
                assert_eq!(thread.activity, Activity::Handled, "an answered thread waited");
                thread.activity = Activity::Ready;
            }
            FaultAnswer::Silent => {}
        }
    }

    /// Asks proc-server in the scenario's name. `Err(Status::Pending)`: see [`Self::ended`].
    ///
    /// # Errors
    /// What it answers, if it is not done.
    pub fn ask_proc<O: Operation>(&self, op: &O, now_ns: u64) -> Result<O::Reply, Status> {
        let worker = &mut self.worker(CoreId(0), now_ns);
        runtime::testing::call(&self.proc, worker, DRIVER, op, &mut []).map(|(reply, _)| reply)
    }

    /// Asks mem-server.
    ///
    /// # Errors
    /// What it answers, if it is not done.
    pub fn ask_mem<O: Operation>(&self, op: &O, now_ns: u64) -> Result<O::Reply, Status> {
        let worker = &mut self.worker(CoreId(0), now_ns);
        runtime::testing::call(&self.mem, worker, ServerId::Proc, op, &mut []).map(|it| it.0)
    }

    /// How a call of the scenario ended, once.
    pub fn ended(&self, ticket: Ticket) -> Option<Result<Msg, Errno>> {
        self.around.borrow_mut().ended.remove(&ticket)
    }

    /// Types on the console.
    pub fn type_in(&self, bytes: &[u8], now_ns: u64) {
        let worker = &mut self.worker(CoreId(0), now_ns);
        self.console.step(worker, |console, cx| console.typed(cx, bytes));
    }

    /// What the console shows.
    pub fn output(&self) -> String {
        let worker = &mut self.worker(CoreId(0), 0);
        let bytes = self.console.step(worker, |console, _| console.output.clone());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Something that can happen next on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    Notice(NodeId, Notice),
    Kick(NodeId, CoreId),
    Run(NodeId, u64),
    Fault(NodeId, u64),
    ServerDown(NodeId, ServerId, ServerId),
}

impl Choice {
    pub(crate) fn node(self) -> NodeId {
        match self {
            Self::Notice(node, _)
            | Self::Kick(node, _)
            | Self::Run(node, _)
            | Self::Fault(node, _)
            | Self::ServerDown(node, ..) => node,
        }
    }
}

fn setup(plan: &Plan) -> Setup {
    let entry = |node: &NodeId| NodeEntry {
        id: node.get(),
        cores: plan.cores,
        memory_mib: 1,
        mac: mac(*node),
    };
    Setup { login: plan.login.clone(), nodes: plan.nodes.iter().map(entry).collect() }
}

/// Nodes' keys follow from their numbers: a run follows from its seed alone.
fn secret(node: NodeId) -> Secret {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&node.get().to_le_bytes());
    Secret::new(bytes)
}

fn net_config(plan: &Plan, now_ns: u64) -> net_core::Config {
    let peer = |node: &NodeId| {
        let key = Some(secret(*node).public());
        Peer { node: *node, mac: mac(*node), key }
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&plan.seed.to_le_bytes());
    seed[8..16].copy_from_slice(&now_ns.to_le_bytes());
    net_core::Config {
        node: plan.node,
        mac: mac(plan.node),
        peers: plan.nodes.iter().map(peer).collect(),
        mtu: 9000,
        servers: [ServerId::Mem, ServerId::Fs, ServerId::Ipc, ServerId::Proc, ServerId::Shell]
            .to_vec(),
        secret: Some(secret(plan.node)),
        seed,
        versions: net_core::limits::VERSIONS,
    }
}
