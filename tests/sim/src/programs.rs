// SPDX-License-Identifier: MIT OR Apache-2.0
//! Simulated Linux programs. Each begins by putting its process id into r15, for
//! `watch`.

use crate::asm::{Asm, Label, zeroes_addr};
use crate::isa::{Op, Reg};
use crate::root::Image;
use Reg::{R8, R9, R10, R11, R12, R13, R14, R15, Rax, Rbp, Rbx, Rcx, Rdi, Rdx, Rsi, Rsp};

const READ: u64 = 0;
const WRITE: u64 = 1;
const OPEN: u64 = 2;
const LSEEK: u64 = 8;
const SIGACTION: u64 = 13;
const SIGPROCMASK: u64 = 14;
const SIGRETURN: u64 = 15;
const PIPE: u64 = 22;
const PAUSE: u64 = 34;
const NANOSLEEP: u64 = 35;
const SETITIMER: u64 = 38;
const GETPID: u64 = 39;
const CLONE: u64 = 56;
const FORK: u64 = 57;
const EXECVE: u64 = 59;
const WAIT4: u64 = 61;
const KILL: u64 = 62;
const UNLINK: u64 = 87;
const GETTID: u64 = 186;
const EXIT_GROUP: u64 = 231;

/// Always 0, in all programs.
const ZERO: Reg = R12;
const PAGE: u64 = 4096;
const SIGTERM: u64 = 15;

/// An image with all programs here.
pub fn image() -> Image {
    Image::new()
        .program("prompt", &prompt())
        .program("counter", &counter(100_000))
        .program("walker", &walker(24, 12))
        .program("files", &files(40))
        .program("tree", &tree(3))
        .program("killer", &killer())
        .program("threads", &threads(2))
}

/// r15 = process id
pub(crate) fn token(asm: &mut Asm) {
    asm.syscall(GETPID);
    asm.copy(R15, Rax);
}

/// fork(2): rax as there. In between nobody has a token, as both would have the same.
pub(crate) fn fork(asm: &mut Asm) {
    asm.set(R15, 0);
    asm.syscall(FORK);
    asm.copy(R8, Rax);
    token(asm);
    asm.copy(Rax, R8);
}

/// Renders r9 and a line's end: rsi and rdx are then what write(2) takes. Uses r9, r10, r11.
fn render(asm: &mut Asm, buffer: u64) {
    asm.set(Rsi, buffer + 31);
    asm.set(R10, u64::from(b'\n'));
    asm.op(Op::StoreByte, Rsi, R10, 0);
    let digit = asm.here();
    asm.copy(R11, R9);
    asm.op(Op::ModN, R11, R11, 10);
    asm.add(R11, i64::from(b'0'));
    asm.add(Rsi, -1);
    asm.op(Op::StoreByte, Rsi, R11, 0);
    asm.op(Op::DivN, R9, R9, 10);
    asm.jump_if(Op::JumpOther, R9, ZERO, digit);
    asm.set(Rdx, buffer + 32);
    asm.op(Op::Sub, Rdx, Rsi, 0);
}

/// Writes rdx bytes at rsi to the descriptor in rbp, all of them; an error ends the program with 9.
fn write_all(asm: &mut Asm) {
    let (again, good) = (asm.here(), asm.label());
    asm.copy(Rdi, Rbp);
    asm.syscall(WRITE);
    asm.jump_if(Op::JumpLess, ZERO, Rax, good);
    asm.syscall_with(EXIT_GROUP, &[9]);
    asm.place(good);
    asm.op(Op::Add, Rsi, Rax, 0);
    asm.op(Op::Sub, Rdx, Rax, 0);
    asm.jump_if(Op::JumpOther, Rdx, ZERO, again);
}

/// Writes a text to the descriptor in rbp.
fn say(asm: &mut Asm, text: &str) {
    let addr = asm.data(text.as_bytes());
    asm.set(Rsi, addr);
    asm.set(Rdx, text.len() as u64);
    write_all(asm);
}

