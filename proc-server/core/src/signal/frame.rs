// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frame of a handler on a program's stack, and the way back from it.

use super::{Action, Info, SignalSet};
use crate::layout::signal::{
    FPU_BYTES, RED_ZONE_BYTES, SigContext, SignalFrame, StackT, UC_FLAGS, UContext,
};
use crate::layout::{FromZeros, IntoBytes, Layout};
use crate::machine::{Fpu, Registers};
use crate::syscall::copy_out;
use crate::thread::AltStack;
use abi::linux::general::{SA_ONSTACK, SA_RESTORER};
use abi::{Errno, SpaceId};
use alloc::vec::Vec;
use mem_api::CopyIn;
use runtime::{Bulk, Cx};

const SS_ONSTACK: i32 = 1;
const SS_DISABLE: i32 = 2;
const SS_AUTODISARM: i32 = i32::MIN;
/// Selectors of user code and data, as Linux shows them.
const USER_CS: u16 = 0x33;
const USER_SS: u16 = 0x2b;
const FRAME_BYTES: u64 = size_of::<SignalFrame>() as u64;
/// Direction and trap flag, and resume flag: cleared for a handler.
const FLAGS_CLEARED: u64 = 0x400 | 0x100 | 0x1_0000;
/// Flags that a program may set by rt_sigreturn(2): the status flags, DF, OF, AC, ID.
const FLAGS_FREE: u64 = 0x0004_0000 | 0x0020_0000 | 0xcd5;
/// Always set: reserved bit and interrupts.
const FLAGS_FIXED: u64 = 0x202;
/// Where a frame's FPU state has MXCSR; bits that may be set there.
const MXCSR_AT: usize = 24;
const MXCSR_BITS: u32 = 0xffff;

/// What a frame is made of.
pub(super) struct Frame<'a> {
    /// Registers to come back to.
    pub registers: Registers,
    /// Mask to come back to.
    pub mask: SignalSet,
    /// The alternate stack as it is.
    pub alt_stack: AltStack,
    /// The signal.
    pub info: Info,
    /// Its action.
    pub action: Action,
    /// FPU state to come back to.
    pub fpu: &'a Fpu,
}

/// How the handler starts.
pub(super) struct Started {
    /// With these registers.
    pub registers: Registers,
    /// With this alternate stack.
    pub alt_stack: AltStack,
}

impl AltStack {
    /// Whether a stack pointer is on it.
    pub fn holds(&self, rsp: u64) -> bool {
        self.len != 0 && rsp > self.base && rsp - self.base <= self.len
    }

    /// As sigaltstack(2) shows it to a thread with this stack pointer.
    pub fn layout(&self, rsp: u64) -> StackT {
        let state = match (self.len, self.holds(rsp)) {
            (0, _) => SS_DISABLE,
            (_, true) => SS_ONSTACK,
            (_, false) => 0,
        };
        let auto = if self.autodisarm { SS_AUTODISARM } else { 0 };
        StackT { sp: self.base, flags: state | auto, pad: 0, size: self.len }
    }

