// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every node's side: the view it is in, its lease, its admission, what it asks for.

use crate::Rng;
use crate::journal::Record;
use crate::lease::Lease;
use crate::limits::*;
use crate::raft::Raft;
use crate::rules::{Rule, Rules};
use crate::views::{Config, Output, Views};
use crate::wire::{Message, VoterId, Wish};
use abi::{Epoch, NodeId, SlotNo};
use alloc::vec::Vec;
use cluster::{Delta, Goal, Incarnation, Member, Refused, Request, View, Voter};

/// What a node is to the view.
///
/// ```text
///   Outside --a view admits this start--> Member --a view without it--> Outside (another start)
///                                            |--leave()--> Leaving --a view without it--> Gone
/// ```
#[derive(Debug)]
pub(crate) enum Standing {
    /// No member, and wishes to be: under this number.
    Outside { boot: u64, ask_at: u64, turn: usize },
    /// A member, acting or fenced.
    Member { life: Incarnation, lease: Lease, acting: bool },
    /// Has stopped acting for good, and says so.
    Leaving { life: Incarnation, say_at: u64 },
    /// No member, and wishes to be none.
    Gone,
}

impl Standing {
    pub(crate) fn outside(now: u64, rng: &mut Rng, keeps: bool) -> Self {
        Self::Outside { boot: Member::boot(rng.next(), keeps), ask_at: now, turn: 0 }
    }

    /// The number under which a node outside asks.
    pub(crate) fn boot(&self) -> Option<u64> {
        match self {
            Self::Outside { boot, .. } => Some(*boot),
            Self::Member { .. } | Self::Leaving { .. } | Self::Gone => None,
        }
    }

    pub(crate) fn member(now: u64, life: Incarnation) -> Self {
        let mut lease = Lease::default();
        lease.hurry(now);
        Self::Member { life, lease, acting: false }
    }
}

/// What this node asked for in this view.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) requests: Vec<Request>,
    repeat_at: u64,
}

impl<R: Rules> Views<R> {
    /// Whether this node may act now: it is a member of its view and its lease is good. It must be
    /// asked again before each effect on others.
    pub fn may_act(&self, now: u64) -> bool {
        match &self.standing {
            Standing::Member { lease, .. } => {
                lease.is_good(now) || (lease.until() > 0 && !R::holds(Rule::Fences))
            }
            Standing::Outside { .. } | Standing::Leaving { .. } | Standing::Gone => false,
        }
    }

    /// Until when the lease is good; 0 without one.
    pub fn lease_until(&self) -> u64 {
        match &self.standing {
            Standing::Member { lease, .. } => lease.until(),
            Standing::Outside { .. } | Standing::Leaving { .. } | Standing::Gone => 0,
        }
    }

    /// The incarnation of this node, if it is a member.
    pub fn incarnation(&self) -> Option<Incarnation> {
        match &self.standing {
            Standing::Member { life, .. } | Standing::Leaving { life, .. } => Some(*life),
            Standing::Outside { .. } | Standing::Gone => None,
        }
    }

    /// Whether this node leaves, as its view says; `None` if it is no member.
    pub fn drains(&self) -> Option<bool> {
        let life = self.incarnation()?;
        let member = self.view.as_ref()?.member(self.me)?;
        (member.incarnation == life).then_some(member.draining)
    }

    /// Whether another one leads, and this node has ceased to vote as far as its view tells. Its log may never
    /// say so: whoever ceases to vote is not sent the end of it. When nobody leads its vote may still count.
    pub(crate) fn abstains(&self, now: u64) -> bool {
        let votes = |view: &View| view.voters().iter().any(|voter| voter.node == self.me);
        now < self.lease_until() && !self.view.as_ref().is_some_and(votes)
    }

    /// Whether this node acts as the primary of `slot`.
    pub fn serves(&self, now: u64, slot: SlotNo) -> bool {
        let home = |view: &View| view.home(slot) == self.me && !view.is_waiting(slot);
        self.view.as_ref().is_some_and(home) && self.may_act(now) && !self.frozen.contains(&slot)
    }

