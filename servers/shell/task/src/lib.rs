// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shell server on seL4: what its core wants of the node, it asks of root.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::limits::MESSAGE_BYTES;
use abi::startup::{Startup, root_call};
use alloc::vec;
use alloc::vec::Vec;
use microkernel_sys::{Cap, Endpoint, ipc};
use shell_core::{Machine, Stop};

/// Word of a message that tells how many bytes follow it.
const LENGTH_WORD: usize = 4;
/// Longest log that is read, in bytes: what root keeps, and some that comes meanwhile.
const LOG_BYTES_MAX: usize = 128 * 1024;

/// Root, as the shell server can use it.
pub struct Sel4Machine {
    root: Cap<Endpoint>,
}

impl Sel4Machine {
    /// The machine of the domain with this startup.
    pub fn new(startup: &Startup) -> Self {
        Self { root: Cap::new(startup.root_slot) }
    }

    /// A piece of the log from byte `from` on, and where the next begins.
    fn log_piece(&self, from: u64) -> (u64, Vec<u8>) {
        let answer = self.root.call4(root_call::LOG_READ, [from, 0, 0, 0]);
        let there = answer.info.length().saturating_sub(LENGTH_WORD + 1) * 8;
        if answer.info.label() != 0 || there == 0 {
            return (from, Vec::new());
        }
        let len = ((ipc::word(LENGTH_WORD) & 0xffff) as usize).min(there).min(MESSAGE_BYTES);
        let mut bytes = vec![0; len];
        ipc::read_bytes(LENGTH_WORD + 1, &mut bytes);
        (answer.words[0], bytes)
    }
}

impl Machine for Sel4Machine {
    fn stop(&mut self, how: Stop) {
        let how = match how {
            Stop::Halt => 0,
            Stop::Reboot => 1,
        };
        self.root.call4(root_call::HALT, [how, 0, 0, 0]);
    }

    fn log(&mut self, bytes_max: usize) -> Vec<u8> {
        let mut log = Vec::new();
        let mut from = 0;
        while log.len() < LOG_BYTES_MAX {
            let (next, bytes) = self.log_piece(from);
            if bytes.is_empty() {
                break;
            }
            log.extend_from_slice(&bytes);
            from = next;
        }
        let surplus = log.len().saturating_sub(bytes_max);
        let line = log[surplus..].iter().position(|byte| *byte == b'\n');
        let cut = if surplus == 0 { 0 } else { line.map_or(log.len(), |at| surplus + at + 1) };
        log.split_off(cut)
    }
}
