// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a page whose holders have all reported: who owns it, and who has to change what it holds.
//!
//! # Model
//! | reports hold | new owner | others |
//! | --- | --- | --- |
//! | an owner X | X | copies stay; kept for X, or X alone may write: goes; kept for others: becomes a copy |
//! | no owner, one kept for a member, or kept and a copy | one that kept it | copies stay |
//! | no owner, none kept, copies | a copy, the home's if it has one | the other copies stay |
//! | only kept for who is gone | none: lost | it goes, as who is gone may have written |
//! | nothing | none | |
//!
//! Why a page that is kept may be owned again: who was to have it and has reported without it never wrote; nor
//! did it while anybody had a valid copy.
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
    /// A node reports the page. One that does so twice is not believed the second time.
    pub(crate) fn add(&mut self, node: NodeId, held: Held) {
        if self.0.iter().all(|(known, _)| *known != node) {
            self.0.push((node, held));
        }
    }

    /// The page is lost, whatever is left of it.
    pub(crate) fn lose(&self) -> Decision {
        let orders = self.0.iter().map(|(node, _)| (*node, Verdict::Drop)).collect();
        Decision { owner: None, copies: Vec::new(), orders }
    }

    /// Decides. `lives`: a member in the life in which it reported; `home` is preferred.
    pub(crate) fn decide(&self, home: NodeId, lives: impl Fn(NodeId) -> bool) -> Decision {
        let first = |wanted: &dyn Fn(Held) -> bool| {
            let mut found = self.0.iter().filter(|(_, held)| wanted(*held)).map(|(node, _)| *node);
            found.next()
        };
        let sole = first(&|held| held == Held::Only);
        let owner = sole.or_else(|| first(&|held| held == Held::Owner));
        let is_kept = |held: Held| matches!(held, Held::Kept(_));
        let for_a_member = |held: Held| match held {
            Held::Kept(to) => NodeId::new(to).is_some_and(&lives),
            Held::Copy | Held::Owner | Held::Only => false,
        };
        let any_copy = first(&|held| held == Held::Copy);
        let kept = first(&for_a_member).or_else(|| any_copy.and_then(|_| first(&is_kept)));
        let home_copy = self.0.contains(&(home, Held::Copy)).then_some(home);
        let Some(owner) = owner.or(kept).or(home_copy).or(any_copy) else { return self.lose() };
        let mut decision = Decision { owner: Some(owner), copies: Vec::new(), orders: Vec::new() };
        for &(node, held) in &self.0 {
            let verdict = match held {
                Held::Only | Held::Owner if node == owner => continue,
                Held::Copy | Held::Kept(_) if node == owner => Verdict::Own,
                Held::Only | Held::Owner => Verdict::Drop,
                _ if sole.is_some() => Verdict::Drop,
                Held::Kept(to) if to == owner.get() => Verdict::Drop,
                Held::Kept(_) => Verdict::Share,
                Held::Copy => {
                    decision.copies.push(node);
                    continue;
                }
            };
            if verdict == Verdict::Share {
                decision.copies.push(node);
            }
            decision.orders.push((node, verdict));
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

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

    use Held::{Copy, Kept, Only, Owner};
    use Verdict::{Drop, Own, Share};

    #[test]
    fn owner_keeps_the_page_and_copies_stay() {
        assert_eq!(decide(&[(2, Copy), (3, Owner)]), (Some(3), vec![2], vec![]));
        assert_eq!(decide(&[(3, Only)]), (Some(3), vec![], vec![]));
    }

    #[test]
    fn what_was_kept_for_the_owner_goes() {
        assert_eq!(decide(&[(2, Kept(3)), (3, Owner)]), (Some(3), vec![], vec![(2, Drop)]));
        assert_eq!(decide(&[(2, Kept(3)), (3, Only)]), (Some(3), vec![], vec![(2, Drop)]));
    }

    #[test]
    fn what_was_kept_for_another_than_the_owner_is_a_copy() {
        assert_eq!(decide(&[(2, Kept(4)), (3, Owner)]), (Some(3), vec![2], vec![(2, Share)]));
        assert_eq!(decide(&[(2, Kept(9)), (3, Only)]), (Some(3), vec![], vec![(2, Drop)]));
    }

    #[test]
    fn kept_page_is_owned_again_before_any_copy() {
        assert_eq!(decide(&[(2, Kept(4))]), (Some(2), vec![], vec![(2, Own)]));
        assert_eq!(decide(&[(3, Copy), (2, Kept(9))]), (Some(2), vec![3], vec![(2, Own)]));
    }

    #[test]
    fn page_kept_for_who_is_gone_is_lost() {
        assert_eq!(decide(&[(2, Kept(9))]), (None, vec![], vec![(2, Drop)]));
        assert_eq!(decide(&[(2, Kept(0))]), (None, vec![], vec![(2, Drop)]));
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
