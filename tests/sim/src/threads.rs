// SPDX-License-Identifier: MIT OR Apache-2.0
//! proc-server's machine: the kernel's threads, as far as proc-server sees them.
//!
//! # Model
//! ```text
//! Stopped --resume--> Ready --fault--> Queued --received--> Handled --answer, retry, resume--> Ready
//!                       any of them --stop--> Stopped
//! ```
//! A fault that is queued has been made, and nobody has seen it: this is where a stop could lose or
//! repeat a system call.

use crate::rng::Rng;
use abi::{CoreId, Errno, ThreadId};
use mem_api::Access;
use mem_core::HardSpace;
use proc_core::{Found, Fpu, Machine, Registers, Stopped};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// What a thread did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A system call: rip stands behind it.
    SystemCall,
    /// Touched this address.
    Page(u64, Access),
    /// Executed something that is not an instruction.
    Invalid,
}

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Nothing.
    Stopped,
    /// It runs when it is its turn.
    Ready,
    /// It has faulted, and nobody has seen it.
    Queued(Fault),
    /// proc-server has seen its fault.
    Handled,
}

/// A kernel thread.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// Its registers.
    pub registers: Registers,
    /// Its FPU state.
    pub fpu: Fpu,
    /// Its address space.
    pub space: HardSpace,
    /// What it does.
    pub activity: Activity,
    /// The badge of its faults.
    pub id: ThreadId,
    /// Where it runs.
    pub core: CoreId,
}

/// A node's threads.
#[derive(Debug, Default)]
pub struct Threads {
    all: BTreeMap<u64, Thread>,
    /// Cores whose worker is to look at its kicks.
    pub kicks: Vec<CoreId>,
}

impl Threads {
    pub(crate) fn create(&mut self, slot: u64, space: HardSpace) {
        let thread = Thread {
            registers: Registers::default(),
            fpu: Fpu::INITIAL,
            space,
            activity: Activity::Stopped,
            id: ThreadId { index: u16::MAX, generation: 0 },
            core: CoreId(0),
        };
        assert!(self.all.insert(slot, thread).is_none(), "slots are not used again");
    }

    pub(crate) fn release(&mut self, slot: u64) {
        let thread = self.all.remove(&slot).expect("a thread is released once");
        let runs = matches!(thread.activity, Activity::Ready | Activity::Queued(_));
        assert!(!runs, "a released thread does not run");
    }

    /// The thread whose objects are at `slot`.
    pub fn get(&mut self, slot: u64) -> &mut Thread {
        self.all.get_mut(&slot).expect("proc-server names threads that exist")
    }

    /// The thread, if it still exists.
    pub fn find(&mut self, slot: u64) -> Option<&mut Thread> {
        self.all.get_mut(&slot)
    }

    /// All threads.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Thread)> {
        self.all.iter().map(|(slot, thread)| (*slot, thread))
    }
}

/// proc-server's hands on the threads.
pub struct ThreadMachine {
    threads: Rc<RefCell<Threads>>,
    rng: Rng,
    cores: u8,
    /// What proc-server logged.
    pub log: Vec<String>,
}

impl ThreadMachine {
    /// The machine of a node with so many cores.
    pub fn new(threads: Rc<RefCell<Threads>>, cores: u8, seed: u64) -> Self {
        Self { threads, rng: Rng::new(seed), cores, log: Vec::new() }
    }
}

impl Machine for ThreadMachine {
    fn cores(&self) -> u8 {
        self.cores
    }

    fn configure(&mut self, id: ThreadId, slot: u64, core: CoreId) -> Result<(), Errno> {
        let mut threads = self.threads.borrow_mut();
        let thread = threads.get(slot);
        assert_eq!(thread.activity, Activity::Stopped, "a thread that runs is left alone");
        (thread.id, thread.core) = (ThreadId::from_badge(id.to_badge()), core);
        Ok(())
    }

    fn resume(&mut self, slot: u64, registers: &Registers) {
        let mut threads = self.threads.borrow_mut();
        let thread = threads.get(slot);
        let idle = matches!(thread.activity, Activity::Stopped | Activity::Handled);
        assert!(idle, "registers of a thread that runs are not written: {:?}", thread.activity);
        (thread.registers, thread.activity) = (*registers, Activity::Ready);
    }

    fn retry(&mut self, slot: u64) {
        let mut threads = self.threads.borrow_mut();
        let thread = threads.get(slot);
        assert_eq!(thread.activity, Activity::Handled, "only a fault that waits is retried");
        thread.activity = Activity::Ready;
    }

    fn stop(&mut self, slot: u64) -> Stopped {
        let mut threads = self.threads.borrow_mut();
        let thread = threads.get(slot);
        let found = match thread.activity {
            Activity::Queued(Fault::SystemCall) => Found::SystemCall,
            Activity::Queued(_) | Activity::Ready | Activity::Handled | Activity::Stopped => {
                Found::User
            }
        };
        thread.activity = Activity::Stopped;
        Stopped { registers: thread.registers, found }
    }

    fn read_fpu(&mut self, slot: u64) -> Fpu {
        self.threads.borrow_mut().get(slot).fpu
    }

    fn write_fpu(&mut self, slot: u64, fpu: &Fpu) {
        self.threads.borrow_mut().get(slot).fpu = *fpu;
    }

    fn kick(&mut self, core: CoreId) {
        self.threads.borrow_mut().kicks.push(core);
    }

    fn boot_time_ns(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn tsc_khz(&self) -> u64 {
        1_000_000
    }

    fn cpu_features(&self) -> u32 {
        0
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.rng.bits() as u8);
    }

    fn log(&mut self, line: fmt::Arguments<'_>) {
        self.log.push(line.to_string());
    }
}
