// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers, FPU state and scheduling state of a stopped thread, read and written.

use core::arch::naked_asm;

use microkernel_rt::println;
use microkernel_sys::{Cap, Endpoint, Error, Fault, FpuImage, Registers, Tcb, ThreadState, init};

use crate::machine::Region;
use crate::resources::Resources;

const IN_XMM3: u64 = 0x1122_3344_5566_7788;
/// Where FXSAVE puts xmm3, in words: 160 bytes before the first, 16 for each.
const XMM3_WORD: usize = (160 + 3 * 16) / 8;

static STACK: Region<16384> = Region::new();

pub fn check(resources: &mut Resources) {
    let endpoint: Cap<Endpoint> = resources.create(0);
    let child = resources.foreign_thread(endpoint, init::VSPACE);
    check_integer(child);
    match child.read_state(false) {
        Err(Error::Range { .. } | Error::TruncatedMessage) => {
            println!("state and FPU: not by this kernel")
        }
        other => {
            other.expect("the thread is there");
            check_full(child, endpoint);
        }
    }
}

fn check_integer(child: Cap<Tcb>) {
    let mut sent = Registers::from_words(&core::array::from_fn(|i| i as u64 * 0x1000));
    sent.rflags = 0x202;
    child.write_registers(false, &sent).expect("the thread is stopped");
    assert_eq!(child.read_registers(false), Ok(sent));
    println!("registers: ok");
}

/// A thread waits in a fault with a value in xmm3: stop it, look, change it, let it go on.
fn check_full(child: Cap<Tcb>, endpoint: Cap<Endpoint>) {
    let mut fpu = FpuImage::initial();
    fpu.0[XMM3_WORD] = IN_XMM3;
    let start =
        Registers { rip: show_xmm3 as *const () as u64, rsp: STACK.top(), ..Registers::default() };
    child.write_registers_full(true, &start, &fpu).expect("the thread is stopped");
    let Some(Fault::UnknownSyscall(call)) = Fault::decode(&endpoint.recv()) else {
        panic!("no system call")
    };
    assert_eq!(call.registers.rdi, IN_XMM3);
    let (registers, state, fpu) = child.read_registers_full(true).expect("the thread is there");
    assert_eq!((state.thread(), state.fault_label()), (ThreadState::BlockedOnReply, 2));
    assert_eq!((registers.rdi, fpu.0[XMM3_WORD]), (IN_XMM3, IN_XMM3));
    println!("state and FPU: ok");
}

#[unsafe(naked)]
extern "C" fn show_xmm3() {
    naked_asm!("movq rdi, xmm3", "mov eax, 39", "syscall", "ud2")
}
