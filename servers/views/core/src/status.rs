// SPDX-License-Identifier: MIT OR Apache-2.0
//! How things stand, for people to read. Nothing here decides anything.

use crate::raft::Raft;
use crate::rules::Rules;
use crate::views::{Counts, Views};
use abi::NodeId;
use alloc::vec::Vec;
use cluster::{Goal, Voter};

/// How things stand on a node.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Status {
    /// The cluster that it is of; 0 if of none, or of one without a name.
    pub cluster: u64,
    /// The view that it is in; 0 if in none.
    pub epoch: u64,
    /// Who is believed to lead.
    pub leader: Option<NodeId>,
    /// Whether this node does.
    pub leads: bool,
    /// The term, if it votes.
    pub term: u64,
    /// Nanoseconds for which it may still act; 0 if it may not.
    pub lease_left_ns: u64,
    /// Who votes, in its view.
    pub voters: Vec<Voter>,
    /// Whom it waits for, [`Views::waits_for`].
    pub waits_for: Vec<NodeId>,
    /// On the leader: nodes that asked to be admitted and are not.
    pub joiners: Vec<NodeId>,
    /// Slots that are being moved to another primary, in its view.
    pub moves: usize,
    /// Slots that are being copied to a backup.
    pub copies: usize,
    /// What was dropped.
    pub counts: Counts,
}

impl<R: Rules> Views<R> {
    /// How things stand.
    pub fn status(&self, now: u64) -> Status {
        let view = self.view.as_ref();
        let joining = |goal: Goal| {
            view.map_or(0, |view| {
                let slots = cluster::View::slot_numbers().filter_map(|n| view.slot(n).joining);
                slots.filter(|joining| joining.goal == goal).count()
            })
        };
        let leads = self.raft.as_ref().is_some_and(Raft::is_leader);
        Status {
            cluster: self.cluster,
            epoch: view.map_or(0, |view| view.epoch().0),
            leader: if leads { Some(self.me) } else { self.leader },
            leads,
            term: self.term(),
            lease_left_ns: if self.may_act(now) {
                self.lease_until().saturating_sub(now)
            } else {
                0
            },
            voters: view.map_or(Vec::new(), |view| view.voters().to_vec()),
            waits_for: self.waits_for(now),
            joiners: self.desk.as_ref().map_or(Vec::new(), |desk| desk.joiners()),
            moves: joining(Goal::Primary),
            copies: joining(Goal::Backup),
            counts: self.counts(),
        }
    }

    /// Whom this node waits for, ascending; none if it acts. While a cluster is founded: who has not
    /// answered the decider. Outside: the members that keep it out, or the voters that it does not
    /// hear of. A member without lease: those voters.
    pub fn waits_for(&self, now: u64) -> Vec<NodeId> {
        if self.may_act(now) {
            return Vec::new();
        }
        let kept_out_by = self.links.kept_out_by(now);
        if !kept_out_by.is_empty() {
            return kept_out_by.to_vec();
        }
        let known = self.view.as_ref().or(self.told.as_ref());
        match (&self.founding, known) {
            (Some(founding), None) => founding.waits_for(),
            (_, Some(view)) => {
                let voters = view.voters().iter().map(|voter| voter.node);
                let silent = |node: &NodeId| *node != self.me && !self.heard.is_near(now, *node);
                voters.filter(silent).collect()
            }
            (None, None) => {
                self.config.contacts.iter().copied().filter(|n| *n != self.me).collect()
            }
        }
    }
}
