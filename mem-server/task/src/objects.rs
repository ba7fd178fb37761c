// SPDX-License-Identifier: MIT OR Apache-2.0
//! Untyped memory, made into kernel objects.

use abi::Errno;
use abi::startup::MemoryStartup;
use alloc::vec::Vec;
use microkernel_sys::{Cap, Create, Slot, Untyped};

struct Piece {
    cap: Cap<Untyped>,
    bytes: u64,
    used: u64,
}

/// The node's memory that is no object yet.
pub struct Objects {
    /// Small pieces first: the kernel clears a piece as a whole when it is first used.
    pieces: Vec<Piece>,
    total: u64,
}

impl Objects {
    /// What root handed over.
    pub fn new(memory: &MemoryStartup) -> Self {
        let piece = |&(slot, _, bits): &(u64, u64, u8)| Piece {
            cap: Cap::new(slot),
            bytes: 1 << bits,
            used: 0,
        };
        let mut pieces: Vec<_> = memory.untyped.iter().map(piece).collect();
        pieces.sort_by_key(|piece| piece.bytes);
        let total = pieces.iter().map(|piece| piece.bytes).sum();
        Self { pieces, total }
    }

    /// Makes `count` objects (at most 256) in consecutive slots.
    pub fn create<K: Create>(&mut self, size_bits: u32, at: Slot, count: u64) -> Result<(), Errno> {
        let object = 1u64 << K::TYPE.object_bits(size_bits);
        let piece = self
            .pieces
            .iter_mut()
            .find(|piece| piece.used.next_multiple_of(object) + object * count <= piece.bytes)
            .ok_or(Errno::ENOMEM)?;
        piece.cap.create::<K>(size_bits, at, count).map_err(|_| Errno::ENOMEM)?;
        piece.used = piece.used.next_multiple_of(object) + object * count;
        Ok(())
    }

    /// Bytes that root handed over.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Bytes that are no object yet.
    pub fn left_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes - piece.used).sum()
    }
}
