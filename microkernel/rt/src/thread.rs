// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting further threads in the same address space.

use microkernel_sys::Registers;

/// What a thread runs. It has nowhere to return to.
pub type Entry = extern "C" fn(u64, u64) -> !;

/// The registers with which a thread starts in `entry(argument0, argument1)` on the stack that ends
/// at `stack_top`; write them with `Cap<Tcb>::write_registers(true, ..)`.
#[must_use]
pub fn start_registers(entry: Entry, stack_top: u64, argument0: u64, argument1: u64) -> Registers {
    Registers {
        rip: entry as usize as u64,
        // As after a call: the function expects its return address below an aligned 16 bytes.
        rsp: (stack_top & !15) - 8,
        rdi: argument0,
        rsi: argument1,
        ..Registers::default()
    }
}
