// SPDX-License-Identifier: MIT OR Apache-2.0
//! The leader's side of messages, and what a voter that does not lead answers instead.

use crate::desk::Desk;
use crate::limits::{DESK_NS, NAMED_MAX, PUBLISHED_NS};
use crate::raft::{Raft, Step};
use crate::rules::Rules;
use crate::views::Views;
use crate::wire::Message;
use abi::{Epoch, NodeId};
use alloc::vec::Vec;
use cluster::{Incarnation, View};

impl<R: Rules> Views<R> {
    /// Opens the desk when this node has begun to lead, and closes it when it has ended.
    pub(crate) fn mind_desk(&mut self, now: u64) {
        let raft = self.raft.as_ref();
        let leads = raft.and_then(Raft::leads);
        let lease_until = raft.map_or(0, |raft| raft.lease_until(now));
        match (leads, &mut self.desk) {
            (None, _) => {
                self.desk = None;
                // Its own lease it must get from somebody else, too.
                self.leader = self.leader.filter(|leader| *leader != self.me);
            }
            (Some((term, _)), Some(desk)) if desk.term == term => {
                desk.is_sure::<R>(now, lease_until);
            }
            (Some((term, since)), _) => {
                let mut desk = Desk::new(self.me, term, since, now);
                desk.is_sure::<R>(now, lease_until);
                self.desk = Some(desk);
                self.leader = Some(self.me);
                self.announce();
            }
        }
    }

    /// Tells all members who leads, so that they ask it and not who led before.
    fn announce(&mut self) {
        let node = self.me.get();
        let members = self.raft.as_ref().map(|raft| raft.agreed().members().to_vec());
        for member in members.unwrap_or_default() {
            if member != self.me {
                self.send(member, Message::Leader { node });
            }
        }
    }

    /// Tells all whom it concerns of agreed changes.
    pub(crate) fn publish(&mut self, now: u64, steps: &[Step], agreed: &View) {
        let leads = self.raft.as_ref().is_some_and(Raft::is_leader);
        if let Some(desk) = &mut self.desk {
            desk.entered(now, agreed);
            desk.published_at = now;
        }
        if !leads {
            return;
        }
        for step in steps {
            for node in &step.members {
                if *node != self.me {
                    self.send(*node, Message::Change(step.change.clone()));
                }
            }
        }
        let admitted = steps.iter().flat_map(|step| &step.admitted);
        let mut new: Vec<NodeId> = admitted.copied().collect();
        new.sort_unstable();
        new.dedup();
        new.retain(|node| *node != self.me);
        let bytes = if new.is_empty() { Vec::new() } else { agreed.encode() };
        for node in new {
            self.send(node, Message::Whole(bytes.clone()));
        }
    }

    pub(crate) fn tick_desk(&mut self, now: u64) {
        let (Some(desk), Some(raft)) = (&mut self.desk, &mut self.raft) else { return };
        if now < desk.at {
            return;
        }
        desk.at = now + DESK_NS;
        if !desk.is_sure::<R>(now, raft.lease_until(now)) || raft.is_busy() {
            return;
        }
        raft.follow_view(now, &mut self.rng);
        if raft.is_busy() {
            return;
        }
        if let Some(delta) = desk.change::<R>(now, raft.agreed(), &self.config) {
            raft.propose(now, &delta, &mut self.rng);
        }
    }

