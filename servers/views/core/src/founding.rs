// SPDX-License-Identifier: MIT OR Apache-2.0
//! The founding of a cluster without an administrator's word: nodes that start with nothing find out
//! that there is no cluster, and begin one.
//!
//! # Model
//! A node without a disk cannot know after a crash whether a cluster exists. So all founders must
//! say that they know of none. The first of them, the *decider*, asks in rounds; the others promise.
//!
//! ```text
//!   decider:  asking --all promised in a round--> waiting for others --1 s, or all heard--> founded
//!                ^                                     |
//!                +---- one is silent, or knows a view--+
//!   others:   nothing --ask of start a: promise to a--> promised to a --the view of a--> member
//!                                                          |  ^
//!                                                          +--+ ask of a later start
//! ```
//!
//! Each start of a node draws a number, its boot. The founding view names the boots of its members,
//! the decider's too: so a founder tells whether the view is of the start that it promised to, and
//! who crashed meanwhile is not a member but joins as anybody does. A founder that knows a view answers
//! with it, and then nobody founds.
//!
//! # Invariants
//! - A node that is of a cluster never founds.
//! - All founders answered the same round. Links are sessions, so whoever answers was there, and
//!   knew nothing, when the round was asked: at that instant all founders knew nothing, and no cluster of
//!   their votes was left. Its members that are no founders act for a lease longer at most: they
//!   say that they know nothing, too, or are waited for.
//! - A node takes a first view only from the decider's start that it last promised to. So of two
//!   views that were decided, only one can still get a majority of the starts that it names: for the
//!   later one, the others promised anew, and no longer take the earlier.
//!
//! # Failure
//! What an earlier start of a node said, or was told, never arrives after a later one began: links
//! see to that. A decider that crashes asks anew; with a disk it knows what it decided, and goes on.
//!
//! A view may be decided and never get a majority, if founders crash in that very moment. Who adopted
//! it notices that the others know nothing ([`Output::Orphaned`](crate::Output::Orphaned)), starts
//! again, and the next founding succeeds.
//!
//! A founder that is down, or lies, keeps a cluster from being founded; so does another node that
//! says that it acts in one. Nobody can make two of it: each node is of one cluster at a time,
//! and majorities of the same founders meet.
//!
//! # Limits
//! Not noticed is a cluster that lives on other voters than the founders (an administrator chose
//! them), if all founders lost everything at once and the decider reaches no acting member of it.

use crate::limits::{FOUND_ASK_NS, FOUND_OTHERS_NS, FOUND_ROUNDS_MAX, NAMED_MAX};
use crate::rules::Rules;
use crate::views::Views;
use crate::wire::Message;
use abi::{Epoch, NodeId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::View;

/// What the decider last heard of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Answer {
    /// This start of it knows of no cluster. It said so in these rounds: the lowest bit is the last.
    Promised { boot: u64, rounds: u16 },
    /// It knows of one, and said so when this round was the last.
    Knows { round: u64 },
}

/// The part of a node that is of no cluster yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Founding {
    me: NodeId,
    boot: u64,
    founders: Vec<NodeId>,
    others: Vec<NodeId>,
    /// The start of the decider that this node promised to.
    promised: Option<u64>,
    /// What the decider said that it waits for.
    missing: Vec<NodeId>,
    /// On the decider.
    answers: BTreeMap<NodeId, Answer>,
    round: u64,
    /// Since when all founders have promised.
    all_since: Option<u64>,
    ask_at: u64,
}

impl Founding {
    /// A node that starts, under the number `boot`, with nothing. `None` if clusters are not
    /// founded so.
    pub fn new(
        now: u64,
        me: NodeId,
        boot: u64,
        founders: &[NodeId],
        others: &[NodeId],
    ) -> Option<Self> {
        let mut founders = founders.to_vec();
        founders.sort_unstable();
        founders.dedup();
        let mut others: Vec<NodeId> = others.to_vec();
        others.retain(|node| !founders.contains(node));
        (!founders.is_empty()).then(|| Self {
            me,
            boot,
            founders,
            others,
            promised: None,
            missing: Vec::new(),
            answers: BTreeMap::new(),
            round: 0,
            all_since: None,
            ask_at: now,
        })
    }

