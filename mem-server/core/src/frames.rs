// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many hold a frame: copy-on-write shares frames between spaces, and only the last holder gives
//! one back.

use crate::machine::{FrameNo, HardSpace, Machine};
use abi::Errno;
use abi::limits::PAGE_BYTES;
use alloc::vec::Vec;
use runtime::collections::HashMap;

/// The machine, with the holders of its frames and hardware spaces counted.
pub(crate) struct Frames<M> {
    pub(crate) machine: M,
    /// Holders of an allocated frame beyond the first, by frame number.
    shares: Vec<u32>,
    /// Holders of a hardware space beyond the first: its threads. Its memory may go before them.
    space_shares: HashMap<HardSpace, u32>,
    /// A page of zeroes, mapped read-only where anonymous memory is read before it is written.
    zero: FrameNo,
    allocated: u64,
}

impl<M: Machine> Frames<M> {
    pub(crate) fn new(mut machine: M) -> Result<Self, Errno> {
        let zero = machine.allocate()?;
        let space_shares = HashMap::default();
        Ok(Self { machine, shares: Vec::new(), space_shares, zero, allocated: 0 })
    }

    pub(crate) fn zero(&self) -> FrameNo {
        self.zero
    }

    /// Frames held, each counted once.
    #[cfg(test)]
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated
    }

    pub(crate) fn allocate(&mut self) -> Result<FrameNo, Errno> {
        let frame = self.machine.allocate()?;
        let index = frame.0 as usize;
        if index >= self.shares.len() {
            self.shares.resize(index + 1, 0);
        }
        assert_eq!(self.shares[index], 0, "a free frame has no holders");
        self.allocated += 1;
        Ok(frame)
    }

    /// A new frame with the content of another.
    pub(crate) fn duplicate(&mut self, frame: FrameNo) -> Result<FrameNo, Errno> {
        let copy = self.allocate()?;
        if frame != self.zero {
            self.machine.copy((frame, 0), (copy, 0), PAGE_BYTES);
        }
        Ok(copy)
    }

    pub(crate) fn share(&mut self, frame: FrameNo) {
        self.shares[frame.0 as usize] += 1;
    }

    pub(crate) fn is_shared(&self, frame: FrameNo) -> bool {
        self.shares[frame.0 as usize] > 0
    }

    pub(crate) fn release(&mut self, frame: FrameNo) {
        let shares = &mut self.shares[frame.0 as usize];
        if *shares > 0 {
            *shares -= 1;
        } else {
            self.allocated -= 1;
            self.machine.free(frame);
        }
    }

    pub(crate) fn hold_space(&mut self, space: HardSpace) {
        *self.space_shares.entry(space).or_insert(0) += 1;
    }

    pub(crate) fn drop_space(&mut self, space: HardSpace) {
        match self.space_shares.get_mut(&space) {
            Some(1) => {
                self.space_shares.remove(&space);
            }
            Some(shares) => *shares -= 1,
            None => self.machine.destroy_space(space),
        }
    }
}
