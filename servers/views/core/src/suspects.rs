// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links that are cut between members who both reach the leader: which of the two goes.
//!
//! # Model
//! Members tell the leader whom they cannot reach, and repeat it while it holds. A *report* is of one
//! member about another, with both incarnations. It counts if it is *confirmed*: the other one
//! reports the same; or two members report the same one; or one of the two is the leader. Of each
//! pair that is confirmed one member is a *victim*: it gets no more leases, and leaves when its own is
//! over. If the reports end before, it stays.
//!
//! Who goes, of a pair:
//! 1. never the leader, which only judges while a majority of the voters answers it;
//! 2. who is in two more pairs than the other: then it is probably to blame, and goes alone;
//! 3. who does not vote;
//! 4. who is in more pairs;
//! 5. the higher-numbered.
//!
//! A node outside is admitted when no member reports it. If it has no link to that member either, or two
//! report it, that lasts as long as the reports; else a few seconds, and then the pair is judged as
//! members.
//!
//! # What a hostile member can do
//! - *Reports what is not so, alone*: against members, nothing. A node that joins is kept out for
//!   [`JOIN_DOUBT_NS`].
//! - *Cuts its own links*: the other one reports it truly, and one of the two goes. The first time it
//!   may be the other. For a minute, whom it outlasted counts against it as a pair does, and so does each
//!   node that it keeps out: with the second it goes itself (rule 2).
//! - *Two together* can throw out one that does not vote, or, if both vote, any; but not the leader.
//!   For each further one they count as before. Three can throw out a voter. It still votes then, and
//!   joins again when they stop.
//! - *Reports the leader*: goes itself.
//! - *A hostile leader* needs no reports: it can let anybody go.
//!
//! # Limits
//! [`NAMED_MAX`] nodes per report, one report per member, [`SUSPECTED_NS`] after it was last heard.

use crate::limits::{BLAMED_NS, JOIN_DOUBT_NS, NAMED_MAX, SUSPECTED_NS};
use crate::rules::{Rule, Rules};
use abi::NodeId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use cluster::{Incarnation, View};

#[derive(Clone, Debug)]
struct Report {
    life: Incarnation,
    /// Whom it names, and of which incarnation; none for a node outside.
    nodes: Vec<(NodeId, Option<Incarnation>)>,
    at: u64,
}

/// A member that is to go, and for whom.
#[derive(Clone, Copy, Debug)]
struct Victim {
    life: Incarnation,
    other: NodeId,
    other_life: Incarnation,
}

/// What a leader knows of links that are cut.
#[derive(Debug, Default)]
pub struct Suspects {
    reports: BTreeMap<NodeId, Report>,
    victims: BTreeMap<NodeId, Victim>,
    /// Members for whose sake others have left, and when.
    blamed: Vec<(NodeId, Incarnation, u64)>,
}

impl Suspects {
    /// The member `from` says whom it cannot reach: all of them, or none any more.
    pub fn report(&mut self, now: u64, from: NodeId, life: Incarnation, nodes: &[(u16, u32)]) {
        let named = nodes.iter().take(NAMED_MAX);
        let named =
            named.filter_map(|(node, life)| Some((NodeId::new(*node)?, Incarnation::new(*life))));
        let nodes: Vec<_> = named.filter(|(node, _)| *node != from).collect();
        if nodes.is_empty() {
            self.reports.remove(&from);
        } else {
            self.reports.insert(from, Report { life, nodes, at: now });
        }
    }

    /// Whether this incarnation is to go.
    pub fn is_victim(&self, node: NodeId, life: Incarnation) -> bool {
        self.victims.get(&node).is_some_and(|victim| victim.life == life)
    }

    /// A view took effect.
    pub fn entered(&mut self, now: u64, view: &View) {
        let lives = |node: NodeId, life| view.member(node).is_some_and(|m| m.incarnation == life);
        self.victims.retain(|node, victim| {
            let stays = lives(*node, victim.life);
            if !stays {
                self.blamed.push((victim.other, victim.other_life, now));
            }
            stays
        });
        self.reports.retain(|node, report| lives(*node, report.life));
        self.blamed.retain(|(node, life, _)| lives(*node, *life));
    }

