// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entry points.

/// Names the main function of the root task: `fn(BootInfo<'static>) -> !`.
///
/// The kernel starts the root task with the address of the boot information in rdi and without a
/// stack. The stack is part of the image: `root_entry!(main, stack_bytes = 65536)`.
#[macro_export]
macro_rules! root_entry {
    ($main:path) => {
        $crate::root_entry!($main, stack_bytes = 65536);
    };
    ($main:path, stack_bytes = $bytes:literal) => {
        ::core::arch::global_asm!(
            ".section .bss.__rt_stack, \"aw\", @nobits",
            ".p2align 12",
            "__rt_stack: .skip {bytes}",
            "__rt_stack_top:",
            ".text",
            ".globl _start",
            "_start:",
            "lea rsp, [rip + __rt_stack_top]",
            "xor ebp, ebp",
            "call {main}",
            "ud2",
            bytes = const $bytes,
            main = sym __rt_main,
        );

        extern "C" fn __rt_main(boot_info: u64) -> ! {
            let main: fn($crate::sys::BootInfo<'static>) -> ! = $main;
            // SAFETY: the kernel passes the address of the page of boot information, which stays mapped
            // and unchanged as long as the root task does not unmap it.
            let page = unsafe { &*(boot_info as *const [u8; $crate::sys::PAGE_BYTES as usize]) };
            main($crate::sys::BootInfo::new(page))
        }
    };
}

/// Names the main function of a program that root starts: `fn(u64, u64) -> !`.
///
/// Root starts the first thread with rip at the entry point, rsp at the top of a stack, and two
/// arguments in rdi and rsi; the IPC buffer is set by TCB_Configure.
#[macro_export]
macro_rules! domain_entry {
    ($main:path) => {
        ::core::arch::global_asm!(
            ".text",
            ".globl _start",
            "_start:",
            "and rsp, -16",
            "xor ebp, ebp",
            "call {main}",
            "ud2",
            main = sym __rt_main,
        );

        extern "C" fn __rt_main(argument0: u64, argument1: u64) -> ! {
            let main: fn(u64, u64) -> ! = $main;
            main(argument0, argument1)
        }
    };
}

/// What precompiled `core` refers to for unwinding, which a program that aborts never does.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The same: called by landing pads of precompiled `alloc`, which are never entered.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::panic::stop()
}
