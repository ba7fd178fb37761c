// SPDX-License-Identifier: MIT OR Apache-2.0
//! The raw system calls: one instruction, seven registers.
//!
//! rdx holds the number; rdi the capability and, on return, the badge; rsi the message descriptor;
//! r10, r8, r9 and r15 the first four words, both ways. The kernel keeps the rest, but for rcx and r11,
//! which the `syscall` instruction itself overwrites.

use core::arch::asm;

use crate::message::{MessageInfo, Received};

/// The kernel's system call numbers.
#[derive(Clone, Copy)]
#[repr(i64)]
pub(crate) enum Number {
    Call = -1,
    ReplyRecv = -2,
    Send = -3,
    NbSend = -4,
    Recv = -5,
    Reply = -6,
    Yield = -7,
    NbRecv = -8,
}

/// Enters the kernel. May block for as long as the call's meaning says.
#[inline(always)]
pub(crate) fn enter(number: Number, cap: u64, info: MessageInfo, words: [u64; 4]) -> Received {
    let (badge, info_out, w0, w1, w2, w3);
    // SAFETY: the kernel changes only the registers listed here and, for a message longer than four
    // words, the thread's IPC buffer, to which nothing in Rust holds a reference (`ipc` copies). What
    // an invocation does to mappings is its caller's business, as with any system call. The default
    // options tell the compiler that memory may change.
    unsafe {
        asm!(
            "syscall",
            in("rdx") number as i64,
            inlateout("rdi") cap => badge,
            inlateout("rsi") info.bits() => info_out,
            inlateout("r10") words[0] => w0,
            inlateout("r8") words[1] => w1,
            inlateout("r9") words[2] => w2,
            inlateout("r15") words[3] => w3,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    Received { badge, info: MessageInfo::from_bits(info_out), words: [w0, w1, w2, w3] }
}
