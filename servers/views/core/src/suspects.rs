// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links that are cut between members who both reach the leader: which of the two goes.
//!
//! # Model
//! Members tell the leader whom they cannot reach, and repeat it while it holds. A *report* is of one
//! member about another, with both incarnations. It counts if it is *confirmed*: the other one
//! reports the same; or two members report the same one; or one of the two is the leader. Of each
//! pair that is confirmed for [`PAIR_NS`] one member is a *victim*: it gets no more leases, and leaves
//! when its own is over. If the reports end before, it stays.
//!
//! A pair counts only while both ask the leader for leases: a member that crashes is reported by all, and
//! leaves by itself, with nobody else.
//!
//! Who goes, of a pair:
//! 1. never the leader, which only judges while a majority of the voters answers it;
//! 2. who has two more against it than the other: it is probably to blame, and goes alone;
//! 3. who does not vote;
//! 4. who has more against it;
//! 5. the higher-numbered.
//!
//! What there is against a member: the pairs that it is in; the nodes outside that it keeps out and that
//! say so, too; and, for a minute, up to [`BLAMED_MAX`] members that went in its stead by rules 3 to 5.
//!
//! A node outside is admitted when no member reports it. If it has no link to that member either, or two
//! report it, that lasts as long as the reports; else a few seconds, and then the pair is judged as
//! members.
//!
//! # What a hostile member can do
//! - *Reports what is not so, alone*: against members, nothing. A node that joins is kept out for
//!   [`JOIN_DOUBT_NS`].
//! - *Cuts its own links*: the other one reports it truly, and one of the two goes. The first time it
//!   may be the other. That, and that it keeps the other out, count against it: the second time it
//!   goes itself (rule 2).
//! - *Two together* can throw out one that does not vote, or, if both vote, any; but not the leader.
//!   Three can throw out a voter. It still votes then, and joins again when they stop. More can do more.
//! - *Reports the leader*: goes itself.
//! - *A hostile leader* needs no reports: it can let anybody go.
//!
//! # Limits
//! [`NAMED_MAX`] nodes per report, one report per member, [`SUSPECTED_NS`] after it was last heard.

use crate::limits::{BLAMED_MAX, BLAMED_NS, JOIN_DOUBT_NS, NAMED_MAX, PAIR_NS, SUSPECTED_NS};
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
    /// It might as well have been the other one.
    in_doubt: bool,
}

/// What a leader knows of links that are cut.
#[derive(Debug, Default)]
pub struct Suspects {
    reports: BTreeMap<NodeId, Report>,
    victims: BTreeMap<NodeId, Victim>,
    /// Pairs that are confirmed, and since when.
    pairs: BTreeMap<(NodeId, NodeId), u64>,
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
            if !stays && victim.in_doubt {
                self.blamed.push((victim.other, victim.other_life, now));
            }
            stays
        });
        self.reports.retain(|node, report| lives(*node, report.life));
        self.blamed.retain(|(node, life, _)| lives(*node, *life));
    }

    /// Decides who is to go. `hears` says of whom the leader hears; `joins` are the nodes outside
    /// that ask to be admitted, and whom they cannot reach.
    pub fn judge<R: Rules>(
        &mut self,
        now: u64,
        view: &View,
        leader: NodeId,
        hears: impl Fn(NodeId) -> bool,
        joins: &[(NodeId, Vec<NodeId>)],
    ) {
        self.reports.retain(|_, report| now <= report.at + SUSPECTED_NS);
        self.blamed.retain(|(_, _, at)| now <= *at + BLAMED_NS);
        if self.reports.is_empty() {
            self.pairs.clear();
            self.victims.clear();
            return;
        }
        let confirmed = self.confirmed::<R>(view, leader);
        let both = |(a, b): &&(NodeId, NodeId)| hears(*a) && hears(*b);
        let since = |pair| (pair, self.pairs.get(&pair).copied().unwrap_or(now));
        self.pairs = confirmed.iter().filter(both).copied().map(since).collect();
        let pairs = &self.pairs;
        self.victims.retain(|node, victim| pairs.contains_key(&ordered(*node, victim.other)));
        let weights = self.weights(joins);
        let weight = |node: NodeId| weights.get(&node).copied().unwrap_or(0);
        let due = self.pairs.iter().filter(|(_, since)| now >= **since + PAIR_NS);
        let mut due: Vec<(NodeId, NodeId)> = due.map(|(pair, _)| *pair).collect();
        // Whoever is in many pairs goes first, so that nobody else has to go for it.
        due.sort_by_key(|(a, b)| core::cmp::Reverse(weight(*a).max(weight(*b))));
        for (a, b) in due {
            if self.victims.contains_key(&a) || self.victims.contains_key(&b) {
                continue;
            }
            let in_doubt = ![a, b].contains(&leader) && weight(a).abs_diff(weight(b)) < 2;
            let goes = if in_doubt {
                goes_in_doubt(view, weight, a, b)
            } else {
                goes_for_sure(leader, weight, a, b)
            };
            let (node, other) = if goes { (a, b) } else { (b, a) };
            if let (Some(this), Some(that)) = (view.member(node), view.member(other)) {
                let (life, other_life) = (this.incarnation, that.incarnation);
                self.victims.insert(node, Victim { life, other, other_life, in_doubt });
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

    /// What there is against each member.
    fn weights(&self, joins: &[(NodeId, Vec<NodeId>)]) -> BTreeMap<NodeId, usize> {
        let mut weights: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (node, ..) in &self.blamed {
            let weight = weights.entry(*node).or_default();
            *weight = (*weight + 1).min(BLAMED_MAX);
        }
        let ends = self.pairs.keys().flat_map(|(a, b)| [*a, *b]);
        let kept_out = joins.iter().flat_map(|(joiner, unreachable)| {
            let names = move |report: &Report| report.nodes.iter().any(|(node, _)| node == joiner);
            let by = self.reports.iter().filter(move |(_, report)| names(report));
            by.map(|(member, _)| *member).filter(|member| unreachable.contains(member))
        });
        for node in ends.chain(kept_out) {
            *weights.entry(node).or_default() += 1;
        }
        weights
    }
}

fn ordered(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

/// Whether `a` goes, and not `b`, by rules 1 and 2.
fn goes_for_sure(leader: NodeId, weight: impl Fn(NodeId) -> usize, a: NodeId, b: NodeId) -> bool {
    if [a, b].contains(&leader) { b == leader } else { weight(a) > weight(b) }
}

/// Whether `a` goes, and not `b`, which is higher-numbered, by rules 3 to 5.
fn goes_in_doubt(view: &View, weight: impl Fn(NodeId) -> usize, a: NodeId, b: NodeId) -> bool {
    let votes = |node: NodeId| view.voters().iter().any(|voter| voter.node == node);
    if votes(a) == votes(b) { weight(a) > weight(b) } else { votes(b) }
}

#[cfg(test)]
mod tests;
