// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must be true at every instant, one property per file. (That it goes on again is in
//! `progress`, and asked when everything is healed.)

mod founders;
mod monotonic;
mod never_lost;
mod one_leader;
mod one_primary;
mod one_view;
pub mod progress;

use crate::world::Node;
use views_core::rules::Rules;

/// All of them.
#[derive(Default)]
pub struct Checkers {
    founders: founders::Founders,
    one_leader: one_leader::OneLeader,
    one_view: one_view::OneView,
    never_lost: never_lost::NeverLost,
    one_primary: one_primary::OnePrimary,
    monotonic: monotonic::Monotonic,
}

impl Checkers {
    /// A node was started (again).
    pub fn started(&mut self, node: usize) {
        self.monotonic.started(node);
        self.founders.started(node);
    }

    /// A node said this to another one.
    pub fn said(&mut self, node: usize, bytes: &[u8]) {
        self.founders.said(node, bytes);
    }

    /// Looks at the cluster after a step of `node`.
    pub fn look<R: Rules>(
        &mut self,
        time: u64,
        nodes: &[Node<R>],
        node: usize,
    ) -> Result<(), String> {
        self.founders.look(node, &nodes[node])?;
        self.one_leader.look(&nodes[node])?;
        self.one_view.look(&nodes[node])?;
        self.never_lost.look(time, &nodes[node])?;
        self.monotonic.look(node, &nodes[node])?;
        self.one_primary.look(time, nodes, node)
    }
}
