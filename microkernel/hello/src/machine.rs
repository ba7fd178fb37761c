// SPDX-License-Identifier: MIT OR Apache-2.0
//! The serial port, the time stamp counter, and memory that lies in the image.

use core::cell::UnsafeCell;

use microkernel_rt::heap;
use microkernel_sys::init::IO_PORT;

const COM1_DATA: u64 = 0x3f8;
const COM1_STATUS: u16 = 0x3fd;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Writes to the first serial port.
pub fn serial_print(text: &str) {
    for byte in text.bytes() {
        while IO_PORT.in8(COM1_STATUS).is_ok_and(|s| s & TRANSMITTER_EMPTY == 0) {}
        // Nobody to tell about an error: this is what would tell.
        let _ = IO_PORT.out8(COM1_DATA, u64::from(byte));
    }
}

/// The time stamp counter; under `-icount shift=0` it counts instructions.
pub fn ticks() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Memory in the image that somebody else (the heap, a thread) uses by its address.
#[repr(align(4096))]
pub struct Region<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

// SAFETY: only the address is taken here; whoever uses the memory does so alone.
unsafe impl<const BYTES: usize> Sync for Region<BYTES> {}

impl<const BYTES: usize> Region<BYTES> {
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; BYTES]))
    }

    pub fn start(&self) -> *mut u8 {
        self.0.get().cast()
    }

    pub fn top(&self) -> u64 {
        self.start() as u64 + BYTES as u64
    }
}

const HEAP_BYTES: usize = 256 << 10;
static HEAP: Region<HEAP_BYTES> = Region::new();

pub fn give_heap() {
    // SAFETY: the region is static and used for nothing else.
    unsafe { heap::init(HEAP.start(), HEAP_BYTES) }.expect("256 KiB are enough");
}
