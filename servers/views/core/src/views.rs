// SPDX-License-Identifier: MIT OR Apache-2.0
//! One node's part as a whole: inputs, outputs, and the order in which things go out.

use crate::Rng;
use crate::desk::Desk;
use crate::founding::Founding;
use crate::hearing::Hearing;
use crate::journal::{Journal, Record, Recovered, Write};
use crate::limits::HELD_MAX;
use crate::links::Links;
use crate::member::{Asked, Standing};
use crate::raft::{Outcome, Raft};
use crate::rules::{Rule, Rules, Sound};
use crate::wire::{Envelope, Message, VoterId};
use abi::{NodeId, SlotNo};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use cluster::{Incarnation, Policy, View, Voter};

/// What does not change while a node runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The nodes that are asked about the view first by who has none: the cluster's first voters.
    pub contacts: Vec<NodeId>,
    /// The nodes that found the cluster if none of them knows of one, ascending, and the same on
    /// all nodes: the first of them decides. Empty if a cluster is never founded so.
    pub founders: Vec<NodeId>,
    /// The other nodes that there may be. They may vote by now, and are believed as well; and so are those
    /// that a view says were added.
    pub others: Vec<NodeId>,
    /// What is wanted of placement.
    pub policy: Policy,
    /// Whether what lives in the slots of this node is on its disk, too.
    pub keeps: bool,
}

/// What a node starts with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// The cluster begins, with this view. Only an administrator knows that; without one, nodes
    /// that start with nothing find it out ([`founding`](crate::founding)).
    Found(View),
    /// What the disk remembers; it has been repaired.
    Recover(Recovered),
    /// Nothing, or nothing that counts any more ([`Output::Orphaned`]).
    Empty,
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this to a node; it may get lost, late, or there twice.
    Send(NodeId, Vec<u8>),
    /// Write to the disk.
    Write(Write),
    /// Flush the disk, and then say [`Views::synced`] with this number.
    Sync(u64),
    /// This is the view now: a node may skip some.
    Entered(View),
    /// This node may act until the lease is over; more will be said only when it is not renewed.
    Acting,
    /// This node must not act any more, and has not since its lease was over.
    Fenced,
    /// This node's cluster is gone: a majority of its voters has lost what they knew. The node
    /// must start again, with [`Start::Empty`]. Said once.
    Orphaned,
}

/// What was dropped, and why.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Messages that could not be meant.
    pub malformed: u64,
    /// Messages from who may not send them, or for another disk.
    pub strangers: u64,
    /// Messages between voters that only a liar would send.
    pub refused: u64,
    /// Agreed changes that were void.
    pub void: u64,
    /// Messages from who is of another cluster, or of none.
    pub foreign: u64,
    /// Messages that found no room, and requests that the leader had none for.
    pub lost: u64,
}

/// One node's part in agreeing on views.
#[derive(Debug)]
pub struct Views<R: Rules = Sound> {
    pub(crate) me: NodeId,
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) journal: Journal,
    pub(crate) disk: Option<Incarnation>,
    /// The cluster that this node is of, once it has a disk.
    pub(crate) cluster: u64,
    /// While it is of none.
    pub(crate) founding: Option<Founding>,
    /// The newest that a node of no cluster was told of one.
    pub(crate) told: Option<View>,
    pub(crate) heard: Hearing,
    pub(crate) links: Links,
    pub(crate) raft: Option<Raft<R>>,
    pub(crate) view: Option<View>,
    pub(crate) standing: Standing,
    pub(crate) frozen: BTreeSet<SlotNo>,
    pub(crate) asked: Asked,
    /// Who is believed to lead.
    pub(crate) leader: Option<NodeId>,
    pub(crate) desk: Option<Desk>,
    pub(crate) outputs: Vec<Output>,
    /// What may leave once the journal is flushed up to a number.
    held: VecDeque<(u64, NodeId, Vec<u8>)>,
    /// What this node says to itself.
    own: VecDeque<Message>,
    pub(crate) counts: Counts,
}

impl<R: Rules> Views<R> {
    /// A node that starts. `seed` must differ from start to start.
    pub fn new(now: u64, seed: u64, me: NodeId, config: Config, start: Start) -> Self {
        let mut rng = Rng::new(seed);
        let standing = Standing::outside(now, &mut rng, config.keeps);
        let Config { founders, others, .. } = &config;
        let founding =
            standing.boot().and_then(|boot| Founding::new(now, me, boot, founders, others));
        let mut views = Self {
            me,
            config,
            rng,
            journal: Journal::new(),
            disk: None,
            cluster: 0,
            founding,
            told: None,
            heard: Hearing::default(),
            links: Links::default(),
            raft: None,
            view: None,
            standing,
            frozen: BTreeSet::new(),
            asked: Asked::default(),
            leader: None,
            desk: None,
            outputs: Vec::new(),
            held: VecDeque::new(),
            own: VecDeque::new(),
            counts: Counts::default(),
        };
        match start {
            Start::Found(view) => views.found(now, view),
            Start::Recover(recovered) => views.recover(now, recovered),
            Start::Empty => {}
        }
        views.finish(now);
        views
    }

