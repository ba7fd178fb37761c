// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fault messages of Linux threads.
//!
//! The registers in them are the program's word; badge and kind are the kernel's.

use crate::machine::from_kernel;
use mem_api::Access;
use microkernel_sys::{Fault, MessageInfo, Received};
use proc_core::{FaultAnswer, Registers, UserFault};

/// What to answer to the kernel.
pub struct Reply {
    /// The descriptor.
    pub info: MessageInfo,
    /// The words.
    pub words: [u64; 4],
}

impl Reply {
    /// The reply for an answer of the core; `None` for none.
    #[inline]
    pub fn of(answer: FaultAnswer) -> Option<Self> {
        match answer {
            FaultAnswer::Return(rax) => {
                Some(Self { info: MessageInfo::new(0, 1), words: [rax, 0, 0, 0] })
            }
            FaultAnswer::Retry => Some(Self { info: MessageInfo::new(0, 0), words: [0; 4] }),
            FaultAnswer::Silent => None,
        }
    }
}

/// Decodes a fault; `registers` takes a system call's.
#[inline]
pub fn decode<'a>(received: &Received, registers: &'a mut Registers) -> Option<UserFault<'a>> {
    match Fault::decode(received)? {
        Fault::UnknownSyscall(call) => {
            *registers = from_kernel(&call.registers);
            Some(UserFault::SystemCall(registers))
        }
        Fault::Vm(fault) => {
            let access = if fault.is_write() { Access::Write } else { Access::Read };
            Some(UserFault::Page { addr: fault.address, access })
        }
        Fault::UserException(exception) => {
            Some(UserFault::Exception { number: exception.number, code: exception.code })
        }
        // A thread without capabilities of its own cannot make one; if it could: as an invalid opcode.
        Fault::Cap(_) => Some(UserFault::Exception { number: 6, code: 0 }),
    }
}
