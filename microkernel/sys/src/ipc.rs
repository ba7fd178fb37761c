// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calling thread's IPC buffer: message words 4..120 and capability slots.
//!
//! The kernel keeps the base of `gs` at the buffer of the running thread, so access takes one
//! instruction and no thread-local storage. Every function copies; there are no references into the
//! buffer, because any system call may change it.
//!
//! # Failure
//! A thread without an IPC buffer has `gs` at 0, and faults here.
//!
//! # Source
//! seL4 5.0.0: tag at 0, msg\[120\] at 8, user data at 968, caps\[3\] at 976, receive CNode, index
//! and depth at 1000, 1008 and 1016; 1,024 bytes in all.

use core::arch::asm;

use crate::cap::{CNode, Cap};
use crate::message::WORDS_MAX;

const MSG: usize = 8;
const CAPS: usize = 976;
const RECEIVE_CNODE: usize = 1000;
const RECEIVE_INDEX: usize = 1008;
const RECEIVE_DEPTH: usize = 1016;

const WORD_BYTES: usize = 8;

#[inline(always)]
fn load(offset: usize) -> u64 {
    debug_assert!(offset <= RECEIVE_DEPTH);
    let value;
    // SAFETY: reads 8 bytes inside the 1,024 of the IPC buffer (callers bound `offset`), which is
    // mapped as long as the thread runs and referenced by nobody.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) value, in(reg) offset, options(nostack, readonly, preserves_flags));
    }
    value
}

#[inline(always)]
fn store(offset: usize, value: u64) {
    debug_assert!(offset <= RECEIVE_DEPTH);
    // SAFETY: as for `load`; nothing but the kernel and this module looks at the buffer.
    unsafe {
        asm!("mov gs:[{}], {}", in(reg) offset, in(reg) value, options(nostack, preserves_flags));
    }
}

/// Message word `index`. Words 0..4 travel in registers: the buffer's are stale.
///
/// # Panics
/// If `index` is 120 or more.
#[inline]
#[must_use]
pub fn word(index: usize) -> u64 {
    assert!(index < WORDS_MAX, "message word out of range");
    load(MSG + index * WORD_BYTES)
}

/// Sets message word `index`.
///
/// # Panics
/// If `index` is 120 or more.
#[inline]
pub fn set_word(index: usize, value: u64) {
    assert!(index < WORDS_MAX, "message word out of range");
    store(MSG + index * WORD_BYTES, value);
}

/// Copies message words `first..` out, as many as `words` holds.
///
/// # Panics
/// If that goes beyond word 120.
pub fn read_words(first: usize, words: &mut [u64]) {
    for (i, w) in words.iter_mut().enumerate() {
        *w = word(first + i);
    }
}

/// Copies `words` into message words `first..`.
///
/// # Panics
/// If that goes beyond word 120.
pub fn write_words(first: usize, words: &[u64]) {
    for (i, w) in words.iter().enumerate() {
        set_word(first + i, *w);
    }
}

/// Copies bytes out of message words `first..`; byte 0 is the lowest of word `first`.
///
/// # Panics
/// If that goes beyond word 120.
pub fn read_bytes(first: usize, bytes: &mut [u8]) {
    for (i, chunk) in bytes.chunks_mut(WORD_BYTES).enumerate() {
        let word = word(first + i).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Copies bytes into message words `first..`, the last one filled up with zeros. Yields the number of
/// words used.
///
/// # Panics
/// If that goes beyond word 120.
pub fn write_bytes(first: usize, bytes: &[u8]) -> usize {
    let (whole, tail) = bytes.as_chunks::<WORD_BYTES>();
    for (i, chunk) in whole.iter().enumerate() {
        set_word(first + i, u64::from_le_bytes(*chunk));
    }
    if tail.is_empty() {
        return whole.len();
    }
    let mut last = [0; WORD_BYTES];
    last[..tail.len()].copy_from_slice(tail);
    set_word(first + whole.len(), u64::from_le_bytes(last));
    whole.len() + 1
}

/// Sets capability `index` (0..3) of the next message that is sent with capabilities.
///
/// # Panics
/// If `index` is 3 or more.
#[inline]
pub fn set_cap(index: usize, cap: u64) {
    assert!(index < 3, "a message carries at most three capabilities");
    store(CAPS + index * WORD_BYTES, cap);
}

/// The badge that arrived in place of an unwrapped capability.
///
/// # Panics
/// If `index` is 3 or more.
#[inline]
#[must_use]
pub fn unwrapped_badge(index: usize) -> u64 {
    assert!(index < 3, "a message carries at most three capabilities");
    load(CAPS + index * WORD_BYTES)
}

/// Where the next capability received is put: the slot `index` of `depth` bits below `root`, which must
/// be empty. Set no slot on an endpoint whose callers are not trusted; a depth of 0 means none.
pub fn set_receive_slot(root: Cap<CNode>, index: u64, depth: u8) {
    store(RECEIVE_CNODE, root.bits());
    store(RECEIVE_INDEX, index);
    store(RECEIVE_DEPTH, u64::from(depth));
}
