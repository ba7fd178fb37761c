// SPDX-License-Identifier: MIT OR Apache-2.0
//! The servers' workers: one per server and core, each at some point of its loop.
//!
//! # Model
//! What a worker does under its server's lock is one step. Between two steps anything else may happen,
//! as on a real node, where other cores run and any thread can be preempted. What a step asked for is
//! taken by whichever worker of the server comes first, and performed later:
//! ```text
//!   (idle) -- fault --> Received --lock--> Acting
//!   (idle) -- request, kick, death of a server --lock--> Acting
//!   (idle) -- notification --> Collecting --lock--> Acting --> Collecting --> (idle)
//!   Acting: takes one action, maybe lets time pass, performs it; a call makes it Calling until the
//!           other server's worker on the same core has answered; with none left it ends what it did
//! ```
//! Leaf calls are made under the caller's lock: they are part of its step. A worker that answers one may
//! still leave an action to another worker of its server.
//!
//! # Limits
//! Every server has its own workers, as in the composition `isolated`.

use crate::isa;
use crate::node::{DRIVER, Node, Notice, STEP_NS};
use crate::rng::Rng;
use crate::threads::{Activity, Fault};
use abi::{CoreId, Errno, NodeId, ServerId};
use proc_core::{FaultAnswer, Registers, UserFault};
use runtime::node::TIMER_ARM;
use runtime::stepping::{Call, Deferred, Other};
use runtime::{Bulk, Completion, Core, Host, Msg, Platform, Status};
use std::collections::{BTreeMap, VecDeque};

/// Virtual time that it takes to perform what a step asked for.
const ACTION_NS: u64 = 300;
/// Virtual time that a program's instruction takes: slow, so that seconds have few of them.
const INSTRUCTION_NS: u64 = 1_000;
/// Actions of 100 that a worker takes and performs in one go.
const AT_ONCE_PERCENT: u64 = 60;
/// Actions of 100 that another worker takes from one that answers a leaf call.
const TAKEN_AWAY_PERCENT: u64 = 40;

/// Which worker of a server: its core's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Lane(u8);

impl Lane {
    /// The first core's.
    pub const FIRST: Self = Self(0);

    fn core(self) -> CoreId {
        CoreId(self.0)
    }
}

/// A worker's name.
type Key = (ServerId, Lane);

/// What a worker does when nothing is left to be performed.
#[derive(Debug)]
enum Then {
    /// Waits for the next thing.
    Rest,
    /// Collects more.
    Collect(ServerId),
    /// Answers the caller.
    Answer { caller: Key, status: Status, msg: Msg },
    /// Answers a fault.
    Fault { slot: u64, answer: FaultAnswer },
}

/// Where a worker that is not idle stands.
#[derive(Debug)]
enum Task {
    /// Has a fault, and not yet the lock.
    Received { slot: u64, fault: Fault, registers: Registers },
    /// Collects what a server holds for its own.
    Collecting(ServerId),
    /// Performs.
    Acting { taken: Option<Deferred>, then: Then },
    /// Waits for another server's answer.
    Calling { call: Call, then: Then },
}

/// All workers of a node.
#[derive(Default)]
pub struct Desks {
    busy: BTreeMap<Key, Task>,
    /// Who has called a worker and is not served yet.
    queues: BTreeMap<Key, VecDeque<Key>>,
}

impl Desks {
    fn is_idle(&self, server: ServerId, core: CoreId) -> bool {
        !self.busy.contains_key(&(server, Lane(core.0)))
    }

    /// Its workers stop where they are.
    pub fn server_died(&mut self, server: ServerId) {
        self.busy.retain(|(it, _), _| *it != server);
        self.queues.retain(|(it, _), _| *it != server);
        for queue in self.queues.values_mut() {
            queue.retain(|(it, _)| *it != server);
        }
    }

    /// Servers that wait, one for the other, for this worker.
    fn upstream(&self, mut key: Key) -> Vec<ServerId> {
        let mut servers = Vec::new();
        loop {
            let then = match self.busy.get(&key) {
                Some(Task::Acting { then, .. } | Task::Calling { then, .. }) => then,
                Some(Task::Received { .. } | Task::Collecting(_)) | None => return servers,
            };
            let Then::Answer { caller, .. } = then else { return servers };
            servers.push(caller.0);
            key = *caller;
        }
    }
}

