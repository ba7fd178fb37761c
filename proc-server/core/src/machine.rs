// SPDX-License-Identifier: MIT OR Apache-2.0
//! The effects that proc-server has on kernel threads.
//!
//! # Model
//! A Linux thread has kernel objects at a *slot*, given by mem-server. Its faults go to the worker of
//! its core. Only a worker on the thread's own core stops it while it may run (see
//! [`crate::ProcCore::kicked`]), so that a stop finds every fault either queued or not yet made:
//! never received and unhandled, never answered and not yet returned.

use abi::{CoreId, Errno, ThreadId};
use core::fmt;
use serde::{Deserialize, Serialize};

/// A thread's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the processor's names")]
pub struct Registers {
    pub rip: u64,
    pub rsp: u64,
    pub rflags: u64,
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub fs_base: u64,
}

/// Bytes of the `syscall` instruction.
const SYSCALL_BYTES: u64 = 2;

impl Registers {
    /// The arguments of a system call.
    pub const fn arguments(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Goes back to the `syscall` instruction; rax must hold the call's number.
    pub const fn rewind(&mut self) {
        self.rip = self.rip.wrapping_sub(SYSCALL_BYTES);
    }
}

/// The x87 and SSE state as FXSAVE64 stores it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fpu(pub [u8; 512]);

impl Fpu {
    /// What a new program starts with: x87 control word 0x37f, MXCSR 0x1f80, all else 0.
    pub const INITIAL: Self = {
        let mut bytes = [0; 512];
        bytes[0] = 0x7f;
        bytes[1] = 0x03;
        bytes[24] = 0x80;
        bytes[25] = 0x1f;
        Self(bytes)
    };
}

impl fmt::Debug for Fpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fpu")
    }
}

/// What a thread was doing when it was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It ran, or was stopped already, or waits with a page fault or an exception that will come
    /// again: its registers are to be used as they are.
    User,
    /// It has made a system call that nobody has seen: rip stands behind it, rax holds its number.
    SystemCall,
}

/// A stopped thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped {
    /// Its registers.
    pub registers: Registers,
    /// What it was doing.
    pub found: Found,
}

/// Kernel threads, as the core needs them.
pub trait Machine {
    /// Cores of this node.
    fn cores(&self) -> u8;
    /// Prepares the stopped thread at `slot`: its badge, core and fault endpoint.
    ///
    /// # Errors
    /// What the kernel refuses.
    fn configure(&mut self, thread: ThreadId, slot: u64, core: CoreId) -> Result<(), Errno>;
    /// Writes all registers of a thread that does not run, and lets it run. A fault that it waits
    /// with is forgotten.
    fn resume(&mut self, slot: u64, registers: &Registers);
    /// Lets a thread that waits with a fault run its instruction again.
    fn retry(&mut self, slot: u64);
    /// Stops a thread. A fault that it waits with, or has queued, is forgotten.
    fn stop(&mut self, slot: u64) -> Stopped;
    /// The FPU state of a thread that does not run.
    fn read_fpu(&mut self, slot: u64) -> Fpu;
    /// Writes the FPU state of a thread that does not run.
    fn write_fpu(&mut self, slot: u64, fpu: &Fpu);
    /// Makes the worker of `core` call [`crate::ProcCore::kicked`] when it next waits for a message:
    /// behind the answer to the fault that it has in hand.
    fn kick(&mut self, core: CoreId);
    /// Nanoseconds since 1970 at boot.
    fn boot_time_ns(&self) -> u64;
    /// The time stamp counter's kHz, for `/proc/cpuinfo`; 0 if it is not known.
    fn tsc_khz(&self) -> u64;
    /// CPUID leaf 1, edx: AT_HWCAP.
    fn cpu_features(&self) -> u32;
    /// Random bytes.
    fn random(&mut self, bytes: &mut [u8]);
    /// Writes a line to the log.
    fn log(&mut self, line: fmt::Arguments<'_>);
}

/// What a thread did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserFault<'a> {
    /// A system call. rip stands behind it; `fs_base` is not looked at.
    SystemCall(&'a Registers),
    /// It touched memory that is not mapped.
    Page {
        /// The address.
        addr: u64,
        /// What it tried.
        access: mem_api::Access,
    },
    /// A processor exception.
    Exception {
        /// Its vector.
        number: u64,
        /// Its error code.
        code: u64,
    },
}

/// What the worker does with a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultAnswer {
    /// Answer with this in rax.
    Return(u64),
    /// Answer so that the instruction runs again.
    Retry,
    /// Do not answer: the thread is resumed, or ends, by other means.
    Silent,
}
