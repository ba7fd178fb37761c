// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a message lies in registers, IPC buffer and window.
//!
//! Words 0 to 3 travel in registers, and a message without more has exactly four: the kernel's fast
//! path. Else word 4 tells the lengths and the bytes follow.

use abi::Errno;
use abi::limits::{MESSAGE_BYTES, WINDOW_BYTES};
use alloc::vec;
use microkernel_sys::{MessageInfo, ipc};
use runtime::{Msg, Status};

const LENGTHS: usize = 4;
const BYTES: usize = 5;
/// Part of the label of an answer that is not 0, and of no request's: a signal of the bound
/// notification leaves the descriptor register as it was, so a worker that answered and then received
/// a signal finds its own answer there.
const ANSWER: u64 = 1 << 16;
const PENDING: u64 = ANSWER | 0x1000;

/// Lengths beside the four words.
#[derive(Clone, Copy, Default)]
pub struct Lengths {
    /// Bytes of bulk data in the window.
    pub bulk: usize,
    /// Of a request: bytes that the answer may have. Of an answer: not 0 if it has bulk data.
    pub capacity: usize,
}

/// Puts `msg` where it travels; the descriptor for the kernel.
pub fn put(label: u64, msg: &Msg, lengths: Lengths) -> MessageInfo {
    if msg.bytes.is_empty() && lengths.bulk == 0 && lengths.capacity == 0 {
        return MessageInfo::new(label, 4);
    }
    assert!(msg.bytes.len() <= MESSAGE_BYTES, "a message is bounded where it is made");
    let lens =
        msg.bytes.len() as u64 | (lengths.bulk as u64) << 16 | (lengths.capacity as u64) << 40;
    ipc::set_word(LENGTHS, lens);
    let words = ipc::write_bytes(BYTES, &msg.bytes);
    MessageInfo::new(label, BYTES + words)
}

/// Reads a message of which the first four words were received. What the sender says about lengths is
/// cut to what is there.
pub fn get(info: MessageInfo, words: [u64; 4], msg: &mut Msg) -> Lengths {
    msg.words = words;
    msg.bytes.clear();
    if info.length() < BYTES {
        return Lengths::default();
    }
    let lens = ipc::word(LENGTHS);
    let there = (info.length() - BYTES) * 8;
    let bytes = ((lens & 0xffff) as usize).min(there).min(MESSAGE_BYTES);
    if bytes > 0 {
        let mut data = vec![0; bytes];
        ipc::read_bytes(BYTES, &mut data);
        msg.bytes = data;
    }
    let cut = |n: u64| ((n & 0xff_ffff) as usize).min(WINDOW_BYTES);
    Lengths { bulk: cut(lens >> 16), capacity: cut(lens >> 40) }
}

/// The label of an answer, its message, and whether bulk data goes along.
pub fn put_answer(status: Status, msg: &mut Msg, bulk: Option<usize>) -> MessageInfo {
    match status {
        Status::Done => {
            let lengths = bulk.map_or(Lengths::default(), |bulk| Lengths { bulk, capacity: 1 });
            put(0, msg, lengths)
        }
        Status::Pending(ticket) => {
            msg.words[0] = ticket.to_word();
            MessageInfo::new(PENDING, 4)
        }
        Status::Failed(errno) => MessageInfo::new(ANSWER | u64::from(errno.number()), 4),
    }
}

/// Whether what was received is a signal and not a message: every request and every fault has a label
/// of its own.
pub fn is_signal(info: MessageInfo) -> bool {
    info.label() == 0 || info.label() & ANSWER != 0
}

/// Reads an answer: its status and, if it has bulk data, how much.
pub fn get_answer(info: MessageInfo, words: [u64; 4], msg: &mut Msg) -> (Status, Option<usize>) {
    match info.label() {
        0 => {
            let lengths = get(info, words, msg);
            (Status::Done, (lengths.capacity != 0).then_some(lengths.bulk))
        }
        PENDING => (Status::Pending(abi::Ticket::from_word(words[0])), None),
        // Root ends the calls to a dead domain with the number alone.
        label => {
            let number = u16::try_from(label & !ANSWER).unwrap_or(u16::MAX);
            (Status::Failed(Errno::from_number(number)), None)
        }
    }
}

const _: () = assert!(WINDOW_BYTES < 1 << 24, "lengths have 24 bits");