/// Something that can happen next on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// A worker receives a notification.
    Notice(NodeId, Notice),
    /// proc-server's worker is kicked by its own server.
    Kick(NodeId, CoreId),
    /// A program runs.
    Run(NodeId, u64),
    /// A program's fault is received.
    Fault(NodeId, u64),
    /// A server hears that another one died.
    ServerDown(NodeId, ServerId, ServerId),
    /// A worker receives a request of another one.
    Accept(NodeId, ServerId, Lane),
    /// A worker goes on with what it does.
    Work(NodeId, ServerId, Lane),
}

impl Choice {
    /// Where.
    pub fn node(self) -> NodeId {
        match self {
            Self::Notice(node, _)
            | Self::Kick(node, _)
            | Self::Run(node, _)
            | Self::Fault(node, _)
            | Self::ServerDown(node, ..)
            | Self::Accept(node, ..)
            | Self::Work(node, ..) => node,
        }
    }
}

/// A host, whatever its core is.
trait Steps {
    fn request_step(
        &self,
        worker: &mut Worker<'_>,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status;
    fn collect_begin(&self, from: ServerId);
    fn collect_step(&self, worker: &mut Worker<'_>, from: ServerId) -> bool;
    fn server_down_step(&self, worker: &mut Worker<'_>, server: ServerId);
    fn next_deferred(&self) -> Option<Deferred>;
    fn has_deferred(&self) -> bool;
    fn perform(&self, worker: &mut Worker<'_>, other: Other);
    fn answered(&self, worker: &mut Worker<'_>, call: &Call, status: Status, msg: Msg);
}

impl<C: Core> Steps for Host<C> {
    fn request_step(
        &self,
        worker: &mut Worker<'_>,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        Host::request_step(self, worker, client, op, msg, bulk)
    }

    fn collect_begin(&self, from: ServerId) {
        Host::collect_begin(self, from);
    }

    fn collect_step(&self, worker: &mut Worker<'_>, from: ServerId) -> bool {
        Host::collect_step(self, worker, from)
    }

    fn server_down_step(&self, worker: &mut Worker<'_>, server: ServerId) {
        Host::server_down_step(self, worker, server);
    }

    fn next_deferred(&self) -> Option<Deferred> {
        Host::next_deferred(self)
    }

    fn has_deferred(&self) -> bool {
        Host::has_deferred(self)
    }

    fn perform(&self, worker: &mut Worker<'_>, other: Other) {
        self.perform_deferred(worker, other);
    }

    fn answered(&self, worker: &mut Worker<'_>, call: &Call, status: Status, msg: Msg) {
        Host::answered(self, worker, call, status, msg);
    }
}

/// A worker during a step.
pub(crate) struct Worker<'a> {
    node: &'a Node,
    key: Key,
    now_ns: u64,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(node: &'a Node, server: ServerId, lane: Lane, now_ns: u64) -> Self {
        Self { node, key: (server, lane), now_ns }
    }
}

impl Platform for Worker<'_> {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn core(&self) -> CoreId {
        self.key.1.core()
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
            let around = &mut *self.node.around.borrow_mut();
            let waiting = around.desks.upstream(self.key);
            let calling = &mut around.calling;
            let circle = calling.contains(&to) || waiting.contains(&to);
            assert!(!circle, "{from} calls {to}, which waits for it: {waiting:?}, {calling:?}");
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
                let deadline = deadlines.entry((from, self.core())).or_insert(u64::MAX);
                *deadline = msg.words[0].min(*deadline);
                Status::Done
            }
            _ => match node.host(to) {
                Some(host) => self.leaf(host, to, from, op, msg, bulk),
                None => Status::Failed(Errno::ENOSYS),
            },
        }
    }

    /// The worker of the same core answers at once; what the call asked for it performs itself, or
    /// another worker that is performing anyway takes it.
    fn leaf(
        &mut self,
        host: &dyn Steps,
        to: ServerId,
        from: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let key = (to, Lane(self.core().0));
        let worker = &mut Worker { node: self.node, key, now_ns: self.now_ns };
        let status = host.request_step(worker, from, op, msg, bulk);
        while let Some(deferred) = host.next_deferred() {
            let Some(deferred) = self.node.taken_away(to, deferred) else { continue };
            match deferred {
                Deferred::Other(other) => host.perform(worker, other),
                Deferred::Call(call) => {
                    let mut msg = call.msg.clone();
                    let bulk = &mut Bulk::none();
                    let status = worker.call(to, call.server, call.op, &mut msg, bulk);
                    host.answered(worker, &call, status, msg);
                }
            }
        }
        status
    }
}

