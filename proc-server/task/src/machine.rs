// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`proc_core::Machine`] on seL4.
//!
//! A thread's three slots, given by mem-server: its TCB, its capability space, its address space. The
//! capability space holds one thing, at [`FAULT_SLOT`]: the endpoint of the worker of its core, badged
//! with the thread's id. All that a Linux thread can do with it is fault.

use abi::startup::{IRQ_BIT, Startup, THREAD_BADGE};
use abi::{CoreId, Errno, ThreadId};
use alloc::vec::Vec;
use core::fmt;
use microkernel_rt::println;
use microkernel_sys::{
    CNode, Cap, CapData, Endpoint, FpuImage, Frame, Notification, Priorities, Rights, Slot, Tcb,
    ThreadState, VSpace,
};
use proc_core::{Found, Fpu, Machine, Registers, Stopped};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// Bit of a worker's notification by which proc-server wakes its own worker.
pub const KICK_BIT: u32 = IRQ_BIT - 1;

/// Linux threads run below all servers.
const PRIORITIES: Priorities = Priorities { priority: 100, max_controlled: 0 };
/// Where a thread's capability space holds its fault endpoint.
const FAULT_SLOT: u64 = 1;
/// log2 of the slots of a thread's capability space, as mem-server makes it.
const THREAD_CNODE_BITS: u32 = 4;
/// The kernel's number of an unknown system call's fault.
const UNKNOWN_SYSCALL: u64 = 2;

/// Linux threads of this node.
pub struct Sel4Machine {
    root: Cap<CNode>,
    endpoints: Vec<u64>,
    kicks: Vec<Cap<Notification>>,
    random: ChaCha12Rng,
    wall_base_ns: i64,
    tsc_khz: u64,
    cpu_features: u32,
}

impl Sel4Machine {
    /// The threads of the node that `startup` describes; `kick_slots` are empty slots, one per core.
    pub fn new(startup: &Startup, kick_slots: core::ops::Range<u64>, cpu_features: u32) -> Self {
        let root = Cap::<CNode>::new(startup.cnode_slot);
        let slot = |index| root.slot(index, 64);
        let kicks = startup
            .workers
            .iter()
            .zip(kick_slots)
            .map(|(worker, index)| {
                let badge = CapData::badge(1 << KICK_BIT);
                let from = slot(worker.notification_slot);
                slot(index).mint_from(from, Rights::ALL, badge).expect("the slot is empty");
                Cap::new(index)
            })
            .collect();
        Self {
            root,
            endpoints: startup.workers.iter().map(|worker| worker.endpoint_slot).collect(),
            kicks,
            random: ChaCha12Rng::from_seed(startup.seed),
            wall_base_ns: startup.wall_base_ns,
            tsc_khz: startup.tsc_hz / 1000,
            cpu_features,
        }
    }

    fn slot(&self, index: u64) -> Slot {
        self.root.slot(index, 64)
    }
}

fn tcb(slot: u64) -> Cap<Tcb> {
    Cap::new(slot)
}

impl Machine for Sel4Machine {
    fn cores(&self) -> u8 {
        self.endpoints.len() as u8
    }

    fn configure(&mut self, thread: ThreadId, slot: u64, core: CoreId) -> Result<(), Errno> {
        let cnode = Cap::<CNode>::new(slot + 1);
        let space = Cap::<VSpace>::new(slot + 2);
        let endpoint = self.endpoints.get(usize::from(core.0)).copied().ok_or(Errno::EINVAL)?;
        let endpoint = self.slot(Cap::<Endpoint>::new(endpoint).bits());
        let fault = cnode.slot(FAULT_SLOT, THREAD_CNODE_BITS as u8);
        let badge = CapData::badge(THREAD_BADGE | thread.to_badge());
        fault.delete().map_err(|_| Errno::EIO)?;
        fault.mint_from(endpoint, Rights::CALL, badge).map_err(|_| Errno::EIO)?;
        let guard = CapData::zero_guard(64 - THREAD_CNODE_BITS);
        // Without an IPC buffer any capability may stand for its frame.
        let no_buffer = space.cast::<Frame>();
        tcb(slot)
            .configure(FAULT_SLOT, PRIORITIES, cnode, guard, space, CapData::NONE, 0, no_buffer)
            .map_err(|_| Errno::EIO)?;
        tcb(slot).set_affinity(u64::from(core.0)).map_err(|_| Errno::EIO)
    }

