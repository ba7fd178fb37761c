// SPDX-License-Identifier: MIT OR Apache-2.0
//! Agreement: noraft's log of changes, and what noraft leaves to who uses it.
//!
//! # Model
//! noraft decides terms, votes, the order of entries and what is committed; it holds no contents, no
//! clock and no disk. Added here: the entries' contents; timers; asking before an election
//! (pre-vote); stepping down without a majority (check-quorum); the leader's lease; snapshots; and
//! a guard that keeps from noraft whatever only a liar would say.
//!
//! ```text
//!   follower --silence, asks--> asking --a majority would--> candidate --votes--> leader
//!      ^                          |                             |                   |
//!      +-------- leader speaks ---+-----------------------------+    no majority ---+
//! ```
//!
//! # A leader that is to vote no more
//! It leads until the new voters are agreed, without a voice of its own. noraft lets it end then; the others are told,
//! so that they need not wait for its lease to be over. If that gets lost they elect as if it had died.
//!
//! # The leader's lease
//! A voter that takes a leader's message promises to vote for no other until
//! `waited(LEADER_LEASE_NS)` later, also when it starts anew. The answer carries the time at which the
//! leader spoke. So until [`LEADER_LEASE_NS`] after the time at which it spoke to the last of a
//! majority, nobody else can lead.

mod convert;
mod election;
mod log;
mod memory;

use crate::limits::{ELECTION_MIN_NS, LEADER_LEASE_NS, RETRY_NS, TERMS_SKIPPED_MAX};
use crate::rules::{Rule, Rules};
use crate::wire::{Message, VoterId};
use crate::{Rng, journal::Record};
use abi::NodeId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use cluster::{Delta, View, Voter};
use convert::log_position;
use core::marker::PhantomData;
use noraft::{Action, LogEntry, LogIndex, Node, NodeId as RaftId, Role, Term};

/// A change that took effect: no more of it than has to be told, as many may do so at once, and a view takes 40 KiB.
#[derive(Clone, Debug)]
pub struct Step {
    /// The change, an encoded [`Delta`].
    pub change: Vec<u8>,
    /// Whom it admits.
    pub admitted: Vec<NodeId>,
    /// The members before.
    pub members: Vec<NodeId>,
}

/// Something that this voter must tell.
#[derive(Debug)]
pub enum Outcome {
    /// To be on the disk before any message behind it leaves.
    Record(Record),
    /// To be sent to a voter.
    Send(VoterId, Message),
}

#[derive(Debug)]
struct Asking {
    round: u64,
    granted: BTreeSet<RaftId>,
    term: u64,
}

#[derive(Debug)]
struct Lead {
    term: u64,
    since: u64,
    /// The entry with which the term began.
    first: u64,
    /// When the voters last changed: new ones get time to answer.
    changed_at: u64,
    /// When the leader spoke to whom it has an answer of.
    heard: BTreeMap<RaftId, u64>,
}

/// A voter, or a node that may become one.
#[derive(Debug)]
pub struct Raft<R> {
    node: Node,
    contents: BTreeMap<u64, Vec<u8>>,
    agreed: View,
    applied: u64,
    /// The view at the log's beginning.
    base: View,
    election_at: u64,
    promised_until: u64,
    asking: Option<Asking>,
    lead: Option<Lead>,
    outcomes: Vec<Outcome>,
    /// noraft found its own log in contradiction to a leader's: it takes no further part.
    broken: bool,
    refused: u64,
    void: u64,
    rules: PhantomData<R>,
}
impl<R: Rules> Raft<R> {
    /// The view as far as this node knows it agreed.
    pub fn agreed(&self) -> &View {
        &self.agreed
    }

    /// Whether the view is known at all.
    pub fn knows(&self) -> bool {
        self.applied > 0
    }

    /// The term.
    pub fn term(&self) -> u64 {
        self.node.current_term().get()
    }

    /// The term that this node leads and has committed an entry in, and when it began to lead.
    pub fn leads(&self) -> Option<(u64, u64)> {
        let lead = self.lead.as_ref()?;
        (self.applied >= lead.first).then_some((lead.term, lead.since))
    }

    /// Whether this node leads, even if it has not committed anything yet.
    pub fn is_leader(&self) -> bool {
        self.lead.is_some()
    }

    /// Whom this node believes to lead.
    pub fn leader(&self) -> Option<VoterId> {
        match self.node.role() {
            Role::Leader => Some(VoterId(self.node.id().get())),
            Role::Follower => self.node.voted_for().map(|id| VoterId(id.get())),
            Role::Candidate => None,
        }
    }