    /// The stack that a program wants.
    ///
    /// # Errors
    /// EINVAL: unknown flags. ENOMEM: too small.
    pub fn from_layout(stack: &StackT) -> Result<Self, Errno> {
        const LEAST_BYTES: u64 = 2048;
        let autodisarm = stack.flags & SS_AUTODISARM != 0;
        match stack.flags & !SS_AUTODISARM {
            SS_DISABLE => Ok(Self::default()),
            0 | SS_ONSTACK if stack.size < LEAST_BYTES => Err(Errno::ENOMEM),
            0 | SS_ONSTACK => Ok(Self { base: stack.sp, len: stack.size, autodisarm }),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Writes a frame.
///
/// # Errors
/// EFAULT: the stack cannot be written, or the action has no restorer. ERESTART.
pub(super) fn push(cx: &mut Cx<'_>, space: SpaceId, frame: &Frame<'_>) -> Result<Started, Errno> {
    if frame.action.flags & u64::from(SA_RESTORER) == 0 {
        return Err(Errno::EFAULT);
    }
    let registers = &frame.registers;
    let alt = &frame.alt_stack;
    let on_stack = frame.action.flags & u64::from(SA_ONSTACK) != 0;
    let top = if on_stack && alt.len != 0 && !alt.holds(registers.rsp) {
        alt.base.wrapping_add(alt.len)
    } else {
        registers.rsp.wrapping_sub(RED_ZONE_BYTES)
    };
    let fpu_at = top.checked_sub(FPU_BYTES as u64).ok_or(Errno::EFAULT)? & !63;
    // As after a call: the return address stands 8 below a multiple of 16.
    let frame_at = (fpu_at.checked_sub(FRAME_BYTES).ok_or(Errno::EFAULT)? & !15)
        .checked_sub(8)
        .ok_or(Errno::EFAULT)?;
    if alt.holds(registers.rsp) && !alt.holds(frame_at) {
        return Err(Errno::EFAULT);
    }
    let layout = frame.layout(fpu_at);
    let mut bytes = Vec::with_capacity((top - frame_at) as usize);
    bytes.extend_from_slice(layout.as_bytes());
    bytes.resize((fpu_at - frame_at) as usize, 0);
    bytes.extend_from_slice(&frame.fpu.0);
    copy_out(cx, space, frame_at, &bytes)?;
    let context = core::mem::offset_of!(SignalFrame, context) as u64;
    let info = core::mem::offset_of!(SignalFrame, info) as u64;
    let started = Registers {
        rip: frame.action.handler,
        rsp: frame_at,
        rflags: registers.rflags & !FLAGS_CLEARED,
        rax: 0,
        rdi: u64::from(frame.info.signal),
        rsi: frame_at + info,
        rdx: frame_at + context,
        ..*registers
    };
    let alt_stack = if alt.autodisarm { AltStack::default() } else { *alt };
    Ok(Started { registers: started, alt_stack })
}

impl Frame<'_> {
    fn layout(&self, fpu_at: u64) -> SignalFrame {
        let r = &self.registers;
        let registers = SigContext {
            r8: r.r8,
            r9: r.r9,
            r10: r.r10,
            r11: r.r11,
            r12: r.r12,
            r13: r.r13,
            r14: r.r14,
            r15: r.r15,
            rdi: r.rdi,
            rsi: r.rsi,
            rbp: r.rbp,
            rbx: r.rbx,
            rdx: r.rdx,
            rax: r.rax,
            rcx: r.rcx,
            rsp: r.rsp,
            rip: r.rip,
            rflags: r.rflags,
            cs: USER_CS,
            ss: USER_SS,
            old_mask: self.mask.0,
            fpu: fpu_at,
            ..SigContext::new_zeroed()
        };
        let context = UContext {
            flags: UC_FLAGS,
            link: 0,
            stack: self.alt_stack.layout(r.rsp),
            registers,
            mask: self.mask.0,
        };
        SignalFrame { return_address: self.action.restorer, context, info: self.info.layout() }
    }
}

/// What a frame holds for rt_sigreturn(2).
pub(super) struct Back {
    /// Registers.
    pub registers: Registers,
    /// Mask.
    pub mask: SignalSet,
    /// FPU state, if there is one.
    pub fpu: Option<Fpu>,
    /// Alternate stack.
    pub alt_stack: Option<AltStack>,
}

/// Reads the frame of a handler that returns with these registers.
///
/// # Errors
/// EFAULT: it cannot be read. ERESTART.
pub(super) fn pop(cx: &mut Cx<'_>, space: SpaceId, now: &Registers) -> Result<Back, Errno> {
    let at = now.rsp.wrapping_sub(8);
    let mut bytes = [0; size_of::<SignalFrame>()];
    copy_in(cx, space, at, &mut bytes)?;
    let frame = SignalFrame::from_slice(&bytes).ok_or(Errno::EFAULT)?;
    let c = &frame.context.registers;
    let mut fpu = None;
    if c.fpu != 0 {
        let mut image = [0; FPU_BYTES];
        copy_in(cx, space, c.fpu, &mut image)?;
        sanitise(&mut image);
        fpu = Some(Fpu(image));
    }
    let registers = Registers {
        rip: c.rip,
        rsp: c.rsp,
        rflags: c.rflags & FLAGS_FREE | FLAGS_FIXED,
        rax: c.rax,
        rbx: c.rbx,
        rcx: c.rcx,
        rdx: c.rdx,
        rsi: c.rsi,
        rdi: c.rdi,
        rbp: c.rbp,
        r8: c.r8,
        r9: c.r9,
        r10: c.r10,
        r11: c.r11,
        r12: c.r12,
        r13: c.r13,
        r14: c.r14,
        r15: c.r15,
        fs_base: now.fs_base,
    };
    Ok(Back {
        registers,
        mask: SignalSet::from_program(frame.context.mask),
        fpu,
        alt_stack: AltStack::from_layout(&StackT {
            flags: frame.context.stack.flags & !SS_ONSTACK,
            ..frame.context.stack
        })
        .ok(),
    })
}

/// MXCSR bits that do not exist would fault where they are loaded.
fn sanitise(image: &mut [u8; FPU_BYTES]) {
    let mut word = [0; 4];
    word.copy_from_slice(&image[MXCSR_AT..MXCSR_AT + 4]);
    let value = u32::from_le_bytes(word) & MXCSR_BITS;
    image[MXCSR_AT..MXCSR_AT + 4].copy_from_slice(&value.to_le_bytes());
}

fn copy_in(cx: &mut Cx<'_>, space: SpaceId, addr: u64, bytes: &mut [u8]) -> Result<(), Errno> {
    let len = bytes.len() as u64;
    cx.leaf_bulk(&CopyIn { space, addr, len }, &mut Bulk::new(bytes))
}
