// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs that the checks run as other threads, in assembly: each does one thing that compilers do not.

use core::arch::{global_asm, naked_asm};

/// Writes to the address in rdi.
#[unsafe(naked)]
pub extern "C" fn write() {
    naked_asm!("mov qword ptr [rdi], 1", "ud2")
}

/// Reads from the address in rdi.
#[unsafe(naked)]
pub extern "C" fn read() {
    naked_asm!("mov rax, [rdi]", "ud2")
}

/// A system call with known registers; then one that shows what the first left of rsp (in rdi), rcx (rsi), r11
/// (r8), rax (r9) and rbx (r10).
#[unsafe(naked)]
pub extern "C" fn show_registers() {
    naked_asm!(
        "mov rsp, 0x12345678",
        "mov rbx, 0xb0b0",
        "mov eax, 39",
        "mov edx, 42",
        "syscall",
        "mov rdi, rsp",
        "mov rsi, rcx",
        "mov r8, r11",
        "mov r9, rax",
        "mov r10, rbx",
        "mov eax, 40",
        "syscall",
        "ud2",
    )
}

/// One system call with rdx from rdi, and number 1000.
#[unsafe(naked)]
pub extern "C" fn call_with_rdx() {
    naked_asm!("mov rdx, rdi", "mov edi, 3", "mov eax, 1000", "2: syscall", "jmp 2b")
}

/// Sets the NT flag and makes a system call.
#[unsafe(naked)]
pub extern "C" fn call_with_nt() {
    naked_asm!(
        "lea rsp, [rip + {stack} + 1024]",
        "pushfq",
        "or qword ptr [rsp], 0x4000",
        "popfq",
        "mov eax, 1",
        "syscall",
        "ud2",
        stack = sym SMALL_STACK,
    )
}

/// Counts at the address in rdi, for ever.
#[unsafe(naked)]
pub extern "C" fn count_for_ever() {
    naked_asm!("2: inc qword ptr [rdi]", "jmp 2b")
}

/// Yields, and counts at the address in rdi how often, for ever.
#[unsafe(naked)]
pub extern "C" fn yield_for_ever() {
    naked_asm!(
        "mov rbx, rdi",
        "2: mov rdx, -7",
        "xor esi, esi",
        "syscall",
        "inc qword ptr [rbx]",
        "jmp 2b"
    )
}

/// Counts at the address in rdi to 30 million, then makes a system call.
#[unsafe(naked)]
pub extern "C" fn count_then_call() {
    naked_asm!(
        "mov ecx, 30000000",
        "2: inc qword ptr [rdi]",
        "dec ecx",
        "jnz 2b",
        "mov eax, 2",
        "syscall",
        "ud2"
    )
}

/// Clears fs and makes a system call.
#[unsafe(naked)]
pub extern "C" fn clear_fs() {
    naked_asm!("xor eax, eax", "mov fs, eax", "mov gs, eax", "syscall", "ud2")
}

/// Shows the first word at fs as the argument of a system call.
#[unsafe(naked)]
pub extern "C" fn show_fs() {
    naked_asm!("mov rdi, fs:[0]", "mov eax, 1", "syscall", "ud2")
}

/// Makes system calls for ever, numbered in rbx.
#[unsafe(naked)]
pub extern "C" fn call_for_ever() {
    naked_asm!("xor ebx, ebx", "2: inc rbx", "mov eax, 7", "syscall", "jmp 2b")
}

/// Calls the endpoint in rdi with label 1, then with label 2 and the descriptor of the first answer.
#[unsafe(naked)]
pub extern "C" fn call_twice() {
    naked_asm!(
        "mov rbx, rdi",
        "mov rdx, -1",
        "mov esi, 1 << 12",
        "syscall",
        "mov r10, rsi",
        "mov rdi, rbx",
        "mov esi, (2 << 12) + 1",
        "syscall",
        "ud2",
    )
}

/// Shows xmm3 as the argument of a system call, and again.
#[unsafe(naked)]
pub extern "C" fn show_xmm3() {
    naked_asm!("2: movq rdi, xmm3", "mov eax, 39", "syscall", "jmp 2b")
}

/// Keeps rdi in xmm5 and looks whether it stays there; a system call says that it did not.
#[unsafe(naked)]
pub extern "C" fn keep_xmm5() {
    naked_asm!(
        "movq xmm5, rdi",
        "2: movq rax, xmm5",
        "cmp rax, rdi",
        "je 2b",
        "mov eax, 1",
        "syscall",
        "ud2",
    )
}

#[repr(C, align(16))]
struct SmallStack(core::cell::UnsafeCell<[u8; 1024]>);

// SAFETY: only assembly uses it, one thread at a time.
unsafe impl Sync for SmallStack {}

static SMALL_STACK: SmallStack = SmallStack(core::cell::UnsafeCell::new([0; 1024]));

global_asm!(
    ".globl kernel_tests_reader, kernel_tests_writer, kernel_tests_caller, kernel_tests_end",
    "kernel_tests_reader:", // reads word 0 of its data, and counts in a register
    "2: mov rax, [rdi]",
    "inc rbx",
    "cmp rbx, 100000",
    "jb 2b",
    "lock inc qword ptr [rdi + 8]",
    "xor ebx, ebx",
    "3: mov rax, [rdi]",
    "jmp 3b",
    "kernel_tests_writer:", // writes word 0 of its data
    "2: inc qword ptr [rdi]",
    "jmp 2b",
    "kernel_tests_caller:", // makes system calls
    "2: mov eax, 39",
    "syscall",
    "jmp 2b",
    "kernel_tests_end:",
);

unsafe extern "C" {
    fn kernel_tests_reader();
    fn kernel_tests_writer();
    fn kernel_tests_caller();
    fn kernel_tests_end();
}

fn code(from: unsafe extern "C" fn(), to: unsafe extern "C" fn()) -> &'static [u8] {
    let (from, to) = (from as usize, to as usize);
    // SAFETY: both labels are in one piece of assembly above, in this order; code is readable and does not change.
    unsafe { core::slice::from_raw_parts(from as *const u8, to - from) }
}

/// Counts word 1 of its data once, then reads word 0 for ever.
pub fn reader() -> &'static [u8] {
    code(kernel_tests_reader, kernel_tests_writer)
}

/// Increments word 0 of its data for ever.
pub fn writer() -> &'static [u8] {
    code(kernel_tests_writer, kernel_tests_caller)
}

/// Makes system calls for ever.
pub fn caller() -> &'static [u8] {
    code(kernel_tests_caller, kernel_tests_end)
}
