// SPDX-License-Identifier: MIT OR Apache-2.0
//! One process before fakes of the other servers: its memory is an array, their answers a script.

use crate::files::{Directory, FdTable, OpenFile, Target};
use crate::layout::Layout;
use crate::machine::{FaultAnswer, Fpu, Machine, Registers, Stopped, UserFault};
use crate::pids::PidRow;
use crate::process::{Alarm, Ids, ProcessOwn, default_limits};
use crate::signal::{Actions, Pending, SignalSet};
use crate::thread::{Run, ThreadOwn};
use crate::{Found, ProcCore};
use abi::{CoreId, Errno, FileId, NodeId, Pid, ServerId, SpaceId, ThreadId, Ticket};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use core::cell::RefCell;
use core::fmt;
use fs_api::file::{EndLocks, Release};
use fs_api::name::FileKind;
use mem_api::{CopyIn, CopyOut, CopyString, FetchAbsent, Prepare};
use runtime::testing::{Net, TestNode};
use runtime::{Bulk, Host, Msg, Operation, Status, system};

/// Where the program's memory is.
pub const BASE: u64 = 0x10000;
const MEMORY_BYTES: usize = 0x40000;
/// Addresses from here on rest on another node until they are fetched.
pub const FAR: u64 = BASE + 0x30000;

/// An answer of a fake server: to which operation, and what.
pub struct Scripted {
    pub op: u16,
    pub answer: Result<Msg, Errno>,
    pub later: bool,
}

/// What the fakes share with the test.
#[derive(Default)]
pub struct State {
    pub memory: Vec<u8>,
    pub far: bool,
    /// The program has no memory any more.
    pub gone: bool,
    /// Copies from the program until the far pages leave again.
    pub leaves_after_reads: Option<u32>,
    pub fetches: u32,
    pub script: VecDeque<Scripted>,
    /// Asks that came: server, operation, message.
    pub asked: Vec<(ServerId, u16, Msg)>,
    pub cancelled: Vec<Ticket>,
    /// Calls end as scripted although they were cancelled: the end was on its way.
    pub refuse_cancel: bool,
    pending: VecDeque<(ServerId, Ticket, Result<Msg, Errno>)>,
    ready: VecDeque<(ServerId, Ticket, Result<Msg, Errno>)>,
    next_ticket: u32,
    pub resumed: Vec<Registers>,
    /// The thread's registers while it runs.
    pub registers: Registers,
    /// Its FPU state; `None`: as at the start.
    pub fpu: Option<Fpu>,
}

/// A machine without threads.
pub struct FakeMachine(Rc<RefCell<State>>);

