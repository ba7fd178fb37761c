// SPDX-License-Identifier: MIT OR Apache-2.0
//! The view: epoch, members, and which node is home to which slot.
//!
//! # Model
//! Views are static here: all nodes compute the same one from the configuration. A view that
//! changes by agreement replaces [`View::fixed`]; its readers stay as they are.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::id::SLOTS;
use abi::{Epoch, NodeId, SlotNo};
use alloc::vec::Vec;

/// What all nodes agree on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    epoch: Epoch,
    members: Vec<NodeId>,
}

impl View {
    /// The view of epoch 1 over `members`; `None` if there is no member or one stands twice.
    pub fn fixed(mut members: Vec<NodeId>) -> Option<Self> {
        members.sort_unstable();
        let unique = members.windows(2).all(|pair| pair[0] != pair[1]);
        if members.is_empty() || !unique {
            return None;
        }
        Some(Self { epoch: Epoch(1), members })
    }

    /// The view's number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The member nodes, ascending.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// Whether `node` is a member.
    pub fn contains(&self, node: NodeId) -> bool {
        self.members.binary_search(&node).is_ok()
    }

    /// The node that holds `slot`: slots go round the members.
    pub fn home(&self, slot: SlotNo) -> NodeId {
        self.members[slot.index() % self.members.len()]
    }

    /// The slots that `node` is home to, ascending.
    pub fn slots_of(&self, node: NodeId) -> impl Iterator<Item = SlotNo> + '_ {
        (0..SLOTS).filter_map(SlotNo::new).filter(move |slot| self.home(*slot) == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).expect("a node number")
    }

    #[test]
    fn view_every_slot_has_one_home_among_the_members() {
        let view = View::fixed(vec![node(3), node(1), node(2)]).expect("a view");
        let total: usize = view.members().iter().map(|n| view.slots_of(*n).count()).sum();
        assert_eq!(total, usize::from(SLOTS));
    }

    #[test]
    fn view_with_a_node_twice_is_refused() {
        assert_eq!(View::fixed(vec![node(1), node(1)]), None);
    }
}
