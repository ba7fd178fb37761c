// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a page whose holders have all reported: who owns it, and who has to change what it holds.
//!
//! # Model
//! | reports hold | new owner | others |
//! | --- | --- | --- |
//! | an owner X | X | copies stay, unless X alone may write; what is kept goes |
//! | no owner, copies | a copy, the home's if it has one | the other copies stay; what is kept goes |
//! | no owner, no copy, one kept for a request that a member still waits with | one that kept it | |
//! | none of these, but something kept | none: lost | it goes |
//! | nothing | none | |
//!
//! Why copies are always good: nobody writes before all who hold one have acknowledged that they dropped it. Why
//! what is kept need not be: its taker may have had it, written it and given it on, all within one round, while
//! who kept it was in the next one already, for which the taker's word that it has come is void. If the taker
//! still waits with that very request, it has not come, and nobody has written it since.
//!
//! # Failure
//! Reports come from other nodes. Of two that claim to own a page the first is believed; the other loses it.
//!
//! # Source
//! PROTOCOLS, 3.6.

use abi::NodeId;
use alloc::vec::Vec;
use mem_api::peer::{Held, Verdict};

/// Who holds a page, and how.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sighting(Vec<(NodeId, Held)>);

/// The place of a page, and what its holders are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Decision {
    /// `None`: nobody has it.
    pub(crate) owner: Option<NodeId>,
    /// Copies, without the owner.
    pub(crate) copies: Vec<NodeId>,
    /// Who has to change what it holds.
    pub(crate) orders: Vec<(NodeId, Verdict)>,
}

impl Sighting {
    /// A node reports how it holds the page, or that it waits for it. What it says a second time is not believed.
    pub(crate) fn add(&mut self, node: NodeId, held: Held) {
        if self.0.iter().all(|(known, it)| *known != node || it.is_here() != held.is_here()) {
            self.0.push((node, held));
        }
    }

    /// Whether anybody has anything of the page.
    pub(crate) fn is_anywhere(&self) -> bool {
        self.0.iter().any(|(_, held)| held.is_here())
    }

    /// The page is lost, whatever is left of it.
    pub(crate) fn lose(&self) -> Decision {
        let holders = self.0.iter().filter(|(_, held)| held.is_here());
        let orders = holders.map(|(node, _)| (*node, Verdict::Drop)).collect();
        Decision { owner: None, copies: Vec::new(), orders }
    }

    /// A mistake made on purpose: takes all that is kept for a member as not come.
    pub(crate) fn believe_keepers(&mut self) {
        for at in 0..self.0.len() {
            if let (_, Held::Kept(taker)) = self.0[at]
                && let Some(node) = NodeId::new(taker.node)
            {
                self.0.push((node, Held::Awaited(taker.number)));
            }
        }
    }

    /// Whether it has not come to who is to have it, a member in the life in which it reported.
    fn is_awaited(&self, held: Held, lives: impl Fn(NodeId) -> bool) -> bool {
        let Held::Kept(taker) = held else { return false };
        let Some(node) = NodeId::new(taker.node) else { return false };
        lives(node) && self.0.contains(&(node, Held::Awaited(taker.number)))
    }

    /// Decides. `lives`: a member in the life in which it reported; `home` is preferred.
    pub(crate) fn decide(&self, home: NodeId, lives: impl Fn(NodeId) -> bool) -> Decision {
        let first = |wanted: &dyn Fn(Held) -> bool| {
            let mut found = self.0.iter().filter(|(_, held)| wanted(*held)).map(|(node, _)| *node);
            found.next()
        };
        let sole = first(&|held| held == Held::Only);
        let owner = sole.or_else(|| first(&|held| held == Held::Owner));
        let home_copy = self.0.contains(&(home, Held::Copy)).then_some(home);
        let copy = home_copy.or_else(|| first(&|held| held == Held::Copy));
        let kept = || first(&|held| self.is_awaited(held, &lives));
        let Some(owner) = owner.or(copy).or_else(kept) else { return self.lose() };
        let mut decision = Decision { owner: Some(owner), copies: Vec::new(), orders: Vec::new() };
        for &(node, held) in &self.0 {
            let verdict = match held {
                Held::Awaited(_) => continue,
                Held::Only | Held::Owner if node == owner => continue,
                Held::Copy | Held::Kept(_) if node == owner => Verdict::Own,
                Held::Copy if sole.is_none() => {
                    decision.copies.push(node);
                    continue;
                }
                Held::Only | Held::Owner | Held::Copy | Held::Kept(_) => Verdict::Drop,
            };
            decision.orders.push((node, verdict));
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use mem_api::peer::Taker;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).expect("a node's number")
    }

