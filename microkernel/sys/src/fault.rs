// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults of other threads, as they arrive on their fault endpoint.
//!
//! Register values are the faulting program's word: input, to be checked. Only the badge and the kind
//! of fault are the kernel's.

use crate::ipc;
use crate::message::Received;
use crate::registers::Registers;

/// A decoded fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A system call that is none of the kernel's: a Linux one.
    UnknownSyscall(UnknownSyscall),
    /// An access to a page that is not mapped, or not for this.
    Vm(VmFault),
    /// A CPU exception.
    UserException(UserException),
    /// A capability that is not there was used.
    Cap(CapFault),
}

/// A Linux system call. Reply with one word, the result: [`reply_with`](crate::reply_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSyscall {
    /// All registers but the thread-local base, which reads 0. `rip` is after the `syscall`.
    pub registers: Registers,
    /// The call's number (`rax`).
    pub number: u64,
}

/// A page fault. Any reply restarts the access, so map first; to stop the thread, do not reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmFault {
    /// The instruction.
    pub ip: u64,
    /// The address accessed.
    pub address: u64,
    /// The kernel says it was an instruction fetch.
    pub prefetch: bool,
    /// The CPU's error code.
    pub code: u64,
}

impl VmFault {
    /// A write, not a read.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        self.code & 2 != 0
    }

    /// The page is mapped, but not for this access.
    #[must_use]
    pub const fn is_protection(&self) -> bool {
        self.code & 1 != 0
    }

    /// An instruction fetch; where the CPU does not say so, the address tells.
    #[must_use]
    pub const fn is_fetch(&self) -> bool {
        self.prefetch || self.code & 16 != 0 || self.address == self.ip
    }
}

/// A CPU exception: division by zero (0), breakpoint (3), invalid instruction (6), protection (13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserException {
    /// The instruction, or the next one for traps.
    pub ip: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The flags.
    pub flags: u64,
    /// The exception's number.
    pub number: u64,
    /// The CPU's error code.
    pub code: u64,
}

/// A capability that could not be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapFault {
    /// The instruction.
    pub ip: u64,
    /// The capability pointer.
    pub cap: u64,
    /// While receiving, not sending.
    pub receiving: bool,
    /// The kernel's number of the reason: 1 invalid root, 2 missing, 3 depth, 4 guard.
    pub lookup_failure: u64,
}

impl Fault {
    /// Decodes a received message, of which words 4 and up are still in the IPC buffer. `None` if it is
    /// no fault: another label, or too short.
    #[must_use]
    #[inline]
    pub fn decode(message: &Received) -> Option<Self> {
        let rest = |i| ipc::word(i);
        Self::from_words(message.info.label(), message.info.length(), message.words, rest)
    }

    /// Like [`decode`](Self::decode), with words 4 and up from `rest`.
    #[inline]
    fn from_words(
        label: u64,
        length: usize,
        first: [u64; 4],
        rest: impl Fn(usize) -> u64,
    ) -> Option<Self> {
        let word = |i| first.get(i).copied().unwrap_or_else(|| rest(i));
        match (label, length) {
            (1, 4..) => Some(Self::Cap(CapFault {
                ip: word(0),
                cap: word(1),
                receiving: word(2) != 0,
                lookup_failure: word(3),
            })),
            (2, 19..) => Some(Self::UnknownSyscall(unknown_syscall(word))),
            (3, 5..) => Some(Self::UserException(UserException {
                ip: word(0),
                sp: word(1),
                flags: word(2),
                number: word(3),
                code: word(4),
            })),
            (5, 4..) => Some(Self::Vm(VmFault {
                ip: word(0),
                address: word(1),
                prefetch: word(2) != 0,
                code: word(3),
            })),
            _ => None,
        }
    }
}

#[inline]
fn unknown_syscall(word: impl Fn(usize) -> u64) -> UnknownSyscall {
    let registers = Registers {
        rax: word(0),
        rbx: word(1),
        rcx: word(2),
        rdx: word(3),
        rsi: word(4),
        rdi: word(5),
        rbp: word(6),
        r8: word(7),
        r9: word(8),
        r10: word(9),
        r11: word(10),
        r12: word(11),
        r13: word(12),
        r14: word(13),
        r15: word(14),
        rip: word(15),
        rsp: word(16),
        rflags: word(17),
        tls_base: 0,
    };
    UnknownSyscall { registers, number: word(18) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vm_fault_write_decodes() {
        let fault = Fault::from_words(5, 4, [0x1000, 0xdead_0000_0008, 0, 6], |_| 0);
        let Some(Fault::Vm(vm)) = fault else { panic!("{fault:?}") };
        assert!(vm.is_write() && !vm.is_protection() && !vm.is_fetch());
    }

    #[test]
    fn unknown_syscall_takes_registers_in_the_kernels_order() {
        let fault = Fault::from_words(2, 19, [100, 101, 102, 103], |i| 100 + i as u64);
        let Some(Fault::UnknownSyscall(call)) = fault else { panic!("{fault:?}") };
        let r = call.registers;
        assert_eq!((r.rax, r.rdx, r.rsi, r.rdi, r.r8), (100, 103, 104, 105, 107));
        assert_eq!((r.rip, r.rsp, r.rflags, call.number), (115, 116, 117, 118));
    }

    #[test]
    fn fault_too_short_is_none() {
        assert_eq!(Fault::from_words(2, 18, [0; 4], |_| 0), None);
        assert_eq!(Fault::from_words(4, 4, [0; 4], |_| 0), None);
    }
}