    /// Decides who is to go. `joins` are the nodes outside that ask to be admitted, and whom they
    /// cannot reach.
    pub fn judge<R: Rules>(
        &mut self,
        now: u64,
        view: &View,
        leader: NodeId,
        joins: &[(NodeId, Vec<NodeId>)],
    ) {
        self.reports.retain(|_, report| now <= report.at + SUSPECTED_NS);
        self.blamed.retain(|(_, _, at)| now <= *at + BLAMED_NS);
        if self.reports.is_empty() {
            self.victims.clear();
            return;
        }
        let pairs = self.confirmed::<R>(view, leader);
        let weight = self.weights(&pairs, joins);
        let weight = |node: NodeId| weight.get(&node).copied().unwrap_or(0);
        self.victims.retain(|node, victim| pairs.contains(&ordered(*node, victim.other)));
        let mut pairs: Vec<(NodeId, NodeId)> = pairs.into_iter().collect();
        // Whoever is in many pairs goes first, so that nobody else has to go for it.
        pairs.sort_by_key(|(a, b)| core::cmp::Reverse(weight(*a).max(weight(*b))));
        for (a, b) in pairs {
            if self.victims.contains_key(&a) || self.victims.contains_key(&b) {
                continue;
            }
            let (node, other) =
                if goes_first(view, leader, weight, a, b) { (a, b) } else { (b, a) };
            if let (Some(this), Some(that)) = (view.member(node), view.member(other)) {
                let (life, other_life) = (this.incarnation, that.incarnation);
                self.victims.insert(node, Victim { life, other, other_life });
            }
        }
    }

    /// The members that keep `node` out, which asks since `since` and cannot reach `unreachable`.
    pub fn keeps_out(
        &self,
        now: u64,
        node: NodeId,
        since: u64,
        unreachable: &[NodeId],
    ) -> Vec<NodeId> {
        let fresh = |report: &Report| now <= report.at + SUSPECTED_NS;
        let names = |report: &Report| report.nodes.iter().any(|(named, _)| *named == node);
        let by = self.reports.iter().filter(|(_, report)| fresh(report) && names(report));
        let by: Vec<NodeId> = by.map(|(member, _)| *member).collect();
        match by[..] {
            [one] if !unreachable.contains(&one) && now >= since + JOIN_DOUBT_NS => Vec::new(),
            _ => by,
        }
    }

    /// Pairs of members whose link is cut, the lower-numbered first.
    fn confirmed<R: Rules>(&self, view: &View, leader: NodeId) -> BTreeSet<(NodeId, NodeId)> {
        let lives = |node: NodeId, life| view.member(node).is_some_and(|m| m.incarnation == life);
        let mut says = BTreeSet::new();
        let mut times: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (from, report) in self.reports.iter().filter(|(node, r)| lives(**node, r.life)) {
            for (node, life) in &report.nodes {
                if life.is_some_and(|life| lives(*node, life)) && says.insert((*from, *node)) {
                    *times.entry(*node).or_default() += 1;
                }
            }
        }
        let confirmed = |(from, node): &&(NodeId, NodeId)| {
            let both = says.contains(&(*node, *from));
            let several = times.get(node).is_some_and(|times| *times >= 2);
            both || several || [*from, *node].contains(&leader) || !R::holds(Rule::ConfirmsSuspects)
        };
        says.iter().filter(confirmed).map(|(from, node)| ordered(*from, *node)).collect()
    }

    /// What there is against each member: pairs that it is in, nodes outside that it and they
    /// themselves say it has no link to, and members that left for it.
    fn weights(
        &self,
        pairs: &BTreeSet<(NodeId, NodeId)>,
        joins: &[(NodeId, Vec<NodeId>)],
    ) -> BTreeMap<NodeId, u32> {
        let mut weights: BTreeMap<NodeId, u32> = BTreeMap::new();
        let ends = pairs.iter().flat_map(|(a, b)| [*a, *b]);
        let kept_out = joins.iter().flat_map(|(joiner, unreachable)| {
            let names = move |report: &Report| report.nodes.iter().any(|(node, _)| node == joiner);
            let by = self.reports.iter().filter(move |(_, report)| names(report));
            by.map(|(member, _)| *member).filter(|member| unreachable.contains(member))
        });
        let blamed = self.blamed.iter().map(|(node, ..)| *node);
        for node in ends.chain(kept_out).chain(blamed) {
            *weights.entry(node).or_default() += 1;
        }
        weights
    }
}

fn ordered(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

/// Whether `a` goes, and not `b`, which is higher-numbered.
fn goes_first(
    view: &View,
    leader: NodeId,
    weight: impl Fn(NodeId) -> u32,
    a: NodeId,
    b: NodeId,
) -> bool {
    let votes = |node: NodeId| view.voters().iter().any(|voter| voter.node == node);
    let (of_a, of_b) = (weight(a), weight(b));
    if [a, b].contains(&leader) {
        a != leader
    } else if of_a.abs_diff(of_b) >= 2 || votes(a) == votes(b) {
        of_a > of_b
    } else {
        votes(b)
    }
}

#[cfg(test)]
mod tests;
