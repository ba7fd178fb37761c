// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which blocks are free.
//!
//! # Model
//! ```text
//! free --take--> used --give--> freeing --seal: the records that say so are written--> leaving --settle: and safe--> free
//! ```

use alloc::vec;
use alloc::vec::Vec;

/// See the module.
#[derive(Debug)]
pub(crate) struct Space {
    blocks: u32,
    /// Everything that is not free.
    used: Vec<u64>,
    freeing: Vec<u64>,
    leaving: Vec<u64>,
    free: u32,
    /// Where to look next.
    next: u32,
}

impl Space {
    /// All free.
    pub(crate) fn new(blocks: u32) -> Self {
        let words = blocks.div_ceil(64) as usize;
        let none = || vec![0; words];
        Self { blocks, used: none(), freeing: none(), leaving: none(), free: blocks, next: 0 }
    }

    /// Blocks that can be taken now.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    fn is_free(&self, block: u32) -> bool {
        self.used[block as usize / 64] >> (block % 64) & 1 == 0
    }

    /// Blocks in a row: as many as are wanted if there are so many anywhere, or the longest row.
    pub(crate) fn take(&mut self, want: u32) -> Option<(u32, u32)> {
        if self.free == 0 || want == 0 {
            return None;
        }
        let mut best = (0, 0);
        for (from, to) in [(self.next, self.blocks), (0, self.next)] {
            let mut at = from;
            while at < to && best.1 < want {
                if at.is_multiple_of(64) && self.used[at as usize / 64] == u64::MAX {
                    at += 64;
                    continue;
                }
                let row = (at..to.min(at + want)).take_while(|block| self.is_free(*block)).count();
                if row as u32 > best.1 {
                    best = (at, row as u32);
                }
                at += row as u32 + 1;
            }
        }
        let (first, count) = best;
        assert!(count > 0, "some block is free");
        self.claim(first, count)
            .then_some(best)
            .inspect(|_| self.next = (first + count) % self.blocks)
    }

    /// Takes just these; whether all were there and free.
    pub(crate) fn claim(&mut self, first: u32, count: u32) -> bool {
        let Some(end) = first.checked_add(count).filter(|end| *end <= self.blocks) else {
            return false;
        };
        if !(first..end).all(|block| self.is_free(block)) {
            return false;
        }
        for block in first..end {
            self.used[block as usize / 64] |= 1 << (block % 64);
        }
        self.free -= count;
        true
    }

    /// Nothing in memory names them any more.
    pub(crate) fn give(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            assert!(!self.is_free(block), "only what was taken is given back");
            self.freeing[block as usize / 64] |= 1 << (block % 64);
        }
    }

    /// Whether some become free when the journal is safe.
    pub(crate) fn any_given(&self) -> bool {
        self.freeing.iter().chain(&self.leaving).any(|word| *word != 0)
    }

    /// The same for what nothing on the disk names either.
    pub(crate) fn give_unnamed(&mut self, first: u32, count: u32) {
        for block in first..first + count {
            self.used[block as usize / 64] &= !(1 << (block % 64));
        }
        self.free += count;
    }

    /// The journal says all that was given back.
    pub(crate) fn seal(&mut self) {
        for (leaving, freeing) in self.leaving.iter_mut().zip(&mut self.freeing) {
            *leaving |= core::mem::take(freeing);
        }
    }

    /// And that is safe.
    pub(crate) fn settle(&mut self) {
        for (used, leaving) in self.used.iter_mut().zip(&mut self.leaving) {
            self.free += leaving.count_ones();
            *used &= !core::mem::take(leaving);
        }
    }
}
