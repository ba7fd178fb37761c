// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Ethernet between the nodes: frames are late, lost, doubled and overtaken, by chance.

use crate::rng::Rng;
use abi::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What the wire does to frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weather {
    /// Shortest way of a frame, in nanoseconds.
    pub delay_min_ns: u64,
    /// Longest way: frames overtake each other in between.
    pub delay_max_ns: u64,
    /// Frames of 100 that are lost.
    pub loss_percent: u64,
    /// Frames of 100 that arrive twice.
    pub double_percent: u64,
}

impl Weather {
    /// A good network.
    pub const FAIR: Self =
        Self { delay_min_ns: 20_000, delay_max_ns: 60_000, loss_percent: 0, double_percent: 0 };
    /// A bad one.
    pub const STORM: Self =
        Self { delay_min_ns: 20_000, delay_max_ns: 2_000_000, loss_percent: 3, double_percent: 3 };
}

/// All links.
pub struct Wire {
    weather: Weather,
    rng: Rng,
    /// Frames under way, by time of arrival and number.
    flying: BTreeMap<(u64, u64), (NodeId, Vec<u8>)>,
    /// Pairs whose link is cut, the smaller node first.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Frames that were sent.
    pub sent: u64,
}

/// The Ethernet address of a node.
pub fn mac(node: NodeId) -> [u8; 6] {
    let [high, low] = node.get().to_be_bytes();
    [2, 0, 0, 0, high, low]
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl Wire {
    /// A wire without frames.
    pub fn new(weather: Weather, seed: u64) -> Self {
        let (flying, cut) = (BTreeMap::new(), BTreeSet::new());
        Self { weather, rng: Rng::new(seed), flying, cut, sent: 0 }
    }

    /// Sends an Ethernet frame.
    pub fn send(&mut self, from: NodeId, now_ns: u64, frame: &[u8]) {
        let Some(to) = destination(frame) else { return };
        self.sent += 1;
        let weather = self.weather;
        let lost = self.rng.chance(weather.loss_percent);
        if lost || self.cut.contains(&pair(from, to)) {
            return;
        }
        let copies = if self.rng.chance(weather.double_percent) { 2 } else { 1 };
        for copy in 0..copies {
            let spread = weather.delay_max_ns - weather.delay_min_ns + 1;
            let at = now_ns + weather.delay_min_ns + self.rng.below(spread);
            self.flying.insert((at, self.sent * 2 + copy), (to, frame.to_vec()));
        }
    }

    /// The next frame that has arrived.
    pub fn arrived(&mut self, now_ns: u64) -> Option<(NodeId, Vec<u8>)> {
        let (&(at, _), _) = self.flying.first_key_value()?;
        if at > now_ns {
            return None;
        }
        self.flying.pop_first().map(|(_, frame)| frame)
    }

    /// When the next frame arrives.
    pub fn next_ns(&self) -> Option<u64> {
        self.flying.first_key_value().map(|(key, _)| key.0)
    }

    /// Cuts the link between two nodes, or mends it.
    pub fn set_cut(&mut self, a: NodeId, b: NodeId, cut: bool) {
        if cut {
            self.cut.insert(pair(a, b));
        } else {
            self.cut.remove(&pair(a, b));
        }
    }
}

fn destination(frame: &[u8]) -> Option<NodeId> {
    match frame.first_chunk()? {
        [2, 0, 0, 0, high, low] => NodeId::new(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}
