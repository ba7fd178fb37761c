// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures of signals: actions, information, and the frame on a handler's stack.
//!
//! # Model
//! Before a handler runs, the program's stack holds, from high to low addresses: its own data, the
//! red zone of 128 bytes, the FPU state (512 bytes, aligned to 64), and a [`SignalFrame`] whose
//! address is 8 below a multiple of 16, as after a call. rt_sigreturn(2) finds the frame at
//! `rsp - 8`.
//!
//! # Source
//! Linux's arch/x86/include/uapi/asm/sigcontext.h and asm/ucontext.h; signal(7).

use super::layouts;

/// Bytes of the FPU state that FXSAVE writes.
pub const FPU_BYTES: usize = 512;
/// Bytes below the stack pointer that the program may use, and a signal must leave alone.
pub const RED_ZONE_BYTES: u64 = 128;
/// The frame's `ss` is right and is restored: UC_SIGCONTEXT_SS and UC_STRICT_RESTORE_SS.
pub const UC_FLAGS: u64 = 0x2 | 0x4;
/// Bytes of the signal sets that programs pass: 64 signals.
pub const SIGSET_BYTES: u64 = 8;

layouts! {
    /// The kernel's `struct sigaction`.
    SigAction = 32 { handler: u64, flags: u64, restorer: u64, mask: u64 }
    /// `stack_t`.
    StackT = 24 { sp: u64, flags: i32, pad: u32, size: u64 }
    /// `struct sigevent`: the head and the part of SIGEV_THREAD_ID.
    Sigevent = 64 { value: u64, signal: i32, notify: i32, tid: i32, pad: u32, rest: [u64; 5] }
    /// `siginfo_t`: the head and the 112 bytes that depend on the signal.
    SigInfo = 128 { signal: i32, errno: i32, code: i32, pad: u32, fields: [u64; 14] }
    /// `struct signalfd_siginfo`.
    SignalfdInfo = 128 {
        signal: u32,
        errno: i32,
        code: i32,
        pid: u32,
        uid: u32,
        fd: i32,
        tid: u32,
        band: u32,
        overrun: u32,
        trap: u32,
        status: i32,
        int: i32,
        ptr: u64,
        utime: u64,
        stime: u64,
        addr: u64,
        rest: [u64; 6],
    }
    /// `struct sigcontext`: the interrupted registers.
    SigContext = 256 {
        r8: u64,
        r9: u64,
        r10: u64,
        r11: u64,
        r12: u64,
        r13: u64,
        r14: u64,
        r15: u64,
        rdi: u64,
        rsi: u64,
        rbp: u64,
        rbx: u64,
        rdx: u64,
        rax: u64,
        rcx: u64,
        rsp: u64,
        rip: u64,
        rflags: u64,
        cs: u16,
        gs: u16,
        fs: u16,
        ss: u16,
        error_code: u64,
        trap: u64,
        old_mask: u64,
        cr2: u64,
        /// Address of the FPU state, 0 if there is none.
        fpu: u64,
        reserved: [u64; 8],
    }
    /// The kernel's `struct ucontext`.
    UContext = 304 {
        flags: u64,
        link: u64,
        stack: StackT,
        registers: SigContext,
        mask: u64,
    }
    /// `struct rt_sigframe`.
    SignalFrame = 440 {
        /// Where the handler returns to: `sa_restorer`.
        return_address: u64,
        context: UContext,
        info: SigInfo,
    }
}

impl SigInfo {
    /// Sent by kill(2), tgkill(2) or rt_sigqueueinfo(2): `code` SI_USER, SI_TKILL or SI_QUEUE.
    pub const fn sent(signal: i32, code: i32, pid: u32, uid: u32) -> Self {
        let mut fields = [0; 14];
        fields[0] = pid as u64 | (uid as u64) << 32;
        Self { signal, errno: 0, code, pad: 0, fields }
    }

    /// SIGCHLD: `code` CLD_EXITED, CLD_KILLED, ...; `status` the exit status or the signal.
    pub const fn child(signal: i32, code: i32, pid: u32, uid: u32, status: i32) -> Self {
        let mut info = Self::sent(signal, code, pid, uid);
        info.fields[1] = status as u32 as u64;
        info
    }

    /// A fault at `addr`: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP.
    pub const fn fault(signal: i32, code: i32, addr: u64) -> Self {
        let mut fields = [0; 14];
        fields[0] = addr;
        Self { signal, errno: 0, code, pad: 0, fields }
    }

    /// The sender's process id, of [`Self::sent`] and [`Self::child`].
    pub const fn pid(&self) -> u32 {
        self.fields[0] as u32
    }
}