impl Machine for FakeMachine {
    fn cores(&self) -> u8 {
        1
    }
    fn configure(&mut self, _: ThreadId, _: u64, _: CoreId) -> Result<(), Errno> {
        Ok(())
    }
    fn resume(&mut self, _: u64, registers: &Registers) {
        let mut state = self.0.borrow_mut();
        state.resumed.push(*registers);
        state.registers = *registers;
    }
    fn retry(&mut self, _: u64) {}
    fn stop(&mut self, _: u64) -> Stopped {
        Stopped { registers: self.0.borrow().registers, found: Found::User }
    }
    fn read_fpu(&mut self, _: u64) -> Fpu {
        self.0.borrow().fpu.unwrap_or(Fpu::INITIAL)
    }
    fn write_fpu(&mut self, _: u64, fpu: &Fpu) {
        self.0.borrow_mut().fpu = Some(*fpu);
    }
    fn kick(&mut self, _: CoreId) {}
    fn boot_time_ns(&self) -> u64 {
        1_700_000_000_000_000_000
    }
    fn tsc_khz(&self) -> u64 {
        0
    }
    fn cpu_features(&self) -> u32 {
        1 << 25
    }
    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn log(&mut self, _: fmt::Arguments<'_>) {}
}

/// The process, its server and the fakes.
pub struct World {
    pub state: Rc<RefCell<State>>,
    pub host: Host<ProcCore<FakeMachine>>,
    pub node: TestNode,
    pub thread: ThreadId,
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

pub fn pipe(serial: u64) -> OpenFile {
    OpenFile { file: FileId::from_raw(serial), kind: FileKind::Pipe }
}

pub fn regular(serial: u64) -> OpenFile {
    OpenFile { file: FileId::from_raw(serial), kind: FileKind::Regular }
}

pub fn process_own(pid: Pid) -> ProcessOwn {
    ProcessOwn {
        pid,
        parent: 0,
        group: pid.get(),
        session: pid.get(),
        ids: Ids::default(),
        umask: 0o022,
        directory: Directory::default(),
        terminal: 1,
        files: FdTable::default(),
        actions: Actions::default(),
        pending: Pending::default(),
        children: BTreeMap::new(),
        exit_signal: 0,
        heap: (0, 0),
        arguments: (BASE, BASE + 6),
        environment: (0, 0),
        program: String::from("/bin/test"),
        name: String::from("test"),
        limits: default_limits(),
        alarm: Alarm::default(),
        timers: crate::timers::Timers::default(),
        clock_offset_ns: 0,
        executed: true,
        started_ns: 1_700_000_001_000_000_000,
        parent_death_signal: 0,
        watcher: 0,
        stopped_by: 0,
        has_locks: false,
        moves: 0,
    }
}

impl World {
    pub fn new() -> Self {
        Self::on(1, &[1], Net::shared())
    }

    /// A process on node `me` of the cluster of these nodes.
    pub fn on(me: u16, members: &[u16], net: Rc<RefCell<Net>>) -> Self {
        let state =
            Rc::new(RefCell::new(State { memory: vec![0; MEMORY_BYTES], ..State::default() }));
        let members = members.iter().map(|number| node(*number)).collect();
        let view = View::fixed(members).expect("a view");
        let mut core = ProcCore::new(FakeMachine(state.clone()), &view, node(me));
        let pid = core.home.allocate(|_, _| true).expect("a pid");
        let no = core.processes.add(process_own(pid)).expect("a process");
        let own = ThreadOwn::new(pid, Registers::default(), SignalSet::EMPTY);
        let thread = core.threads.add(no, CoreId(0), own).expect("a thread");
        let row = core.threads.get_mut(thread).expect("the thread");
        row.slot = Some(4);
        row.run = Run::User;
        let process = core.processes.get_mut(no).expect("the process");
        process.space = Some(SpaceId { index: 1, generation: 1 });
        process.threads.push(thread);
        core.pids.set(pid, PidRow::Process(no));
        let mut platform = TestNode::new(node(me), ServerId::Proc, net);
        let fakes = state.clone();
        platform.below = Some(alloc::boxed::Box::new(move |_, to, op, msg, bulk| {
            answer(&fakes, to, op, msg, bulk)
        }));
        let host = Host::new(ServerId::Proc, node(me), view, core);
        Self { state, host, node: platform, thread }
    }

    /// Gives the process a descriptor.
    pub fn open(&mut self, file: OpenFile) -> u64 {
        self.host.step(&mut self.node, |core, _| {
            core.holders.add_held(file);
            let process = core.processes.get_mut(crate::process::ProcessNo(0)).expect("it lives");
            let descriptor =
                crate::files::Descriptor { target: Target::File(file), close_on_exec: false };
            process.own.files.insert(descriptor, 0, 64).expect("room") as u64
        })
    }

    /// The process gets a parent in its session, so that its group is not orphaned.
    pub fn set_parent_in_session(&mut self) {
        self.host.step(&mut self.node, |core, _| {
            let pid = core.home.allocate(|_, _| true).expect("a pid");
            let mut own = process_own(pid);
            own.session = 1;
            let child = crate::process::Child {
                group: 1,
                state: crate::process::ChildState::Running,
                node: core.node,
                exit_signal: crate::signal::number::CHLD,
                uid: 0,
            };
            own.children.insert(1, child);
            let no = core.processes.add(own).expect("room");
            core.pids.set(pid, PidRow::Process(no));
            let process = core.processes.get_mut(crate::process::ProcessNo(0)).expect("it lives");
            process.own.parent = pid.get();
        });
    }

