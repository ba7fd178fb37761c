// SPDX-License-Identifier: MIT OR Apache-2.0
//! An epoch of a cluster has at most one view, whoever knows it and from where.

use crate::world::Node;
use abi::NodeId;
use cluster::View;
use std::collections::BTreeMap;
use views_core::Views;
use views_core::rules::Rules;

#[derive(Default)]
pub struct OneView {
    views: BTreeMap<(u64, u64), View>,
    /// Clusters and epochs of each node when it was last looked at.
    seen: BTreeMap<NodeId, [(u64, u64); 2]>,
}

impl OneView {
    pub fn look<R: Rules>(&mut self, node: &Node<R>) -> Result<(), String> {
        let agreed = node.views.as_ref().and_then(Views::agreed).map(|(_, view)| view);
        let both = [agreed, node.view()];
        let epochs = both.map(|view| view.map_or((0, 0), |view| (view.cluster(), view.epoch().0)));
        if self.seen.insert(node.id, epochs) == Some(epochs) {
            return Ok(());
        }
        for view in both.into_iter().flatten() {
            let key = (view.cluster(), view.epoch().0);
            let first = self.views.entry(key).or_insert_with(|| view.clone());
            if first != view {
                let epoch = view.epoch().0;
                return Err(format!("one view: node {} has another view {epoch}", node.id));
            }
        }
        Ok(())
    }
}
