// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes on a wire that delays, drops, repeats and reorders, in virtual time, from one seed.

pub(crate) use crate::member::{config, mac, node_id, secret};
use crate::{Item, Net};
use abi::{Errno, ServerId};
use net_api::{Cause, LinkFigures};
use runtime::node::{Lane, Urge};
use std::collections::BTreeMap;
use std::vec::Vec;

pub(crate) const MS: u64 = 1_000_000;

/// What the wire does to frames; rates are per 1,000 frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) delay_ns: u64,
    /// Time that a byte takes on the line of its sender; frames wait for each other there.
    pub(crate) byte_ns: u64,
    pub(crate) jitter_ns: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) damaged: u64,
}

pub(crate) const PERFECT: Faults =
    Faults { delay_ns: MS / 10, byte_ns: 0, jitter_ns: 0, lost: 0, repeated: 0, damaged: 0 };
pub(crate) const BAD: Faults =
    Faults { delay_ns: MS, byte_ns: 0, jitter_ns: 3 * MS, lost: 100, repeated: 50, damaged: 20 };

pub(crate) struct Sim {
    pub(crate) nodes: Vec<Net>,
    pub(crate) now_ns: u64,
    pub(crate) faults: Faults,
    /// Pairs (from, to) between which nothing travels.
    pub(crate) cut: Vec<(usize, usize)>,
    pub(crate) frames: u64,
    /// Who sent what, if it is to be kept.
    pub(crate) tap: Option<Vec<(usize, Vec<u8>)>>,
    /// When the line of each node is free again.
    busy_ns: Vec<u64>,
    wire: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    random: u64,
    serial: u64,
}

impl Sim {
    pub(crate) fn new(count: usize, seed: u64, faults: Faults) -> Self {
        let nodes = (0..count).map(|i| Net::new(&config(i, count, seed), 0)).collect();
        let busy_ns = std::vec![0; count];
        let (wire, random) = (BTreeMap::new(), seed.wrapping_mul(2) | 1);
        Self {
            nodes,
            now_ns: 0,
            faults,
            cut: Vec::new(),
            frames: 0,
            tap: None,
            busy_ns,
            wire,
            random,
            serial: 0,
        }
    }

    /// xorshift64*, for the wire and for tests.
    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below.max(1)
    }

    fn transmit(&mut self) {
        let mut frame = Vec::new();
        for from in 0..self.nodes.len() {
            while self.nodes[from].next_frame(self.now_ns, &mut frame) {
                self.frames += 1;
                if let Some(tap) = &mut self.tap {
                    tap.push((from, frame.clone()));
                }
                let to = usize::from(frame[5]) - 1;
                self.put(from, to, frame.clone());
            }
        }
    }

    pub(crate) fn put(&mut self, from: usize, to: usize, mut frame: Vec<u8>) {
        let Faults { delay_ns, byte_ns, jitter_ns, lost, repeated, damaged } = self.faults;
        if self.cut.contains(&(from, to)) || self.random(1000) < lost {
            return;
        }
        let copies = if self.random(1000) < repeated { 2 } else { 1 };
        if self.random(1000) < damaged {
            let at = self.random(frame.len() as u64) as usize;
            frame[at] ^= 1 << self.random(8);
        }
        for _ in 0..copies {
            self.busy_ns[from] = self.busy_ns[from].max(self.now_ns) + frame.len() as u64 * byte_ns;
            let at_ns = self.busy_ns[from] + delay_ns + self.random(jitter_ns + 1);
            self.serial += 1;
            self.wire.insert((at_ns, self.serial), (to, frame.clone()));
        }
    }

    /// Runs until `until_ns`.
    pub(crate) fn run_until(&mut self, until_ns: u64) {
        loop {
            self.transmit();
            let arrival = self.wire.first_key_value().map(|((at_ns, _), _)| *at_ns);
            let timer = self.nodes.iter().filter_map(Net::deadline_ns).min();
            let next = arrival.into_iter().chain(timer).min().unwrap_or(u64::MAX);
            if next > until_ns {
                self.now_ns = until_ns;
                return;
            }
            self.now_ns = self.now_ns.max(next);
            while let Some(entry) = self.wire.first_entry()
                && entry.key().0 <= self.now_ns
            {
                let (to, mut frame) = entry.remove();
                self.nodes[to].received(&mut frame, self.now_ns);
            }
            for node in &mut self.nodes {
                node.tick(self.now_ns);
            }
        }
    }

    pub(crate) fn run(&mut self, ns: u64) {
        self.run_until(self.now_ns + ns);
    }

    /// A node is restarted: everything it knew is gone.
    pub(crate) fn reboot(&mut self, index: usize, boot: u64) {
        let count = self.nodes.len();
        self.nodes[index] = Net::new(&config(index, count, boot), self.now_ns);
    }

    pub(crate) fn send(
        &mut self,
        from: usize,
        to: usize,
        lane: Lane,
        data: &[u8],
    ) -> Result<(), Errno> {
        self.nodes[from].send(node_id(to), (lane, Urge::New), ServerId::Mem, data.to_vec())
    }

    pub(crate) fn take(&mut self, node: usize) -> Option<Item> {
        let taken = self.nodes[node].take(ServerId::Mem, usize::MAX, self.now_ns);
        taken.expect("it fits").map(|(item, _)| item)
    }

    pub(crate) fn take_all(&mut self, node: usize) -> Vec<Item> {
        core::iter::from_fn(|| self.take(node)).collect()
    }

    /// What node `at` says of its link to node `to`.
    pub(crate) fn figures(&self, at: usize, to: usize) -> LinkFigures {
        self.nodes[at].figures(node_id(to)).expect("a link")
    }

    /// How many frames of node `from` node `at` dropped for this cause.
    pub(crate) fn drops(&self, at: usize, from: usize, cause: Cause) -> u64 {
        self.figures(at, from).drops.of(cause)
    }

    /// Brings all links up and takes the marks.
    pub(crate) fn meet(&mut self) {
        self.run(3000 * MS);
        for node in 0..self.nodes.len() {
            let marks = self.take_all(node);
            assert!(matches!(marks.last(), Some(Item::Up(_))), "links come up: {marks:?}");
        }
    }
}
