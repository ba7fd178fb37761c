// SPDX-License-Identifier: MIT OR Apache-2.0
//! A term of a cluster has at most one leader.

use crate::world::Node;
use abi::NodeId;
use std::collections::BTreeMap;
use views_core::rules::Rules;

#[derive(Default)]
pub struct OneLeader(BTreeMap<(u64, u64), NodeId>);

impl OneLeader {
    pub fn look<R: Rules>(&mut self, node: &Node<R>) -> Result<(), String> {
        let Some(term) = node.leads() else { return Ok(()) };
        let cluster = node.view().map_or(0, cluster::View::cluster);
        let first = *self.0.entry((cluster, term)).or_insert(node.id);
        if first == node.id {
            return Ok(());
        }
        Err(format!("one leader: nodes {first} and {} both lead term {term}", node.id))
    }
}
