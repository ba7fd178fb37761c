// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of the FPU, kept and carried over (edits 14 and 21).

use microkernel_sys::{Cap, Endpoint, Fault, FpuImage, Registers, Tcb, reply_with};

use crate::ensure;
use crate::env::{Env, Outcome, fault_of_same_core, next_fault, start};
use crate::programs;

const VALUE: u64 = 0x1122_3344_5566_7788;
/// Where FXSAVE puts xmm3, in words: 160 bytes before the first, 16 for each.
const XMM3_WORD: usize = (160 + 3 * 16) / 8;
/// The word whose lower half is MXCSR.
const MXCSR_WORD: usize = 3;

fn start_with(thread: Cap<Tcb>, entry: extern "C" fn(), fpu: &FpuImage) -> Outcome {
    let registers = Registers { rip: entry as usize as u64, ..Registers::default() };
    thread.write_registers_full(true, &registers, fpu).map_err(|_| "cannot write")
}

fn shown(fault: Option<Fault>) -> Result<u64, &'static str> {
    match fault {
        Some(Fault::UnknownSyscall(call)) => Ok(call.registers.rdi),
        _ => Err("no system call"),
    }
}

fn with_xmm3(value: u64) -> FpuImage {
    let mut fpu = FpuImage::initial();
    fpu.0[XMM3_WORD] = value;
    fpu
}

pub fn fpu_state_read_and_written(env: &mut Env) -> Outcome {
    let endpoint: Cap<Endpoint> = env.create();
    let thread = env.foreign_thread(endpoint);
    start_with(thread, programs::show_xmm3, &with_xmm3(VALUE))?;
    ensure!(shown(fault_of_same_core(endpoint).ok())? == VALUE, "what was written is not there");
    let (registers, _, read) = thread.read_registers_full(false).map_err(|_| "cannot read")?;
    ensure!(read.0[XMM3_WORD] == VALUE, "what is there is not read");
    ensure!(
        read.0[0] as u16 == 0x37f && read.0[MXCSR_WORD] as u32 == 0x1f80,
        "the control words changed"
    );
    thread
        .write_registers_full(true, &registers, &with_xmm3(!VALUE))
        .map_err(|_| "cannot write")?;
    ensure!(shown(fault_of_same_core(endpoint).ok())? == !VALUE, "the second write is not there");
    Ok(())
}

pub fn fpu_state_any_image_loads(env: &mut Env) -> Outcome {
    let endpoint: Cap<Endpoint> = env.create();
    let thread = env.foreign_thread(endpoint);
    let mut fpu = FpuImage([u64::MAX; 64]);
    fpu.0[XMM3_WORD] = VALUE;
    start_with(thread, programs::show_xmm3, &fpu)?;
    ensure!(shown(fault_of_same_core(endpoint).ok())? == VALUE, "what was written is not there");
    Ok(())
}

pub fn fpu_state_survives_switches(env: &mut Env) -> Outcome {
    let page = env.page();
    let (complaints, clock) = (env.create(), env.create());
    start(env.foreign_thread(complaints), programs::keep_xmm5, VALUE);
    start(env.foreign_thread(complaints), programs::keep_xmm5, !VALUE);
    start(env.foreign_thread(clock), programs::count_then_call, page.address);
    fault_of_same_core(clock)?;
    ensure!(Fault::decode(&complaints.nb_recv()).is_none(), "a register changed");
    Ok(())
}

pub fn fpu_state_of_other_core(env: &mut Env) -> Outcome {
    let endpoint: Cap<Endpoint> = env.create();
    let thread = env.foreign_thread(endpoint);
    thread.set_affinity(1).map_err(|_| "cannot move")?;
    start_with(thread, programs::show_xmm3, &with_xmm3(VALUE))?;
    ensure!(shown(next_fault(endpoint))? == VALUE, "what was written is not there");
    // Its registers are still in core 1.
    let (registers, _, read) = thread.read_registers_full(true).map_err(|_| "cannot read")?;
    ensure!(read.0[XMM3_WORD] == VALUE, "what is there is not read");
    thread
        .write_registers_full(true, &registers, &with_xmm3(!VALUE))
        .map_err(|_| "cannot write")?;
    ensure!(shown(next_fault(endpoint))? == !VALUE, "the second write is not there");
    thread.set_affinity(0).map_err(|_| "cannot move back")?;
    reply_with(0);
    ensure!(shown(fault_of_same_core(endpoint).ok())? == !VALUE, "lost on the way to another core");
    Ok(())
}
