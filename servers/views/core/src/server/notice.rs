// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people are told of a node that waits.

use super::{Machine, ViewsServer};
use crate::limits::MS;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::Cx;

/// A node that stands still says so on its console after this time: shorter ones nobody notices.
const FENCE_NOTICE_NS: u64 = 1500 * MS;

impl<M: Machine> ViewsServer<M> {
    /// Tells people when the node has stood still for a while.
    pub(super) fn notice_fence(&mut self, cx: &Cx<'_>, now: u64) {
        if self.fenced.is_some_and(|since| now >= since + FENCE_NOTICE_NS) && !self.fence_told {
            self.fence_told = true;
            let line = format!(
                "node {}: has lost the cluster's majority: its programs stand still until it is back. See \
                 `nodes` at the rescue prompt (Ctrl-])",
                cx.node()
            );
            self.machine.alarm(&line);
        }
    }

    /// Says now and then, on the console, what a node waits for that is no member yet.
    pub(super) fn notice(&mut self, cx: &Cx<'_>, now: u64) {
        let takes_part = self.views.is_some() || self.disk.is_opening();
        if self.was_member || now < self.notice_at || !takes_part {
            return;
        }
        self.notice_pause *= 2;
        self.notice_at = now + self.notice_pause;
        let node = cx.node();
        let founds = self.setup.config.founders.contains(&node);
        let what = match self.views.as_ref().map(|views| views.waits_for(now)) {
            None => "its disk".into(),
            Some(_) if !founds => format!(
                "the cluster, which has not admitted it yet. If it does not know the node, give `node add \
                 {node} --key KEY --mac ADDRESS` on one that votes: `./korrigan image` has printed it"
            ),
            Some(nodes) if nodes.is_empty() => "the cluster, which has not admitted it yet".into(),
            Some(nodes) => {
                let names: Vec<String> = nodes.iter().map(|node| format!("{node}")).collect();
                let names = names.join(", ");
                format!("node {names}, which the cluster needs to begin or to admit it")
            }
        };
        self.machine.alarm(&format!("node {node}: waits for {what}"));
    }
}