impl Node {
    fn host(&self, server: ServerId) -> Option<&dyn Steps> {
        Some(match server {
            ServerId::Console => &self.console,
            ServerId::Mem => &self.mem,
            ServerId::Fs => &self.fs,
            ServerId::Ipc => &self.ipc,
            ServerId::Proc => &self.proc,
            ServerId::Shell => &self.shell,
            ServerId::Views => &self.views,
            ServerId::Disk => &self.disk,
            ServerId::Timer | ServerId::Net | ServerId::Ckpt => return None,
        })
    }

    /// Another worker of the server, one that performs, may come first.
    fn taken_away(&self, server: ServerId, deferred: Deferred) -> Option<Deferred> {
        let around = &mut *self.around.borrow_mut();
        let mut workers = around.desks.busy.iter_mut().filter(|(key, _)| key.0 == server);
        let free = workers.find_map(|(_, task)| match task {
            Task::Acting { taken: taken @ None, .. } => Some(taken),
            _ => None,
        });
        match free {
            Some(taken) if around.rng.chance(TAKEN_AWAY_PERCENT) => {
                *taken = Some(deferred);
                None
            }
            Some(_) | None => Some(deferred),
        }
    }

    /// What a step of the scenario asked for is performed by the first core's worker, as if it had had
    /// the request.
    pub(crate) fn leave_to_worker(&self, server: ServerId) {
        if self.host(server).is_some_and(|host| host.has_deferred()) {
            let desks = &mut self.around.borrow_mut().desks;
            let rest = Task::Acting { taken: None, then: Then::Rest };
            desks.busy.entry((server, Lane::FIRST)).or_insert(rest);
        }
    }

    /// Lets the first core's worker of a server end what it does: then the scenario has its place.
    pub(crate) fn finish_work(&self, server: ServerId, now_ns: u64) {
        let mut rng = self.around.borrow().rng.clone();
        let first = (server, Lane::FIRST);
        loop {
            // Down the chain of calls there is one worker that can go on.
            let mut key = first;
            let accepts = loop {
                let around = &*self.around.borrow();
                match around.desks.busy.get(&key) {
                    Some(Task::Calling { call, .. }) if !around.dead.contains(&call.server) => {
                        key = (call.server, key.1);
                        if !around.desks.busy.contains_key(&key) {
                            break true;
                        }
                    }
                    Some(_) => break false,
                    None => break true,
                }
            };
            match accepts {
                true if key == first => break,
                true => self.accept(key, self.local_ns(now_ns)),
                false => {
                    self.work(key, self.local_ns(now_ns), &mut rng);
                }
            }
        }
        self.around.borrow_mut().rng = rng;
    }

    /// What could happen next on this node.
    pub fn choices(&self, out: &mut Vec<Choice>) {
        let id = self.id;
        let around = &*self.around.borrow();
        let desks = &around.desks;
        for notice in &around.notices {
            if desks.is_idle(notice.1, notice.2) {
                out.push(Choice::Notice(id, *notice));
            }
        }
        for (dead, told) in &around.obituaries {
            if desks.is_idle(*told, CoreId(0)) {
                out.push(Choice::ServerDown(id, *dead, *told));
            }
        }
        for ((server, lane), task) in &desks.busy {
            let waits =
                matches!(task, Task::Calling { call, .. } if !around.dead.contains(&call.server));
            if !waits {
                out.push(Choice::Work(id, *server, *lane));
            }
        }
        for ((server, lane), queue) in &desks.queues {
            if !queue.is_empty() && !desks.busy.contains_key(&(*server, *lane)) {
                out.push(Choice::Accept(id, *server, *lane));
            }
        }
        let threads = self.threads.borrow();
        let idle = |core: &CoreId| desks.is_idle(ServerId::Proc, *core);
        out.extend(threads.kicks.iter().filter(|it| idle(it)).map(|it| Choice::Kick(id, *it)));
        for (slot, thread) in threads.iter() {
            match thread.activity {
                Activity::Ready => out.push(Choice::Run(id, slot)),
                Activity::Queued(_) if idle(&thread.core) => out.push(Choice::Fault(id, slot)),
                Activity::Queued(_) | Activity::Stopped | Activity::Handled => {}
            }
        }
    }

