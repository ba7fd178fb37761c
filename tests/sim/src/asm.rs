// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes simulated programs, as ELF files that proc-server can load.

use crate::isa::{BYTES, Op, Reg, SYSCALL};

/// Where code begins.
const CODE: u64 = 0x40_1000;
/// Where data begins: zeroes, and what [`Asm::data`] put there.
pub const DATA: u64 = 0x60_0000;
const PAGE: u64 = 4096;

/// A place in the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

/// A program in the making.
#[derive(Default)]
pub struct Asm {
    code: Vec<u8>,
    labels: Vec<Option<u64>>,
    /// Where an instruction's constant is a label's address.
    uses: Vec<(usize, Label)>,
    data: Vec<u8>,
}

impl Asm {
    /// A program without instructions.
    pub fn new() -> Self {
        Self::default()
    }

    /// A label that stands nowhere yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label stands here.
    pub fn place(&mut self, label: Label) {
        let before = self.labels[label.0].replace(CODE + self.code.len() as u64);
        assert!(before.is_none(), "a label stands in one place");
    }

    /// A label that stands here.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    /// One instruction.
    pub fn op(&mut self, op: Op, a: Reg, b: Reg, n: u64) {
        let start = self.code.len();
        self.code.extend_from_slice(&[op as u8, a as u8, b as u8, 0]);
        self.code.extend_from_slice(&n.to_le_bytes());
        assert_eq!(self.code.len(), start + BYTES, "all instructions are of one length");
    }

    /// a = n
    pub fn set(&mut self, a: Reg, n: u64) {
        self.op(Op::Set, a, a, n);
    }

    /// a = the label's address
    pub fn set_label(&mut self, a: Reg, label: Label) {
        self.jump_if(Op::Set, a, a, label);
    }

    /// a = b
    pub fn copy(&mut self, a: Reg, b: Reg) {
        self.op(Op::Move, a, b, 0);
    }

    /// a += n
    pub fn add(&mut self, a: Reg, n: i64) {
        self.op(Op::AddN, a, a, n.cast_unsigned());
    }

    /// Goes to the label if the condition holds.
    pub fn jump_if(&mut self, op: Op, a: Reg, b: Reg, to: Label) {
        self.uses.push((self.code.len() + 4, to));
        self.op(op, a, b, 0);
    }

    /// Goes to the label.
    pub fn jump(&mut self, to: Label) {
        self.jump_if(Op::Jump, Reg::Rax, Reg::Rax, to);
    }

    /// The system call `number`, whose arguments stand in the registers.
    pub fn syscall(&mut self, number: u64) {
        self.set(Reg::Rax, number);
        self.code.extend_from_slice(&SYSCALL);
    }

    /// A system call with constant arguments.
    pub fn syscall_with(&mut self, number: u64, arguments: &[u64]) {
        let registers = [Reg::Rdi, Reg::Rsi, Reg::Rdx, Reg::R10, Reg::R8, Reg::R9];
        for (register, value) in registers.into_iter().zip(arguments) {
            self.set(register, *value);
        }
        self.syscall(number);
    }

    /// Puts bytes into the data, and says where.
    pub fn data(&mut self, bytes: &[u8]) -> u64 {
        let addr = DATA + self.data.len() as u64;
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        addr
    }

    /// The ELF file; behind the data stand `zero_bytes` zeroes, from the next page on.
    pub fn elf(mut self, zero_bytes: u64) -> Vec<u8> {
        for (at, label) in &self.uses {
            let addr = self.labels[label.0].expect("every label stands somewhere");
            self.code[*at..*at + 8].copy_from_slice(&addr.to_le_bytes());
        }
        let code_bytes = self.code.len() as u64;
        let data_offset = (PAGE + code_bytes).next_multiple_of(PAGE);
        let data_bytes = (self.data.len() as u64).next_multiple_of(PAGE).max(PAGE);
        let mut file = header();
        file.extend(program_header(5, PAGE, CODE, code_bytes, code_bytes));
        file.extend(program_header(6, data_offset, DATA, data_bytes, data_bytes + zero_bytes));
        file.resize(PAGE as usize, 0);
        file.extend_from_slice(&self.code);
        file.resize(data_offset as usize, 0);
        file.extend_from_slice(&self.data);
        file.resize((data_offset + data_bytes) as usize, 0);
        file
    }
}

/// The first page behind `data_bytes` bytes of data, where zeroes begin.
pub fn zeroes_addr(data_bytes: u64) -> u64 {
    DATA + data_bytes.next_multiple_of(PAGE).max(PAGE)
}

fn header() -> Vec<u8> {
    let mut out = Vec::from(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.extend_from_slice(&2u16.to_le_bytes()); // ET_EXEC
    out.extend_from_slice(&62u16.to_le_bytes()); // EM_X86_64
    out.extend_from_slice(&1u32.to_le_bytes());
    for word in [CODE, 64, 0] {
        out.extend_from_slice(&u64::to_le_bytes(word));
    }
    out.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 2, 64, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out
}

fn program_header(flags: u32, offset: u64, addr: u64, bytes: u64, memory_bytes: u64) -> Vec<u8> {
    let mut out = Vec::from(1u32.to_le_bytes()); // PT_LOAD
    out.extend_from_slice(&flags.to_le_bytes());
    for word in [offset, addr, addr, bytes, memory_bytes, PAGE] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out
}
