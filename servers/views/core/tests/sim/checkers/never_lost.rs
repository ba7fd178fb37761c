// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was agreed is never lost: a leader that may answer for all knows every view that anybody was
//! ever in.

use crate::world::Node;
use views_core::rules::Rules;

#[derive(Default)]
pub struct NeverLost {
    newest: u64,
}

impl NeverLost {
    pub fn look<R: Rules>(&mut self, time: u64, node: &Node<R>) -> Result<(), String> {
        let Some(views) = &node.views else { return Ok(()) };
        if let Some(read) = views.read(node.clock(time))
            && read.epoch().0 < self.newest
        {
            let (id, read, newest) = (node.id, read.epoch().0, self.newest);
            return Err(format!("never lost: leader {id} reads view {read}; {newest} was agreed"));
        }
        self.newest = self.newest.max(node.view().map_or(0, |view| view.epoch().0));
        Ok(())
    }
}
