// SPDX-License-Identifier: MIT OR Apache-2.0
//! Of which cluster the nodes are that speak to this one, and whether this one's own is gone.
//!
//! # Model
//! Every message names the cluster of who speaks. What is of another one, or of none, is dropped, but
//! for what newcomers say; and who sent it is told that this node is of another one. So nodes
//! that survived the loss of all voters and nodes of a cluster founded since never mix.
//!
//! A cluster is gone when a majority of its voters (of an even number, half of them) has lost what they knew: it
//! can never agree on anything again. A member without a lease notices that: for a while they have said that they are of
//! none or of another one, or they have another disk than the one that votes. A few voters that lie are
//! not so many. Who is only cut off hears of nobody, and waits.

use crate::limits::{HEARD_NS, ORPHANED_NS};
use crate::member::Standing;
use crate::rules::{Rule, Rules};
use crate::views::{Output, Views};
use crate::wire::{Envelope, Message};
use abi::NodeId;
use alloc::collections::BTreeMap;
use cluster::Voter;

/// When a node last spoke, and whether it is of this node's cluster.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: u64,
    ours: bool,
}

/// Of whom this node heard.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    /// One for each node of the cluster's configuration at most: links speak for no others.
    nodes: BTreeMap<NodeId, Heard>,
    /// Since when a majority of the voters is of another cluster.
    strange_since: Option<u64>,
    orphaned: bool,
}

impl Hearing {
    /// Whether `node` spoke lately, as one of this cluster, if this node is of one.
    pub(crate) fn is_near(&self, now: u64, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|heard| heard.ours && now <= heard.at + HEARD_NS)
    }

    fn is_strange(&self, now: u64, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|heard| !heard.ours && now <= heard.at + HEARD_NS)
    }
}

impl<R: Rules> Views<R> {
    /// Notes who spoke.
    pub(crate) fn hear(&mut self, now: u64, from: NodeId, envelope: &Envelope) {
        if from == self.me {
            return;
        }
        let same = envelope.cluster == self.cluster && envelope.message != Message::Foreign;
        let ours = self.disk.is_none() || same;
        self.heard.nodes.insert(from, Heard { at: now, ours });
        if let Some(founding) = &mut self.founding {
            let told = matches!(envelope.message, Message::Whole(_));
            if told || (envelope.from_disk != 0 && founding.is_founder(from)) {
                founding.knows(now, from);
            }
        }
    }

    /// Whether a message is to be taken, by the cluster that it is of.
    pub(crate) fn is_for_us(&self, envelope: &Envelope) -> bool {
        let message = &envelope.message;
        if *message == Message::Foreign {
            return false;
        }
        if !R::holds(Rule::KnowsCluster) {
            return true;
        }
        if self.disk.is_some() {
            let newcomer = envelope.cluster == 0 && message.is_of_newcomers();
            return envelope.cluster == self.cluster || newcomer;
        }
        message.is_of_newcomers() || message.is_for_newcomers()
    }

    /// Whether so many of the voters, as far as this node knows them, are lost that the others are no majority.
    fn is_gone(&self, now: u64) -> bool {
        let Some(view) = &self.view else { return false };
        let lost = |voter: &&Voter| {
            let disk = if voter.node == self.me {
                self.disk
            } else {
                view.member(voter.node).map(|member| member.disk)
            };
            self.heard.is_strange(now, voter.node) || disk.is_some_and(|disk| disk > voter.disk)
        };
        // Those who are left are no majority.
        let most = |voters: &[Voter]| {
            !voters.is_empty() && 2 * voters.iter().filter(lost).count() >= voters.len()
        };
        let of_view = most(view.voters());
        match &self.raft {
            // Its log says who votes, which the view only wishes; but the log of who votes no more is old.
            Some(raft) if raft.knows() => {
                let votes = view.voters().iter().any(|voter| voter.node == self.me);
                (votes || of_view) && raft.voters().iter().any(|voters| most(voters))
            }
            Some(_) | None => of_view,
        }
    }

    /// Says so if this node's cluster is gone.
    pub(crate) fn mind_orphan(&mut self, now: u64) {
        let waits = match &self.standing {
            Standing::Member { lease, .. } => !lease.is_good(now),
            Standing::Outside { .. } => true,
            Standing::Leaving { .. } | Standing::Gone => false,
        };
        let gone = waits && self.disk.is_some() && self.is_gone(now);
        let since = gone.then(|| self.heard.strange_since.unwrap_or(now));
        self.heard.strange_since = since;
        if !self.heard.orphaned && since.is_some_and(|since| now >= since + ORPHANED_NS) {
            self.heard.orphaned = true;
            self.outputs.push(Output::Orphaned);
        }
    }
}
