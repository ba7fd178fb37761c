// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random trouble for a running cluster: one thing at a time goes wrong, for a while.
//!
//! # Invariants
//! The spared node is never killed, paused or cut off, as whoever types sits there; its links may be slow and
//! lossy. So a majority of three nodes stays able to talk whenever one is in trouble.

use crate::{Between, Fault, Order};
use std::time::Duration;

/// A thing that goes wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// How it begins.
    pub begins: Order,
    /// How long it lasts.
    pub lasts: Duration,
    /// How it ends.
    pub ends: Order,
    /// Quiet time after that.
    pub rest: Duration,
}

/// Thinks of trouble, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Troublemaker {
    rng: fastrand::Rng,
    nodes: u16,
    spared: u16,
}

impl Troublemaker {
    /// Trouble for the nodes 1 to `nodes`, of which one is spared.
    pub fn new(seed: u64, nodes: u16, spared: u16) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), nodes, spared }
    }

    /// A node that is not the spared one, nor `but`.
    fn victim(&mut self, but: Option<u16>) -> Option<u16> {
        let victims: Vec<u16> =
            (1..=self.nodes).filter(|node| *node != self.spared && Some(*node) != but).collect();
        self.rng.choice(victims)
    }

    /// A link, with the end at the spared node only if `any`.
    fn link(&mut self, any: bool) -> Option<(u16, u16)> {
        let a = self.victim(None)?;
        let b = match self.victim(Some(a)) {
            Some(b) if !any || self.rng.bool() => b,
            _ if any => self.spared,
            _ => return None,
        };
        Some((a, b))
    }

    fn ms(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }
}

impl Iterator for Troublemaker {
    type Item = Trouble;

    fn next(&mut self) -> Option<Trouble> {
        let node = self.victim(None)?;
        let (begins, ends, lasts) = match self.rng.u8(0..10) {
            0..3 => (Order::Kill { node }, Order::Boot { node }, self.ms(0..6000)),
            // Some so short that nobody notices, some so long that the node is let go.
            3..5 => (Order::Pause { node }, Order::Resume { node }, self.ms(50..1500)),
            5 => (Order::Pause { node }, Order::Resume { node }, self.ms(5000..15_000)),
            kind => {
                let cut = kind == 6;
                let (a, b) = self.link(!cut).or_else(|| self.link(true))?;
                let cut = cut && ![a, b].contains(&self.spared);
                let fault = match kind {
                    _ if cut => Fault::Cut,
                    7 => Fault::SlowMs(self.rng.u64(5..80)),
                    _ => Fault::LosePercent(self.rng.u32(1..30)),
                };
                let link = Between { a, b, one_way: self.rng.u8(0..4) == 0 };
                let heal = Order::Heal { link: Some((a, b)) };
                (Order::Worsen { link, fault }, heal, self.ms(500..8000))
            }
        };
        Some(Trouble { begins, lasts, ends, rest: self.ms(200..3000) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_a_seed_is_always_the_same() {
        let some = |seed| Troublemaker::new(seed, 3, 1).take(50).collect::<Vec<_>>();
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }

    #[test]
    fn spared_node_is_not_cut_off_and_all_kinds_come() {
        let (mut kills, mut pauses, mut cuts, mut others) = (0, 0, 0, 0);
        for it in Troublemaker::new(1, 3, 2).take(1000) {
            match it.begins {
                Order::Kill { node } => {
                    kills += 1;
                    assert_ne!(node, 2);
                }
                Order::Pause { node } => {
                    pauses += 1;
                    assert_ne!(node, 2);
                }
                Order::Worsen { link, fault: Fault::Cut } => {
                    cuts += 1;
                    assert!(link.a != 2 && link.b != 2 && link.a != link.b);
                }
                Order::Worsen { link, .. } => {
                    others += 1;
                    assert_ne!(link.a, link.b);
                }
                order @ (Order::Boot { .. } | Order::Resume { .. } | Order::Heal { .. }) => {
                    panic!("{order} is no trouble")
                }
            }
        }
        assert!([kills, pauses, cuts, others].iter().all(|count| *count > 50));
    }

    #[test]
    fn two_nodes_have_one_victim_and_one_node_has_none() {
        assert!(Troublemaker::new(1, 1, 1).next().is_none());
        for it in Troublemaker::new(1, 2, 1).take(100) {
            assert!(!matches!(it.begins, Order::Worsen { fault: Fault::Cut, .. }));
        }
    }
}