    /// Until when nobody else can lead; 0 if that is not known.
    pub fn lease_until(&self, now: u64) -> u64 {
        self.majority_heard(now).map_or(0, |heard| heard + LEADER_LEASE_NS)
    }

    /// Whether there are entries that have not taken effect.
    pub fn is_busy(&self) -> bool {
        self.node.log().last_position().index.get() > self.applied
    }

    /// Whether `id` votes, or is about to.
    pub fn is_voter(&self, id: VoterId) -> bool {
        let config = self.node.config();
        let id = RaftId::new(id.0);
        config.voters.contains(&id) || config.new_voters.contains(&id)
    }

    /// Who votes, and who will: the majority of each set is needed. An empty one is none.
    pub fn voters(&self) -> [Vec<Voter>; 2] {
        let config = self.node.config();
        [&config.voters, &config.new_voters]
            .map(|set| set.iter().filter_map(|id| VoterId(id.get()).voter()).collect())
    }

    /// Whether this node votes alone.
    pub fn is_alone(&self) -> bool {
        self.node.config().unique_nodes().count() == 1
    }

    /// The index up to which the view is agreed, for tests.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Messages that only a liar would send, and changes that were void.
    pub fn counts(&self) -> (u64, u64) {
        (self.refused, self.void)
    }

    /// When to call [`Raft::tick`].
    pub fn deadline(&self) -> u64 {
        if self.broken { u64::MAX } else { self.election_at }
    }

