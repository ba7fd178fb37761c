// SPDX-License-Identifier: MIT OR Apache-2.0
//! A few nodes, the messages between them, and the views that they enter.

use super::fakes::{FakeMachine, State, answer};
use crate::ProcCore;
use crate::files::tests::world::{pipe, process_own};
use crate::machine::{FaultAnswer, Registers, UserFault};
use crate::pids::PidRow;
use crate::process::{Phase, Process};
use crate::signal::SignalSet;
use crate::thread::{Run, ThreadOwn};
use abi::linux::general::{__NR_fork, __NR_kill, __NR_wait4};
use abi::{CoreId, Errno, NodeId, Pid, ServerId, SlotNo, SpaceId};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use core::cell::RefCell;
use proc_api::Migrate;
use runtime::testing::{self, Net, TestNode};
use runtime::{Completion, Cx, Host, Status};

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

pub fn errno(errno: Errno) -> Option<i64> {
    Some(-i64::from(errno.number()))
}

/// A node's proc-server and what surrounds it.
pub struct Node {
    pub host: Host<ProcCore<FakeMachine>>,
    pub platform: TestNode,
    pub state: Rc<RefCell<State>>,
}

pub struct Cluster {
    pub net: Rc<RefCell<Net>>,
    pub nodes: BTreeMap<u16, Node>,
    /// The view that was agreed last.
    pub view: View,
    boots: u64,
}

impl Cluster {
    /// Nodes 1 to `count`, in a view of which all are members.
    pub fn new(count: u16) -> Self {
        let net = Net::shared();
        let view = View::fixed((1..=count).map(node).collect()).expect("a view");
        let mut cluster = Self { net, nodes: BTreeMap::new(), view, boots: 100 };
        for number in 1..=count {
            cluster.start(number, Some(cluster.view.clone()));
        }
        cluster
    }

    /// The same, of nodes that have just entered their first view and may act until this time.
    pub fn leased(count: u16, until_ns: u64) -> Self {
        let mut cluster = Self::new(count);
        for number in 1..=count {
            cluster.start(number, None);
        }
        for number in 1..=count {
            let view = cluster.view.clone();
            let node = cluster.nodes.get_mut(&number).expect("it is up");
            testing::enter(&node.host, &mut node.platform, &view);
            testing::lease(&node.host, &mut node.platform, until_ns);
        }
        cluster.run();
        cluster
    }

    /// Starts a node in this view, or outside of the cluster.
    fn start(&mut self, number: u16, view: Option<View>) {
        let state = Rc::new(RefCell::new(State::default()));
        let mut platform = TestNode::new(node(number), ServerId::Proc, Rc::clone(&self.net));
        let fakes = Rc::clone(&state);
        platform.below = Some(alloc::boxed::Box::new(move |_, to, op, msg, bulk| {
            answer(&fakes, to, op, msg, bulk)
        }));
        let machine = FakeMachine(Rc::clone(&state));
        let me = node(number);
        let host = match view {
            Some(view) => {
                let core = ProcCore::new(machine, &view, me);
                Host::new(ServerId::Proc, me, view, core)
            }
            None => {
                let core = ProcCore::new(machine, &View::outside(me), me);
                Host::outside(ServerId::Proc, me, core)
            }
        };
        self.nodes.insert(number, Node { host, platform, state });
    }

