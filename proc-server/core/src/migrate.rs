// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving a process to another node: post-copy.
//!
//! # Model
//! ```text
//! source: Gather (all pages here) -> Freeze (all threads held) -> Hold (its files, for the target)
//!         -> Install (its state, in parts) -> SpaceGive -> Commit -> forgotten
//! target:                                      space and kernel objects, not running -> runs
//! ```
//! State travels as one value, [`Image`]; pages follow when the process runs at the target.
//!
//! # Invariants
//! Before SpaceGive the process belongs to the source: every failure lets it go on there, and the
//! target is told to forget it (or forgets it when it learns that the source is down). From
//! SpaceGive on the source never runs it again. The target runs it on Commit only. So it never runs
//! twice; if the target goes down before it answers Commit, it is lost, and its parent is told so.
//! What happens to a process between its export and its Commit (signals, ends of children) is kept
//! and sent after it.

mod image;
mod source;
mod target;

#[cfg(test)]
pub(crate) use image::{Image, ThreadImage};
pub use source::Asker;
pub(crate) use source::{Outgoing, move_resume, write_node};
pub(crate) use target::Incoming;

use abi::NodeId;
use hashbrown::HashMap;

/// The moves of this node.
#[derive(Default)]
pub struct Moves {
    /// Processes that leave, by the move's number.
    pub(crate) outgoing: HashMap<u64, Outgoing>,
    /// Processes that come, by source and its number.
    pub(crate) incoming: HashMap<(NodeId, u64), Incoming>,
    /// Processes that have left and whose home may not know it yet.
    given: HashMap<u32, NodeId>,
    next: u64,
    /// Pages that came after their processes: on demand, ahead.
    pub(crate) pages_fetched: (u64, u64),
}

impl Moves {
    /// Where a process went that was here.
    pub(crate) fn given_to(&self, pid: u32) -> Option<NodeId> {
        self.given.get(&pid).copied()
    }

    /// The process's home knows where it is.
    pub(crate) fn forget_given(&mut self, pid: u32) {
        self.given.remove(&pid);
    }

    /// Pages that came after their processes: because a thread wanted them, and ahead of that.
    pub fn pages_fetched(&self) -> (u64, u64) {
        self.pages_fetched
    }
}