/// wait4(2) for the child in rbx; the status is loaded into rcx.
pub(crate) fn wait(asm: &mut Asm, status: u64) {
    let again = asm.here();
    asm.copy(Rdi, Rbx);
    asm.set(Rsi, status);
    asm.set(Rdx, 0);
    asm.set(R10, 0);
    asm.syscall(WAIT4);
    asm.jump_if(Op::JumpLess, Rax, ZERO, again);
    asm.set(Rcx, status);
    asm.op(Op::Load, Rcx, Rcx, 0);
}

/// Goes to the label if the register holds something else. Uses r9.
pub(crate) fn exit_if_other(asm: &mut Asm, register: Reg, wanted: u64, bad: Label) {
    asm.set(R9, wanted);
    asm.jump_if(Op::JumpOther, register, R9, bad);
}

/// A shell: runs the program whose path is typed, and prints `exit` and its status.
pub fn prompt() -> Vec<u8> {
    let asm = &mut Asm::new();
    let line = asm.data(&[0; 256]);
    let arguments = asm.data(&[line.to_le_bytes(), [0; 8]].concat());
    let environment = asm.data(&[0; 8]);
    let status = asm.data(&[0; 8]);
    let buffer = asm.data(&[0; 32]);
    token(asm);
    asm.set(Rbp, 1);
    let (next, go_on, child) = (asm.here(), asm.label(), asm.label());
    asm.syscall_with(READ, &[0, line, 255]);
    asm.jump_if(Op::JumpLess, ZERO, Rax, go_on);
    asm.syscall_with(EXIT_GROUP, &[0]);
    asm.place(go_on);
    asm.add(Rax, line.cast_signed() - 1);
    asm.op(Op::StoreByte, Rax, ZERO, 0);
    fork(asm);
    asm.jump_if(Op::JumpEqual, Rax, ZERO, child);
    asm.copy(Rbx, Rax);
    wait(asm, status);
    asm.copy(R13, Rcx);
    say(asm, "exit ");
    asm.copy(R9, R13);
    render(asm, buffer);
    write_all(asm);
    asm.jump(next);
    asm.place(child);
    asm.syscall_with(EXECVE, &[line, arguments, environment]);
    asm.syscall_with(EXIT_GROUP, &[127]);
    std::mem::take(asm).elf(0)
}

/// Prints 1, 2, 3 up to `last`, and compares with each number what memory and FPU have counted.
pub fn counter(last: u64) -> Vec<u8> {
    let asm = &mut Asm::new();
    let memory = asm.data(&[0; 8]);
    let buffer = asm.data(&[0; 32]);
    token(asm);
    asm.set(Rbp, 1);
    asm.set(R13, last);
    asm.set(R14, memory);
    let (next, bad) = (asm.here(), asm.label());
    asm.add(Rbx, 1);
    asm.op(Op::Load, Rcx, R14, 0);
    asm.add(Rcx, 1);
    asm.op(Op::Store, R14, Rcx, 0);
    asm.jump_if(Op::JumpOther, Rcx, Rbx, bad);
    asm.op(Op::FpuAdd, Rax, Rax, 1);
    asm.op(Op::FpuGet, R8, R8, 0);
    asm.jump_if(Op::JumpOther, R8, Rbx, bad);
    asm.copy(R9, Rbx);
    render(asm, buffer);
    write_all(asm);
    asm.set(R9, 100);
    let busy = asm.here();
    asm.add(R9, -1);
    asm.jump_if(Op::JumpOther, R9, ZERO, busy);
    asm.jump_if(Op::JumpLess, Rbx, R13, next);
    asm.syscall_with(EXIT_GROUP, &[0]);
    asm.place(bad);
    say(asm, "BAD\n");
    asm.syscall_with(EXIT_GROUP, &[1]);
    std::mem::take(asm).elf(0)
}

