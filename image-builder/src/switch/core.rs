// SPDX-License-Identifier: MIT OR Apache-2.0
//! The learning Ethernet switch between the nodes, without any I/O.
//!
//! It exists apart from its thread so that cut, slow and lossy links are tested without sockets.
//!
//! # Model
//! A port per node. A frame's source address teaches the switch where that address is; a frame to a
//! known address goes to that port, any other to all ports but its own. Each ordered pair of ports
//! is a link with a [`Link`] rule: cut, delay, loss. Time is microseconds that the caller counts.
//!
//! # Invariants
//! A link delivers in the order in which it was given, also when its delay shrinks. Once a link is
//! cut nothing comes out of it, not even what was on its way.
//!
//! # Limits
//! [`ADDRESSES_MAX`] addresses and [`DELAYED_MAX`] frames on their way. An address more is not
//! learnt (its frames are flooded); a frame more is dropped and counted, as a real switch does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

/// Addresses that the switch remembers.
const ADDRESSES_MAX: usize = 1024;
/// Frames that wait for a slow link.
const DELAYED_MAX: usize = 4096;
/// Bytes of an Ethernet header.
const HEADER_BYTES: usize = 14;
/// What `loss_ppm` is out of.
const MILLION: u64 = 1_000_000;

/// A port of the switch, from 0.
pub type Port = usize;

/// How a link treats what goes over it, in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Nothing passes.
    pub cut: bool,
    /// Microseconds that a frame takes.
    pub delay_us: u64,
    /// Frames that are lost, out of a million.
    pub loss_ppm: u32,
}

/// What passed and what did not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames handed to a port.
    pub forwarded: u64,
    /// Frames that a cut link swallowed.
    pub cut: u64,
    /// Frames that a lossy link lost.
    pub lost: u64,
    /// Frames dropped because too many wait for slow links.
    pub overrun: u64,
    /// Frames too short to be one.
    pub malformed: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames forwarded, {} cut, {} lost", self.forwarded, self.cut, self.lost)?;
        write!(f, ", {} dropped in queues, {} malformed", self.overrun, self.malformed)
    }
}

/// What passed over one link, in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Frames handed over.
    pub forwarded: u64,
    /// Frames that were cut, lost, or dropped because too many waited.
    pub dropped: u64,
}

/// A frame on its way over a slow link, in order of arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Delayed {
    due_us: u64,
    /// Keeps frames that are due together in the order in which they came.
    serial: u64,
    from: Port,
    to: Port,
    frame: Vec<u8>,
}

/// One direction of a link.
#[derive(Clone, Default)]
struct Way {
    rule: Link,
    traffic: Traffic,
    /// Frames that are on their way.
    waiting: usize,
    /// When the last of them is due.
    last_due_us: u64,
}

/// What becomes of a frame at a link.
enum Fate {
    AtOnce,
    Later { due_us: u64 },
    Dropped,
}

/// The switch.
pub struct Switch {
    ports: usize,
    addresses: BTreeMap<[u8; 6], Port>,
    /// Each ordered pair of ports, by source first.
    ways: Vec<Way>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    serial: u64,
    random: u64,
    counters: Counters,
}

impl Switch {
    /// A switch whose links are all good; `seed` decides which frames a lossy one loses.
    pub fn new(ports: usize, seed: u64) -> Self {
        Self {
            ports,
            addresses: BTreeMap::new(),
            ways: vec![Way::default(); ports * ports],
            delayed: BinaryHeap::new(),
            serial: 0,
            random: seed,
            counters: Counters::default(),
        }
    }

    /// Sets the rule of the link between two ports, in one direction.
    pub fn set_link(&mut self, from: Port, to: Port, link: Link) {
        self.way(from, to).rule = link;
    }

    /// The rule of the link between two ports, in one direction, and what passed over it so far.
    pub fn link(&self, from: Port, to: Port) -> (Link, Traffic) {
        let way = &self.ways[from * self.ports + to];
        (way.rule, way.traffic)
    }

    fn way(&mut self, from: Port, to: Port) -> &mut Way {
        assert!(from < self.ports && to < self.ports, "both ports are of this switch");
        &mut self.ways[from * self.ports + to]
    }

    /// What passed and what did not, so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes a frame from a port. Returns the ports that get it at once; those behind a slow link
    /// get it from [`Switch::due`].
    pub fn frame(&mut self, now_us: u64, from: Port, frame: &[u8]) -> Vec<Port> {
        let (Some(to), Some(source)) = (address(frame, 0), address(frame, 6)) else {
            self.counters.malformed += 1;
            return Vec::new();
        };
        self.learn(source, from);
        let mut at_once = Vec::new();
        for to in self.targets(from, to) {
            match self.fate(now_us, from, to) {
                Fate::AtOnce => {
                    self.forwarded(from, to);
                    at_once.push(to);
                }
                Fate::Later { due_us } => self.delay(due_us, from, to, frame),
                Fate::Dropped => self.way(from, to).traffic.dropped += 1,
            }
        }
        at_once
    }

