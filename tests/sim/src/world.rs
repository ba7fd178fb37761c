// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cluster: nodes, the wire between them, and virtual time.
//!
//! # Model
//! Of everything that could happen next, on whatever node, chance takes one. When nothing can happen, time jumps to the next frame or timer.

use crate::check;
use crate::node::{Choice, Node, Plan, STEP_NS};
use crate::rng::Rng;
use crate::root::Image;
use crate::wire::{Weather, Wire};
use abi::NodeId;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Steps between two questions whether what is waited for has come.
const STEPS_PER_LOOK: u32 = 16;

/// What a cluster is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Chance.
    pub seed: u64,
    /// Nodes.
    pub nodes: u16,
    /// CPU cores of each.
    pub cores: u8,
    /// Page frames of each.
    pub frames: usize,
    /// The wire.
    pub weather: Weather,
}

impl Setting {
    /// Three nodes with one core each, on a good network.
    pub fn new(seed: u64) -> Self {
        Self { seed, nodes: 3, cores: 1, frames: 4096, weather: Weather::FAIR }
    }
}

/// The cluster.
pub struct World {
    /// Virtual time in nanoseconds.
    pub now_ns: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// The wire.
    pub wire: Wire,
    rng: Rng,
}

/// A node's number.
pub fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("scenarios name nodes from 1 on")
}

impl World {
    /// A cluster at its boot, with this image on all nodes.
    pub fn new(setting: &Setting, image: &Image) -> Self {
        let mut rng = Rng::new(setting.seed);
        let ids: Vec<NodeId> = (1..=setting.nodes).map(node).collect();
        let root_data = Rc::new(image.data.clone());
        let mut nodes = BTreeMap::new();
        for id in &ids {
            let plan = Plan {
                node: *id,
                nodes: ids.clone(),
                cores: setting.cores,
                frames: setting.frames,
                root: image.entries.clone(),
                root_data: Rc::clone(&root_data),
                login: vec!["/bin/prompt".to_string()],
                seed: rng.bits(),
            };
            nodes.insert(*id, Node::new(&plan, 0));
        }
        for node in nodes.values() {
            node.start(0);
        }
        let wire = Wire::new(setting.weather, rng.bits());
        Self { now_ns: 0, nodes, wire, rng }
    }

    /// A node that lives.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(&id).unwrap_or_else(|| panic!("node {id} is dead"))
    }

    /// The nodes that live.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Whether a node lives.
    pub fn lives(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// Ends a node: what it had is gone.
    pub fn crash(&mut self, id: NodeId) {
        self.nodes.remove(&id);
    }

    /// One step.
    pub fn step(&mut self) {
        for node in self.nodes.values() {
            for frame in node.take_frames() {
                self.wire.send(node.id, self.now_ns, &frame);
            }
        }
        let mut choices: Vec<Choice> = Vec::new();
        for node in self.nodes.values() {
            node.choices(&mut choices);
        }
        if choices.is_empty() {
            self.jump();
            return;
        }
        let choice = choices[self.rng.below(choices.len() as u64) as usize];
        if let Some(node) = self.nodes.get(&choice.node()) {
            self.now_ns += node.act(choice, self.now_ns, &mut self.rng);
        }
        self.pass();
        check::one_running_copy(self);
    }

    /// Nothing can happen now: time goes on to when something can. If that is never it passes all the
    /// same, so that who waits sees it.
    fn jump(&mut self) {
        let deadlines = self.nodes.values().filter_map(Node::deadline_ns);
        let next = deadlines.chain(self.wire.next_ns()).min();
        self.now_ns = next.unwrap_or(0).max(self.now_ns + STEP_NS);
        self.pass();
    }

    /// What is due by now: frames and timers.
    fn pass(&mut self) {
        while let Some((to, mut frame)) = self.wire.arrived(self.now_ns) {
            if let Some(node) = self.nodes.get(&to) {
                node.received(&mut frame, self.now_ns);
            }
        }
        for node in self.nodes.values() {
            if node.deadline_ns().is_some_and(|deadline| deadline <= self.now_ns) {
                node.tick(self.now_ns);
            }
        }
    }

    /// Steps until `done`, at most for so much virtual time. False if it did not come to that.
    pub fn run_until(&mut self, limit_ns: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end_ns = self.now_ns + limit_ns;
        while self.now_ns < end_ns {
            if done(self) {
                return true;
            }
            for _ in 0..STEPS_PER_LOOK {
                self.step();
            }
        }
        done(self)
    }

    /// Lets time pass.
    pub fn run_for(&mut self, ns: u64) {
        self.run_until(ns, |_| false);
    }

    /// A random number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }
}