    pub(crate) fn receive_as_leader(&mut self, now: u64, from: NodeId, message: &Message) {
        let (Some(desk), Some(raft)) = (&mut self.desk, &self.raft) else {
            self.name_leader(from, message);
            return;
        };
        let agreed = raft.agreed().clone();
        match message {
            Message::Renew { incarnation, round, epoch } => {
                let Some(life) = Incarnation::new(*incarnation) else { return };
                let sure = desk.is_sure::<R>(now, raft.lease_until(now));
                let granted = sure && desk.grant(now, &agreed, from, life);
                let (incarnation, round) = (*incarnation, *round);
                let now_at = agreed.epoch().0;
                let behind = *epoch < now_at && now >= desk.published_at + PUBLISHED_NS;
                let whole = behind.then(|| agreed.encode());
                if granted {
                    self.send(from, Message::Grant { incarnation, round, epoch: now_at });
                }
                if let Some(bytes) = whole {
                    self.send(from, Message::Whole(bytes));
                }
            }
            Message::Join { boot, disk, unreachable } => {
                self.asked_to_admit(now, from, (*boot, Incarnation::new(*disk)), unreachable);
            }
            Message::Ask { incarnation, epoch, wish } => {
                if let (Some(life), Some(request)) =
                    (Incarnation::new(*incarnation), wish.request())
                {
                    let room = desk.ask(now, (from, life), Epoch(*epoch), request);
                    self.counts.lost += u64::from(!room);
                } else {
                    self.counts.malformed += 1;
                }
            }
            Message::Leave { incarnation } => {
                if let Some(life) = Incarnation::new(*incarnation) {
                    desk.leave(&agreed, from, life);
                }
            }
            Message::Suspect { incarnation, nodes } => {
                if let Some(life) = Incarnation::new(*incarnation) {
                    desk.suspect(now, &agreed, from, life, nodes);
                }
            }
            // For a member, or between voters: handled elsewhere.
            Message::WouldVote { .. }
            | Message::WouldVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::Append { .. }
            | Message::AppendReply { .. }
            | Message::Install { .. }
            | Message::Resign { .. }
            | Message::Grant { .. }
            | Message::Leader { .. }
            | Message::Change(_)
            | Message::Whole(_)
            | Message::FoundAsk { .. }
            | Message::FoundPromise { .. }
            | Message::Foreign
            | Message::KeptOut { .. } => self.counts.strangers += 1,
        }
    }

    /// A node outside asks to be admitted.
    fn asked_to_admit(
        &mut self,
        now: u64,
        from: NodeId,
        start: (u64, Option<Incarnation>),
        unreachable: &[u16],
    ) {
        let (Some(desk), Some(raft)) = (&mut self.desk, &self.raft) else { return };
        if raft.agreed().member(from).is_some_and(|member| member.boot == start.0) {
            let bytes = raft.agreed().encode();
            self.send(from, Message::Whole(bytes));
            return;
        }
        if raft.agreed().is_revoked(from) {
            self.counts.strangers += 1;
            return;
        }
        let nodes = unreachable.iter().filter_map(|node| NodeId::new(*node)).collect();
        let by = desk.join(now, from, start, nodes);
        let agreed = raft.agreed();
        let table = (!agreed.keys().is_empty() && !by.is_empty()).then(|| agreed.encode());
        if !by.is_empty() {
            let by = by.iter().take(NAMED_MAX).map(|node| node.get()).collect();
            self.send(from, Message::KeptOut { boot: start.0, by });
            // It may have no link to them because its image does not name them, or an old key.
            if let Some(bytes) = table {
                self.send(from, Message::Whole(bytes));
            }
        }
    }

    /// This node does not lead: it says who does, and what it knows that the other does not.
    fn name_leader(&mut self, from: NodeId, message: &Message) {
        let known = self.raft.as_ref().and_then(Raft::leader).and_then(|leader| leader.voter());
        let known = known.map(|voter| voter.node).or(self.leader);
        if let Some(node) = known.filter(|node| *node != from && from != self.me) {
            self.send(from, Message::Leader { node: node.get() });
        }
        // Voters may have changed since the other last heard; each view names the next voters. And a
        // founder may have missed that the cluster was founded, with it.
        let wanted = |view: &&View| {
            if let Message::Renew { epoch, .. } = message {
                view.epoch().0 > *epoch
            } else if let Message::Join { boot, .. } = message {
                view.member(from).is_some_and(|member| member.boot == *boot)
            } else {
                false
            }
        };
        if let Some(view) = self.view.as_ref().filter(wanted) {
            let bytes = view.encode();
            self.send_synced(from, 0, Message::Whole(bytes));
        }
    }
}