    /// A frame that is due now, and the port it goes to; `None` if there is none yet.
    pub fn due(&mut self, now_us: u64) -> Option<(Port, Vec<u8>)> {
        while self.next_due_us()? <= now_us {
            let Reverse(Delayed { from, to, frame, .. }) = self.delayed.pop()?;
            let way = self.way(from, to);
            way.waiting -= 1;
            if way.rule.cut {
                way.traffic.dropped += 1;
                self.counters.cut += 1;
                continue;
            }
            self.forwarded(from, to);
            return Some((to, frame));
        }
        None
    }

    fn forwarded(&mut self, from: Port, to: Port) {
        self.counters.forwarded += 1;
        self.way(from, to).traffic.forwarded += 1;
    }

    fn fate(&mut self, now_us: u64, from: Port, to: Port) -> Fate {
        let Way { rule, waiting, last_due_us, .. } = *self.way(from, to);
        if rule.cut {
            self.counters.cut += 1;
            return Fate::Dropped;
        }
        if rule.loss_ppm > 0 && self.random_below(MILLION) < u64::from(rule.loss_ppm) {
            self.counters.lost += 1;
            return Fate::Dropped;
        }
        if rule.delay_us == 0 && waiting == 0 {
            return Fate::AtOnce;
        }
        // Never before a frame that waits already: the delay may have shrunk since.
        let earliest_us = if waiting > 0 { last_due_us } else { 0 };
        Fate::Later { due_us: earliest_us.max(now_us.saturating_add(rule.delay_us)) }
    }

    /// When the next frame is due.
    pub fn next_due_us(&self) -> Option<u64> {
        self.delayed.peek().map(|Reverse(delayed)| delayed.due_us)
    }

    fn learn(&mut self, source: [u8; 6], from: Port) {
        let group = source[0] & 1 != 0;
        let known = self.addresses.contains_key(&source);
        if !group && (known || self.addresses.len() < ADDRESSES_MAX) {
            self.addresses.insert(source, from);
        }
    }

    fn targets(&self, from: Port, to: [u8; 6]) -> Vec<Port> {
        match self.addresses.get(&to) {
            // The address is on the port it came from: nobody else wants it.
            Some(&port) if port == from => Vec::new(),
            Some(&port) => vec![port],
            None => (0..self.ports).filter(|&port| port != from).collect(),
        }
    }

