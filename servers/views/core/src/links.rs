// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this node's links say: whom it cannot reach, and who does not reach it.

use crate::limits::{HEARD_NS, NAMED_MAX, SUSPECT_NS};
use crate::member::Standing;
use crate::rules::Rules;
use crate::views::Views;
use crate::wire::Message;
use abi::NodeId;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Which links are down, as told.
#[derive(Debug, Default)]
pub(crate) struct Links {
    unreachable: BTreeSet<NodeId>,
    say_at: u64,
    /// Members that keep this node out, and when the leader said so.
    kept_out: Option<(u64, Vec<NodeId>)>,
}

impl Links {
    /// Those that messages name.
    pub(crate) fn named(&self) -> Vec<u16> {
        self.unreachable.iter().take(NAMED_MAX).map(|node| node.get()).collect()
    }

    /// Who keeps this node out, as it was last told.
    pub(crate) fn kept_out_by(&self, now: u64) -> &[NodeId] {
        match &self.kept_out {
            Some((at, by)) if now <= at + HEARD_NS => by,
            Some(_) | None => &[],
        }
    }
}

impl<R: Rules> Views<R> {
    /// This node's link to `node` is down. Idempotent.
    pub fn unreachable(&mut self, now: u64, node: NodeId) {
        if node != self.me && self.links.unreachable.insert(node) {
            self.links.say_at = now;
        }
    }

    /// The link to `node` is up (again). Idempotent.
    pub fn reachable(&mut self, now: u64, node: NodeId) {
        if self.links.unreachable.remove(&node) {
            self.links.say_at = now;
            // The leader hears at once that the last report is over.
            self.suspect(now);
        }
    }

    pub(crate) fn links_deadline(&self) -> u64 {
        let member = matches!(self.standing, Standing::Member { .. });
        let says = member && !self.links.unreachable.is_empty();
        if says { self.links.say_at } else { u64::MAX }
    }

    pub(crate) fn tick_links(&mut self, now: u64) {
        if now >= self.links_deadline() {
            self.suspect(now);
        }
    }

    fn suspect(&mut self, now: u64) {
        self.links.say_at = now + SUSPECT_NS;
        let Standing::Member { life, .. } = &self.standing else { return };
        let incarnation = life.get();
        let life = |node: NodeId| {
            let member = self.view.as_ref().and_then(|view| view.member(node));
            (node.get(), member.map_or(0, |member| member.incarnation.get()))
        };
        // Members first: of the others there may be many that are switched off.
        let mut nodes: Vec<(u16, u32)> =
            self.links.unreachable.iter().map(|node| life(*node)).collect();
        nodes.sort_by_key(|(_, life)| *life == 0);
        nodes.truncate(NAMED_MAX);
        self.send_to_leader(Message::Suspect { incarnation, nodes }, false);
    }

    pub(crate) fn kept_out(&mut self, now: u64, boot: u64, by: &[u16]) {
        if self.standing.boot() == Some(boot) {
            let by = by.iter().filter_map(|node| NodeId::new(*node)).collect();
            self.links.kept_out = Some((now, by));
        }
    }
}
