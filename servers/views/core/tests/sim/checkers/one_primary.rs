// SPDX-License-Identifier: MIT OR Apache-2.0
//! At any instant at most one node acts as primary of a slot, whatever clusters and views the nodes are in and by
//! whatever clocks.

use crate::world::Node;
use cluster::View;
use std::collections::BTreeMap;
use views_core::rules::Rules;

#[derive(Default)]
pub struct OnePrimary {
    /// Epoch and lease of each node when it was last looked at: unless one changed, it claims no
    /// more than before.
    seen: BTreeMap<usize, (u64, u64, u64)>,
}

impl OnePrimary {
    pub fn look<R: Rules>(
        &mut self,
        time: u64,
        nodes: &[Node<R>],
        at: usize,
    ) -> Result<(), String> {
        let node = &nodes[at];
        let (Some(views), Some(view)) = (&node.views, node.view()) else { return Ok(()) };
        let claim = (view.cluster(), view.epoch().0, views.lease_until());
        if !node.may_act(time) || self.seen.insert(at, claim) == Some(claim) {
            return Ok(());
        }
        for other in nodes.iter().filter(|other| other.id != node.id && other.may_act(time)) {
            let of = |view: &View| (view.cluster(), view.epoch());
            let Some(theirs) = other.view().filter(|theirs| of(theirs) != of(view)) else {
                continue;
            };
            let both = |slot| view.home(slot) == node.id && theirs.home(slot) == other.id;
            let both = |slot: &abi::SlotNo| {
                both(*slot) && node.serves(time, *slot) && other.serves(time, *slot)
            };
            if let Some(slot) = View::slot_numbers().find(both) {
                let (a, b) = (node.id, other.id);
                let (of_a, of_b) = (view.epoch().0, theirs.epoch().0);
                return Err(format!(
                    "one primary: nodes {a} (view {of_a}) and {b} (view {of_b}) both act for {slot}"
                ));
            }
        }
        Ok(())
    }
}
