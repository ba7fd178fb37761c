// SPDX-License-Identifier: MIT OR Apache-2.0
//! One split queue, each descriptor with a buffer of its own.

use crate::memory::{Dma, Registers};
use crate::{BUFFER_BYTES, QUEUE};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

const DESCRIPTOR_BYTES: usize = 16;
/// Flags and index before the ring.
const RING: usize = 4;
const INDEX: usize = 2;
const USED_ENTRY_BYTES: usize = 8;
/// The device writes the buffer.
const FLAG_WRITE: u64 = 2;
/// The device needs no notification.
const NO_NOTIFY: u16 = 1;

/// A queue and its buffers.
pub struct Queue {
    index: u16,
    dma: Dma,
    notify: Registers,
    /// Buffers offered so far, and taken back so far; they wrap.
    offered: u16,
    taken: u16,
    /// The buffers that the device has.
    lent: [bool; QUEUE as usize],
    /// Used entries that named no buffer which the device had.
    pub strange: u64,
}

impl Queue {
    /// Offset of the descriptors.
    pub const DESCRIPTORS: usize = 0;
    /// Offset of the available ring.
    pub const AVAILABLE: usize = 1024;
    /// Offset of the used ring.
    pub const USED: usize = 2048;
    const BUFFERS: usize = 4096;
    /// Bytes of memory that a queue needs.
    pub const BYTES: usize = Self::BUFFERS + QUEUE as usize * BUFFER_BYTES;

    /// An empty queue in zeroed memory.
    pub fn new(index: u16, dma: Dma, notify: Registers) -> Self {
        let lent = [false; QUEUE as usize];
        Self { index, dma, notify, offered: 0, taken: 0, lent, strange: 0 }
    }

    /// Gives a buffer to the device: `len` bytes of it, to be written by it or read.
    pub fn offer(&mut self, buffer: u16, len: usize, device_writes: bool) {
        assert!(buffer < QUEUE && len <= BUFFER_BYTES, "a buffer of this queue");
        let at = Self::DESCRIPTORS + usize::from(buffer) * DESCRIPTOR_BYTES;
        let physical = self.dma.physical() + Self::buffer(buffer) as u64;
        let flags = if device_writes { FLAG_WRITE } else { 0 };
        self.dma.write64(at, physical);
        self.dma.write64(at + 8, len as u64 | flags << 32);
        let entry = Self::AVAILABLE + RING + usize::from(self.offered % QUEUE) * 2;
        self.dma.write16(entry, buffer);
        // The device must see the descriptor before the index that hands it over.
        fence(Ordering::SeqCst);
        self.lent[usize::from(buffer)] = true;
        self.offered = self.offered.wrapping_add(1);
        self.dma.write16(Self::AVAILABLE + INDEX, self.offered);
    }

    /// Tells the device that buffers were offered.
    pub fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.dma.read16(Self::USED) & NO_NOTIFY == 0 {
            self.notify.write16(0, self.index);
        }
    }

    /// A buffer that the device has given back, and the bytes that it wrote. An entry that names no
    /// buffer of this queue, or one that the device does not have, is skipped and counted: a buffer
    /// that came back twice would be two owners' at once.
    pub fn take_used(&mut self) -> Option<(u16, usize)> {
        while self.dma.read16(Self::USED + INDEX) != self.taken {
            fence(Ordering::SeqCst);
            let at = Self::USED + RING + usize::from(self.taken % QUEUE) * USED_ENTRY_BYTES;
            let (id, len) = (self.dma.read32(at), self.dma.read32(at + 4));
            self.taken = self.taken.wrapping_add(1);
            match self.lent.get_mut(id as usize) {
                Some(lent) if *lent => {
                    *lent = false;
                    return Some((id as u16, len as usize));
                }
                Some(_) | None => self.strange += 1,
            }
        }
        None
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: u16, header: &[u8], frame: &[u8]) {
        assert!(header.len() + frame.len() <= BUFFER_BYTES, "the frame fits a buffer");
        self.dma.copy_in(Self::buffer(buffer), header);
        self.dma.copy_in(Self::buffer(buffer) + header.len(), frame);
    }

    /// The frame that the device wrote, behind its header; `None` if the length makes no sense.
    pub fn frame(&self, buffer: u16, len: usize, header: usize) -> Option<Vec<u8>> {
        if len > BUFFER_BYTES {
            return None;
        }
        let mut frame = vec![0; len.checked_sub(header)?];
        self.dma.copy_out(Self::buffer(buffer) + header, &mut frame);
        Some(frame)
    }

    fn buffer(buffer: u16) -> usize {
        Self::BUFFERS + usize::from(buffer) * BUFFER_BYTES
    }
}
