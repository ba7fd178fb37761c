// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root does after boot: it answers the domains, and deals with the death of one.
//!
//! # Failure
//! A worker that faults is named with its registers and with what it was doing; its domain is stopped,
//! and every call that another domain has open to one of its servers ends with EIO. The rest of the
//! node goes on. A dead domain is not started again.

use crate::domain::Domain;
use crate::serial;
use abi::limits::{CORES_MAX, MESSAGE_BYTES};
use abi::startup::root_call;
use abi::{CoreId, Errno, ServerId};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use microkernel_sys::init::IO_PORT;
use microkernel_sys::{Cap, Endpoint, Fault, MessageInfo, Received, ipc};

/// Bytes of the log that are printed when a domain dies.
const LAST_WORDS_BYTES: usize = 400;
/// Marks the badge of a fault; below stand domain and core.
const FAULT: u64 = 1 << 16;

/// The badge of a worker's faults.
pub fn fault_badge(domain: u32, core: CoreId) -> u64 {
    FAULT | u64::from(domain) << 8 | u64::from(core.0)
}

/// The badge of a domain's calls to root.
pub fn call_badge(domain: u32) -> u64 {
    1 << 17 | u64::from(domain) << 8
}

/// Serves for good.
pub fn run(endpoint: Cap<Endpoint>, domains: &mut [Domain]) -> ! {
    let mut ready = 0;
    let mut received = endpoint.recv();
    loop {
        if received.badge & FAULT != 0 {
            died(domains, &received);
            received = endpoint.recv();
            continue;
        }
        let (info, words) = answer(&received, domains, &mut ready);
        received = endpoint.reply_recv(info, words);
    }
}

fn answer(received: &Received, domains: &[Domain], ready: &mut usize) -> (MessageInfo, [u64; 4]) {
    match received.info.label() {
        root_call::LOG => {
            let bytes = text(received);
            serial::print(&String::from_utf8_lossy(&bytes));
            (MessageInfo::new(0, 0), [0; 4])
        }
        root_call::LOG_READ => log_read(received.words[0]),
        root_call::READY => {
            *ready += 1;
            let [index, used, all, _] = received.words;
            if let Some(domain) = domains.get(index as usize) {
                let (name, used, all) = (names(domain), used / 1024, all / 1024);
                serial::print(&format!(
                    "root: {name} runs, {used} of {all} KiB of its heap in use\n"
                ));
            }
            if *ready == domains.len() {
                serial::print("root: all domains run\n");
                serial::hand_over();
            }
            (MessageInfo::new(0, 0), [0; 4])
        }
        root_call::HALT => halt(received.words[0] == 1),
        _ => (MessageInfo::new(u64::from(Errno::ENOSYS.number()), 0), [0; 4]),
    }
}

fn text(received: &Received) -> vec::Vec<u8> {
    if received.info.length() < 5 {
        return vec![];
    }
    let there = (received.info.length() - 5) * 8;
    let len = ((ipc::word(4) & 0xffff) as usize).min(there).min(MESSAGE_BYTES);
    let mut bytes = vec![0; len];
    ipc::read_bytes(5, &mut bytes);
    bytes
}

fn log_read(from: u64) -> (MessageInfo, [u64; 4]) {
    let (next, bytes) = serial::read(from, MESSAGE_BYTES);
    ipc::set_word(4, bytes.len() as u64);
    let words = ipc::write_bytes(5, &bytes);
    (MessageInfo::new(0, 5 + words), [next, 0, 0, 0])
}

/// Powers off (where the machine is QEMU's) or resets.
fn halt(reboot: bool) -> ! {
    if reboot {
        serial::alarm("root: reboot\n");
        // The chipset's reset register, then the keyboard controller's line.
        let _ = IO_PORT.out8(0xcf9, 6);
        let _ = IO_PORT.out8(0x64, 0xfe);
    } else {
        serial::alarm("root: halted\n");
        // QEMU's ACPI power management port, sleep state 5.
        let _ = IO_PORT.out16(0x604, 0x2000);
    }
    loop {
        microkernel_sys::yield_now();
    }
}

fn died(domains: &mut [Domain], received: &Received) {
    let index = (received.badge >> 8 & 0xff) as usize;
    let core = (received.badge & 0xff) as usize;
    let fault = Fault::decode(received);
    let Some(domain) = domains.get(index) else { return };
    let registers = domain.workers[core].tcb.read_registers(true);
    let doing = status(domain, CORES_MAX + core);
    let servers = names(domain);
    // What it said last stands in the log only: a panic's sentence, for example.
    let last = serial::tail(LAST_WORDS_BYTES);
    serial::alarm(&format!("root: the log ends with\n{}\n", String::from_utf8_lossy(&last)));
    let server = ServerId::from_number((doing >> 16 & 0xff) as u8);
    let server = server.map_or("none", ServerId::name);
    serial::alarm(&format!(
        "root: domain {servers} died on core {core}: {fault:x?}\n\
         root: it performed operation {} of {server}\nroot: {registers:x?}\n",
        doing & 0xffff,
    ));
    for worker in &domain.workers {
        // A thread that is already stopped refuses nothing.
        let _ = worker.tcb.suspend();
    }
    let dead = domain.servers.clone();
    for other in domains.iter().filter(|other| other.index as usize != index) {
        for (core, worker) in other.workers.iter().enumerate() {
            let calling = status(other, core);
            let server = calling.checked_sub(1).and_then(|s| ServerId::from_number(s as u8));
            if server.is_some_and(|server| dead.contains(&server)) {
                end_call(worker.tcb);
            }
        }
    }
}

/// Ends the call that a worker waits in: it goes on behind its system call with EIO as the answer.
fn end_call(tcb: Cap<microkernel_sys::Tcb>) {
    let Ok(mut registers) = tcb.read_registers(true) else { return };
    // A thread that waits stands before its `syscall`, two bytes long, to make it again if resumed.
    registers.rip += 2;
    registers.rsi = MessageInfo::new(u64::from(Errno::EIO.number()), 0).bits();
    // If it fails the thread stays stopped, and its domain with it: nothing better is left.
    let _ = tcb.write_registers(true, &registers);
}

fn status(domain: &Domain, row: usize) -> u64 {
    let addr = domain.status_addr + row as u64 * 8;
    // SAFETY: root mapped the domain's status page there; the domain writes it, word by word.
    unsafe { core::ptr::read_volatile(addr as *const u64) }
}

fn names(domain: &Domain) -> String {
    let names: vec::Vec<_> = domain.servers.iter().map(|server| server.name()).collect();
    names.join("+")
}