    /// Who decides.
    pub fn decider(&self) -> NodeId {
        self.founders[0]
    }

    /// Whether this node does.
    pub fn decides(&self) -> bool {
        self.decider() == self.me
    }

    /// Whether `node` is one of the founders.
    pub fn is_founder(&self, node: NodeId) -> bool {
        self.founders.contains(&node)
    }

    /// When the decider asks, or decides, next.
    pub fn deadline(&self) -> u64 {
        match self.all_since {
            _ if !self.decides() => u64::MAX,
            Some(since) => self.ask_at.min(since + FOUND_OTHERS_NS),
            None => self.ask_at,
        }
    }

    /// Begins a round: whom the decider asks now, and what.
    pub fn asks(&mut self, now: u64) -> (Vec<NodeId>, Message) {
        self.ask_at = now + FOUND_ASK_NS;
        self.round += 1;
        for answer in self.answers.values_mut() {
            if let Answer::Promised { rounds, .. } = answer {
                *rounds = (*rounds << 1) & ((1 << FOUND_ROUNDS_MAX) - 1);
            }
        }
        self.look(now);
        let all = self.founders.iter().chain(&self.others).copied();
        let missing = self.waits_for().iter().take(NAMED_MAX).map(|node| node.get()).collect();
        let ask = Message::FoundAsk { boot: self.boot, round: self.round, missing };
        (all.filter(|node| *node != self.me).collect(), ask)
    }

    /// The rounds that were asked.
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// The decider's start `boot` asks: the answer. `None` if who asks does not decide.
    pub fn asked(
        &mut self,
        from: NodeId,
        boot: u64,
        round: u64,
        missing: &[u16],
    ) -> Option<Message> {
        if from != self.decider() || self.decides() {
            return None;
        }
        self.promised = Some(boot);
        self.missing = missing.iter().filter_map(|node| NodeId::new(*node)).collect();
        Some(Message::FoundPromise { decider: boot, round, boot: self.boot })
    }

    /// The start `boot` of a node promised to the start `decider`, in `round`.
    pub fn promised(&mut self, now: u64, from: NodeId, decider: u64, round: u64, boot: u64) {
        let late = self.round.checked_sub(round).filter(|late| *late < FOUND_ROUNDS_MAX);
        let meant = self.is_asked(from) && decider == self.boot && boot != 0;
        let Some(late) = late.filter(|_| meant) else { return };
        let before = match self.answers.get(&from) {
            Some(Answer::Promised { boot: of, rounds }) if *of == boot => *rounds,
            Some(Answer::Promised { .. } | Answer::Knows { .. }) | None => 0,
        };
        self.answers.insert(from, Answer::Promised { boot, rounds: before | 1 << late });
        self.look(now);
    }

    /// A node said something by which it is of a cluster.
    pub fn knows(&mut self, now: u64, from: NodeId) {
        if self.is_asked(from) {
            self.answers.insert(from, Answer::Knows { round: self.round });
            self.look(now);
        }
    }

    /// Whether this node decides, and asks that one.
    fn is_asked(&self, node: NodeId) -> bool {
        let named = self.founders.contains(&node) || self.others.contains(&node);
        self.decides() && named && node != self.me
    }

    /// The start of a node that promised, and the rounds in which it did.
    fn promise_of(&self, node: NodeId) -> Option<(u64, u16)> {
        match self.answers.get(&node) {
            _ if node == self.me => Some((self.boot, u16::MAX)),
            Some(Answer::Promised { boot, rounds }) if *rounds != 0 => Some((*boot, *rounds)),
            Some(Answer::Promised { .. } | Answer::Knows { .. }) | None => None,
        }
    }

    /// The rounds in which all of them promised.
    fn common(&self, nodes: &[NodeId]) -> u16 {
        let rounds = |node: &NodeId| self.promise_of(*node).map_or(0, |(_, rounds)| rounds);
        nodes.iter().fold(u16::MAX, |all, node| all & rounds(node))
    }

    fn silent<'a>(&'a self, of: &'a [NodeId]) -> impl Iterator<Item = NodeId> + 'a {
        of.iter().copied().filter(|node| self.promise_of(*node).is_none())
    }

