// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that do random operations on shared objects and note what they get.
//!
//! # Model
//! Each client is a program of its own, written for the run: a list of operations on one word of a file,
//! on names of a directory and at the end of a log; and on a pipe and a child of its own, which it checks
//! itself. It ends with 0, or with 1 at the first thing that is wrong in it.

use crate::asm::{Asm, Label};
use crate::history::{Seen, begins, ended};
use crate::isa::{Op, Reg};
use crate::programs::{exit_if_other, fork, token, wait};
use crate::rng::Rng;
use Reg::{R8, R9, R10, R12, Rax, Rbp, Rbx, Rcx, Rdi, Rdx, Rsi};

const READ: u64 = 0;
const WRITE: u64 = 1;
const OPEN: u64 = 2;
const CLOSE: u64 = 3;
const PREAD: u64 = 17;
const PWRITE: u64 = 18;
const PIPE: u64 = 22;
const NANOSLEEP: u64 = 35;
const EXIT_GROUP: u64 = 231;
const RENAME: u64 = 82;
const UNLINK: u64 = 87;

/// Always 0, in all programs.
const ZERO: Reg = R12;
/// O_RDWR | O_CREAT.
const SHARED: u64 = 0o102;
/// The same and O_EXCL.
const EXCLUSIVE: u64 = 0o302;
/// O_WRONLY | O_CREAT | O_APPEND.
const APPEND: u64 = 0o2101;
/// Names that are created and removed.
const NAMES: u8 = 2;
/// Longest pause between two operations.
const PAUSE_NS: u64 = 8_000_000;

/// The word's file.
pub const WORD_PATH: &str = "/tmp/word";
/// The log's file.
pub const LOG_PATH: &str = "/tmp/log";

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Writes the shared word.
    Write(u64),
    /// Reads it.
    Read,
    /// Appends a record: the client's number and this count.
    Append(u64),
    /// Creates a name that must not be there.
    Create(u8),
    /// Removes it.
    Remove(u8),
    /// Renames the first to the second.
    Rename(u8, u8),
    /// Sends numbers through a pipe to itself by way of a child, and waits for the child.
    Child,
}

/// All that clients do: the client's number from 1 on, and its deed; the index is the operation's.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// The operations.
    pub deeds: Vec<(u64, Deed)>,
}

impl Workload {
    /// A random workload of so many clients with so many operations each.
    pub fn new(clients: u64, each: u64, rng: &mut Rng) -> Self {
        let mut deeds = Vec::new();
        for client in 1..=clients {
            for count in 1..=each {
                let name = rng.below(u64::from(NAMES)) as u8;
                let deed = match rng.below(16) {
                    0..4 => Deed::Write(client * 1000 + count),
                    4..8 => Deed::Read,
                    8..11 => Deed::Append(count),
                    11..13 => Deed::Create(name),
                    13 => Deed::Remove(name),
                    14 => Deed::Rename(name, (name + 1) % NAMES),
                    _ => Deed::Child,
                };
                deeds.push((client, deed));
            }
        }
        Self { deeds }
    }

    /// A client's program.
    pub fn program(&self, client: u64, rng: &mut Rng) -> Vec<u8> {
        let asm = &mut Asm::new();
        let path = |asm: &mut Asm, text: &str| asm.data(format!("{text}\0").as_bytes());
        let word_path = path(asm, WORD_PATH);
        let log_path = path(asm, LOG_PATH);
        let names: Vec<u64> = (0..NAMES).map(|it| path(asm, &format!("/tmp/name{it}"))).collect();
        let buffer = asm.data(&[0; 64]);
        let bad = asm.label();
        token(asm);
        for (keep, path, flags) in [(Rbp, word_path, SHARED), (Rbx, log_path, APPEND)] {
            asm.syscall_with(OPEN, &[path, flags, 0o644]);
            asm.jump_if(Op::JumpLess, Rax, ZERO, bad);
            asm.copy(keep, Rax);
        }
        let own = self.deeds.iter().enumerate().filter(|(_, (of, _))| *of == client);
        for (index, (_, deed)) in own {
            let pause = [0, rng.below(PAUSE_NS)].map(u64::to_le_bytes).concat();
            let pause = asm.data(&pause);
            asm.syscall_with(NANOSLEEP, &[pause, 0]);
            asm.op(Op::Note, Rax, Rax, begins(index));
            perform(asm, *deed, client, &names, buffer, bad);
            asm.op(Op::Note, Rax, Rax, ended(index));
            if let Deed::Create(_) = deed {
                close_created(asm);
            }
        }
        asm.syscall_with(EXIT_GROUP, &[0]);
        asm.place(bad);
        asm.syscall_with(EXIT_GROUP, &[1]);
        std::mem::take(asm).elf(0)
    }
}

/// One operation; rax is then what is noted.
fn perform(asm: &mut Asm, deed: Deed, client: u64, names: &[u64], buffer: u64, bad: Label) {
    let name = |number: u8| names[usize::from(number)];
    match deed {
        Deed::Write(value) => {
            asm.set(R8, buffer);
            asm.set(R9, value);
            asm.op(Op::Store, R8, R9, 0);
            asm.copy(Rdi, Rbp);
            asm.set(Rsi, buffer);
            asm.set(Rdx, 8);
            asm.set(R10, 0);
            asm.syscall(PWRITE);
        }
        Deed::Read => {
            let done = asm.label();
            asm.copy(Rdi, Rbp);
            asm.set(Rsi, buffer);
            asm.set(Rdx, 8);
            asm.set(R10, 0);
            asm.syscall(PREAD);
            // An empty file is a word of 0.
            asm.set(R9, 8);
            asm.jump_if(Op::JumpOther, Rax, R9, done);
            asm.set(R8, buffer);
            asm.op(Op::Load, Rax, R8, 0);
            asm.place(done);
        }
        Deed::Append(count) => {
            asm.set(R8, buffer);
            asm.set(R9, client << 32 | count);
            asm.op(Op::Store, R8, R9, 0);
            asm.copy(Rdi, Rbx);
            asm.set(Rsi, buffer);
            asm.set(Rdx, 8);
            asm.syscall(WRITE);
        }
        Deed::Create(number) => asm.syscall_with(OPEN, &[name(number), EXCLUSIVE, 0o644]),
        Deed::Remove(number) => asm.syscall_with(UNLINK, &[name(number)]),
        Deed::Rename(from, to) => asm.syscall_with(RENAME, &[name(from), name(to)]),
        Deed::Child => child(asm, buffer, bad),
    }
}

