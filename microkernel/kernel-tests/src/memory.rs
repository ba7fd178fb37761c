// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page faults, mappings, and what may not be mapped (edits 02, 04, 08, 11, 12, 23).

use microkernel_sys::{
    Caching, Cap, Endpoint, Error, Fault, Frame, MessageInfo, PageTable, Pdpt, Rights, init,
};

use crate::ensure;
use crate::env::{Env, Outcome, fault_of_same_core, slot_of, start};
use crate::programs;

/// The label of `X86PageTableProtect`, which edit 23 adds behind all others.
const PAGE_TABLE_PROTECT: u64 = 53;

/// Above 4 GiB, and mapped by nobody.
const FAR_ADDRESS: u64 = 0x6000_1234_5678;

pub fn fault_address_above_4_gib(env: &mut Env) -> Outcome {
    let endpoint = env.create();
    start(env.foreign_thread(endpoint), programs::write, FAR_ADDRESS);
    let Fault::Vm(fault) = fault_of_same_core(endpoint)? else { return Err("no page fault") };
    ensure!(fault.address == FAR_ADDRESS, "the address is another");
    ensure!(fault.is_write() && !fault.is_protection(), "the kind of access is another");
    Ok(())
}

fn map_at(env: &mut Env, address: u64) -> Result<(), &'static str> {
    let frame: Cap<Frame> = env.create();
    match frame.map(init::VSPACE, address, Rights::READ_WRITE, Caching::WriteBack) {
        Err(microkernel_sys::MapError::Other(Error::InvalidArgument { .. })) => Ok(()),
        Err(_) => Err("refused, but not for its address"),
        Ok(()) => Err("mapped"),
    }
}

pub fn map_last_user_page_refused(env: &mut Env) -> Outcome {
    map_at(env, 0x7fff_ffff_f000)
}

pub fn map_kernel_addresses_refused(env: &mut Env) -> Outcome {
    for address in [1 << 47, 0xffff_8000_0000_0000, 0xffff_ffff_c000_0000, 0xffff_ffff_ffff_f000] {
        map_at(env, address)?;
    }
    Ok(())
}

pub fn frame_delete_non_final_unmaps(env: &mut Env) -> Outcome {
    let page = env.page();
    let copy = env.copy(page.frame);
    page.set_word(0, 1);
    slot_of(page.frame).delete().map_err(|_| "cannot delete")?;
    let endpoint = env.create();
    start(env.foreign_thread(endpoint), programs::read, page.address);
    let fault = fault_of_same_core(endpoint)?;
    ensure!(matches!(fault, Fault::Vm(f) if f.address == page.address), "the page is still mapped");
    let _ = copy;
    Ok(())
}

pub fn pdpt_copy_is_no_halt(env: &mut Env) -> Outcome {
    let pdpt: Cap<Pdpt> = env.create();
    let slot = env.slot();
    let unmapped = slot.copy_from(slot_of(pdpt), Rights::ALL);
    ensure!(unmapped == Err(Error::IllegalOperation), "an unmapped one was copied");
    pdpt.map(init::VSPACE, 0x7000_0000_0000, Caching::WriteBack).map_err(|_| "cannot map")?;
    ensure!(slot.copy_from(slot_of(pdpt), Rights::ALL).is_ok(), "a mapped one was not copied");
    ensure!(slot.delete().is_ok(), "the copy cannot be deleted");
    Ok(())
}

pub fn ipc_buffer_not_canonical_refused(env: &mut Env) -> Outcome {
    let page = env.page();
    let endpoint = env.create();
    let thread = env.foreign_thread(endpoint);
    for address in [1 << 47, 0x8000_0000_1000, 0xffff_8000_0000_0000] {
        ensure!(thread.set_ipc_buffer(address, page.frame).is_err(), "accepted");
    }
    Ok(())
}

pub fn ipc_buffer_alignment_checked(env: &mut Env) -> Outcome {
    let page = env.page();
    let endpoint = env.create();
    let thread = env.foreign_thread(endpoint);
    let unaligned = thread.set_ipc_buffer(page.address + 0xe00, page.frame);
    ensure!(unaligned == Err(Error::Alignment), "accepted at 0xe00");
    ensure!(thread.set_ipc_buffer(page.address + 0xc00, page.frame).is_ok(), "refused at 0xc00");
    Ok(())
}

/// Takes the right to write from all pages of a table.
pub fn protect(table: Cap<PageTable>) -> Outcome {
    let answer = table.cast::<Endpoint>().call(MessageInfo::new(PAGE_TABLE_PROTECT, 0), [0; 4]);
    if answer.info.label() == 0 { Ok(()) } else { Err("cannot protect the table") }
}

pub fn page_table_protect_stops_writes(env: &mut Env) -> Outcome {
    let unmapped: Cap<PageTable> = env.create();
    ensure!(protect(unmapped).is_err(), "an unmapped table was protected");
    let process = env.process(programs::writer(), 0);
    protect(process.table_of_data)?;
    process.start();
    let Fault::Vm(fault) = fault_of_same_core(process.endpoint)? else {
        return Err("no page fault");
    };
    ensure!(fault.is_write() && fault.is_protection(), "not stopped by protection");
    let writable = process.data_frame.remap(process.vspace, Rights::READ_WRITE, Caching::WriteBack);
    ensure!(writable.is_ok(), "cannot be given back");
    Ok(())
}
