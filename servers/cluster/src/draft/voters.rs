// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who votes in the next view: voters follow the members, by one change in a view.
//!
//! # Model
//! The first of these that applies:
//!
//! 1. A voter that came back with another disk votes with that one: its old vote is lost.
//! 2. A voter that wishes to leave, or whose key was revoked, is replaced by a member that does not vote yet, or stops voting if
//!    there is none.
//! 3. Members that do not vote are made voters: one if the number of voters is even, else two.
//!
//! A voter that is no member keeps its vote: it may come back, with what it remembers.
//!
//! # How many
//! One more voter makes a majority of an even number no larger: always good, whoever is dead. But it makes
//! a majority of an odd number one larger: as many may fail as before, of more, and if a
//! voter is dead already one node more must not fail. So an odd number grows by two at once, and then one
//! more may fail than before. A dead voter does not forbid that, it is what makes it worth while; and if one
//! of the two dies at this very moment, the other one makes up for it. One by one would not do: a node
//! that alone remembers, and then votes with one that loses its disk before a third follows, can never agree
//! again. A member that is one too many waits to replace somebody.
//!
//! # Founders
//! Nodes that know of no cluster found one when all founders know of none. That none is left then is sure while other
//! nodes are no majority of the voters, so growing never makes them one. But a founder that wishes to leave is
//! replaced by whoever there is: somebody decided that.
//!
//! # Invariants
//! Who is named for 2 and 3 has a majority that lives, as the voters before, and for 2 one at least that stays:
//! else the change of voters could not be completed, and nothing be agreed until somebody is back.

use super::Draft;
use crate::limits::VOTERS_MAX;
use crate::{Member, Voter};
use abi::NodeId;
use alloc::vec::Vec;

impl Draft<'_> {
    /// Lets the voters follow the members, unless other voters were asked for. `lives` are members of
    /// which is known that they do: the wish of a former start may come late, and be granted to nobody.
    /// `founders` are none if a cluster is never founded by its nodes.
    pub fn settle_voters(&mut self, founders: &[NodeId], lives: impl Fn(&Member) -> bool) {
        if self.voters.is_none() {
            let lives = |member: &Member| lives(member) && !self.is_revoked(member.node);
            let revoked = |node: NodeId| self.is_revoked(node);
            let ballot = Ballot {
                voters: &self.old.voters,
                members: &self.members,
                founders,
                lives,
                revoked,
            };
            self.voters = ballot
                .with_new_disk()
                .or_else(|| ballot.without_leaver())
                .or_else(|| ballot.grown());
        }
    }
}

/// What decides who votes next.
struct Ballot<'a, L, R> {
    voters: &'a [Voter],
    members: &'a [Member],
    founders: &'a [NodeId],
    /// Nobody whose key is revoked does.
    lives: L,
    revoked: R,
}

impl<L: Fn(&Member) -> bool, R: Fn(NodeId) -> bool> Ballot<'_, L, R> {
    fn with_new_disk(&self) -> Option<Vec<Voter>> {
        let other = |voter: &Voter| {
            self.member(voter.node)
                .filter(|member| member.disk > voter.disk && (self.lives)(member))
        };
        let (at, member) =
            self.voters.iter().enumerate().find_map(|(at, voter)| Some((at, other(voter)?)))?;
        let mut voters = self.voters.to_vec();
        voters[at].disk = member.disk;
        Some(voters)
    }

    fn without_leaver(&self) -> Option<Vec<Voter>> {
        let successor = self.candidates().first().copied();
        // Who has not been heard of yet lives, or is let go soon: either is another view.
        if successor.is_none() && self.spare().next().is_some() {
            return None;
        }
        let drains = |node| self.member(node).is_some_and(|member| member.draining);
        let leaves = |voter: &Voter| drains(voter.node) || (self.revoked)(voter.node);
        let leavers = self.voters.iter().filter(|voter| leaves(voter));
        let mut next = leavers.map(|leaver| {
            let others = self.voters.iter().filter(|voter| *voter != leaver).copied();
            sorted(others.chain(successor))
        });
        next.find(|voters| self.can_follow(voters) && voters.iter().any(|voter| self.stays(voter)))
    }

    fn grown(&self) -> Option<Vec<Voter>> {
        let candidates = self.candidates();
        let new = candidates.get(..1 + self.voters.len() % 2)?;
        let all = [self.voters, new].concat();
        let of_founders = all.iter().filter(|voter| self.founders.contains(&voter.node)).count();
        let is_bound = self.founders.is_empty() || of_founders > (all.len() - 1) / 2;
        let may = all.len() <= VOTERS_MAX && is_bound && self.can_follow(&all);
        may.then(|| sorted(all.into_iter()))
    }

    fn member(&self, node: NodeId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&node, |member| member.node).ok()?;
        Some(&self.members[at])
    }

    /// Members that stay and do not vote.
    fn spare(&self) -> impl Iterator<Item = &Member> {
        let votes = |node| self.voters.iter().any(|voter| voter.node == node);
        let stays = |member: &&Member| !member.draining && !(self.revoked)(member.node);
        self.members.iter().filter(stays).filter(move |member| !votes(member.node))
    }

    /// Those of them that could vote now: founders first, whom those ask who know of no view, and of the others
    /// those who have been here for long.
    fn candidates(&self) -> Vec<Voter> {
        let mut members: Vec<&Member> =
            self.spare().filter(|member| (self.lives)(member)).collect();
        members.sort_by_key(|member| (!self.founders.contains(&member.node), member.disk));
        members.iter().map(|member| Voter { node: member.node, disk: member.disk }).collect()
    }

    /// The voter's member, if it can answer now.
    fn living(&self, voter: &Voter) -> Option<&Member> {
        self.member(voter.node).filter(|member| member.disk == voter.disk && (self.lives)(member))
    }

    fn stays(&self, voter: &Voter) -> bool {
        self.living(voter).is_some_and(|member| !member.draining)
    }

    /// Whether these could follow the voters there are: a majority of both is needed.
    fn can_follow(&self, voters: &[Voter]) -> bool {
        let live = |set: &[Voter]| set.iter().filter(|voter| self.living(voter).is_some()).count();
        [self.voters, voters].iter().all(|set| live(set) > set.len() / 2)
    }
}

fn sorted(voters: impl Iterator<Item = Voter>) -> Vec<Voter> {
    let mut voters: Vec<Voter> = voters.collect();
    voters.sort_unstable();
    voters
}