    /// The next ask of `op` gets this answer.
    pub fn expect<O: Operation>(&mut self, answer: Result<O::Reply, Errno>) {
        self.script::<O>(answer, false);
    }

    /// The next ask of `op` gets this answer once [`Self::end_one`] is called.
    pub fn expect_later<O: Operation>(&mut self, answer: Result<O::Reply, Errno>) {
        self.script::<O>(answer, true);
    }

    fn script<O: Operation>(&mut self, answer: Result<O::Reply, Errno>, later: bool) {
        let answer = answer.map(|reply| Msg::of(&reply).expect("it fits"));
        self.state.borrow_mut().script.push_back(Scripted { op: O::NUMBER, answer, later });
    }

    /// Makes a system call; its result if it ends at once.
    pub fn call(&mut self, number: u32, args: &[u64]) -> Option<i64> {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let [rdi, rsi, rdx, r10, r8, r9] = all;
        let rax = u64::from(number);
        let rsp = BASE + 0x20000;
        let registers = Registers { rsp, rax, rdi, rsi, rdx, r10, r8, r9, ..Registers::default() };
        self.state.borrow_mut().resumed.clear();
        let thread = self.thread;
        let answer = self.host.step(&mut self.node, |core, cx| {
            core.fault(cx, thread, UserFault::SystemCall(&registers))
        });
        match answer {
            FaultAnswer::Return(rax) => Some(rax.cast_signed()),
            FaultAnswer::Retry => panic!("a system call is not retried"),
            FaultAnswer::Silent => self.result(),
        }
    }

    /// What the thread was resumed with.
    pub fn result(&self) -> Option<i64> {
        let state = self.state.borrow();
        let last = state.resumed.last()?;
        Some(last.rax.cast_signed())
    }

    /// Ends the oldest open ask as scripted; the call's result, if it ends with it.
    pub fn end_one(&mut self) -> Option<i64> {
        let server = {
            let mut state = self.state.borrow_mut();
            let next = state.pending.pop_front().expect("an open ask");
            let server = next.0;
            state.ready.push_back(next);
            server
        };
        self.host.collect(&mut self.node, server);
        self.result()
    }

    /// Whether an ask has not ended.
    pub fn has_open_asks(&self) -> bool {
        !self.state.borrow().pending.is_empty()
    }

