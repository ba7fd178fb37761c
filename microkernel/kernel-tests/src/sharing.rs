// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one core takes away, another must not keep (edits 03, 13, 16, 23). The other core runs a program in an
//! address space of its own, as every process is seen from the memory server.

use microkernel_sys::{Caching, Fault, Rights, VmFault};

use crate::ensure;
use crate::env::{DATA, Env, Outcome, Process, next_fault, slot_of};
use crate::memory::protect;
use crate::programs;

const OTHER_CORE: u64 = 1;

fn page_fault(process: &Process) -> Result<VmFault, &'static str> {
    match next_fault(process.endpoint) {
        Some(Fault::Vm(fault)) => Ok(fault),
        Some(_) => Err("a fault of another kind"),
        None => Err("the other core did not notice"),
    }
}

pub fn unmap_is_seen_by_other_core(env: &mut Env) -> Outcome {
    let process = env.process(programs::reader(), OTHER_CORE);
    process.start();
    ensure!(process.runs(1), "the program does not run");
    process.data_frame.unmap().map_err(|_| "cannot unmap")?;
    let fault = page_fault(&process)?;
    ensure!(fault.address == DATA && !fault.is_write(), "the fault is another");
    Ok(())
}

fn stops_writing(process: &Process) -> Outcome {
    let fault = page_fault(process)?;
    ensure!(
        fault.address == DATA && fault.is_write() && fault.is_protection(),
        "the fault is another"
    );
    Ok(())
}

pub fn remap_read_only_is_seen_by_other_core(env: &mut Env) -> Outcome {
    let process = env.process(programs::writer(), OTHER_CORE);
    process.start();
    ensure!(process.runs(0), "the program does not run");
    let read_only = process.data_frame.remap(process.vspace, Rights::READ, Caching::WriteBack);
    read_only.map_err(|_| "cannot remap")?;
    let frozen = process.data.word(0);
    stops_writing(&process)?;
    ensure!(process.data.word(0) == frozen, "it wrote after the right was taken");
    Ok(())
}

pub fn page_table_protect_is_seen_by_other_core(env: &mut Env) -> Outcome {
    let process = env.process(programs::writer(), OTHER_CORE);
    process.start();
    ensure!(process.runs(0), "the program does not run");
    protect(process.table_of_data)?;
    let frozen = process.data.word(0);
    stops_writing(&process)?;
    ensure!(process.data.word(0) == frozen, "it wrote after the right was taken");
    Ok(())
}

pub fn page_table_unmap_is_seen_by_other_core(env: &mut Env) -> Outcome {
    let process = env.process(programs::reader(), OTHER_CORE);
    process.start();
    ensure!(process.runs(1), "the program does not run");
    process.table_of_data.unmap().map_err(|_| "cannot unmap")?;
    let fault = page_fault(&process)?;
    ensure!(fault.address == DATA && !fault.is_protection(), "the fault is another");
    Ok(())
}

/// Several times: without the edit the other core runs on until its scheduler looks, which may be at once.
pub fn vspace_delete_while_other_core_runs_in_it(env: &mut Env) -> Outcome {
    const TIMES: usize = 6;
    (0..TIMES).try_for_each(|_| delete_under(&env.process(programs::writer(), OTHER_CORE)))
}

fn delete_under(process: &Process) -> Outcome {
    process.start();
    ensure!(process.runs(0), "the program does not run");
    slot_of(process.vspace).revoke().map_err(|_| "cannot revoke")?;
    slot_of(process.vspace).delete().map_err(|_| "cannot delete")?;
    let frozen = process.data.word(0);
    page_fault(process)?;
    ensure!(process.data.word(0) == frozen, "it ran on in the deleted tables");
    Ok(())
}
