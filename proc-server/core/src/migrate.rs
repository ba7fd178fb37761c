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
//! target is told to forget it (or forgets it when the source has left the view). From SpaceGive on the
//! source never runs it again. The target runs it on Commit only. So it never runs twice. What happens to a
//! process between its export and its Commit (signals, ends of children) is kept and sent after it.
//!
//! # Failure
//! | who leaves the view | before SpaceGive | Commit not answered | Commit answered |
//! |---|---|---|---|
//! | source | gone with the source | runs at the target, if Commit came | runs at the target |
//! | target | goes on at the source | lost, unless it had moved on | lost, unless it had moved on |
//! | a home | nothing | the next home counts | the next home counts |
//!
//! A target that is silent but a member may run the process or not: the source waits, and repeats Commit when
//! it answers. Where a process is that may be lost, only its home can say: it asks all members (see
//! [`crate::rebuild`]), and tells the parent if nobody has it.

mod arrival;
mod commit;
mod image;
mod source;
mod target;

pub(crate) use image::distinct;
#[cfg(test)]
pub(crate) use image::{Image, ThreadImage};
pub use source::Asker;
pub(crate) use source::{Outgoing, move_resume, write_node};
pub(crate) use target::Incoming;

use abi::NodeId;
use alloc::collections::BTreeMap;
use arrival::{Arrival, Given};
use cluster::Incarnation;

/// Of a move's number: the bits that count, below those of the node's life. Together at most 40.
const MOVES_OF_A_LIFE_BITS: u32 = 24;
const LIFE_MASK: u32 = 0xffff;

/// The moves of this node.
#[derive(Default)]
pub struct Moves {
    /// Processes that leave, by the move's number.
    pub(crate) outgoing: BTreeMap<u64, Outgoing>,
    /// Processes that come, by source and its number.
    pub(crate) incoming: BTreeMap<(NodeId, u64), Incoming>,
    /// Ids that have left, until their homes know it: at most [`GIVEN_MAX`].
    ///
    /// [`GIVEN_MAX`]: crate::limits::GIVEN_MAX
    given: BTreeMap<u32, Given>,
    /// Processes that have come, by pid and number of their move, until their ids' homes know it: at most
    /// [`ARRIVALS_MAX`].
    ///
    /// [`ARRIVALS_MAX`]: crate::limits::ARRIVALS_MAX
    pub(crate) arrivals: BTreeMap<(u32, u32), Arrival>,
    next: u64,
    /// Pages that came after their processes: on demand, ahead.
    pub(crate) pages_fetched: (u64, u64),
}

impl Moves {
    /// Moves of this life of the node get numbers above those of the lives before, whose messages another
    /// node may still take for this one's.
    pub(crate) fn begin_life(&mut self, life: Incarnation) {
        let first = u64::from(life.get() & LIFE_MASK) << MOVES_OF_A_LIFE_BITS;
        self.next = self.next.max(first);
    }

    /// Where something went that was here.
    pub(crate) fn given_to(&self, id: u32) -> Option<NodeId> {
        self.given.get(&id).map(|given| given.to)
    }

    /// What has gone, and whose home may not know it yet.
    pub(crate) fn given(&self) -> impl Iterator<Item = (u32, &Given)> {
        self.given.iter().map(|(id, given)| (*id, given))
    }

    /// Pages that came after their processes: because a thread wanted them, and ahead of that.
    pub fn pages_fetched(&self) -> (u64, u64) {
        self.pages_fetched
    }
}
