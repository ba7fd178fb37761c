// SPDX-License-Identifier: MIT OR Apache-2.0
//! A root task that checks the edits of the kernel, on QEMU.
//!
//! It prints `PASS name`, `FAIL name: why` or `SKIP name` for each check, then `TICKS path count` lines, and ends
//! with `DONE`. The checks play the
//! hostile program: against a kernel without an edit, its check fails, or the machine resets (`-no-reboot` shows
//! it). The names stand in the heads of the edits.
#![no_std]
#![no_main]

mod env;
mod fpu;
mod measure;
mod memory;
mod programs;
mod scheduling;
mod sharing;
mod syscalls;

use env::{Env, Outcome};
use microkernel_rt::{panic, print, println, root_entry};
use microkernel_sys::{BootInfo, init};

root_entry!(main);

/// QEMU's isa-debug-exit device, if it was given: ends QEMU with status 2 * value + 1.
const EXIT_PORT: u64 = 0xf4;

type Check = fn(&mut Env) -> Outcome;

/// Those that need one core only.
const CHECKS: &[(&str, Check)] = &[
    ("fault_address_above_4_gib", memory::fault_address_above_4_gib),
    ("map_last_user_page_refused", memory::map_last_user_page_refused),
    ("map_kernel_addresses_refused", memory::map_kernel_addresses_refused),
    ("frame_delete_non_final_unmaps", memory::frame_delete_non_final_unmaps),
    ("pdpt_copy_is_no_halt", memory::pdpt_copy_is_no_halt),
    ("ipc_buffer_not_canonical_refused", memory::ipc_buffer_not_canonical_refused),
    ("ipc_buffer_alignment_checked", memory::ipc_buffer_alignment_checked),
    ("page_table_protect_stops_writes", memory::page_table_protect_stops_writes),
    ("foreign_syscall_keeps_registers", syscalls::foreign_syscall_keeps_registers),
    ("foreign_syscall_any_rdx", syscalls::foreign_syscall_any_rdx),
    ("foreign_syscall_long_reply_sets_all", syscalls::foreign_syscall_long_reply_sets_all),
    ("nt_flag_at_syscall", syscalls::nt_flag_at_syscall),
    ("null_selector_changes_no_other_thread", syscalls::null_selector_changes_no_other_thread),
    ("tls_base_not_canonical_is_harmless", syscalls::tls_base_not_canonical_is_harmless),
    ("suspend_after_reply_keeps_pc", scheduling::suspend_after_reply_keeps_pc),
    ("cancelled_send_repeats_foreign_call", scheduling::cancelled_send_repeats_foreign_call),
    ("suspend_reports_queued_call", scheduling::suspend_reports_queued_call),
    ("suspend_reports_received_call", scheduling::suspend_reports_received_call),
    ("set_priority_runs_higher_thread", scheduling::set_priority_runs_higher_thread),
    ("fpu_state_read_and_written", fpu::fpu_state_read_and_written),
    ("fpu_state_any_image_loads", fpu::fpu_state_any_image_loads),
    ("fpu_state_survives_switches", fpu::fpu_state_survives_switches),
];

/// Those that need two.
const TWO_CORE_CHECKS: &[(&str, Check)] = &[
    ("unmap_is_seen_by_other_core", sharing::unmap_is_seen_by_other_core),
    ("remap_read_only_is_seen_by_other_core", sharing::remap_read_only_is_seen_by_other_core),
    ("page_table_protect_is_seen_by_other_core", sharing::page_table_protect_is_seen_by_other_core),
    ("page_table_unmap_is_seen_by_other_core", sharing::page_table_unmap_is_seen_by_other_core),
    (
        "vspace_delete_while_other_core_runs_in_it",
        sharing::vspace_delete_while_other_core_runs_in_it,
    ),
    ("fpu_state_of_other_core", fpu::fpu_state_of_other_core),
    ("stall_while_entering_keeps_pc", scheduling::stall_while_entering_keeps_pc),
    ("idle_cores_wake_and_preempt", scheduling::idle_cores_wake_and_preempt),
    ("kernel_lock_starves_no_core", scheduling::kernel_lock_starves_no_core),
];

fn main(boot: BootInfo<'static>) -> ! {
    print::set_sink(env::serial_print);
    panic::set_hook(|_| exit(1));
    let mut env = Env::new(&boot);
    println!("kernel-tests: {} cores", boot.cores());
    let mut failed = 0;
    for (name, check) in CHECKS {
        failed += run(&mut env, name, *check);
    }
    for (name, check) in TWO_CORE_CHECKS {
        if boot.cores() < 2 {
            println!("SKIP {name}");
        } else {
            failed += run(&mut env, name, *check);
        }
    }
    measure::all(&mut env);
    println!("DONE");
    exit(failed)
}

/// Runs one check; 1 if it failed.
fn run(env: &mut Env, name: &str, check: Check) -> u64 {
    let outcome = check(env);
    env.stop_threads();
    match outcome {
        Ok(()) => println!("PASS {name}"),
        Err(why) => println!("FAIL {name}: {why}"),
    }
    u64::from(outcome.is_err())
}

fn exit(failed: u64) -> ! {
    let _ = init::IO_PORT.out8(EXIT_PORT, failed.min(100));
    panic::stop()
}
