// SPDX-License-Identifier: MIT OR Apache-2.0
//! A root task that shows, on QEMU, that the bindings and the start code work.
//!
//! It prints one line per check, ends with `hello: ok` and leaves QEMU through the debug exit device;
//! a failed check is a panic. `microkernel/rt/README.md` has the command.
#![no_std]
#![no_main]

extern crate alloc;

mod faults;
mod interrupts;
mod machine;
mod messages;
mod registers;
mod resources;
mod spaces;
mod threads;

use alloc::{string::String, vec::Vec};

use microkernel_rt::{heap, panic, print, println, root_entry};
use microkernel_sys::{BootInfo, init};
use resources::Resources;

root_entry!(main);

/// QEMU's isa-debug-exit device, if it was given: ends QEMU with status 2 * value + 1.
const EXIT_PORT: u64 = 0xf4;

fn main(boot: BootInfo<'static>) -> ! {
    print::set_sink(machine::serial_print);
    panic::set_hook(|_| exit(1));
    println!("hello: {} cores, ipc buffer at {:#x}", boot.cores(), boot.ipc_buffer());
    show_memory(&boot);
    machine::give_heap();
    check_heap();
    let mut resources = Resources::new(&boot);
    messages::check(&mut resources, boot.cores());
    threads::check(&mut resources, boot.cores());
    faults::check(&mut resources);
    registers::check(&mut resources);
    spaces::check(&mut resources);
    interrupts::check(&mut resources);
    println!("hello: ok");
    exit(0)
}

fn show_memory(boot: &BootInfo<'static>) {
    let memory: u64 =
        boot.untyped_list().filter(|u| !u.is_device).map(|u| 1u64 << u.size_bits).sum();
    println!("untyped: {} pieces, {} KiB of memory", boot.untyped().count(), memory >> 10);
    assert!(memory > 1 << 20);
}

fn check_heap() {
    let numbers: Vec<u64> = (0..10_000).collect();
    let text: String = ["heap", "works"].join(" ");
    assert_eq!(numbers.iter().sum::<u64>(), 49_995_000);
    let usage = heap::usage();
    drop(numbers);
    assert!(heap::usage().allocated_bytes + 80_000 <= usage.allocated_bytes);
    println!("{text}: {} of {} bytes", usage.allocated_bytes, usage.claimed_bytes);
}

fn exit(status: u64) -> ! {
    let _ = init::IO_PORT.out8(EXIT_PORT, status);
    panic::stop()
}
