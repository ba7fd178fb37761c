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
    /// Ways that are cut: from, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Ways that are slow: from, to, and by how many nanoseconds.
    slow: BTreeMap<(NodeId, NodeId), u64>,
    /// Frames that were sent.
    pub sent: u64,
    /// Bytes in them.
    pub sent_bytes: u64,
}

/// The Ethernet address of a node.
pub fn mac(node: NodeId) -> [u8; 6] {
    let [high, low] = node.get().to_be_bytes();
    [2, 0, 0, 0, high, low]
}

impl Wire {
    /// A wire without frames.
    pub fn new(weather: Weather, seed: u64) -> Self {
        let (flying, cut, slow) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { weather, rng: Rng::new(seed), flying, cut, slow, sent: 0, sent_bytes: 0 }
    }

    /// Sends an Ethernet frame.
    pub fn send(&mut self, from: NodeId, now_ns: u64, frame: &[u8]) {
        let Some(to) = destination(frame) else { return };
        self.sent += 1;
        self.sent_bytes += frame.len() as u64;
        let weather = self.weather;
        let lost = self.rng.chance(weather.loss_percent);
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let copies = if self.rng.chance(weather.double_percent) { 2 } else { 1 };
        for copy in 0..copies {
            let spread = weather.delay_max_ns - weather.delay_min_ns + 1;
            let slow = self.slow.get(&(from, to)).copied().unwrap_or(0);
            let at = now_ns + slow + weather.delay_min_ns + self.rng.below(spread);
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

    /// From now on the weather is this.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// The weather.
    pub fn weather(&self) -> Weather {
        self.weather
    }

    /// Cuts the link between two nodes, or mends it.
    pub fn set_cut(&mut self, a: NodeId, b: NodeId, cut: bool) {
        self.set_way_cut(a, b, cut);
        self.set_way_cut(b, a, cut);
    }

    /// Cuts one way of a link, or mends it.
    pub fn set_way_cut(&mut self, from: NodeId, to: NodeId, cut: bool) {
        if cut {
            self.cut.insert((from, to));
        } else {
            self.cut.remove(&(from, to));
        }
    }

    /// Frames on this way take so much longer.
    pub fn set_slow(&mut self, from: NodeId, to: NodeId, more_ns: u64) {
        self.slow.insert((from, to), more_ns);
    }

    /// All links are whole and fast.
    pub fn heal(&mut self) {
        self.weather = Weather::FAIR;
        self.cut.clear();
        self.slow.clear();
    }
}

fn destination(frame: &[u8]) -> Option<NodeId> {
    match frame.first_chunk()? {
        [2, 0, 0, 0, high, low] => NodeId::new(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).expect("a node")
    }

    /// When a frame from 1 to 2 arrives; `None`: never.
    fn arrives_ns(wire: &mut Wire) -> Option<u64> {
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&mac(node(2)));
        wire.send(node(1), 0, &frame);
        let next = wire.next_ns();
        wire.arrived(u64::MAX);
        next
    }

    #[test]
    fn way_that_is_cut_carries_nothing_and_the_other_way_does() {
        let mut wire = Wire::new(Weather::FAIR, 1);
        wire.set_way_cut(node(1), node(2), true);
        assert_eq!(arrives_ns(&mut wire), None);
        wire.set_way_cut(node(1), node(2), false);
        wire.set_way_cut(node(2), node(1), true);
        assert!(arrives_ns(&mut wire).is_some());
    }

    #[test]
    fn slow_way_is_slow_until_it_heals() {
        let mut wire = Wire::new(Weather::FAIR, 1);
        wire.set_slow(node(1), node(2), 5_000_000);
        assert!(arrives_ns(&mut wire).is_some_and(|at| at >= 5_000_000));
        wire.heal();
        assert!(arrives_ns(&mut wire).is_some_and(|at| at < 5_000_000));
    }
}
