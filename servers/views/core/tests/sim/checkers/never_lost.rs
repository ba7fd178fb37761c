// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was agreed is never lost: a leader that may answer for all knows every view that anybody was
//! ever in.

use crate::world::Node;
use std::collections::BTreeMap;
use views_core::rules::Rules;

#[derive(Default)]
pub struct NeverLost {
    /// The newest epoch of each cluster.
    newest: BTreeMap<u64, u64>,
}

impl NeverLost {
    pub fn look<R: Rules>(&mut self, time: u64, node: &Node<R>) -> Result<(), String> {
        let Some(views) = &node.views else { return Ok(()) };
        let newest = |cluster| self.newest.get(&cluster).copied().unwrap_or(0);
        if let Some(read) = views.read(node.clock(time))
            && read.epoch().0 < newest(read.cluster())
        {
            let (id, read, newest) = (node.id, read.epoch().0, newest(read.cluster()));
            return Err(format!("never lost: leader {id} reads view {read}; {newest} was agreed"));
        }
        if let Some(view) = node.view() {
            let newest = self.newest.entry(view.cluster()).or_default();
            *newest = view.epoch().0.max(*newest);
        }
        Ok(())
    }
}