    /// Adopts the cluster's first view.
    pub(crate) fn found(&mut self, now: u64, view: View) {
        let Some(member) = view.member(self.me).copied() else { return };
        let voter = VoterId::of(&Voter { node: self.me, disk: member.disk });
        self.disk = Some(member.disk);
        self.cluster = view.cluster();
        self.founding = None;
        self.told = None;
        self.raft = Some(Raft::found(now, voter, view.clone(), &mut self.rng));
        self.standing = Standing::member(now, member.incarnation);
        self.view = Some(view.clone());
        self.outputs.push(Output::Entered(view));
        self.record(&[]);
    }

    fn recover(&mut self, now: u64, recovered: Recovered) {
        let disk = |record: &Record| match record {
            Record::Disk { number, cluster } => Some((Incarnation::new(*number)?, *cluster)),
            Record::Vote { .. } | Record::Append { .. } | Record::Install(_) => None,
        };
        let Some((disk, cluster)) = recovered.records.iter().rev().find_map(disk) else { return };
        let voter = VoterId::of(&Voter { node: self.me, disk });
        let Some(raft) = Raft::recover(now, voter, &recovered.records, &mut self.rng) else {
            return;
        };
        self.journal = recovered.journal;
        self.disk = Some(disk);
        self.cluster = cluster;
        self.founding = None;
        // The view is known again; this start of the node is no member of it.
        self.view = raft.knows().then(|| raft.agreed().clone());
        self.raft = Some(raft);
        self.record(&[]);
    }

    /// A message from `from`, as the link says.
    pub fn message(&mut self, now: u64, from: NodeId, bytes: &[u8]) {
        match Envelope::decode(bytes) {
            Some(envelope) => self.receive(now, from, &envelope),
            None => self.counts.malformed += 1,
        }
        self.finish(now);
    }

    /// The disk has flushed what had been written when [`Output::Sync`] said `number`.
    pub fn synced(&mut self, now: u64, number: u64) {
        self.journal.synced(number);
        let durable = self.journal.durable();
        while let Some((_, node, bytes)) = self.held.pop_front_if(|(needs, ..)| *needs <= durable) {
            self.outputs.push(Output::Send(node, bytes));
        }
        self.finish(now);
    }

    /// Time has passed: to be called at [`Views::deadline`], or later.
    pub fn tick(&mut self, now: u64) {
        let abstains = self.abstains(now);
        if let Some(raft) = &mut self.raft {
            raft.tick(now, abstains, &mut self.rng);
        }
        self.tick_founding(now);
        self.tick_member(now);
        self.tick_links(now);
        self.mind_orphan(now);
        self.finish(now);
        self.tick_desk(now);
        self.finish(now);
    }

    /// When to call [`Views::tick`].
    pub fn deadline(&self) -> u64 {
        let raft = self.raft.as_ref().map_or(u64::MAX, Raft::deadline);
        let desk = self.desk.as_ref().map_or(u64::MAX, |desk| desk.at);
        let rest = self.founding_deadline().min(self.links_deadline());
        raft.min(desk).min(self.member_deadline()).min(rest)
    }

