// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls of foreign threads, and what a user's flags and segments do to others (edits 01, 06, 07, 08).

use microkernel_sys::{Fault, MessageInfo, Registers, UnknownSyscall, ipc, reply, reply_with};

use crate::ensure;
use crate::env::{Env, Outcome, fault_of_same_core, start};
use crate::programs;

fn syscall(fault: Fault) -> Result<UnknownSyscall, &'static str> {
    match fault {
        Fault::UnknownSyscall(call) => Ok(call),
        _ => Err("a fault that is no system call"),
    }
}

pub fn foreign_syscall_keeps_registers(env: &mut Env) -> Outcome {
    let endpoint = env.create();
    start(env.foreign_thread(endpoint), programs::show_registers, 0);
    let first = syscall(fault_of_same_core(endpoint)?)?;
    ensure!((first.number, first.registers.rdx) == (39, 42), "the call is another");
    ensure!(first.registers.rsp == 0x1234_5678, "the stack pointer is lost");
    ensure!(first.registers.rcx == first.registers.rip, "rcx is not the return address");
    ensure!(first.registers.r11 == first.registers.rflags, "r11 is not the flags");
    reply_with(4711);
    let second = syscall(fault_of_same_core(endpoint)?)?;
    let after = second.registers;
    ensure!(second.number == 40, "the program went elsewhere");
    ensure!(after.rdi == 0x1234_5678, "the stack pointer was not given back");
    ensure!(after.rsi == first.registers.rip, "rcx was not given back");
    ensure!(after.r8 == first.registers.rflags, "r11 was not given back");
    ensure!((after.r9, after.r10) == (4711, 0xb0b0), "rax or rbx is wrong");
    Ok(())
}

pub fn foreign_syscall_any_rdx(env: &mut Env) -> Outcome {
    let endpoint = env.create();
    let thread = env.foreign_thread(endpoint);
    for rdx in 1..=21u64 {
        let rdx = rdx.wrapping_neg();
        start(thread, programs::call_with_rdx, rdx);
        let call = syscall(fault_of_same_core(endpoint)?)?;
        ensure!((call.number, call.registers.rdx) == (1000, rdx), "the call is another");
    }
    Ok(())
}

pub fn foreign_syscall_long_reply_sets_all(env: &mut Env) -> Outcome {
    let endpoint = env.create();
    start(env.foreign_thread(endpoint), programs::show_registers, 0);
    let first = syscall(fault_of_same_core(endpoint)?)?;
    ipc::write_words(4, &[0; 13]);
    ipc::set_word(15, first.registers.rip);
    ipc::set_word(16, 0x8888);
    // rax, rbx, rcx, rdx; then up to rsp
    reply(MessageInfo::new(0, 17), [1, 2, 3, 4]);
    let after = syscall(fault_of_same_core(endpoint)?)?.registers;
    ensure!((after.r9, after.r10, after.rsi) == (1, 2, 3), "rax, rbx or rcx is not what was set");
    ensure!(after.rdi == 0x8888, "the stack pointer is not what was set");
    Ok(())
}

/// Two threads take turns by the timer, so one is left by an interrupt and taken up again by `iretq` when the other
/// makes its system call with NT set. Without the edit that is the end of the machine.
pub fn nt_flag_at_syscall(env: &mut Env) -> Outcome {
    let page = env.page();
    let (unheard, heard) = (env.create(), env.create());
    start(env.foreign_thread(heard), programs::count_then_call, page.address);
    for _ in 0..3 {
        start(env.foreign_thread(unheard), programs::call_with_nt, 0);
    }
    ensure!(syscall(fault_of_same_core(heard)?)?.number == 2, "the other thread is lost");
    ensure!(page.word(0) == 30_000_000, "the other thread did not count on");
    Ok(())
}

/// Two threads have the same FS base; one clears its own, then the other runs, with nobody in between: what becomes
/// ready last runs first.
pub fn null_selector_changes_no_other_thread(env: &mut Env) -> Outcome {
    const MAGIC: u64 = 0x1357_9bdf;
    let page = env.page();
    page.set_word(0, MAGIC);
    let (unheard, heard) = (env.create(), env.create());
    let (clears, shows) = (env.foreign_thread(unheard), env.foreign_thread(heard));
    for (thread, entry) in
        [(shows, programs::show_fs as extern "C" fn()), (clears, programs::clear_fs)]
    {
        let registers = Registers {
            rip: entry as usize as u64,
            tls_base: page.address,
            ..Registers::default()
        };
        thread.write_registers(true, &registers).map_err(|_| "cannot start")?;
    }
    let shown = syscall(fault_of_same_core(heard)?).map_err(|_| "the base was cleared")?;
    ensure!(shown.registers.rdi == MAGIC, "the base is another");
    Ok(())
}

pub fn tls_base_not_canonical_is_harmless(env: &mut Env) -> Outcome {
    let endpoint = env.create();
    let thread = env.foreign_thread(endpoint);
    for tls_base in [1 << 47, 0x8000_0000_1000, 0xffff_7fff_ffff_f000, u64::MAX] {
        let rip = programs::call_with_rdx as extern "C" fn() as usize as u64;
        let registers = Registers { rip, tls_base, ..Registers::default() };
        thread.write_registers(true, &registers).map_err(|_| "cannot start")?;
        ensure!(syscall(fault_of_same_core(endpoint)?)?.number == 1000, "the call is another");
    }
    Ok(())
}