    /// Records and messages, in the order in which they must go out.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        core::mem::take(&mut self.outcomes)
    }

    /// Nobody leads, as the cluster just begins: asks as soon as the others may have heard of it.
    pub fn ask_soon(&mut self, now: u64) {
        self.election_at = now + RETRY_NS;
    }

    /// Time has passed.
    ///
    /// A node that `abstains` asks for no votes.
    pub fn tick(&mut self, now: u64, abstains: bool, rng: &mut Rng) {
        if self.broken || now < self.election_at {
            return;
        }
        if let Some(since) = self.lead.as_ref().map(|lead| lead.changed_at) {
            let heard = self.majority_heard(now).unwrap_or(0).max(since);
            if R::holds(Rule::LeadsByLease) && now > heard + ELECTION_MIN_NS {
                self.step_down(now, rng);
                return;
            }
            self.node.heartbeat();
            self.drain(now, 0, &BTreeMap::new(), rng);
            return;
        }
        self.election_at = now + RETRY_NS + rng.below(RETRY_NS);
        if abstains || !self.is_voter(VoterId(self.node.id().get())) {
            return;
        }
        if R::holds(Rule::KeepsPromise) && now < self.promised_until {
            self.election_at = self.promised_until;
            return;
        }
        if R::holds(Rule::AsksBeforeElection) {
            self.ask(now, rng);
        } else {
            self.node.handle_election_timeout();
            self.drain(now, 0, &BTreeMap::new(), rng);
        }
    }

    /// Proposes a change. Returns whether this node leads; whether the change holds shows later.
    pub fn propose(&mut self, now: u64, delta: &Delta, rng: &mut Rng) -> bool {
        let index = self.node.log().last_position().index.get() + 1;
        if self.node.propose_command().is_invalid() {
            return false;
        }
        self.drain(now, 0, &BTreeMap::from([(index, delta.encode())]), rng);
        true
    }

    /// Lets the voters become those of the agreed view, if they are not.
    pub fn follow_view(&mut self, now: u64, rng: &mut Rng) {
        let wanted: BTreeSet<RaftId> =
            self.agreed.voters().iter().map(|v| RaftId::new(VoterId::of(v).0)).collect();
        let mut config = self.node.config().clone();
        if self.leads().is_none() || config.is_joint_consensus() || config.voters == wanted {
            return;
        }
        config.new_voters = wanted;
        if !self.node.propose_config(config).is_invalid() {
            self.drain(now, 0, &BTreeMap::new(), rng);
        }
    }

    /// A message from a voter; the caller checked that it is one.
    pub fn receive(&mut self, now: u64, from: VoterId, message: &Message, rng: &mut Rng) {
        if self.broken || from.0 == self.node.id().get() {
            return;
        }
        let term = self.node.current_term().get();
        if message.term().is_some_and(|to| to > term.saturating_add(TERMS_SKIPPED_MAX)) {
            self.refused += 1;
            return;
        }
        match message {
            Message::WouldVote { round, last } => self.would_vote(now, from, *round, *last),
            Message::WouldVoteReply { round, term, granted } => {
                self.would_vote_reply(now, from, (*round, *term, *granted), rng);
            }
            Message::Vote { term, last } => {
                if R::holds(Rule::KeepsPromise) && now < self.promised_until {
                    return;
                }
                let (from, term) = (RaftId::new(from.0), Term::new(*term));
                let last_position = log_position(*last);
                let call = noraft::Message::RequestVoteCall { from, term, last_position };
                self.handle(now, 0, call, BTreeMap::new(), rng);
                if self.term() == term.get() && self.node.voted_for() == Some(from) {
                    // An answer that still comes must not depose whom it has just helped to lead.
                    self.asking = None;
                }
            }
            Message::VoteReply { term, granted } => {
                let (from, term) = (RaftId::new(from.0), Term::new(*term));
                let vote_granted = *granted;
                let reply = noraft::Message::RequestVoteReply { from, term, vote_granted };
                self.handle(now, 0, reply, BTreeMap::new(), rng);
            }
            Message::Append { term, stamp, commit, prev, entries } => {
                self.append(now, from, (*term, *stamp, *commit), *prev, entries, rng);
            }
            Message::AppendReply { term, stamp, last } => {
                self.append_reply(now, from, (*term, *stamp), *last, rng);
            }
            Message::Install { term, stamp, snapshot } => {
                self.install(now, from, (*term, *stamp), snapshot, rng);
            }
            Message::Resign { term } => self.resigned(now, from, *term, rng),
            Message::Renew { .. }
            | Message::Grant { .. }
            | Message::Leader { .. }
            | Message::Change(_)
            | Message::Whole(_)
            | Message::Join { .. }
            | Message::Ask { .. }
            | Message::Leave { .. }
            | Message::FoundAsk { .. }
            | Message::FoundPromise { .. }
            | Message::Foreign
            | Message::Suspect { .. }
            | Message::KeptOut { .. } => self.refused += 1,
        }
    }

    /// Lets what is committed take effect.
    pub fn apply(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        while self.applied < self.node.commit_index().get() {
            let index = self.applied + 1;
            if self.node.log().entries().get_entry(LogIndex::new(index)) == Some(LogEntry::Command)
            {
                match self.step(index) {
                    Some(step) => steps.push(step),
                    None => self.void += 1,
                }
            }
            self.applied = index;
        }
        self.compact();
        steps
    }

    /// Lets a change take effect; `None`: it is void.
    fn step(&mut self, index: u64) -> Option<Step> {
        let change = self.contents.get(&index)?.clone();
        let delta = Delta::decode(&change).ok()?;
        let next = self.agreed.apply(&delta).ok()?;
        let members = self.agreed.members().to_vec();
        self.agreed = next;
        let admitted = delta.join.iter().map(|member| member.node).collect();
        Some(Step { change, admitted, members })
    }

    fn handle(
        &mut self,
        now: u64,
        stamp: u64,
        message: noraft::Message,
        contents: BTreeMap<u64, Vec<u8>>,
        rng: &mut Rng,
    ) {
        self.broken |= self.node.handle_message(&message).is_err();
        self.drain(now, stamp, &contents, rng);
    }

    /// Does what noraft asks for.
    fn drain(&mut self, now: u64, stamp: u64, contents: &BTreeMap<u64, Vec<u8>>, rng: &mut Rng) {
        self.notice_role(now);
        let actions: Vec<Action> = self.node.actions_mut().collect();
        let saves =
            |action: &Action| matches!(action, Action::SaveCurrentTerm | Action::SaveVotedFor);
        if R::holds(Rule::PersistsVote) && actions.iter().any(saves) {
            let term = self.term();
            let voted_for = self.node.voted_for().map(|id| VoterId(id.get()));
            self.outcomes.push(Outcome::Record(Record::Vote { term, voted_for }));
        }
        for action in actions {
            match action {
                Action::SetElectionTimeout => self.set_timer(now, rng),
                Action::SaveCurrentTerm | Action::SaveVotedFor => {}
                Action::AppendLogEntries(entries) => self.append_own(now, &entries, contents),
                Action::BroadcastMessage(message) => {
                    let others: Vec<RaftId> = self.node.peers().collect();
                    for id in others {
                        self.translate(now, stamp, id, &message);
                    }
                }
                Action::SendMessage(id, message) => self.translate(now, stamp, id, &message),
                Action::InstallSnapshot(id) => {
                    let (term, snapshot) = (self.term(), self.snapshot());
                    self.send(id, Message::Install { term, stamp: now, snapshot });
                }
            }
        }
    }

    fn send(&mut self, to: RaftId, message: Message) {
        self.outcomes.push(Outcome::Send(VoterId(to.get()), message));
    }
}