/// Walks over `pages` pages so many times, and finds in each what it left there.
pub fn walker(pages: u64, rounds: u64) -> Vec<u8> {
    let asm = &mut Asm::new();
    let buffer = asm.data(&[0; 32]);
    let data_bytes = PAGE;
    let start = zeroes_addr(data_bytes);
    token(asm);
    asm.set(Rbp, 1);
    asm.set(R13, pages);
    let (round, bad) = (asm.here(), asm.label());
    asm.add(R14, 1);
    asm.set(Rbx, 0);
    let page = asm.here();
    let (fresh, right) = (asm.label(), asm.label());
    // r8: the page's address; rcx: what it must hold, page * 7 + round - 1, or 0 at first.
    asm.copy(R8, Rbx);
    asm.op(Op::MulN, R8, R8, PAGE);
    asm.add(R8, start.cast_signed());
    asm.copy(Rcx, Rbx);
    asm.op(Op::MulN, Rcx, Rcx, 7);
    asm.op(Op::Add, Rcx, R14, 0);
    asm.op(Op::Load, R9, R8, 8);
    asm.set(R10, 1);
    asm.jump_if(Op::JumpEqual, R14, R10, fresh);
    asm.add(R9, 1);
    asm.jump_if(Op::JumpEqual, R9, Rcx, right);
    asm.jump(bad);
    asm.place(fresh);
    asm.jump_if(Op::JumpOther, R9, ZERO, bad);
    asm.place(right);
    asm.op(Op::Store, R8, Rcx, 8);
    asm.add(Rbx, 1);
    asm.jump_if(Op::JumpLess, Rbx, R13, page);
    asm.copy(R9, R14);
    render(asm, buffer);
    write_all(asm);
    asm.set(R10, rounds);
    asm.jump_if(Op::JumpLess, R14, R10, round);
    asm.syscall_with(EXIT_GROUP, &[0]);
    asm.place(bad);
    say(asm, "BAD\n");
    asm.syscall_with(EXIT_GROUP, &[1]);
    std::mem::take(asm).elf(pages * PAGE)
}

/// Writes `lines` numbers to a file, line by line, and reads them back byte by byte.
pub fn files(lines: u64) -> Vec<u8> {
    let asm = &mut Asm::new();
    let path = asm.data(b"/tmp/numbers\0");
    let buffer = asm.data(&[0; 32]);
    let byte = asm.data(&[0; 8]);
    token(asm);
    asm.syscall_with(OPEN, &[path, 0o1102, 0o644]);
    let bad = asm.label();
    asm.jump_if(Op::JumpLess, Rax, ZERO, bad);
    asm.copy(Rbp, Rax);
    asm.set(R13, lines);
    let write = asm.here();
    asm.add(Rbx, 1);
    asm.copy(R9, Rbx);
    render(asm, buffer);
    write_all(asm);
    asm.jump_if(Op::JumpLess, Rbx, R13, write);
    asm.copy(Rdi, Rbp);
    asm.set(Rsi, 0);
    asm.set(Rdx, 0);
    asm.syscall(LSEEK);
    asm.jump_if(Op::JumpOther, Rax, ZERO, bad);
    asm.set(Rbx, 0);
    // rbx: lines read; r14: the number so far.
    let (line, read, digit) = (asm.here(), asm.label(), asm.label());
    asm.set(R14, 0);
    asm.place(read);
    asm.copy(Rdi, Rbp);
    asm.set(Rsi, byte);
    asm.set(Rdx, 1);
    asm.syscall(READ);
    asm.set(R10, 1);
    asm.jump_if(Op::JumpOther, Rax, R10, bad);
    asm.set(R8, byte);
    asm.op(Op::LoadByte, R8, R8, 0);
    asm.set(R10, u64::from(b'\n'));
    asm.jump_if(Op::JumpOther, R8, R10, digit);
    asm.add(Rbx, 1);
    asm.jump_if(Op::JumpOther, Rbx, R14, bad);
    asm.jump_if(Op::JumpLess, Rbx, R13, line);
    asm.syscall_with(UNLINK, &[path]);
    asm.jump_if(Op::JumpOther, Rax, ZERO, bad);
    asm.syscall_with(EXIT_GROUP, &[0]);
    asm.place(digit);
    asm.op(Op::MulN, R14, R14, 10);
    asm.op(Op::Add, R14, R8, 0);
    asm.add(R14, -i64::from(b'0'));
    asm.jump(read);
    asm.place(bad);
    asm.syscall_with(EXIT_GROUP, &[1]);
    std::mem::take(asm).elf(0)
}

