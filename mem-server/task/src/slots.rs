// SPDX-License-Identifier: MIT OR Apache-2.0
//! Empty slots of the domain's own CNode.

use abi::Errno;
use abi::limits::CORES_MAX;
use abi::startup::Startup;
use alloc::vec::Vec;
use microkernel_sys::{CNode, Cap, Slot};

/// A slot's number resolves all bits of a capability pointer.
pub const DEPTH: u8 = 64;

/// The slots that nobody uses.
pub struct Slots {
    root: Cap<CNode>,
    free: Vec<u32>,
    next: u64,
    end: u64,
}

impl Slots {
    /// Those that root left empty.
    pub fn new(startup: &Startup, end: u64) -> Self {
        Self {
            root: Cap::new(startup.cnode_slot),
            free: Vec::new(),
            next: startup.free_slot + CORES_MAX as u64,
            end,
        }
    }

    /// One empty slot.
    pub fn take(&mut self) -> Result<u64, Errno> {
        match self.free.pop() {
            Some(slot) => Ok(u64::from(slot)),
            None => self.take_row(1),
        }
    }

    /// `count` empty slots in a row.
    pub fn take_row(&mut self, count: u64) -> Result<u64, Errno> {
        let first = self.next;
        if first + count > self.end {
            return Err(Errno::ENOMEM);
        }
        self.next += count;
        Ok(first)
    }

    /// The slot is empty again.
    pub fn give(&mut self, slot: u64) {
        // A CNode has far less than 2^32 slots.
        self.free.push(slot as u32);
    }

    /// The slot as a place for capabilities.
    pub fn at(&self, slot: u64) -> Slot {
        self.root.slot(slot, DEPTH)
    }
}
