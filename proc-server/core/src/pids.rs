// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process ids: which are in use here, which are free in this node's slots.

use crate::process::ProcessNo;
use abi::id::PID_SERIAL_BITS;
use abi::{Errno, NodeId, Pid, SlotNo, ThreadId};
use alloc::collections::BTreeSet;
use cluster::View;
use hashbrown::HashMap;

/// What an id names on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PidRow {
    /// A process.
    Process(ProcessNo),
    /// A thread that is not its process's first.
    Thread(ThreadId),
}

/// The ids of this node.
///
/// A new id is the lowest free one in the slots that the node is home to, so that the first process
/// of the first node is 1. An id taken from a local slot stays taken while its process lives
/// elsewhere.
pub struct Pids {
    rows: HashMap<u32, PidRow>,
    slots: alloc::vec::Vec<SlotNo>,
    taken: BTreeSet<u32>,
    /// Where the search goes on: ids are used again as late as possible within the first slot.
    next: u32,
}

const SERIALS: u32 = 1 << PID_SERIAL_BITS;

impl Pids {
    /// The ids of `node`.
    pub fn new(view: &View, node: NodeId) -> Self {
        let slots = view.slots_of(node).collect();
        Self { rows: HashMap::new(), slots, taken: BTreeSet::new(), next: 0 }
    }

    /// The view changed.
    pub fn enter(&mut self, view: &View, node: NodeId) {
        self.slots = view.slots_of(node).collect();
        self.next = 0;
    }

    /// Takes a free id of this node's slots.
    ///
    /// # Errors
    /// EAGAIN: none is free.
    pub fn allocate(&mut self) -> Result<Pid, Errno> {
        let total = self.slots.len() as u32 * SERIALS;
        for step in 0..total {
            let at = (self.next + step) % total;
            let slot = self.slots[(at / SERIALS) as usize];
            let Some(pid) = Pid::in_slot(slot, at % SERIALS) else { continue };
            if self.taken.insert(pid.get()) {
                self.next = (at + 1) % total;
                return Ok(pid);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Gives an id of this node's slots back.
    pub fn free(&mut self, pid: Pid) {
        self.taken.remove(&pid.get());
    }

    /// Whether an id of this node's slots is taken.
    pub fn is_taken(&self, pid: Pid) -> bool {
        self.taken.contains(&pid.get())
    }

    /// Says what an id names here.
    pub fn set(&mut self, pid: Pid, row: PidRow) {
        self.rows.insert(pid.get(), row);
    }

    /// The id names nothing here any more.
    pub fn clear(&mut self, pid: Pid) {
        self.rows.remove(&pid.get());
    }

    /// What an id names here.
    pub fn get(&self, pid: u32) -> Option<PidRow> {
        self.rows.get(&pid).copied()
    }

    /// The process with this id, if it is here.
    pub fn process(&self, pid: u32) -> Option<ProcessNo> {
        match self.get(pid)? {
            PidRow::Process(no) => Some(no),
            PidRow::Thread(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn first_pid_of_the_first_node_is_one() {
        let node = |n| NodeId::new(n).expect("a node");
        let view = View::fixed(vec![node(1), node(2)]).expect("a view");
        let mut first = Pids::new(&view, node(1));
        let mut second = Pids::new(&view, node(2));
        assert_eq!(first.allocate().map(Pid::get), Ok(1));
        assert_eq!(first.allocate().map(Pid::get), Ok(2));
        let pid = second.allocate().expect("free ids");
        assert_eq!(view.home(pid.slot()), node(2));
    }
}