/// A tree of processes: each has two children, `depth` times; each leaf ends with 1 and each other
/// one with the sum of its children.
pub fn tree(depth: u64) -> Vec<u8> {
    let asm = &mut Asm::new();
    let status = asm.data(&[0; 8]);
    let kids = asm.data(&[0; 16]);
    token(asm);
    asm.set(R14, depth);
    let (start, inner, child, more) = (asm.here(), asm.label(), asm.label(), asm.label());
    asm.jump_if(Op::JumpOther, R14, ZERO, inner);
    asm.syscall_with(EXIT_GROUP, &[1]);
    asm.place(inner);
    asm.set(R13, kids);
    asm.place(more);
    fork(asm);
    asm.jump_if(Op::JumpEqual, Rax, ZERO, child);
    asm.op(Op::Store, R13, Rax, 0);
    asm.add(R13, 8);
    asm.set(R10, kids + 16);
    asm.jump_if(Op::JumpOther, R13, R10, more);
    asm.set(Rbp, 0);
    let reap = asm.here();
    asm.add(R13, -8);
    asm.op(Op::Load, Rbx, R13, 0);
    wait(asm, status);
    asm.op(Op::DivN, Rcx, Rcx, 256);
    asm.op(Op::Add, Rbp, Rcx, 0);
    asm.set(R10, kids);
    asm.jump_if(Op::JumpOther, R13, R10, reap);
    asm.copy(Rdi, Rbp);
    asm.syscall(EXIT_GROUP);
    asm.place(child);
    asm.add(R14, -1);
    asm.jump(start);
    std::mem::take(asm).elf(0)
}

/// Has a child that waits for signals, kills it after a while, and ends with the signal that ended
/// it.
pub fn killer() -> Vec<u8> {
    let asm = &mut Asm::new();
    let status = asm.data(&[0; 8]);
    let pause = asm.data(&[0u64.to_le_bytes(), 400_000_000u64.to_le_bytes()].concat());
    token(asm);
    let child = asm.label();
    fork(asm);
    asm.jump_if(Op::JumpEqual, Rax, ZERO, child);
    asm.copy(Rbx, Rax);
    asm.syscall_with(NANOSLEEP, &[pause, 0]);
    asm.copy(Rdi, Rbx);
    asm.set(Rsi, SIGTERM);
    asm.syscall(KILL);
    wait(asm, status);
    asm.copy(Rdi, Rcx);
    asm.op(Op::ModN, Rdi, Rdi, 128);
    asm.syscall(EXIT_GROUP);
    asm.place(child);
    asm.syscall(PAUSE);
    asm.jump(child);
    std::mem::take(asm).elf(0)
}

/// Does nothing until it is killed.
pub fn idle() -> Vec<u8> {
    let asm = &mut Asm::new();
    let again = asm.here();
    asm.syscall(PAUSE);
    asm.jump(again);
    std::mem::take(asm).elf(0)
}

const SIGALRM: u64 = 14;
/// SA_RESTORER and SA_RESTART.
const RESTARTS: u64 = 0x1400_0000;
/// CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD, _SYSVSEM.
const THREAD: u64 = 0x5_0f00;
/// Messages of a thread between two lines of output, times the threads.
const MESSAGES: u64 = 4;
/// An alarm comes so often.
const ALARM_US: u64 = 20_000;

/// Threads that write numbered messages to a pipe, which the first one reads and checks, while an alarm
/// A signal handler's body: counts in the word at `alarms` and returns.
fn count_and_return(asm: &mut Asm, alarms: u64) {
    asm.set(R8, alarms);
    asm.op(Op::Load, R9, R8, 0);
    asm.add(R9, 1);
    asm.op(Op::Store, R8, R9, 0);
    asm.add(Rsp, 8);
    asm.syscall(SIGRETURN);
}