    /// What is to be done.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        core::mem::take(&mut self.outputs)
    }

    /// The view that this node is in; `None` if it knows none yet.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// The newest view that a node of no cluster, which is in none, was told of.
    pub fn told(&self) -> Option<&View> {
        self.told.as_ref()
    }

    /// The agreed view, read on the leader while nobody else can lead: then there is no newer one.
    pub fn read(&self, now: u64) -> Option<&View> {
        let raft = self.raft.as_ref().filter(|raft| raft.leads().is_some())?;
        (now < raft.lease_until(now)).then(|| raft.agreed())
    }

    /// Who is believed to lead.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The term that this node leads, if it does.
    pub fn leads(&self) -> Option<u64> {
        self.raft.as_ref().filter(|raft| raft.is_leader()).map(Raft::term)
    }

    /// The term that this node is in.
    pub fn term(&self) -> u64 {
        self.raft.as_ref().map_or(0, Raft::term)
    }

    /// How far this node knows the log to be agreed, and the view there.
    pub fn agreed(&self) -> Option<(u64, &View)> {
        let raft = self.raft.as_ref().filter(|raft| raft.knows())?;
        Some((raft.applied(), raft.agreed()))
    }

    /// What was dropped.
    pub fn counts(&self) -> Counts {
        let (refused, void) = self.raft.as_ref().map_or((0, 0), Raft::counts);
        Counts { refused, void, ..self.counts }
    }

    /// Sends a message at once.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        if to == self.me {
            self.own.push_back(message);
            return;
        }
        let bytes = self.envelope(0, message);
        self.outputs.push(Output::Send(to, bytes));
    }

    /// Sends a message once all that was recorded is safe.
    pub(crate) fn send_synced(&mut self, to: NodeId, to_disk: u32, message: Message) {
        let bytes = self.envelope(to_disk, message);
        if self.journal.is_synced() || !R::holds(Rule::SyncsBeforeSending) {
            self.outputs.push(Output::Send(to, bytes));
        } else if self.held.len() < HELD_MAX {
            self.held.push_back((self.journal.written(), to, bytes));
        } else {
            self.counts.lost += 1;
        }
    }

    /// Writes records, and all that the raft knows if they are none.
    pub(crate) fn record(&mut self, records: &[Record]) {
        let (disk, cluster, raft) = (self.disk, self.cluster, self.raft.as_ref());
        let whole = || {
            let disk = disk.map(|disk| Record::Disk { number: disk.get(), cluster });
            disk.into_iter().chain(raft.map(Raft::checkpoint).into_iter().flatten()).collect()
        };
        let all: Vec<Record>;
        let records = if records.is_empty() {
            all = whole();
            &all
        } else {
            records
        };
        let writes = self.journal.append(records, whole);
        self.outputs.extend(writes.into_iter().map(Output::Write));
        self.outputs.push(Output::Sync(self.journal.written()));
    }

    /// Lets out what the parts have to say, until they have no more.
    fn finish(&mut self, now: u64) {
        loop {
            self.let_out();
            self.take_effect(now);
            let Some(message) = self.own.pop_front() else { break };
            let (cluster, from_disk) = (self.cluster, self.disk.map_or(0, Incarnation::get));
            self.receive(now, self.me, &Envelope { cluster, from_disk, to_disk: 0, message });
        }
    }

    fn let_out(&mut self) {
        let outcomes = self.raft.as_mut().map(Raft::take_outcomes).unwrap_or_default();
        let (mut records, mut messages) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Outcome::Record(record) => records.push(record),
                Outcome::Send(to, message) => messages.push((to, message)),
            }
        }
        if !records.is_empty() {
            self.record(&records);
        }
        for (to, message) in messages {
            let Some(to) = to.voter() else { continue };
            self.send_synced(to.node, to.disk.get(), message);
        }
    }

    /// Lets what is agreed take effect.
    fn take_effect(&mut self, now: u64) {
        self.mind_desk(now);
        let Some(raft) = &mut self.raft else { return };
        // Who votes alone agrees with itself at once, but must remember it.
        if raft.is_alone() && !self.journal.is_synced() && R::holds(Rule::SyncsBeforeSending) {
            return;
        }
        let applied = raft.applied();
        let steps = raft.apply();
        let changed = raft.applied() != applied;
        let agreed = raft.agreed().clone();
        self.let_out();
        if changed && self.raft.as_ref().is_some_and(Raft::knows) {
            self.publish(now, &steps, &agreed);
            self.enter(now, agreed);
            self.mind_desk(now);
        }
    }

    fn envelope(&self, to_disk: u32, message: Message) -> Vec<u8> {
        let from_disk = self.disk.map_or(0, Incarnation::get);
        Envelope { cluster: self.cluster, from_disk, to_disk, message }.encode()
    }

    fn receive(&mut self, now: u64, from: NodeId, envelope: &Envelope) {
        self.hear(now, from, envelope);
        if !self.is_for_us(envelope) {
            self.counts.foreign += 1;
            if envelope.message != Message::Foreign {
                self.send(from, Message::Foreign);
            }
            return;
        }
        if envelope.message.is_of_voters() {
            self.receive_from_voter(now, from, envelope);
            return;
        }
        match &envelope.message {
            Message::Renew { .. }
            | Message::Join { .. }
            | Message::Ask { .. }
            | Message::Suspect { .. }
            | Message::Leave { .. } => self.receive_as_leader(now, from, &envelope.message),
            Message::FoundAsk { boot, round, missing } => {
                self.asked_to_found(now, from, (*boot, *round), missing);
            }
            Message::FoundPromise { decider, round, boot } => {
                self.promised(now, from, (*decider, *round), *boot);
            }
            other => self.receive_as_member(now, from, other),
        }
    }

    fn receive_from_voter(&mut self, now: u64, from: NodeId, envelope: &Envelope) {
        let mine = self.disk.is_some_and(|disk| disk.get() == envelope.to_disk);
        let voter = Incarnation::new(envelope.from_disk).map(|disk| Voter { node: from, disk });
        let known = |view: &View, voter: &Voter| view.voters().contains(voter);
        match (&mut self.raft, voter) {
            // Who leads may have ceased to vote: it leads until that is agreed.
            (Some(raft), Some(voter))
                if mine
                    && (raft.is_voter(VoterId::of(&voter))
                        || raft.leader() == Some(VoterId::of(&voter))
                        || known(raft.agreed(), &voter)
                        || self.view.as_ref().is_some_and(|view| known(view, &voter))) =>
            {
                raft.receive(now, VoterId::of(&voter), &envelope.message, &mut self.rng);
            }
            _ => self.counts.strangers += 1,
        }
    }
}