    pub fn put(&mut self, addr: u64, bytes: &[u8]) {
        let at = (addr - BASE) as usize;
        self.state.borrow_mut().memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn get(&self, addr: u64, len: usize) -> Vec<u8> {
        let at = (addr - BASE) as usize;
        self.state.borrow().memory[at..at + len].to_vec()
    }

    pub fn read<T: Layout>(&self, addr: u64) -> T {
        T::from_slice(&self.get(addr, size_of::<T>())).expect("enough bytes")
    }

    /// The operations that were asked, in order.
    pub fn asked(&self) -> Vec<(ServerId, u16)> {
        self.state.borrow().asked.iter().map(|(server, op, _)| (*server, *op)).collect()
    }

    /// The last request of this kind.
    pub fn last<O: Operation>(&self) -> O {
        let state = self.state.borrow();
        let found = state.asked.iter().rev().find(|(_, op, _)| *op == O::NUMBER);
        O::get(&found.expect("it was asked").2).expect("well-formed")
    }

    /// Files with descriptors on the node.
    pub fn held(&mut self) -> usize {
        self.host.step(&mut self.node, |core, _| core.holders.len())
    }
}

fn answer(
    state: &Rc<RefCell<State>>,
    to: ServerId,
    op: u16,
    msg: &mut Msg,
    bulk: &mut Bulk<'_>,
) -> Status {
    let mut state = state.borrow_mut();
    match (to, op) {
        (_, system::TAKE) => {
            let at = state.ready.iter().position(|row| row.0 == to);
            *msg = at.and_then(|at| state.ready.remove(at)).map_or_else(Msg::default, packed);
            Status::Done
        }
        (_, system::CANCEL) => {
            let ticket = Ticket::from_word(msg.words[0]);
            state.cancelled.push(ticket);
            if !state.refuse_cancel
                && let Some(at) = state.pending.iter().position(|row| row.1 == ticket)
                && let Some((server, ticket, _)) = state.pending.remove(at)
            {
                state.pending.push_front((server, ticket, Err(Errno::ECANCELED)));
            }
            Status::Done
        }
        (ServerId::Mem, _) => memory(&mut state, op, msg, bulk),
        _ => scripted(&mut state, to, op, msg),
    }
}

fn scripted(state: &mut State, to: ServerId, op: u16, msg: &mut Msg) -> Status {
    state.asked.push((to, op, msg.clone()));
    if [Release::NUMBER, EndLocks::NUMBER].contains(&op) {
        return Status::Done;
    }
    let next = state.script.pop_front().expect("a scripted answer");
    assert_eq!(next.op, op, "another operation was expected");
    if next.later {
        state.next_ticket += 1;
        let ticket = Ticket { index: state.next_ticket, generation: 1 };
        state.pending.push_back((to, ticket, next.answer));
        return Status::Pending(ticket);
    }
    match next.answer {
        Ok(reply) => {
            *msg = reply;
            Status::Done
        }
        Err(errno) => Status::Failed(errno),
    }
}

fn memory(state: &mut State, op: u16, msg: &mut Msg, bulk: &mut Bulk<'_>) -> Status {
    let [_, addr, len, _] = msg.words;
    let at = addr.wrapping_sub(BASE) as usize;
    let len = if op == CopyOut::NUMBER { bulk.data().len() } else { len as usize };
    if op == FetchAbsent::NUMBER {
        state.far = false;
        state.fetches += 1;
        return Status::Done;
    }
    if state.gone || at >= MEMORY_BYTES || at + len.min(MEMORY_BYTES) > MEMORY_BYTES {
        return Status::Failed(Errno::EFAULT);
    }
    if state.far && addr >= FAR {
        return Status::Failed(Errno::ERESTART);
    }
    if op == CopyIn::NUMBER
        && let Some(left) = state.leaves_after_reads.as_mut()
    {
        *left -= 1;
        if *left == 0 {
            state.leaves_after_reads = None;
            state.far = true;
        }
    }
    let done = match op {
        Prepare::NUMBER => Ok(()),
        CopyIn::NUMBER => bulk.set(&state.memory[at..at + len]),
        CopyOut::NUMBER => {
            let data = bulk.data().to_vec();
            state.memory[at..at + len].copy_from_slice(&data);
            Ok(())
        }
        CopyString::NUMBER => {
            let text = state.memory[at..].split(|byte| *byte == 0).next().unwrap_or(&[]).to_vec();
            bulk.set(&text).map_err(|_| Errno::ENAMETOOLONG)
        }
        _ => Err(Errno::ENOSYS),
    };
    match done {
        Ok(()) => Status::Done,
        Err(errno) => Status::Failed(errno),
    }
}

/// The answer of `take`, as the runtime packs it.
fn packed((_, ticket, result): (ServerId, Ticket, Result<Msg, Errno>)) -> Msg {
    let mut bytes = vec![1, 0];
    let errno = result.as_ref().err().map_or(0, |errno| errno.number());
    bytes.extend_from_slice(&errno.to_le_bytes());
    bytes.extend_from_slice(&ticket.to_word().to_le_bytes());
    let msg = result.unwrap_or_default();
    for word in msg.words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&msg.bytes);
    Msg { words: [1, 0, 0, 0], bytes }
}
