// SPDX-License-Identifier: MIT OR Apache-2.0
//! The simulated programs' processor.
//!
//! # Model
//! It has x86-64's registers and its two bytes of `syscall`, as proc-server knows both, and else a
//! handful of instructions of [`BYTES`] bytes: operation, two register numbers, zero, and a constant.
//! Code and data stand in the process's memory, so that a program moves with its pages and by nothing
//! else. One number in the FPU state can be counted up and read.

use crate::history::Note;
use crate::memory::Memory;
use crate::threads::{Activity, Fault, Thread};
use mem_api::Access;
use proc_core::Registers;

/// Bytes of an instruction, but for `syscall`.
pub const BYTES: usize = 12;
/// The `syscall` instruction.
pub const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// Where the FPU's number stands: in its first vector register.
const FPU_NUMBER: usize = 160;

/// An operation; `a` and `b` are registers, `n` the constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Op {
    /// a = n
    Set = 1,
    /// a = b
    Move,
    /// a += b
    Add,
    /// a += n
    AddN,
    /// a -= b
    Sub,
    /// a *= n
    MulN,
    /// a /= n
    DivN,
    /// a %= n
    ModN,
    /// a = 8 bytes at b + n
    Load,
    /// 8 bytes at a + n = b
    Store,
    /// a = byte at b + n
    LoadByte,
    /// byte at a + n = b
    StoreByte,
    /// goes to n
    Jump,
    /// goes to n if a == b
    JumpEqual,
    /// goes to n if a != b
    JumpOther,
    /// goes to n if a < b, both signed
    JumpLess,
    /// the FPU's number += n
    FpuAdd,
    /// a = the FPU's number
    FpuGet,
    /// notes r15, n and a, with the instant, for the checkers: see [`crate::history`]
    Note,
}

impl Op {
    const ALL: [Self; 19] = [
        Self::Set,
        Self::Move,
        Self::Add,
        Self::AddN,
        Self::Sub,
        Self::MulN,
        Self::DivN,
        Self::ModN,
        Self::Load,
        Self::Store,
        Self::LoadByte,
        Self::StoreByte,
        Self::Jump,
        Self::JumpEqual,
        Self::JumpOther,
        Self::JumpLess,
        Self::FpuAdd,
        Self::FpuGet,
        Self::Note,
    ];
}

/// A register's number in instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the processor's names")]
pub enum Reg {
    Rax,
    Rbx,
    Rcx,
    Rdx,
    Rsi,
    Rdi,
    Rbp,
    Rsp,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

fn register(registers: &mut Registers, number: u8) -> &mut u64 {
    match number & 15 {
        0 => &mut registers.rax,
        1 => &mut registers.rbx,
        2 => &mut registers.rcx,
        3 => &mut registers.rdx,
        4 => &mut registers.rsi,
        5 => &mut registers.rdi,
        6 => &mut registers.rbp,
        7 => &mut registers.rsp,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        _ => &mut registers.r15,
    }
}

/// Runs at most `steps` instructions of a thread that is ready.
pub fn run(thread: &mut Thread, memory: &mut Memory, steps: u64) {
    assert_eq!(thread.activity, Activity::Ready, "only a thread that is ready runs");
    for _ in 0..steps {
        if let Err(fault) = step(thread, memory) {
            thread.activity = Activity::Queued(fault);
            return;
        }
    }
}

/// One instruction. One that faults changes nothing, but a system call's rip.
fn step(thread: &mut Thread, memory: &mut Memory) -> Result<(), Fault> {
    let read = |addr| Fault::Page(addr, Access::Read);
    let write = |addr| Fault::Page(addr, Access::Write);
    let space = thread.space;
    let mut code = [0; BYTES];
    let rip = thread.registers.rip;
    memory.load(space, rip, &mut code[..2]).map_err(read)?;
    if code[..2] == SYSCALL {
        thread.registers.rip += 2;
        return Err(Fault::SystemCall);
    }
    memory.load(space, rip, &mut code).map_err(read)?;
    let op = Op::ALL.into_iter().find(|op| *op as u8 == code[0]).ok_or(Fault::Invalid)?;
    let mut n = [0; 8];
    n.copy_from_slice(&code[4..]);
    let n = u64::from_le_bytes(n);
    let mut registers = thread.registers;
    registers.rip += BYTES as u64;
    let b = *register(&mut registers, code[2]);
    let a = register(&mut registers, code[1]);
    let jump = match op {
        Op::Jump => true,
        Op::JumpEqual => *a == b,
        Op::JumpOther => *a != b,
        Op::JumpLess => a.cast_signed() < b.cast_signed(),
        _ => false,
    };
    let mut word = [0; 8];
    match op {
        Op::Set => *a = n,
        Op::Move => *a = b,
        Op::Add => *a = a.wrapping_add(b),
        Op::AddN => *a = a.wrapping_add(n),
        Op::Sub => *a = a.wrapping_sub(b),
        Op::MulN => *a = a.wrapping_mul(n),
        Op::DivN => *a = a.checked_div(n).ok_or(Fault::Invalid)?,
        Op::ModN => *a = a.checked_rem(n).ok_or(Fault::Invalid)?,
        Op::Load => {
            memory.load(space, b.wrapping_add(n), &mut word).map_err(read)?;
            *a = u64::from_le_bytes(word);
        }
        Op::LoadByte => {
            memory.load(space, b.wrapping_add(n), &mut word[..1]).map_err(read)?;
            *a = u64::from(word[0]);
        }
        Op::Store => {
            memory.store(space, a.wrapping_add(n), &b.to_le_bytes()).map_err(write)?;
        }
        Op::StoreByte => {
            memory.store(space, a.wrapping_add(n), &[b as u8]).map_err(write)?;
        }
        Op::FpuAdd => {
            let number = fpu_number(thread).wrapping_add(n);
            thread.fpu.0[FPU_NUMBER..FPU_NUMBER + 8].copy_from_slice(&number.to_le_bytes());
        }
        Op::FpuGet => *a = fpu_number(thread),
        Op::Note => {
            let value = *a;
            memory.notes.push(Note { process: registers.r15, number: n, value });
        }
        Op::Jump | Op::JumpEqual | Op::JumpOther | Op::JumpLess => {}
    }
    if jump {
        registers.rip = n;
    }
    thread.registers = registers;
    Ok(())
}

fn fpu_number(thread: &Thread) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&thread.fpu.0[FPU_NUMBER..FPU_NUMBER + 8]);
    u64::from_le_bytes(word)
}