    /// Does one of [`Self::choices`]; the time that it takes in nanoseconds.
    pub fn act(&self, choice: Choice, now_ns: u64, rng: &mut Rng) -> u64 {
        let now_ns = self.local_ns(now_ns);
        match choice {
            Choice::Notice(_, notice) => {
                self.around.borrow_mut().notices.retain(|it| *it != notice);
                self.noticed(notice, now_ns);
                return 0;
            }
            Choice::Kick(_, core) => {
                self.threads.borrow_mut().kicks.retain(|it| *it != core);
                let lane = Lane(core.0);
                let worker = &mut Worker::new(self, ServerId::Proc, lane, now_ns);
                self.proc.bare_step(worker, |it, cx| it.kicked(cx));
                self.acts((ServerId::Proc, lane), Then::Rest);
            }
            Choice::Run(_, slot) => {
                let instructions = 1 + rng.below(100);
                let threads = &mut *self.threads.borrow_mut();
                let thread = threads.get(slot);
                let lane = Lane(thread.core.0);
                let worker = &mut Worker::new(self, ServerId::Mem, lane, now_ns);
                self.mem.bare_step(worker, |it, _| isa::run(thread, it.machine(), instructions));
                return instructions * INSTRUCTION_NS;
            }
            Choice::Fault(_, slot) => {
                self.receive_fault(slot);
                return 0;
            }
            Choice::ServerDown(_, dead, told) => {
                self.around.borrow_mut().obituaries.retain(|it| *it != (dead, told));
                let key = (told, Lane(0));
                let worker = &mut Worker::new(self, told, key.1, now_ns);
                if let Some(host) = self.host(told) {
                    host.server_down_step(worker, dead);
                    self.acts(key, Then::Rest);
                }
            }
            Choice::Accept(_, server, lane) => self.accept((server, lane), now_ns),
            Choice::Work(_, server, lane) => return self.work((server, lane), now_ns, rng),
        }
        STEP_NS
    }

    /// A worker performs what is to be performed.
    fn acts(&self, key: Key, then: Then) {
        let desks = &mut self.around.borrow_mut().desks;
        desks.busy.insert(key, Task::Acting { taken: None, then });
    }

    fn noticed(&self, (from, client, core): Notice, now_ns: u64) {
        if self.is_dead(client) {
            return;
        }
        if client != DRIVER {
            let Some(host) = self.host(client) else { return };
            host.collect_begin(from);
            let desks = &mut self.around.borrow_mut().desks;
            desks.busy.insert((client, Lane(core.0)), Task::Collecting(from));
            return;
        }
        let worker = &mut Worker::new(self, ServerId::Proc, Lane(core.0), now_ns);
        while let Some(completion) = runtime::testing::take(&self.proc, worker, DRIVER) {
            if let Completion::Ticket { ticket, result } = completion {
                self.around.borrow_mut().ended.insert(ticket, result);
            }
        }
    }

    fn receive_fault(&self, slot: u64) {
        let mut threads = self.threads.borrow_mut();
        let thread = threads.get(slot);
        let Activity::Queued(fault) = thread.activity else { return };
        thread.activity = Activity::Handled;
        if self.is_dead(ServerId::Proc) {
            return;
        }
        let task = Task::Received { slot, fault, registers: thread.registers };
        let key = (ServerId::Proc, Lane(thread.core.0));
        self.around.borrow_mut().desks.busy.insert(key, task);
    }

    fn accept(&self, key: Key, now_ns: u64) {
        let (caller, op, mut msg) = {
            let desks = &mut self.around.borrow_mut().desks;
            let Some(caller) = desks.queues.get_mut(&key).and_then(VecDeque::pop_front) else {
                return;
            };
            let Some(Task::Calling { call, .. }) = desks.busy.get(&caller) else { return };
            (caller, call.op, call.msg.clone())
        };
        let host = self.host(key.0).expect("only servers with cores are queued for");
        // While it has the request its caller waits for it, as `upstream` sees.
        let then = Then::Answer { caller, status: Status::Done, msg: Msg::default() };
        self.acts(key, then);
        let worker = &mut Worker::new(self, key.0, key.1, now_ns);
        let status = host.request_step(worker, caller.0, op, &mut msg, &mut Bulk::none());
        self.acts(key, Then::Answer { caller, status, msg });
    }