    /// Decides at node 1, with nodes 1 to 4 alive.
    fn decide(reports: &[(u16, Held)]) -> (Option<u16>, Vec<u16>, Vec<(u16, Verdict)>) {
        let mut sighting = Sighting::default();
        for (number, held) in reports {
            sighting.add(node(*number), *held);
        }
        let Decision { owner, copies, orders } = sighting.decide(node(1), |it| it.get() < 5);
        let orders = orders.into_iter().map(|(node, verdict)| (node.get(), verdict)).collect();
        (owner.map(NodeId::get), copies.into_iter().map(NodeId::get).collect(), orders)
    }

    use Held::{Awaited, Copy, Only, Owner};
    use Verdict::{Drop, Own};

    fn kept(node: u16, number: u32) -> Held {
        Held::Kept(Taker { node, number })
    }

    #[test]
    fn owner_keeps_the_page_and_copies_stay() {
        assert_eq!(decide(&[(2, Copy), (3, Owner)]), (Some(3), vec![2], vec![]));
        assert_eq!(decide(&[(3, Only)]), (Some(3), vec![], vec![]));
    }

    #[test]
    fn what_is_kept_goes_where_there_is_an_owner_or_a_copy() {
        assert_eq!(decide(&[(2, kept(3, 1)), (3, Owner)]), (Some(3), vec![], vec![(2, Drop)]));
        assert_eq!(decide(&[(2, kept(4, 1)), (3, Only)]), (Some(3), vec![], vec![(2, Drop)]));
        let waits = [(2, kept(4, 1)), (4, Awaited(1)), (3, Copy)];
        assert_eq!(decide(&waits), (Some(3), vec![], vec![(2, Drop), (3, Own)]));
        let given_on = [(2, kept(4, 1)), (3, Copy)];
        assert_eq!(decide(&given_on), (Some(3), vec![], vec![(2, Drop), (3, Own)]));
    }

    #[test]
    fn page_that_has_not_come_is_owned_again() {
        assert_eq!(decide(&[(4, Awaited(7)), (2, kept(4, 7))]), (Some(2), vec![], vec![(2, Own)]));
        // Node 4 had it once, and gave it to node 3, which gives it back.
        let back = [(2, kept(4, 6)), (4, kept(3, 1)), (4, Awaited(7)), (3, kept(4, 7))];
        assert_eq!(decide(&back), (Some(3), vec![], vec![(2, Drop), (4, Drop), (3, Own)]));
    }

    #[test]
    fn page_that_has_come_and_was_given_on_is_lost() {
        assert_eq!(decide(&[(2, kept(4, 7))]), (None, vec![], vec![(2, Drop)]));
        assert_eq!(decide(&[(2, kept(4, 7)), (4, Awaited(8))]), (None, vec![], vec![(2, Drop)]));
    }

    #[test]
    fn page_kept_for_who_is_gone_is_lost() {
        assert_eq!(decide(&[(2, kept(9, 1)), (9, Awaited(1))]), (None, vec![], vec![(2, Drop)]));
        assert_eq!(decide(&[(2, kept(0, 1))]), (None, vec![], vec![(2, Drop)]));
    }

    #[test]
    fn copy_is_elected_the_homes_first() {
        assert_eq!(decide(&[(2, Copy), (3, Copy)]), (Some(2), vec![3], vec![(2, Own)]));
        assert_eq!(decide(&[(2, Copy), (1, Copy)]), (Some(1), vec![2], vec![(1, Own)]));
    }

    #[test]
    fn second_owner_is_not_believed() {
        assert_eq!(decide(&[(2, Owner), (3, Owner)]), (Some(2), vec![], vec![(3, Drop)]));
        assert_eq!(
            decide(&[(2, Owner), (3, Only), (4, Copy)]),
            (Some(3), vec![], vec![(2, Drop), (4, Drop)])
        );
        assert_eq!(decide(&[(2, Copy), (2, Only)]), (Some(2), vec![], vec![(2, Own)]));
    }

    #[test]
    fn page_that_nobody_reports_has_no_owner() {
        assert_eq!(decide(&[]), (None, vec![], vec![]));
    }
}
