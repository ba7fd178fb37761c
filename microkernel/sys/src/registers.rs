// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and writing a thread's registers, FPU state and scheduling state.
//!
//! Beside the kernel's own 19 registers this uses an edit of ours: word 19 tells the state that a thread
//! was in before it was suspended, and with flag 8 words 20..84 hold the FPU state as `FXSAVE` stores it.

use crate::cap::{Cap, Tcb};
use crate::error::Error;
use crate::ipc;
use crate::labels as label;
use crate::message::{MessageInfo, REGISTER_WORDS};
use crate::syscall::{Number, enter};

const REGISTERS: usize = 19;
const STATE_WORD: usize = 19;
const FPU_FIRST: usize = 20;
const FPU_WORDS: usize = 64;
const FULL_WORDS: usize = FPU_FIRST + FPU_WORDS;
/// Flags and count go before the registers in a write.
const WRITE_HEADER: usize = 2;

const FLAG_RESUME: u64 = 1;
const FLAG_FPU: u64 = 1 << 8;

macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A thread's integer registers, in the kernel's order.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct Registers { $($(#[$doc])* pub $name: u64),* }

        impl Registers {
            /// From the kernel's order.
            #[must_use]
            pub const fn from_words(words: &[u64; REGISTERS]) -> Self {
                let [$($name),*] = *words;
                Self { $($name),* }
            }

            /// In the kernel's order.
            #[must_use]
            pub const fn to_words(&self) -> [u64; REGISTERS] {
                [$(self.$name),*]
            }
        }
    };
}

registers! {
    /// Instruction pointer.
    rip,
    /// Stack pointer.
    rsp,
    /// Flags; the kernel lets only the harmless ones through.
    rflags,
    /// Accumulator; a Linux system call's number and result.
    rax,
    /// General.
    rbx,
    /// General; lost by `syscall`.
    rcx,
    /// General.
    rdx,
    /// General.
    rsi,
    /// General.
    rdi,
    /// General.
    rbp,
    /// General.
    r8,
    /// General.
    r9,
    /// General.
    r10,
    /// General; lost by `syscall`.
    r11,
    /// General.
    r12,
    /// General.
    r13,
    /// General.
    r14,
    /// General.
    r15,
    /// Base of `fs`, the thread-local storage. Must be below 0x7fff_ffff_f000.
    tls_base,
}

/// The x87 and SSE state as `FXSAVE64` stores it: 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct FpuImage(pub [u64; FPU_WORDS]);

impl FpuImage {
    /// What a new thread starts with: x87 control word 0x37f, MXCSR 0x1f80, all else 0.
    #[must_use]
    pub const fn initial() -> Self {
        let mut words = [0; FPU_WORDS];
        words[0] = 0x37f;
        words[3] = 0x1f80;
        Self(words)
    }
}

/// What a thread was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// Stopped, or never started.
    Inactive,
    /// Running or ready to run.
    Running,
    /// Resumed, and about to run its last instruction again.
    Restart,
    /// Waiting for a message.
    BlockedOnReceive,
    /// Waiting for a receiver: its message, or fault, is queued and nobody has seen it.
    BlockedOnSend,
    /// Waiting for the answer to a call or a fault that was received.
    BlockedOnReply,
    /// Waiting for a signal.
    BlockedOnNotification,
    /// Another number.
    Unknown,
}

/// A thread's state before it was suspended: bits 0..8 the thread state, 8..16 the fault's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct State(pub u64);

impl State {
    /// What the thread was doing.
    #[must_use]
    pub const fn thread(self) -> ThreadState {
        match self.0 & 0xff {
            0 => ThreadState::Inactive,
            1 => ThreadState::Running,
            2 => ThreadState::Restart,
            3 => ThreadState::BlockedOnReceive,
            4 => ThreadState::BlockedOnSend,
            5 => ThreadState::BlockedOnReply,
            6 => ThreadState::BlockedOnNotification,
            _ => ThreadState::Unknown,
        }
    }

    /// The fault that the thread waits with, by its label (2 unknown system call, 5 page fault); 0
    /// for none.
    #[must_use]
    pub const fn fault_label(self) -> u64 {
        self.0 >> 8 & 0xff
    }
}

impl Cap<Tcb> {
    /// Reads the integer registers; `suspend` stops the thread first.
    ///
    /// # Errors
    /// `IllegalOperation` on the calling thread itself.
    pub fn read_registers(self, suspend: bool) -> Result<Registers, Error> {
        let words = self.read::<REGISTERS>(u64::from(suspend))?;
        Ok(Registers::from_words(&words))
    }