    fn look(&mut self, now: u64) {
        let known = self.answers.values().any(|answer| match answer {
            Answer::Knows { round } => self.round < *round + FOUND_ROUNDS_MAX,
            Answer::Promised { .. } => false,
        });
        let all = self.common(&self.founders) != 0 && !known;
        self.all_since = all.then(|| self.all_since.unwrap_or(now));
    }

    /// The members of the founding view with their boots, if it is to be decided now.
    pub fn decision(&self, now: u64) -> Option<Vec<(NodeId, u64)>> {
        let since = self.all_since.filter(|_| self.decides())?;
        let others_too = self.common(&self.founders) & self.common(&self.others) != 0;
        if !others_too && now < since + FOUND_OTHERS_NS {
            return None;
        }
        let all = self.founders.iter().chain(&self.others);
        Some(all.filter_map(|node| Some((*node, self.promise_of(*node)?.0))).collect())
    }

    /// Whether this node takes `view`, which names it.
    pub fn accepts(&self, view: &View) -> bool {
        if view.epoch() != Epoch(1) {
            return true;
        }
        let decider = view.member(self.decider()).map(|member| member.boot);
        decider.is_some() && decider == self.promised
    }

    /// The decider's start that this node promised to.
    pub fn promised_to(&self) -> Option<u64> {
        self.promised
    }

    /// Whom the founding waits for, as far as this node knows: founders, or else others.
    pub fn waits_for(&self) -> Vec<NodeId> {
        if self.decides() {
            let founders: Vec<NodeId> = self.silent(&self.founders).collect();
            return if founders.is_empty() {
                self.silent(&self.others).collect()
            } else {
                founders
            };
        }
        if self.promised.is_none() { Vec::from([self.decider()]) } else { self.missing.clone() }
    }
}

impl<R: Rules> Views<R> {
    pub(crate) fn founding_deadline(&self) -> u64 {
        self.founding.as_ref().map_or(u64::MAX, Founding::deadline)
    }

    pub(crate) fn tick_founding(&mut self, now: u64) {
        let Some(founding) = &mut self.founding else { return };
        if now < founding.deadline() || self.standing.boot().is_none() {
            return;
        }
        if now >= founding.ask_at {
            let (nodes, ask) = founding.asks(now);
            for node in nodes {
                self.send(node, ask.clone());
            }
        }
        self.decide(now);
    }

    /// The decider asks. Who is of a cluster says so: a founder always, another if it acts in it.
    pub(crate) fn asked_to_found(
        &mut self,
        now: u64,
        from: NodeId,
        (boot, round): (u64, u64),
        missing: &[u16],
    ) {
        if self.disk.is_some() {
            let founder = self.config.founders.contains(&self.me);
            match &self.view {
                Some(view) if founder || self.may_act(now) => {
                    let bytes = view.encode();
                    self.send_synced(from, 0, Message::Whole(bytes));
                }
                Some(_) | None => self.send(from, Message::Foreign),
            }
            return;
        }
        let founding = self.founding.as_mut().filter(|_| self.standing.boot().is_some());
        match founding.and_then(|founding| founding.asked(from, boot, round, missing)) {
            Some(answer) => self.send(from, answer),
            None => self.counts.strangers += 1,
        }
    }

    pub(crate) fn promised(
        &mut self,
        now: u64,
        from: NodeId,
        (decider, round): (u64, u64),
        boot: u64,
    ) {
        match &mut self.founding {
            Some(founding) => founding.promised(now, from, decider, round, boot),
            // It was decided meanwhile.
            None => return,
        }
        self.decide(now);
    }

    /// Decides, if all have promised: the view is on the disk before anybody hears of it.
    fn decide(&mut self, now: u64) {
        let Some(founding) = &self.founding else { return };
        let Some(members) = founding.decision(now) else { return };
        let (founders, nodes) = (founding.founders.clone(), members.clone());
        // 0 is the cluster that has no name.
        let Some(view) = View::begun(self.rng.next() | 1, members, &founders) else { return };
        let view = if self.config.policy.backups { view.with_backups() } else { view };
        let bytes = view.encode();
        self.found(now, view);
        if let Some(raft) = &mut self.raft {
            raft.ask_soon(now);
        }
        for (node, _) in nodes {
            if node != self.me {
                self.send_synced(node, 0, Message::Whole(bytes.clone()));
            }
        }
    }
}
