// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel objects of Linux threads, made in proc-server's own capability space.

use crate::objects::Objects;
use crate::slots::Slots;
use abi::Errno;
use abi::startup::MemoryStartup;
use alloc::vec::Vec;
use microkernel_sys::{CNode, Cap, Rights, Slot, Tcb, VSpace};

/// log2 of the slots of a Linux thread's capability space: a fault endpoint for each core.
const THREAD_CNODE_BITS: u32 = 4;
/// TCB, CNode, address space.
const SLOTS_PER_THREAD: u64 = 3;

/// Thread objects.
pub struct Threads {
    cnode: Cap<CNode>,
    depth: u8,
    next: u64,
    end: u64,
    free: Vec<u64>,
    half_made: bool,
    in_use: u64,
}

impl Threads {
    /// None yet.
    pub fn new(memory: &MemoryStartup) -> Self {
        Self {
            cnode: Cap::new(memory.proc_cnode_slot),
            depth: memory.proc_cnode_bits as u8,
            next: memory.thread_slots.0,
            end: memory.thread_slots.1,
            free: Vec::new(),
            half_made: false,
            in_use: 0,
        }
    }

    /// Objects for a thread in the space; the first of the three slots.
    pub fn create(
        &mut self,
        space: Cap<VSpace>,
        objects: &mut Objects,
        slots: &Slots,
    ) -> Result<u64, Errno> {
        let first = match self.free.pop() {
            Some(first) => first,
            None => self.make(objects)?,
        };
        let copied = self.at(first + 2).copy_from(slots.at(space.bits()), Rights::ALL);
        if copied.is_err() {
            self.free.push(first);
            return Err(Errno::ENOMEM);
        }
        self.in_use += 1;
        Ok(first)
    }

    fn make(&mut self, objects: &mut Objects) -> Result<u64, Errno> {
        let first = self.next;
        if first + SLOTS_PER_THREAD > self.end {
            return Err(Errno::EAGAIN);
        }
        // A thread of which the second object could not be made is finished by the next call.
        if !self.half_made {
            objects.create::<Tcb>(0, self.at(first), 1)?;
            self.half_made = true;
        }
        objects.create::<CNode>(THREAD_CNODE_BITS, self.at(first + 1), 1)?;
        self.half_made = false;
        self.next += SLOTS_PER_THREAD;
        Ok(first)
    }

    /// The thread is stopped and gone.
    pub fn release(&mut self, first: u64) {
        self.in_use -= 1;
        self.at(first + 2).delete().expect("mem-server may delete in proc's CNode");
        self.free.push(first);
    }

    fn at(&self, index: u64) -> Slot {
        self.cnode.slot(index, self.depth)
    }

    /// Threads that have objects.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }
}
