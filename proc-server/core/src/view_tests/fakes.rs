// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine whose threads do what a test says, and servers that agree to everything.

use crate::machine::{Fpu, Machine, Registers, Stopped};
use crate::{Found, layout::IntoBytes};
use abi::{CoreId, Errno, ObjectId, ServerId, SpaceId, ThreadId, Ticket};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use fs_api::name::{Named, Open, Opened};
use mem_api::{
    CopyIn, CopyOut, CopyString, Count, Fault, FetchAll, SpaceCreated, SpaceDestroy, SpaceExport,
    SpaceFork, SpaceGive, SpaceImport, SpaceImported, SpaceSize, SpaceSizes, ThreadCreate,
    ThreadCreated, ThreadRelease,
};
use runtime::{Bulk, Msg, Operation, Status, Wire, system};

/// What a node's fakes remember.
#[derive(Default)]
pub struct State {
    /// Registers with which threads were last resumed, by slot.
    pub resumed: BTreeMap<u64, Registers>,
    /// Slots of threads that run.
    pub running: BTreeSet<u64>,
    /// Slots whose instruction runs again.
    pub retried: Vec<u64>,
    /// The path that the program's memory holds.
    pub path: String,
    /// Page faults that came.
    pub faults: u32,
    /// Asks of other servers are answered when the test says so.
    pub slow: bool,
    /// Those that wait: the server, the ticket.
    pub waiting: VecDeque<(ServerId, Ticket)>,
    ready: VecDeque<(ServerId, Ticket)>,
    /// What was logged.
    pub log: Vec<String>,
    next: u32,
}

impl State {
    /// Ends what waits for other servers; who must collect.
    pub fn end_waiting(&mut self) -> Vec<ServerId> {
        let servers = self.waiting.iter().map(|(server, _)| *server).collect();
        self.ready.append(&mut self.waiting);
        servers
    }
}

pub struct FakeMachine(pub Rc<RefCell<State>>);

impl Machine for FakeMachine {
    fn cores(&self) -> u8 {
        1
    }
    fn configure(&mut self, _: ThreadId, _: u64, _: CoreId) -> Result<(), Errno> {
        Ok(())
    }
    fn resume(&mut self, slot: u64, registers: &Registers) {
        let mut state = self.0.borrow_mut();
        state.resumed.insert(slot, *registers);
        state.running.insert(slot);
    }
    fn retry(&mut self, slot: u64) {
        self.0.borrow_mut().retried.push(slot);
    }
    fn stop(&mut self, slot: u64) -> Stopped {
        let mut state = self.0.borrow_mut();
        state.running.remove(&slot);
        let registers = state.resumed.get(&slot).copied().unwrap_or_default();
        Stopped { registers, found: Found::User }
    }
    fn read_fpu(&mut self, _: u64) -> Fpu {
        Fpu::INITIAL
    }
    fn write_fpu(&mut self, _: u64, _: &Fpu) {}
    fn kick(&mut self, _: CoreId) {}
    fn boot_time_ns(&self) -> u64 {
        1_700_000_000_000_000_000
    }
    fn tsc_khz(&self) -> u64 {
        0
    }
    fn cpu_features(&self) -> u32 {
        0
    }
    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn log(&mut self, line: fmt::Arguments<'_>) {
        self.0.borrow_mut().log.push(line.to_string());
    }
}

fn done<T: Wire>(msg: &mut Msg, reply: &T) -> Status {
    *msg = Msg::of(reply).expect("it fits");
    Status::Done
}

/// What the other servers of a node answer.
pub fn answer(
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
        (_, system::CANCEL) => Status::Done,
        (ServerId::Mem, _) => memory(&mut state, op, msg, bulk),
        (ServerId::Fs, Open::NUMBER) => {
            let path = Open::get(msg).expect("proc-server asks").at.path;
            done(msg, &Named::<Opened>::Elsewhere(path))
        }
        _ if state.slow => {
            state.next += 1;
            let ticket = Ticket { index: state.next, generation: 1 };
            state.waiting.push_back((to, ticket));
            Status::Pending(ticket)
        }
        _ => done(msg, &()),
    }
}

fn memory(state: &mut State, op: u16, msg: &mut Msg, bulk: &mut Bulk<'_>) -> Status {
    state.next += 1;
    let space = SpaceId { index: state.next, generation: 1 };
    match op {
        SpaceFork::NUMBER => done(msg, &SpaceCreated { space }),
        SpaceImport::NUMBER => {
            let object = ObjectId::from_raw(state.next.into());
            done(msg, &SpaceImported { space, object, complete: true })
        }
        ThreadCreate::NUMBER => {
            let slot = u64::from(state.next) * 3;
            done(msg, &ThreadCreated { slot })
        }
        ThreadRelease::NUMBER => {
            let slot = ThreadRelease::get(msg).expect("proc-server asks").slot;
            assert!(!state.running.contains(&slot), "a thread is stopped first");
            Status::Done
        }
        SpaceSize::NUMBER => {
            done(msg, &SpaceSizes { mapped: 0, resident: 4096, stack: 0, text: 0 })
        }
        SpaceExport::NUMBER => {
            bulk.set(&[1]).expect("there is a window");
            done(msg, &Count { count: 1 })
        }
        CopyString::NUMBER => {
            let path = state.path.clone();
            bulk.set(path.as_bytes()).expect("there is a window");
            done(msg, &())
        }
        CopyIn::NUMBER => {
            let zeroes = 0u64.as_bytes().repeat(bulk.buf.len() / 8);
            bulk.set(&zeroes).expect("there is a window");
            Status::Done
        }
        Fault::NUMBER => {
            state.faults += 1;
            Status::Done
        }
        CopyOut::NUMBER | FetchAll::NUMBER | SpaceDestroy::NUMBER | SpaceGive::NUMBER => {
            Status::Done
        }
        _ => Status::Failed(Errno::ENOSYS),
    }
}

/// The answer of `take`, as the runtime packs it.
fn packed((_, ticket): (ServerId, Ticket)) -> Msg {
    let mut bytes = Vec::from([1, 0, 0, 0]);
    bytes.extend_from_slice(&ticket.to_word().to_le_bytes());
    bytes.extend_from_slice(&[0; 32]);
    Msg { words: [1, 0, 0, 0], bytes }
}