    /// Reads the integer registers and the state found before suspending.
    ///
    /// # Errors
    /// As for [`read_registers`](Self::read_registers); `Range` from a kernel without the edit.
    pub fn read_state(self, suspend: bool) -> Result<(Registers, State), Error> {
        let words = self.read::<{ STATE_WORD + 1 }>(u64::from(suspend))?;
        Ok((integer(&words), State(words[STATE_WORD])))
    }

    /// Reads everything: registers, the state found before suspending, FPU state.
    ///
    /// # Errors
    /// As for [`read_state`](Self::read_state).
    pub fn read_registers_full(self, suspend: bool) -> Result<(Registers, State, FpuImage), Error> {
        let flags = u64::from(suspend) | FLAG_FPU;
        let words = self.read::<FULL_WORDS>(flags)?;
        let mut fpu = [0; FPU_WORDS];
        fpu.copy_from_slice(&words[FPU_FIRST..]);
        Ok((integer(&words), State(words[STATE_WORD]), FpuImage(fpu)))
    }

    /// Writes the integer registers. The thread leaves what it waited for; `resume` starts it.
    ///
    /// # Errors
    /// `IllegalOperation` on the calling thread itself.
    pub fn write_registers(self, resume: bool, registers: &Registers) -> Result<(), Error> {
        self.write(u64::from(resume), &registers.to_words())
    }

    /// Ends a system call that was not replied to: writes rip, rsp, rflags and rax, keeps all other
    /// registers, and resumes the thread. Needs no saved reply capability.
    ///
    /// # Errors
    /// As for [`write_registers`](Self::write_registers).
    pub fn resume_with(self, rip: u64, rsp: u64, rflags: u64, rax: u64) -> Result<(), Error> {
        self.write(FLAG_RESUME, &[rip, rsp, rflags, rax])
    }

    /// Writes the integer registers and the FPU state.
    ///
    /// # Errors
    /// As for [`write_registers`](Self::write_registers).
    pub fn write_registers_full(
        self,
        resume: bool,
        registers: &Registers,
        fpu: &FpuImage,
    ) -> Result<(), Error> {
        let mut words = [0; FULL_WORDS];
        words[..REGISTERS].copy_from_slice(&registers.to_words());
        words[FPU_FIRST..].copy_from_slice(&fpu.0);
        let flags = u64::from(resume) | FLAG_FPU;
        self.write(flags, &words)
    }

    /// Reads the first `N` words of the register file.
    #[inline(always)]
    fn read<const N: usize>(self, flags: u64) -> Result<[u64; N], Error> {
        let info = MessageInfo::new(label::TCB_READ_REGISTERS, WRITE_HEADER);
        let answer = enter(Number::Call, self.bits(), info, [flags, N as u64, 0, 0]);
        if let Some(error) = Error::decode(answer.info.label(), answer.words) {
            return Err(error);
        }
        // A shorter answer comes from a kernel without the edit; the rest of the buffer is stale.
        if answer.info.length() < N {
            return Err(Error::TruncatedMessage);
        }
        let mut words = [0; N];
        words[..REGISTER_WORDS].copy_from_slice(&answer.words);
        ipc::read_words(REGISTER_WORDS, &mut words[REGISTER_WORDS..]);
        Ok(words)
    }

    #[inline(always)]
    fn write<const N: usize>(self, flags: u64, words: &[u64; N]) -> Result<(), Error> {
        let info = MessageInfo::new(label::TCB_WRITE_REGISTERS, WRITE_HEADER + N);
        let in_registers = REGISTER_WORDS - WRITE_HEADER;
        ipc::write_words(REGISTER_WORDS, &words[in_registers..]);
        let answer = enter(Number::Call, self.bits(), info, [flags, N as u64, words[0], words[1]]);
        Error::decode(answer.info.label(), answer.words).map_or(Ok(()), Err)
    }
}

fn integer(words: &[u64]) -> Registers {
    let words = words.first_chunk().expect("the register file starts with the integer registers");
    Registers::from_words(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_keep_the_kernels_order() {
        let words: [u64; REGISTERS] = core::array::from_fn(|i| i as u64);
        let registers = Registers::from_words(&words);
        assert_eq!((registers.rip, registers.rax, registers.tls_base), (0, 3, 18));
        assert_eq!(registers.to_words(), words);
    }

    #[test]
    fn state_splits_thread_state_and_fault() {
        let state = State(2 << 8 | 4);
        assert_eq!((state.thread(), state.fault_label()), (ThreadState::BlockedOnSend, 2));
    }
}
