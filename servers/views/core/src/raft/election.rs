// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who leads: asking first, votes, the leader's lease, and stepping down.

use super::convert::{log_position, position};
use super::{Asking, Lead, Raft};
use crate::Rng;
use crate::limits::*;
use crate::rules::{Rule, Rules};
use crate::wire::{Message, Position, VoterId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use noraft::{Node, NodeId as RaftId, Role, Term};

impl<R: Rules> Raft<R> {
    pub(super) fn ask(&mut self, now: u64, rng: &mut Rng) {
        let me = self.node.id();
        let (round, term) = (rng.next(), self.term());
        self.asking = Some(Asking { round, granted: BTreeSet::from([me]), term });
        let last = position(self.node.log().last_position());
        let others: Vec<RaftId> = self.node.peers().collect();
        for id in others {
            self.send(id, Message::WouldVote { round, last });
        }
        self.elect_if_granted(now, rng);
    }

    pub(super) fn would_vote(&mut self, now: u64, from: VoterId, round: u64, last: Position) {
        let bound = R::holds(Rule::KeepsPromise) && now < self.promised_until;
        let leads = self.lead.is_some() && now < self.lease_until(now);
        let mine = self.node.log().last_position();
        let granted = !bound && !leads && mine <= log_position(last);
        let term = self.term();
        self.send(RaftId::new(from.0), Message::WouldVoteReply { round, term, granted });
    }

    pub(super) fn would_vote_reply(
        &mut self,
        now: u64,
        from: VoterId,
        (round, term, granted): (u64, u64, bool),
        rng: &mut Rng,
    ) {
        let Some(asking) = self.asking.as_mut().filter(|a| a.round == round && granted) else {
            return;
        };
        asking.granted.insert(RaftId::new(from.0));
        asking.term = asking.term.max(term);
        self.elect_if_granted(now, rng);
    }

    pub(super) fn elect_if_granted(&mut self, now: u64, rng: &mut Rng) {
        let Some(asking) = &self.asking else { return };
        let config = self.node.config();
        let majority = |set: &BTreeSet<RaftId>| {
            set.is_empty() || set.intersection(&asking.granted).count() > set.len() / 2
        };
        if !majority(&config.voters) || !majority(&config.new_voters) {
            return;
        }
        // Those who would vote may be in later terms than this node: it must go beyond all of them.
        let (term, me) = (asking.term, self.node.id());
        let other = asking.granted.iter().copied().find(|id| *id != me);
        self.asking = None;
        if let Some(from) = other.filter(|_| term > self.term()) {
            let term = Term::new(term);
            let told = noraft::Message::RequestVoteReply { from, term, vote_granted: false };
            self.handle(now, 0, told, BTreeMap::new(), rng);
        }
        self.node.handle_election_timeout();
        self.drain(now, 0, &BTreeMap::new(), rng);
    }

    pub(super) fn notice_role(&mut self, now: u64) {
        let term = self.term();
        if self.node.role() != Role::Leader {
            let led = self.lead.take();
            if led.is_some_and(|lead| lead.term == term)
                && !self.is_voter(VoterId(self.node.id().get()))
            {
                self.resign(term);
            }
        } else if self.lead.as_ref().is_none_or(|lead| lead.term != term) {
            let first = self.node.log().last_position().index.get();
            self.lead =
                Some(Lead { term, since: now, first, changed_at: now, heard: BTreeMap::new() });
            self.asking = None;
        }
    }

    /// This node ceased to lead as it votes no more.
    fn resign(&mut self, term: u64) {
        let others: Vec<RaftId> = self.node.peers().collect();
        for id in others {
            self.send(id, Message::Resign { term });
        }
    }

    /// The leader of this term has ceased to lead, for good: a promise to it protects nothing any more.
    pub(super) fn resigned(&mut self, now: u64, from: VoterId, term: u64, rng: &mut Rng) {
        let led = self.node.voted_for() == Some(RaftId::new(from.0));
        if led && term == self.term() && self.node.role() == Role::Follower {
            self.promised_until = 0;
            self.election_at = now + rng.below(RETRY_NS);
        }
    }

    pub(super) fn set_timer(&mut self, now: u64, rng: &mut Rng) {
        self.election_at = now
            + match self.node.role() {
                Role::Leader => HEARTBEAT_NS,
                Role::Follower => ELECTION_MIN_NS + rng.below(ELECTION_SPREAD_NS),
                Role::Candidate => RETRY_NS + rng.below(RETRY_NS),
            };
    }

    /// When this leader spoke to the last of a majority that answered.
    pub(super) fn majority_heard(&self, now: u64) -> Option<u64> {
        let lead = self.lead.as_ref()?;
        let config = self.node.config();
        let heard = |id: &RaftId| if *id == self.node.id() { now } else { self.heard(lead, *id) };
        let of = |set: &BTreeSet<RaftId>| {
            let mut times: Vec<u64> = set.iter().map(heard).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            times.get(set.len() / 2).copied().unwrap_or(u64::MAX)
        };
        let time = of(&config.voters).min(of(&config.new_voters));
        (time >= lead.since && time != u64::MAX).then_some(time)
    }

    pub(super) fn heard(&self, lead: &Lead, id: RaftId) -> u64 {
        lead.heard.get(&id).copied().unwrap_or(0)
    }

    /// noraft has no way to stop leading but a later term, which would disturb whoever leads by
    /// then; so the node starts anew from what it knows, in the same term, its vote given.
    pub(super) fn step_down(&mut self, now: u64, rng: &mut Rng) {
        let node = &self.node;
        let log = node.log().clone();
        self.node = Node::restart(node.id(), node.current_term(), node.voted_for(), log);
        self.drain(now, 0, &BTreeMap::new(), rng);
    }
}