    fn resume(&mut self, slot: u64, registers: &Registers) {
        let written = tcb(slot).write_registers(true, &to_kernel(registers));
        written.expect("proc-server holds the thread");
    }

    fn retry(&mut self, slot: u64) {
        tcb(slot).resume().expect("proc-server holds the thread");
    }

    fn stop(&mut self, slot: u64) -> Stopped {
        let (registers, state) = tcb(slot).read_state(true).expect("proc-server holds the thread");
        let queued = state.thread() == ThreadState::BlockedOnSend;
        let found = if queued && state.fault_label() == UNKNOWN_SYSCALL {
            Found::SystemCall
        } else {
            Found::User
        };
        Stopped { registers: from_kernel(&registers), found }
    }

    fn read_fpu(&mut self, slot: u64) -> Fpu {
        let (_, _, image) =
            tcb(slot).read_registers_full(false).expect("proc-server holds the thread");
        let mut fpu = Fpu([0; 512]);
        for (chunk, word) in fpu.0.chunks_exact_mut(8).zip(image.0) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        fpu
    }

    fn write_fpu(&mut self, slot: u64, fpu: &Fpu) {
        let mut image = FpuImage::initial();
        let (words, _) = fpu.0.as_chunks::<8>();
        for (word, bytes) in image.0.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        let registers = tcb(slot).read_registers(false).expect("proc-server holds the thread");
        let written = tcb(slot).write_registers_full(false, &registers, &image);
        written.expect("proc-server holds the thread");
    }

    fn kick(&mut self, core: CoreId) {
        self.kicks[usize::from(core.0)].signal();
    }

    fn boot_time_ns(&self) -> u64 {
        u64::try_from(self.wall_base_ns).unwrap_or(0)
    }

    fn tsc_khz(&self) -> u64 {
        self.tsc_khz
    }

    fn cpu_features(&self) -> u32 {
        self.cpu_features
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill_bytes(bytes);
    }

    fn log(&mut self, line: fmt::Arguments<'_>) {
        println!("{line}");
    }
}

/// The kernel's registers as the core has them.
#[inline]
pub fn from_kernel(r: &microkernel_sys::Registers) -> Registers {
    Registers {
        rip: r.rip,
        rsp: r.rsp,
        rflags: r.rflags,
        rax: r.rax,
        rbx: r.rbx,
        rcx: r.rcx,
        rdx: r.rdx,
        rsi: r.rsi,
        rdi: r.rdi,
        rbp: r.rbp,
        r8: r.r8,
        r9: r.r9,
        r10: r.r10,
        r11: r.r11,
        r12: r.r12,
        r13: r.r13,
        r14: r.r14,
        r15: r.r15,
        fs_base: r.tls_base,
    }
}

fn to_kernel(r: &Registers) -> microkernel_sys::Registers {
    microkernel_sys::Registers {
        rip: r.rip,
        rsp: r.rsp,
        rflags: r.rflags,
        rax: r.rax,
        rbx: r.rbx,
        rcx: r.rcx,
        rdx: r.rdx,
        rsi: r.rsi,
        rdi: r.rdi,
        rbp: r.rbp,
        r8: r.r8,
        r9: r.r9,
        r10: r.r10,
        r11: r.r11,
        r12: r.r12,
        r13: r.r13,
        r14: r.r14,
        r15: r.r15,
        tls_base: r.fs_base,
    }
}
