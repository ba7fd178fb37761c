// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domain's log: lines go to root.

use abi::startup::{Startup, root_call};
use core::sync::atomic::{AtomicU64, Ordering};
use microkernel_sys::{Cap, Endpoint, MessageInfo, ipc};

static ROOT: AtomicU64 = AtomicU64::new(0);

/// Longest piece of one call.
const PIECE_BYTES: usize = abi::limits::MESSAGE_BYTES;

/// Sends all output to root from now on.
pub fn init(root_slot: u64) {
    ROOT.store(root_slot, Ordering::Release);
    microkernel_rt::print::set_sink(print);
}

fn print(text: &str) {
    send(text, 0);
}

/// Puts a line into the log, and on the console whoever has it.
pub fn alarm(line: &str) {
    send(line, root_call::ALARM);
    send("\n", root_call::ALARM);
}

fn send(text: &str, how: u64) {
    let root: Cap<Endpoint> = Cap::new(ROOT.load(Ordering::Acquire));
    for piece in text.as_bytes().chunks(PIECE_BYTES) {
        ipc::set_word(4, piece.len() as u64);
        let words = ipc::write_bytes(5, piece);
        root.call(MessageInfo::new(root_call::LOG, 5 + words), [how, 0, 0, 0]);
    }
}

/// Tells root that the domain's servers exist.
pub fn ready(startup: &Startup) {
    let root: Cap<Endpoint> = Cap::new(startup.root_slot);
    let (used, all) = crate::heap::bytes();
    root.call4(root_call::READY, [u64::from(startup.domain), used as u64, all as u64, 0]);
}