    fn delay(&mut self, due_us: u64, from: Port, to: Port, frame: &[u8]) {
        if self.delayed.len() >= DELAYED_MAX {
            self.counters.overrun += 1;
            self.way(from, to).traffic.dropped += 1;
            return;
        }
        let way = self.way(from, to);
        way.waiting += 1;
        way.last_due_us = due_us;
        self.serial += 1;
        let frame = frame.to_vec();
        self.delayed.push(Reverse(Delayed { due_us, serial: self.serial, from, to, frame }));
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough to lose frames with.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn address(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    if frame.len() < HEADER_BYTES {
        return None;
    }
    frame.get(at..at + 6)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ALL: [u8; 6] = [0xff; 6];

    fn frame(to: [u8; 6], from: [u8; 6], tag: u8) -> Vec<u8> {
        [&to[..], &from[..], &[8, 0, tag]].concat()
    }

    #[test]
    fn unknown_address_is_flooded_to_others() {
        let mut switch = Switch::new(3, 1);
        assert_eq!(switch.frame(0, 0, &frame(B, A, 0)), [1, 2]);
        assert_eq!(switch.frame(0, 1, &frame(ALL, B, 0)), [0, 2]);
    }

    #[test]
    fn learnt_address_gets_its_frames_alone() {
        let mut switch = Switch::new(3, 1);
        switch.frame(0, 2, &frame(ALL, B, 0));
        assert_eq!(switch.frame(0, 0, &frame(B, A, 0)), [2]);
        assert!(switch.frame(0, 2, &frame(B, B, 0)).is_empty());
    }

    #[test]
    fn group_address_is_never_learnt() {
        let mut switch = Switch::new(2, 1);
        switch.frame(0, 0, &frame(B, ALL, 0));
        assert_eq!(switch.frame(0, 1, &frame(ALL, B, 0)), [0]);
    }

    #[test]
    fn cut_link_passes_nothing_one_way_only() {
        let mut switch = Switch::new(2, 1);
        switch.set_link(0, 1, Link { cut: true, ..Link::default() });
        assert!(switch.frame(0, 0, &frame(ALL, A, 0)).is_empty());
        assert_eq!(switch.frame(0, 1, &frame(ALL, B, 0)), [0]);
        assert_eq!(switch.counters().cut, 1);
        switch.set_link(0, 1, Link::default());
        assert_eq!(switch.frame(0, 0, &frame(ALL, A, 0)), [1]);
    }

    #[test]
    fn slow_link_delivers_in_order_when_due() {
        let mut switch = Switch::new(2, 1);
        switch.set_link(0, 1, Link { delay_us: 100, ..Link::default() });
        for tag in 0..3 {
            assert!(switch.frame(10, 0, &frame(ALL, A, tag)).is_empty());
        }
        assert_eq!(switch.next_due_us(), Some(110));
        assert_eq!(switch.due(109), None);
        for tag in 0..3 {
            assert_eq!(switch.due(110), Some((1, frame(ALL, A, tag))));
        }
        assert_eq!(switch.due(1000), None);
    }

    #[test]
    fn link_that_gets_quicker_keeps_its_order() {
        let mut switch = Switch::new(2, 1);
        let slow = |delay_us| Link { delay_us, ..Link::default() };
        switch.set_link(0, 1, slow(100));
        assert!(switch.frame(0, 0, &frame(ALL, A, 0)).is_empty());
        switch.set_link(0, 1, slow(10));
        assert!(switch.frame(1, 0, &frame(ALL, A, 1)).is_empty());
        switch.set_link(0, 1, Link::default());
        assert!(switch.frame(2, 0, &frame(ALL, A, 2)).is_empty());
        assert_eq!(switch.due(99), None);
        for tag in 0..3 {
            assert_eq!(switch.due(100), Some((1, frame(ALL, A, tag))));
        }
        assert_eq!(switch.frame(101, 0, &frame(ALL, A, 3)), [1]);
    }

    #[test]
    fn slow_link_holds_up_no_other() {
        let mut switch = Switch::new(3, 1);
        switch.set_link(0, 1, Link { delay_us: 100, ..Link::default() });
        assert_eq!(switch.frame(0, 0, &frame(ALL, A, 0)), [2]);
        assert_eq!(switch.frame(1, 2, &frame(ALL, B, 1)), [0, 1]);
    }

    #[test]
    fn cut_link_swallows_what_was_on_its_way() {
        let mut switch = Switch::new(2, 1);
        switch.set_link(0, 1, Link { delay_us: 100, ..Link::default() });
        switch.frame(0, 0, &frame(ALL, A, 0));
        switch.set_link(0, 1, Link { cut: true, delay_us: 100, ..Link::default() });
        assert_eq!(switch.due(100), None);
        assert_eq!(switch.counters().cut, 1);
        assert_eq!(switch.next_due_us(), None);
    }

    #[test]
    fn each_way_of_a_link_counts_its_own_frames() {
        let mut switch = Switch::new(2, 1);
        switch.frame(0, 0, &frame(ALL, A, 0));
        let cut = Link { cut: true, ..Link::default() };
        switch.set_link(0, 1, cut);
        switch.frame(0, 0, &frame(ALL, A, 0));
        switch.frame(0, 1, &frame(ALL, B, 0));
        assert_eq!(switch.link(0, 1), (cut, Traffic { forwarded: 1, dropped: 1 }));
        assert_eq!(switch.link(1, 0), (Link::default(), Traffic { forwarded: 1, dropped: 0 }));
    }

    #[test]
    fn slow_link_drops_and_counts_beyond_its_bound() {
        let mut switch = Switch::new(2, 1);
        switch.set_link(0, 1, Link { delay_us: 100, ..Link::default() });
        for _ in 0..DELAYED_MAX + 7 {
            switch.frame(0, 0, &frame(ALL, A, 0));
        }
        assert_eq!(switch.counters().overrun, 7);
        assert_eq!(switch.link(0, 1).1.dropped, 7);
    }

    #[test]
    fn lossy_link_loses_its_share_and_repeats_with_its_seed() {
        let run = |seed| {
            let mut switch = Switch::new(2, seed);
            switch.set_link(0, 1, Link { loss_ppm: 250_000, ..Link::default() });
            let pass = |switch: &mut Switch| !switch.frame(0, 0, &frame(ALL, A, 0)).is_empty();
            (0..4000).map(|_| pass(&mut switch)).collect::<Vec<_>>()
        };
        let passed = run(7).into_iter().filter(|&pass| pass).count();
        assert!((2800..3200).contains(&passed), "{passed} of 4000 passed");
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn short_frame_is_counted_and_dropped() {
        let mut switch = Switch::new(2, 1);
        assert!(switch.frame(0, 0, &[0; 13]).is_empty());
        assert_eq!(switch.counters().malformed, 1);
    }
}
