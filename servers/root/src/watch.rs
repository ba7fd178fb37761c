// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root does after boot: it answers the domains, and sees that one died.

use crate::death;
use crate::domain::Domain;
use crate::serial;
use abi::limits::MESSAGE_BYTES;
use abi::startup::root_call;
use abi::{CoreId, Errno};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use microkernel_sys::init::IO_PORT;
use microkernel_sys::{Cap, Endpoint, MessageInfo, Received, ipc};

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
pub fn run(endpoint: Cap<Endpoint>, domains: &[Domain]) -> ! {
    let mut ready = 0;
    let mut received = endpoint.recv();
    loop {
        if received.badge & FAULT != 0 {
            let index = (received.badge >> 8 & 0xff) as usize;
            let core = (received.badge & 0xff) as usize;
            death::died(domains, &received, index, core);
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
            let text = String::from_utf8_lossy(&bytes);
            match received.words[0] {
                root_call::ALARM => serial::alarm(&text),
                _ => serial::print(&text),
            }
            (MessageInfo::new(0, 0), [0; 4])
        }
        root_call::LOG_READ => log_read(received.words[0]),
        root_call::READY => {
            *ready += 1;
            let [index, used, all, _] = received.words;
            if let Some(domain) = domains.get(index as usize) {
                let names: Vec<_> = domain.servers.iter().map(|server| server.name()).collect();
                let (name, used, all) = (names.join("+"), used / 1024, all / 1024);
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

fn text(received: &Received) -> Vec<u8> {
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