    /// Asks for a change, in the view that this node is in; it is void once another is entered, and
    /// repeated until then. A slot given away is frozen from here on.
    ///
    /// # Errors
    /// This node is no member, or has too many requests open, or is what it wishes to be.
    pub fn request(&mut self, now: u64, request: Request) -> Result<(), Refused> {
        if !matches!(self.standing, Standing::Member { .. }) {
            return Err(Refused::NotMember);
        }
        if let Request::Drain(wish) = &request {
            // The last wish is what counts.
            self.asked.requests.retain(|it| !matches!(it, Request::Drain(old) if old != wish));
            if self.drains() == Some(*wish) {
                return Err(Refused::Nothing);
            }
        }
        if self.asked.requests.len() >= ASKED_MAX {
            return Err(Refused::Full);
        }
        if let Request::Joined(slot, Goal::Primary) = &request
            && R::holds(Rule::Freezes)
        {
            self.frozen.insert(*slot);
        }
        if !self.asked.requests.contains(&request) {
            self.asked.requests.push(request);
            self.asked.repeat_at = now;
        }
        Ok(())
    }

    /// Does not ask for keys, or for further nodes, any more.
    pub(crate) fn withdraw_keys(&mut self) {
        self.asked.requests.retain(|it| !matches!(it, Request::Key(..) | Request::Add(_)));
    }

    /// Stops acting, for good. The node should have been drained before.
    pub fn leave(&mut self, now: u64) {
        self.standing = match self.standing {
            Standing::Member { life, .. } | Standing::Leaving { life, .. } => {
                self.outputs.push(Output::Fenced);
                Standing::Leaving { life, say_at: now }
            }
            Standing::Outside { .. } | Standing::Gone => Standing::Gone,
        };
    }

    /// Enters a view, if it is newer than this node's.
    pub(crate) fn enter(&mut self, now: u64, view: View) {
        if self.disk.is_none() {
            self.enter_first(now, view);
            return;
        }
        if self.view.as_ref().is_some_and(|old| old.epoch() >= view.epoch()) {
            return;
        }
        self.frozen.clear();
        self.asked.requests.clear();
        let member = view.member(self.me).copied();
        let mut adopted = None;
        match &self.standing {
            Standing::Member { life, acting, .. } => {
                if member.is_none_or(|member| member.incarnation != *life) {
                    if *acting {
                        self.outputs.push(Output::Fenced);
                    }
                    self.standing = Standing::outside(now, &mut self.rng, self.config.keeps);
                }
            }
            Standing::Outside { boot, .. } => {
                if let Some(member) = member.filter(|member| member.boot == *boot) {
                    self.standing = Standing::member(now, member.incarnation);
                    adopted = Some(member.disk);
                }
            }
            Standing::Leaving { life, .. } => {
                if member.is_none_or(|member| member.incarnation != *life) {
                    self.standing = Standing::Gone;
                }
            }
            Standing::Gone => {}
        }
        self.view = Some(view.clone());
        self.outputs.push(Output::Entered(view));
        if let Some(disk) = adopted.filter(|disk| self.disk != Some(*disk)) {
            self.adopt(disk);
        }
    }

    /// A node of no cluster enters a view that admits this start of it, and is of its cluster from
    /// then on. Another view tells it whom to ask.
    fn enter_first(&mut self, now: u64, view: View) {
        let Some(boot) = self.standing.boot() else { return };
        let admitted = view.member(self.me).copied().filter(|member| member.boot == boot);
        let accepts = self.founding.as_ref().is_none_or(|founding| founding.accepts(&view));
        match admitted.filter(|_| accepts || !R::holds(Rule::FoundersPromise)) {
            None => self.told = Some(view),
            Some(_) if view.epoch() == Epoch(1) => self.found(now, view),
            Some(member) => {
                self.cluster = view.cluster();
                (self.founding, self.told) = (None, None);
                self.standing = Standing::member(now, member.incarnation);
                self.view = Some(view.clone());
                self.outputs.push(Output::Entered(view));
                self.adopt(member.disk);
            }
        }
    }

