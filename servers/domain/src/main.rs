// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that every domain runs: hosts the servers that the manifest names.

#![no_std]
#![no_main]

extern crate alloc;

mod crash;
mod frame;
mod heap;
mod hosted;
mod log;
mod platform;
mod startup;
mod worker;

use abi::CoreId;
use abi::startup::HEAP_ADDR;
use platform::Shared;
use spin::Once;

microkernel_rt::domain_entry!(main);

static SHARED: Once<&'static Shared> = Once::new();

/// A worker: root starts one on each core, with the core's number.
fn main(core: u64, _startup_addr: u64) -> ! {
    let core = CoreId(core as u8);
    if core.0 != 0 {
        loop {
            if let Some(shared) = SHARED.get() {
                worker::run(shared, core);
            }
            microkernel_sys::yield_now();
        }
    }
    // SAFETY: root mapped so many bytes there, for this domain's heap alone.
    unsafe { microkernel_rt::heap::init(HEAP_ADDR as *mut u8, startup::heap_bytes() as usize) }
        .expect("root gives every domain a heap");
    runtime::set_yield(microkernel_sys::yield_now);
    let startup = startup::read();
    log::init(startup.root_slot);
    let shared = Shared::new(startup, hosted::make(startup));
    SHARED.call_once(|| shared);
    log::ready(startup);
    worker::run(shared, core);
}
