// SPDX-License-Identifier: MIT OR Apache-2.0
//! One split queue: what is lent to the device, and what comes back.

use crate::QUEUE;
use crate::memory::{Dma, Registers};
use core::sync::atomic::{Ordering, fence};

const DESCRIPTOR_BYTES: usize = 16;
/// Flags and index before the ring.
const RING: usize = 4;
const INDEX: usize = 2;
const USED_ENTRY_BYTES: usize = 8;
/// Another descriptor follows.
const FLAG_NEXT: u64 = 1;
/// The device writes the piece.
const FLAG_WRITE: u64 = 2;
/// The device needs no notification.
const NO_NOTIFY: u16 = 1;

/// A piece of the queue's memory that is lent to the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Offset in the queue's memory.
    pub at: usize,
    /// Bytes.
    pub len: usize,
    /// Whether the device writes it; else it reads it.
    pub device_writes: bool,
}

/// A queue and its memory: the rings first, behind them whatever the driver lends.
pub struct Queue {
    index: u16,
    dma: Dma,
    notify: Registers,
    /// Chains offered so far, and taken back so far; they wrap.
    offered: u16,
    taken: u16,
    /// The descriptors at which chains begin that the device has.
    lent: [bool; QUEUE as usize],
    strange: u64,
}

impl Queue {
    /// Offset of the descriptors.
    pub const DESCRIPTORS: usize = 0;
    /// Offset of the available ring.
    pub const AVAILABLE: usize = 1024;
    /// Offset of the used ring.
    pub const USED: usize = 2048;
    /// Bytes of the rings, in whole pages: the driver's own pieces begin here.
    pub const RINGS_BYTES: usize = 4096;

    /// An empty queue in zeroed memory.
    pub(crate) fn new(index: u16, dma: Dma, notify: Registers) -> Self {
        let lent = [false; QUEUE as usize];
        Self { index, dma, notify, offered: 0, taken: 0, lent, strange: 0 }
    }

    /// Its memory.
    pub fn memory(&self) -> &Dma {
        &self.dma
    }

    /// Its memory, to be written. What the device has is not to be touched.
    pub fn memory_mut(&mut self) -> &mut Dma {
        &mut self.dma
    }

    /// Used entries that named nothing which the device had.
    pub fn strange(&self) -> u64 {
        self.strange
    }

    /// Gives pieces to the device, in the descriptors from `head` on, which no other chain uses.
    ///
    /// # Panics
    /// If a piece or descriptor is outside, or the device has a chain at `head`.
    pub fn offer(&mut self, head: u16, chain: &[Piece]) {
        let last = usize::from(head) + chain.len();
        assert!(!chain.is_empty() && last <= usize::from(QUEUE), "descriptors of this queue");
        assert!(!self.lent[usize::from(head)], "the device gives a chain back first");
        for (number, piece) in (u64::from(head)..).zip(chain) {
            assert!(piece.at >= Self::RINGS_BYTES, "the rings are not lent");
            assert!(piece.at + piece.len <= self.dma.bytes(), "a piece of this memory");
            let is_last = number as usize + 1 == last;
            let next = if is_last { 0 } else { FLAG_NEXT | (number + 1) << 16 };
            let flags = next | if piece.device_writes { FLAG_WRITE } else { 0 };
            let at = Self::DESCRIPTORS + number as usize * DESCRIPTOR_BYTES;
            self.dma.write64(at, self.dma.physical() + piece.at as u64);
            self.dma.write64(at + 8, piece.len as u64 | flags << 32);
        }
        let entry = Self::AVAILABLE + RING + usize::from(self.offered % QUEUE) * 2;
        self.dma.write16(entry, head);
        // The device must see the descriptors before the index that hands them over.
        fence(Ordering::SeqCst);
        self.lent[usize::from(head)] = true;
        self.offered = self.offered.wrapping_add(1);
        self.dma.write16(Self::AVAILABLE + INDEX, self.offered);
    }

    /// Tells the device that something was offered.
    pub fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.dma.read16(Self::USED) & NO_NOTIFY == 0 {
            self.notify.write16(0, self.index);
        }
    }

    /// The head of a chain that the device has given back, and the bytes that it says it wrote. An entry
    /// that names no chain which the device has is skipped and counted: what came back twice would be
    /// two owners' at once.
    pub fn take_used(&mut self) -> Option<(u16, usize)> {
        // A device that moves its index on without end must not hold us up: more than all it can have is
        // not looked at in one go.
        for _ in 0..QUEUE {
            if self.dma.read16(Self::USED + INDEX) == self.taken {
                return None;
            }
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
}