    pub fn step<R>(
        &mut self,
        at: u16,
        run: impl FnOnce(&mut ProcCore<FakeMachine>, &mut Cx<'_>) -> R,
    ) -> R {
        let node = self.nodes.get_mut(&at).expect("it is up");
        node.host.step(&mut node.platform, run)
    }

    /// The node fails: the others hear of it.
    pub fn crash(&mut self, number: u16) {
        self.nodes.remove(&number);
        self.net.borrow_mut().kill(node(number));
    }

    /// Agrees on a view without these nodes, which nobody has entered yet.
    pub fn agree_without(&mut self, left: &[u16]) {
        let left: Vec<NodeId> = left.iter().map(|number| node(*number)).collect();
        self.view = testing::next_view(&self.view, &left, &[]);
    }

    /// A node that failed boots, and is a member of the next view.
    pub fn boot(&mut self, number: u16) {
        self.boots += 1;
        self.net.borrow_mut().boot(node(number));
        self.start(number, None);
        self.view = testing::next_view(&self.view, &[], &[(node(number), self.boots)]);
    }

    /// Agrees that a slot is another node's.
    pub fn agree_moved(&mut self, slot: SlotNo, to: u16) {
        self.view = testing::moved_view(&self.view, slot, node(to));
    }

    /// A node enters the view that was agreed last.
    pub fn enter(&mut self, at: u16) {
        let view = self.view.clone();
        let node = self.nodes.get_mut(&at).expect("it is up");
        testing::enter(&node.host, &mut node.platform, &view);
        testing::lease(&node.host, &mut node.platform, u64::MAX);
    }

    /// All nodes enter it, and all messages arrive.
    pub fn enter_all(&mut self) {
        for at in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.enter(at);
        }
        self.run();
    }

    /// A node's lease ends, or begins.
    pub fn lease(&mut self, at: u16, until_ns: u64) {
        let node = self.nodes.get_mut(&at).expect("it is up");
        testing::lease(&node.host, &mut node.platform, until_ns);
    }

    /// Delivers one message; `choice` picks among links.
    pub fn deliver(&mut self, choice: usize) -> bool {
        let more = self.net.borrow_mut().deliver(choice);
        self.collect();
        more
    }

    /// All nodes take what has arrived.
    pub fn collect(&mut self) {
        for node in self.nodes.values_mut() {
            node.host.collect(&mut node.platform, ServerId::Net);
        }
    }

    /// Delivers everything.
    pub fn run(&mut self) {
        self.collect();
        for _ in 0..100_000 {
            if !self.deliver(0) && self.net.borrow().is_idle() {
                return;
            }
        }
        panic!("messages without end");
    }

    /// A new process without parent.
    pub fn spawn(&mut self, at: u16) -> u32 {
        self.step(at, |core, cx| {
            let pid = core.new_pid(cx).expect("free ids").expect("a settled slot");
            let no = core.processes.add(process_own(pid)).expect("room");
            let own = ThreadOwn::new(pid, Registers::default(), SignalSet::EMPTY);
            let id = core.threads.add(no, CoreId(0), own).expect("room");
            let row = core.threads.get_mut(id).expect("the thread");
            row.slot = Some(u64::from(pid.get()) << 32);
            row.run = Run::User;
            let process = core.processes.get_mut(no).expect("the process");
            process.space = Some(SpaceId { index: pid.get(), generation: 1 });
            process.threads.push(id);
            core.pids.set(pid, PidRow::Process(no));
            pid.get()
        })
    }

    /// The first thread of a process makes a call; its result, if it ends at once.
    pub fn call(&mut self, at: u16, pid: u32, number: u32, args: &[u64]) -> Option<i64> {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let [rdi, rsi, rdx, r10, r8, r9] = all;
        let rax = u64::from(number);
        let rip = 0x40_0002;
        let registers = Registers { rip, rax, rdi, rsi, rdx, r10, r8, r9, ..Registers::default() };
        let (answer, slot) = self.step(at, |core, cx| {
            let id = core.thread_by_tid(pid).expect("it lives here");
            let slot = core.threads.get(id).and_then(|thread| thread.slot).expect("it runs");
            core.machine.0.borrow_mut().resumed.remove(&slot);
            (core.fault(cx, id, UserFault::SystemCall(&registers)), slot)
        });
        // The worker has answered, and waits for its next message.
        self.step(at, |core, cx| core.kicked(cx));
        match answer {
            FaultAnswer::Return(rax) => Some(rax.cast_signed()),
            FaultAnswer::Retry => panic!("a system call is not retried"),
            FaultAnswer::Silent => self.resumed(at, slot),
        }
    }

    fn resumed(&self, at: u16, slot: u64) -> Option<i64> {
        let node = self.nodes.get(&at).expect("it is up");
        let state = node.state.borrow();
        // Before its call is made again its rip is that of the instruction.
        let back = state.resumed.get(&slot).filter(|registers| registers.rip == 0x40_0002);
        back.map(|registers| registers.rax.cast_signed())
    }