    /// The disk is written for the first time: from now on it is this one.
    fn adopt(&mut self, disk: Incarnation) {
        self.disk = Some(disk);
        let me = VoterId::of(&Voter { node: self.me, disk });
        self.raft = self.view.clone().map(|view| Raft::empty(me, view));
        let cluster = self.cluster;
        self.record(&[Record::Disk { number: disk.get(), cluster }]);
    }

    pub(crate) fn tick_member(&mut self, now: u64) {
        match &mut self.standing {
            Standing::Outside { boot, ask_at, turn } if now >= *ask_at => {
                *ask_at = now + REPEAT_NS;
                let boot = *boot;
                let now_turn = *turn;
                *turn = turn.wrapping_add(1);
                self.ask_to_join(boot, now_turn);
            }
            Standing::Member { life, lease, acting } => {
                if *acting && !lease.is_good(now) {
                    *acting = false;
                    self.outputs.push(Output::Fenced);
                }
                if now >= lease.renew_at() {
                    let (life, (round, unanswered)) = (life.get(), lease.ask(now));
                    self.renew(life, round, unanswered);
                }
            }
            Standing::Leaving { life, say_at } if now >= *say_at => {
                *say_at = now + REPEAT_NS;
                let incarnation = life.get();
                self.send_to_leader(Message::Leave { incarnation }, false);
            }
            Standing::Outside { .. } | Standing::Leaving { .. } | Standing::Gone => {}
        }
        if !self.asked.requests.is_empty() && now >= self.asked.repeat_at {
            self.asked.repeat_at = now + REPEAT_NS;
            self.repeat_requests();
        }
    }

    pub(crate) fn member_deadline(&self) -> u64 {
        let standing = match &self.standing {
            Standing::Outside { ask_at, .. } => *ask_at,
            Standing::Member { lease, acting, .. } => {
                let fence = if *acting { lease.until() } else { u64::MAX };
                lease.renew_at().min(fence)
            }
            Standing::Leaving { say_at, .. } => *say_at,
            Standing::Gone => u64::MAX,
        };
        let asked = &self.asked;
        standing.min(if asked.requests.is_empty() { u64::MAX } else { asked.repeat_at })
    }

    pub(crate) fn receive_as_member(&mut self, now: u64, from: NodeId, message: &Message) {
        if !self.is_believed(from) {
            self.counts.strangers += 1;
            return;
        }
        match message {
            Message::Grant { incarnation, round, .. } => {
                if let Standing::Member { life, lease, acting } = &mut self.standing
                    && life.get() == *incarnation
                {
                    lease.granted::<R>(now, *round);
                    self.leader = Some(from);
                    if !*acting && lease.is_good(now) {
                        *acting = true;
                        self.outputs.push(Output::Acting);
                    }
                }
            }
            Message::Leader { node } => {
                let named = NodeId::new(*node);
                if named.is_some() && self.leader != named {
                    self.leader = named;
                    self.hurry(now);
                }
            }
            Message::Change(bytes) => match (Delta::decode(bytes), &self.view) {
                (Ok(delta), Some(view)) => {
                    // If it is of a view behind or ahead, the next renewal brings the whole one.
                    if let Ok(next) = view.apply(&delta) {
                        self.enter(now, next);
                    }
                }
                (Ok(_), None) => {}
                (Err(_), _) => self.counts.malformed += 1,
            },
            Message::Whole(bytes) => match View::decode(bytes) {
                Ok(view) => self.enter(now, view),
                Err(_) => self.counts.malformed += 1,
            },
            // For a leader, or between voters: handled elsewhere.
            Message::WouldVote { .. }
            | Message::WouldVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::Append { .. }
            | Message::AppendReply { .. }
            | Message::Install { .. }
            | Message::Resign { .. }
            | Message::Renew { .. }
            | Message::Join { .. }
            | Message::Ask { .. }
            | Message::Leave { .. }
            | Message::FoundAsk { .. }
            | Message::FoundPromise { .. }
            | Message::Foreign
            | Message::Suspect { .. } => self.counts.strangers += 1,
            Message::KeptOut { boot, by } => self.kept_out(now, *boot, by),
        }
    }

