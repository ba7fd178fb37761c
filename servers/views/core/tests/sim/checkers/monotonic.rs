// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node that runs never goes back: epochs grow, and so does the term.

use crate::world::Node;
use std::collections::BTreeMap;
use views_core::rules::Rules;

#[derive(Default)]
pub struct Monotonic(BTreeMap<usize, (u64, u64)>);

impl Monotonic {
    pub fn started(&mut self, node: usize) {
        self.0.remove(&node);
    }

    pub fn look<R: Rules>(&mut self, at: usize, node: &Node<R>) -> Result<(), String> {
        let Some(views) = &node.views else { return Ok(()) };
        let now = (views.view().map_or(0, |view| view.epoch().0), views.term());
        let before = self.0.insert(at, now).unwrap_or((0, 0));
        // A node admitted with a new disk begins its terms anew.
        if now.0 < before.0 || (now.1 < before.1 && now.1 != 0) {
            return Err(format!("monotonic: node {} went from {before:?} to {now:?}", node.id));
        }
        Ok(())
    }
}
