// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue in which each descriptor has a buffer of its own.

use crate::BUFFER_BYTES;
use alloc::vec;
use alloc::vec::Vec;
use virtio_driver::{Piece, QUEUE, Queue};

/// A queue and its buffers.
pub struct Buffers(Queue);

impl Buffers {
    /// Bytes of memory that the queue needs.
    pub const BYTES: usize = Queue::RINGS_BYTES + QUEUE as usize * BUFFER_BYTES;

    /// The buffers of `queue`, which has [`Self::BYTES`] of memory.
    pub fn new(queue: Queue) -> Self {
        assert!(queue.memory().bytes() >= Self::BYTES, "there is a buffer for each descriptor");
        Self(queue)
    }

    /// Gives a buffer to the device: `len` bytes of it, to be written by it or read.
    pub fn offer(&mut self, buffer: u16, len: usize, device_writes: bool) {
        assert!(buffer < QUEUE && len <= BUFFER_BYTES, "a buffer of this queue");
        self.0.offer(buffer, &[Piece { at: Self::at(buffer), len, device_writes }]);
    }

    /// Tells the device that buffers were offered.
    pub fn notify(&self) {
        self.0.notify();
    }

    /// A buffer that the device has given back, and the bytes that it says it wrote.
    pub fn take_used(&mut self) -> Option<(u16, usize)> {
        self.0.take_used()
    }

    /// Used entries that named no buffer which the device had.
    pub fn strange(&self) -> u64 {
        self.0.strange()
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: u16, header: &[u8], frame: &[u8]) {
        assert!(header.len() + frame.len() <= BUFFER_BYTES, "the frame fits a buffer");
        let memory = self.0.memory_mut();
        memory.copy_in(Self::at(buffer), header);
        memory.copy_in(Self::at(buffer) + header.len(), frame);
    }

    /// The frame that the device wrote, behind its header; `None` if the length makes no sense.
    pub fn frame(&self, buffer: u16, len: usize, header: usize) -> Option<Vec<u8>> {
        if len > BUFFER_BYTES {
            return None;
        }
        let mut frame = vec![0; len.checked_sub(header)?];
        self.0.memory().copy_out(Self::at(buffer) + header, &mut frame);
        Some(frame)
    }

    fn at(buffer: u16) -> usize {
        Queue::RINGS_BYTES + usize::from(buffer) * BUFFER_BYTES
    }
}