    /// What the last call of a process's first thread answered, if it has ended.
    pub fn result(&mut self, at: u16, pid: u32) -> Option<i64> {
        let slot = self.step(at, |core, _| {
            let id = core.thread_by_tid(pid).expect("it lives here");
            core.threads.get(id).and_then(|thread| thread.slot).expect("it runs")
        });
        self.resumed(at, slot)
    }

    /// Gives a process a pipe as its lowest descriptor.
    pub fn open_pipe(&mut self, at: u16, pid: u32) {
        self.step(at, |core, _| {
            core.holders.add_held(pipe(3));
            let no = core.pids.process(pid).expect("it lives here");
            let process = core.processes.get_mut(no).expect("it lives here");
            let target = crate::files::Target::File(pipe(3));
            let descriptor = crate::files::Descriptor { target, close_on_exec: false };
            process.own.files.insert(descriptor, 0, 64).expect("room");
        });
    }

    pub fn fork(&mut self, at: u16, pid: u32) -> u32 {
        let child = self.call(at, pid, __NR_fork, &[]).expect("it ends at once");
        u32::try_from(child).expect("a pid")
    }

    /// kill(2) by a process of a node, with all messages that follow.
    pub fn kill(&mut self, at: u16, by: u32, pid: u32, signal: u32) -> Option<i64> {
        let now = self.call(at, by, __NR_kill, &[u64::from(pid), u64::from(signal)]);
        if now.is_some() {
            self.run();
            return now;
        }
        self.run();
        self.result(at, by)
    }

    /// wait4(2) for any child, with all messages that follow.
    pub fn wait(&mut self, at: u16, pid: u32) -> Option<i64> {
        let now = self.call(at, pid, __NR_wait4, &[u64::MAX, 0, 0, 0]);
        self.run();
        now
    }

    /// Asks for a move; nothing is delivered yet.
    pub fn begin_move(&mut self, at: u16, pid: u32, to: u16) {
        let node_row = self.nodes.get_mut(&at).expect("it is up");
        let op = Migrate { pid: Pid::new(pid).expect("a pid"), node: node(to) };
        let asked =
            testing::call(&node_row.host, &mut node_row.platform, ServerId::Shell, &op, &mut []);
        assert!(matches!(asked, Err(Status::Pending(_))), "{asked:?}");
    }

    /// How moves ended that were asked for on this node.
    pub fn moved(&mut self, at: u16) -> Vec<Result<(), Errno>> {
        let node = self.nodes.get_mut(&at).expect("it is up");
        let mut ended = vec![];
        while let Some(taken) = testing::take(&node.host, &mut node.platform, ServerId::Shell) {
            if let Completion::Ticket { result, .. } = taken {
                ended.push(result.map(|_| ()));
            }
        }
        ended
    }

    /// Moves a process, to the end.
    pub fn migrate(&mut self, at: u16, pid: u32, to: u16) {
        self.begin_move(at, pid, to);
        self.run();
        assert_eq!(self.moved(at), [Ok(())]);
    }

    /// The nodes where a process is that is not moving, and is no zombie.
    pub fn lives_at(&mut self, pid: u32) -> Vec<u16> {
        self.with(pid, |process| matches!(process.phase, Phase::Live | Phase::Exec(_)))
    }

    /// The nodes that have something of a process of which `is` holds.
    pub fn with(&mut self, pid: u32, is: impl Fn(&Process) -> bool) -> Vec<u16> {
        let numbers: Vec<u16> = self.nodes.keys().copied().collect();
        let here = |at: &u16| {
            self.step(*at, |core, _| {
                let process = core.pids.process(pid).and_then(|no| core.processes.get(no));
                process.is_some_and(&is)
            })
        };
        let mut here = here;
        numbers.into_iter().filter(|at| here(at)).collect()
    }

    /// The home of an id in the view that was agreed last.
    pub fn home(&self, pid: u32) -> u16 {
        self.view.home(Pid::new(pid).expect("a pid").slot()).get()
    }
}

pub fn slot_of(pid: u32) -> SlotNo {
    Pid::new(pid).expect("a pid").slot()
}