    fn work(&self, key: Key, now_ns: u64, rng: &mut Rng) -> u64 {
        let task = self.around.borrow_mut().desks.busy.remove(&key);
        match task.expect("a worker that works has something to do") {
            Task::Received { slot, fault, registers } => {
                self.handle_fault(key, slot, fault, &registers, now_ns);
                STEP_NS
            }
            Task::Collecting(from) => {
                let worker = &mut Worker::new(self, key.0, key.1, now_ns);
                let host = self.host(key.0).expect("only servers with cores have workers");
                let more = host.collect_step(worker, from);
                self.acts(key, if more { Then::Collect(from) } else { Then::Rest });
                STEP_NS
            }
            Task::Acting { taken: Some(deferred), then } => {
                self.perform(key, deferred, then, now_ns);
                ACTION_NS
            }
            Task::Acting { taken: None, then } => {
                let host = self.host(key.0).expect("only servers with cores have workers");
                match host.next_deferred() {
                    None => self.ends(key, then, now_ns),
                    Some(deferred) if rng.chance(AT_ONCE_PERCENT) => {
                        self.perform(key, deferred, then, now_ns);
                    }
                    Some(deferred) => {
                        let task = Task::Acting { taken: Some(deferred), then };
                        self.around.borrow_mut().desks.busy.insert(key, task);
                    }
                }
                ACTION_NS
            }
            // The server that it waits for is dead: root's code answers.
            Task::Calling { call, then } => {
                self.answer(key, &call, then, Status::Failed(Errno::EIO), Msg::default(), now_ns);
                STEP_NS
            }
        }
    }

    fn perform(&self, key: Key, deferred: Deferred, then: Then, now_ns: u64) {
        let call = match deferred {
            Deferred::Call(call) => call,
            Deferred::Other(other) => {
                let host = self.host(key.0).expect("only servers with cores have workers");
                self.acts(key, then);
                host.perform(&mut Worker::new(self, key.0, key.1, now_ns), other);
                return;
            }
        };
        if self.host(call.server).is_none() || self.is_dead(call.server) {
            let errno = if self.is_dead(call.server) { Errno::EIO } else { Errno::ENOSYS };
            return self.answer(key, &call, then, Status::Failed(errno), Msg::default(), now_ns);
        }
        let desks = &mut self.around.borrow_mut().desks;
        let to = (call.server, Lane(key.1.core().0));
        desks.busy.insert(key, Task::Calling { call, then });
        let waiting = desks.upstream(key);
        let circle = waiting.contains(&to.0) || key.0 == to.0;
        assert!(!circle, "{} calls {}, which waits for it: {waiting:?}", key.0, to.0);
        desks.queues.entry(to).or_default().push_back(key);
    }

    fn answer(&self, key: Key, call: &Call, then: Then, status: Status, msg: Msg, now_ns: u64) {
        let host = self.host(key.0).expect("only servers with cores have workers");
        self.acts(key, then);
        host.answered(&mut Worker::new(self, key.0, key.1, now_ns), call, status, msg);
    }

    /// Nothing is left to be performed.
    fn ends(&self, key: Key, then: Then, now_ns: u64) {
        match then {
            Then::Rest => {}
            Then::Collect(from) => {
                self.around.borrow_mut().desks.busy.insert(key, Task::Collecting(from));
            }
            Then::Answer { caller, status, msg } => {
                let task = self.around.borrow_mut().desks.busy.remove(&caller);
                match task {
                    Some(Task::Calling { call, then }) => {
                        self.answer(caller, &call, then, status, msg, now_ns);
                    }
                    // It died meanwhile.
                    None => {}
                    Some(other) => panic!("who called waits, and does not {other:?}"),
                }
            }
            Then::Fault { slot, answer } => self.answer_fault(slot, answer),
        }
    }

    fn handle_fault(&self, key: Key, slot: u64, fault: Fault, registers: &Registers, now_ns: u64) {
        let Some(id) = self.threads.borrow_mut().find(slot).map(|thread| thread.id) else { return };
        let fault = match fault {
            Fault::SystemCall => UserFault::SystemCall(registers),
            Fault::Page(addr, access) => UserFault::Page { addr, access },
            Fault::Invalid => UserFault::Exception { number: 6, code: 0 },
        };
        let worker = &mut Worker::new(self, key.0, key.1, now_ns);
        let answer = self.proc.bare_step(worker, |it, cx| it.fault(cx, id, fault));
        self.acts(key, Then::Fault { slot, answer });
    }

    fn answer_fault(&self, slot: u64, answer: FaultAnswer) {
        let mut threads = self.threads.borrow_mut();
        let value = match answer {
            FaultAnswer::Return(value) => Some(value),
            FaultAnswer::Retry => None,
            FaultAnswer::Silent => return,
        };
        let thread = threads.get(slot);
        assert_eq!(thread.activity, Activity::Handled, "an answered thread waited");
        if let Some(value) = value {
            thread.registers.rax = value;
        }
        thread.activity = Activity::Ready;
    }
}