/// interrupts it; it prints how many rounds of messages it has read. Nothing ends it.
pub fn threads(count: u64) -> Vec<u8> {
    let asm = &mut Asm::new();
    let buffer = asm.data(&[0; 32]);
    let ends = asm.data(&[0; 8]);
    let messages = asm.data(&[0; 64]);
    let last = asm.data(&[0; 64]);
    let alarms = asm.data(&[0; 8]);
    let every = [0, ALARM_US, 0, ALARM_US].map(u64::to_le_bytes).concat();
    let timer = asm.data(&every);
    let all = asm.data(&u64::MAX.to_le_bytes());
    let none = asm.data(&[0; 8]);
    let (main, handler, bad) = (asm.label(), asm.label(), asm.label());
    token(asm);
    asm.jump(main);

    asm.place(handler);
    count_and_return(asm, alarms);

    asm.place(main);
    asm.syscall_with(PIPE, &[ends]);
    let action = asm.data(&[0; 32]);
    asm.set(R8, action);
    asm.set_label(R9, handler);
    asm.op(Op::Store, R8, R9, 0);
    asm.op(Op::Store, R8, R9, 16);
    asm.set(R9, RESTARTS);
    asm.op(Op::Store, R8, R9, 8);
    asm.syscall_with(SIGACTION, &[SIGALRM, action, 0, 8]);
    asm.syscall_with(SIGPROCMASK, &[2, all, 0, 8]);
    for number in 0..count {
        writer(asm, number, (ends, messages + 8 * number, bad), count);
    }
    asm.syscall_with(SIGPROCMASK, &[2, none, 0, 8]);
    asm.syscall_with(SETITIMER, &[0, timer, 0]);
    asm.set(Rbp, 1);
    asm.set(R14, 0);
    let round = asm.here();
    asm.add(R14, 1);
    asm.set(R13, MESSAGES * count);
    let read = asm.here();
    asm.set(Rdi, ends);
    asm.op(Op::Load, Rdi, Rdi, 0);
    asm.op(Op::ModN, Rdi, Rdi, 1 << 32);
    asm.set(Rsi, messages + 56);
    asm.set(Rdx, 8);
    asm.syscall(READ);
    asm.set(R10, 8);
    asm.jump_if(Op::JumpOther, Rax, R10, bad);
    asm.set(R8, messages + 56);
    asm.op(Op::Load, R8, R8, 0);
    asm.copy(R9, R8);
    asm.op(Op::ModN, R9, R9, 256);
    asm.op(Op::MulN, R9, R9, 8);
    asm.add(R9, last.cast_signed());
    asm.op(Op::DivN, R8, R8, 256);
    asm.op(Op::Load, R10, R9, 0);
    asm.add(R10, 1);
    asm.jump_if(Op::JumpOther, R10, R8, bad);
    asm.op(Op::Store, R9, R10, 0);
    asm.add(R13, -1);
    asm.jump_if(Op::JumpOther, R13, ZERO, read);
    asm.copy(R9, R14);
    render(asm, buffer);
    write_all(asm);
    asm.syscall(GETPID);
    asm.jump_if(Op::JumpEqual, Rax, R15, round);
    asm.place(bad);
    asm.set(Rbp, 1);
    say(asm, "BAD\n");
    asm.syscall_with(EXIT_GROUP, &[1]);
    std::mem::take(asm).elf(PAGE * count)
}

/// Starts thread `number`, which writes messages for ever.
fn writer(asm: &mut Asm, number: u64, (ends, message, bad): (u64, u64, Label), count: u64) {
    let go_on = asm.label();
    asm.set(R15, 0);
    asm.syscall_with(CLONE, &[THREAD, zeroes_addr(PAGE) + PAGE * count, 0, 0, 0]);
    asm.copy(R8, Rax);
    asm.syscall(GETTID);
    asm.copy(R15, Rax);
    asm.jump_if(Op::JumpOther, R8, ZERO, go_on);
    asm.set(R13, 0);
    let next = asm.here();
    asm.add(R13, 1);
    asm.copy(R9, R13);
    asm.op(Op::MulN, R9, R9, 256);
    asm.add(R9, number.cast_signed());
    asm.set(R8, message);
    asm.op(Op::Store, R8, R9, 0);
    asm.set(R9, 30);
    let busy = asm.here();
    asm.add(R9, -1);
    asm.jump_if(Op::JumpOther, R9, ZERO, busy);
    asm.set(Rdi, ends);
    asm.op(Op::Load, Rdi, Rdi, 0);
    asm.op(Op::DivN, Rdi, Rdi, 1 << 32);
    asm.set(Rsi, message);
    asm.set(Rdx, 8);
    asm.syscall(WRITE);
    asm.set(R10, 8);
    asm.jump_if(Op::JumpEqual, Rax, R10, next);
    asm.jump(bad);
    asm.place(go_on);
}
