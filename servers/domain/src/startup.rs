// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what root left for this domain.

use abi::startup::{STARTUP_ADDR, Startup};
use alloc::boxed::Box;

/// Longest startup record that makes sense: a few hundred untyped pieces and ports.
const RECORD_BYTES_MAX: u64 = 256 * 1024;

/// Bytes of the heap: needed before the record can be decoded, so root puts them in front of it.
pub fn heap_bytes() -> u64 {
    // SAFETY: root maps the startup pages there, readable, before it starts a worker; word 1.
    unsafe { *((STARTUP_ADDR + 8) as *const u64) }
}

/// The record, kept for good.
pub fn read() -> &'static Startup {
    // SAFETY: as above; word 0 is the record's length.
    let len = unsafe { *(STARTUP_ADDR as *const u64) };
    assert!(len <= RECORD_BYTES_MAX, "root's startup record is longer than root may make it");
    // SAFETY: root mapped the record behind the two words, and nobody writes it any more.
    let bytes =
        unsafe { core::slice::from_raw_parts((STARTUP_ADDR + 16) as *const u8, len as usize) };
    let startup =
        postcard::from_bytes(bytes).expect("root and domain are built from the same source");
    Box::leak(Box::new(startup))
}