    /// Whether `from` is believed about views: a voter, and whom one says to lead (who led when it ceased to
    /// vote goes on until the new voters are agreed); by a node that is no member, also each node that there may be:
    /// anybody may vote by now.
    fn is_believed(&self, from: NodeId) -> bool {
        let voter = |view: &View| view.voters().iter().any(|voter| voter.node == from);
        if from == self.me || self.view.as_ref().or(self.told.as_ref()).is_some_and(voter) {
            return true;
        }
        let Config { contacts, founders, others, .. } = &self.config;
        let known = self.view.iter().chain(&self.told);
        let named = [contacts, founders, others].iter().any(|nodes| nodes.contains(&from))
            || known.flat_map(View::added).any(|node| node == from);
        self.leader == Some(from) || (self.standing.boot().is_some() && named)
    }

    fn hurry(&mut self, now: u64) {
        match &mut self.standing {
            Standing::Member { lease, .. } => lease.hurry(now),
            Standing::Outside { ask_at, .. } => {
                let soon = ask_at.saturating_sub(REPEAT_NS - HURRY_NS).max(now);
                *ask_at = (*ask_at).min(soon);
            }
            Standing::Leaving { .. } | Standing::Gone => {}
        }
    }

    fn ask_to_join(&mut self, boot: u64, turn: usize) {
        let disk = self.disk.map_or(0, Incarnation::get);
        let known = self.view.iter().chain(&self.told);
        let voters = known.flat_map(|view| view.voters()).map(|voter| voter.node);
        let mut all: Vec<NodeId> = voters.chain(self.config.contacts.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        let first = turn.wrapping_mul(CONTACTS_AT_A_TIME);
        let at = |n: usize| all[first.wrapping_add(n) % all.len()];
        let some = (0..CONTACTS_AT_A_TIME.min(all.len())).map(at);
        // All those may be gone for good, and the cluster live on with voters that this node never heard of.
        let added = self.view.iter().chain(&self.told).flat_map(View::added);
        let others: Vec<NodeId> = self.config.others.iter().copied().chain(added).collect();
        let other = others.get(turn % others.len().max(1)).copied();
        let mut some: Vec<NodeId> = some.chain(other).chain(self.leader).collect();
        some.sort_unstable();
        some.dedup();
        let unreachable = self.links.named();
        for node in some {
            self.send(node, Message::Join { boot, disk, unreachable: unreachable.clone() });
        }
    }

    fn renew(&mut self, incarnation: u32, round: u64, unanswered: bool) {
        let epoch = self.view.as_ref().map_or(0, |view| view.epoch().0);
        self.send_to_leader(Message::Renew { incarnation, round, epoch }, unanswered);
    }

    fn repeat_requests(&mut self) {
        let Standing::Member { life, .. } = &self.standing else { return };
        let incarnation = life.get();
        let epoch = self.view.as_ref().map_or(0, |view| view.epoch().0);
        for request in self.asked.requests.clone() {
            let wish = Wish::of(&request);
            self.send_to_leader(Message::Ask { incarnation, epoch, wish }, false);
        }
    }

    /// To who is believed to lead; to all voters if nobody is, or it does not answer.
    pub(crate) fn send_to_leader(&mut self, message: Message, to_all: bool) {
        let leads = self.raft.as_ref().is_some_and(Raft::is_leader);
        match self.leader.filter(|_| !to_all) {
            _ if leads => self.send(self.me, message),
            Some(leader) => self.send(leader, message),
            None => {
                let voters = self.view.iter().flat_map(|view| view.voters());
                let nodes: Vec<NodeId> = voters.map(|voter| voter.node).collect();
                for node in nodes {
                    self.send(node, message.clone());
                }
            }
        }
    }
}
