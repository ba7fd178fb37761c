// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node that runs never goes back: epochs grow, and so does the term; and it stays in its cluster.

use crate::world::Node;
use std::collections::BTreeMap;
use views_core::rules::Rules;

#[derive(Default)]
pub struct Monotonic(BTreeMap<usize, (u64, u64, u64)>);

impl Monotonic {
    pub fn started(&mut self, node: usize) {
        self.0.remove(&node);
    }

    pub fn look<R: Rules>(&mut self, at: usize, node: &Node<R>) -> Result<(), String> {
        let Some(views) = &node.views else { return Ok(()) };
        let (cluster, epoch) = views.view().map_or((0, 0), |v| (v.cluster(), v.epoch().0));
        let now = (cluster, epoch, views.term());
        let before = self.0.insert(at, now).unwrap_or((0, 0, 0));
        let moved = before.1 != 0 && now.0 != before.0;
        // A node admitted with a new disk begins its terms anew.
        if moved || now.1 < before.1 || (now.2 < before.2 && now.2 != 0) {
            return Err(format!("monotonic: node {} went from {before:x?} to {now:x?}", node.id));
        }
        Ok(())
    }
}
