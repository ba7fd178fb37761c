// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output before the console driver runs, and of last resort; and the node's log.
//!
//! # Limits
//! The log keeps the last [`LOG_BYTES`]; older text is gone.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use microkernel_rt::sync::Mutex;
use microkernel_sys::init::IO_PORT;

const COM1_DATA: u64 = 0x3f8;
const COM1_STATUS: u16 = 0x3fd;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// Text that the log keeps.
const LOG_BYTES: usize = 64 * 1024;

struct Log {
    text: VecDeque<u8>,
    /// Bytes that were ever appended.
    end: u64,
}

static LOG: Mutex<Log> = Mutex::new(Log { text: VecDeque::new(), end: 0 });
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on the console driver has the serial port: log only, but for [`alarm`].
pub fn hand_over() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Appends to the log and, until [`hand_over`], prints.
pub fn print(text: &str) {
    append(text.as_bytes());
    if !QUIET.load(Ordering::Relaxed) {
        write(text);
    }
}

/// Appends to the log and prints whoever has the port: somebody must read this.
pub fn alarm(text: &str) {
    append(text.as_bytes());
    write(text);
}

/// Appends to the log.
pub fn append(bytes: &[u8]) {
    let mut log = LOG.lock();
    log.end += bytes.len() as u64;
    log.text.extend(bytes);
    let over = log.text.len().saturating_sub(LOG_BYTES);
    log.text.drain(..over);
}

/// The log from byte `from` on, at most `len` bytes, and the offset behind them.
pub fn read(from: u64, len: usize) -> (u64, Vec<u8>) {
    let log = LOG.lock();
    let start = log.end - log.text.len() as u64;
    let skip = usize::try_from(from.max(start) - start).unwrap_or(usize::MAX);
    let bytes: Vec<u8> = log.text.iter().skip(skip).take(len).copied().collect();
    (from.clamp(start, log.end) + bytes.len() as u64, bytes)
}

/// The last lines of the log.
pub fn last_lines(count: usize) -> String {
    let log = LOG.lock();
    let ends = log.text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let start = ends.map(|(at, _)| at + 1).nth(count).unwrap_or(0);
    let bytes: Vec<u8> = log.text.iter().skip(start).copied().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write(text: &str) {
    for byte in text.bytes() {
        if byte == b'\n' {
            write_byte(b'\r');
        }
        write_byte(byte);
    }
}

fn write_byte(byte: u8) {
    while IO_PORT.in8(COM1_STATUS).is_ok_and(|status| status & TRANSMITTER_EMPTY == 0) {}
    // Nobody to tell about an error: this is what would tell.
    let _ = IO_PORT.out8(COM1_DATA, u64::from(byte));
}