/// A file that was created is closed again.
fn close_created(asm: &mut Asm) {
    let failed = asm.label();
    asm.jump_if(Op::JumpLess, Rax, ZERO, failed);
    asm.copy(Rdi, Rax);
    asm.syscall(CLOSE);
    asm.place(failed);
}

/// A child writes numbers to a pipe and ends; they come in order, then the end, then the child's status.
fn child(asm: &mut Asm, buffer: u64, bad: Label) {
    const NUMBERS: u64 = 5;
    const STATUS: u64 = 7;
    let (in_child, next, done) = (asm.label(), asm.label(), asm.label());
    let end = |asm: &mut Asm, half: Op| {
        asm.set(Rdi, buffer + 16);
        asm.op(Op::Load, Rdi, Rdi, 0);
        asm.op(half, Rdi, Rdi, 1 << 32);
    };
    asm.syscall_with(PIPE, &[buffer + 16]);
    asm.jump_if(Op::JumpOther, Rax, ZERO, bad);
    fork(asm);
    asm.jump_if(Op::JumpEqual, Rax, ZERO, in_child);
    asm.set(R8, buffer + 24);
    asm.op(Op::Store, R8, Rax, 0);
    end(asm, Op::DivN);
    asm.syscall(CLOSE);
    asm.set(Reg::R14, 0);
    asm.place(next);
    asm.add(Reg::R14, 1);
    end(asm, Op::ModN);
    asm.set(Rsi, buffer + 32);
    asm.set(Rdx, 8);
    asm.syscall(READ);
    asm.jump_if(Op::JumpEqual, Rax, ZERO, done);
    exit_if_other(asm, Rax, 8, bad);
    asm.set(R8, buffer + 32);
    asm.op(Op::Load, R8, R8, 0);
    asm.jump_if(Op::JumpEqual, R8, Reg::R14, next);
    asm.jump(bad);
    asm.place(in_child);
    asm.set(Reg::R14, 0);
    let write = asm.here();
    asm.add(Reg::R14, 1);
    asm.set(R8, buffer + 32);
    asm.op(Op::Store, R8, Reg::R14, 0);
    end(asm, Op::DivN);
    asm.set(Rsi, buffer + 32);
    asm.set(Rdx, 8);
    asm.syscall(WRITE);
    exit_if_other(asm, Rax, 8, bad);
    asm.set(R9, NUMBERS);
    asm.jump_if(Op::JumpLess, Reg::R14, R9, write);
    asm.syscall_with(EXIT_GROUP, &[STATUS]);
    asm.place(done);
    exit_if_other(asm, Reg::R14, NUMBERS + 1, bad);
    end(asm, Op::ModN);
    asm.syscall(CLOSE);
    asm.set(R8, buffer + 8);
    asm.op(Op::Store, R8, Rbx, 0);
    asm.set(R8, buffer + 24);
    asm.op(Op::Load, Rbx, R8, 0);
    wait(asm, buffer + 40);
    asm.set(R8, buffer + 8);
    asm.op(Op::Load, Rbx, R8, 0);
    exit_if_other(asm, Rcx, STATUS << 8, bad);
    asm.set(Rax, 0);
}

/// A program that notes every record of the log, with operation numbers from `first` on.
pub fn reader(first: usize) -> Vec<u8> {
    let asm = &mut Asm::new();
    let path = asm.data(format!("{LOG_PATH}\0").as_bytes());
    let buffer = asm.data(&[0; 8]);
    let (done, none) = (asm.label(), asm.label());
    token(asm);
    asm.syscall_with(OPEN, &[path, 0, 0]);
    asm.jump_if(Op::JumpLess, Rax, ZERO, none);
    asm.copy(Rbp, Rax);
    let next = asm.here();
    asm.copy(Rdi, Rbp);
    asm.set(Rsi, buffer);
    asm.set(Rdx, 8);
    asm.syscall(READ);
    asm.set(R9, 8);
    asm.jump_if(Op::JumpOther, Rax, R9, done);
    asm.set(R8, buffer);
    asm.op(Op::Load, Rax, R8, 0);
    asm.op(Op::Note, Rax, Rax, begins(first));
    asm.op(Op::Note, Rax, Rax, ended(first));
    asm.jump(next);
    asm.place(done);
    asm.copy(Rdi, Rax);
    asm.syscall(EXIT_GROUP);
    asm.place(none);
    asm.syscall_with(EXIT_GROUP, &[2]);
    std::mem::take(asm).elf(0)
}

/// The records that [`reader`] noted.
pub fn records(operations: &[Seen], first: usize) -> Vec<(u64, u64)> {
    let noted = operations.iter().filter(|seen| seen.index == first);
    let values = noted.filter_map(|seen| seen.ended.map(|(_, value)| value.cast_unsigned()));
    values.map(|value| (value >> 32, value & 0xffff_ffff)).collect()
}
