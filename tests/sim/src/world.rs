// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cluster: nodes, the wire between them, and virtual time.
//!
//! # Model
//! Of everything that could happen next, on whatever node, chance takes one. When nothing can happen, time jumps to the next frame or timer.

use crate::checkers::link::Links;
use crate::history::History;
use crate::node::{Node, Plan, STEP_NS};
use crate::rng::Rng;
use crate::root::Image;
use crate::trace;
use crate::watch::Watch;
use crate::wire::{Weather, Wire};
use crate::worker::Choice;
use abi::NodeId;
use disk_api::limits::JOURNAL_SECTORS;
use disk_api::testing::Medium;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How long a disk takes for what it is asked.
const DISK_NS: u64 = 500_000;
/// Frames that wait in a card whose node stands still; further ones are lost.
const CARD_FRAMES: usize = 256;
/// Steps between two questions whether what is waited for has come, which may be asked of all nodes: one for each
/// node where there are more.
const STEPS_PER_LOOK: u16 = 16;

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
    /// Nodes' clocks are fast or slow by at most so many parts of a million.
    pub drift_ppm: u64,
    /// Messages of 100 that come once more as from an older view.
    pub old_percent: u64,
    /// How many times longer than its limits say nodes wait for each other: faults that are no crash last less than a
    /// lease with 3, as emulated machines have it.
    pub patience: u64,
    /// How many steps of different nodes take the time of one: nodes of a large cluster work side by side.
    pub at_once: u64,
}

impl Setting {
    /// Three nodes with one core each, on a good network.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: 3,
            cores: 1,
            frames: 4096,
            weather: Weather::FAIR,
            drift_ppm: 0,
            old_percent: 0,
            patience: 3,
            at_once: 1,
        }
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
    image: Image,
    root_data: Rc<Vec<u8>>,
    setting: Setting,
    /// What programs noted.
    pub history: History,
    /// The links as servers see them.
    pub links: Rc<RefCell<Links>>,
    /// Nodes that stand still, and the frames that wait in their cards.
    paused: BTreeMap<NodeId, Vec<Vec<u8>>>,
    /// The nodes' disks, which outlive them.
    media: BTreeMap<NodeId, Rc<RefCell<Medium>>>,
    watch: Watch,
}

/// A node's number.
pub fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("scenarios name nodes from 1 on")
}

impl World {
    /// A cluster at its boot, with this image on all nodes.
    pub fn new(setting: &Setting, image: &Image) -> Self {
        let mut rng = Rng::new(setting.seed);
        let mut world = Self {
            now_ns: 0,
            nodes: BTreeMap::new(),
            wire: Wire::new(setting.weather, rng.bits()),
            rng,
            image: image.clone(),
            root_data: Rc::new(image.data.clone()),
            setting: *setting,
            history: History::default(),
            links: Rc::default(),
            paused: BTreeMap::new(),
            media: BTreeMap::new(),
            watch: Watch::default(),
        };
        for number in 1..=setting.nodes {
            world.boot(node(number));
        }
        world
    }

    /// Boots a node that does not live: the first time, or again with nothing of what it had
    /// but its disk. One beyond those of the setting has an image that names all up to itself, while the first
    /// nodes' images name these alone.
    pub fn boot(&mut self, id: NodeId) {
        assert!(!self.lives(id), "only a node that is dead boots");
        let drift = self.setting.drift_ppm;
        let drift_ppm = match drift {
            0 => 0,
            max => self.rng.below(2 * max + 1).cast_signed() - max.cast_signed(),
        };
        let medium = self.media.entry(id).or_insert_with(|| {
            let medium = Medium::new(JOURNAL_SECTORS);
            medium.borrow_mut().delay_ns = DISK_NS;
            medium
        });
        let plan = Plan {
            node: id,
            medium: Rc::clone(medium),
            nodes: (1..=self.setting.nodes.max(id.get())).map(node).collect(),
            first_nodes: self.setting.nodes,
            cores: self.setting.cores,
            patience: self.setting.patience,
            frames: self.setting.frames,
            root: self.image.entries.clone(),
            root_data: Rc::clone(&self.root_data),
            login: vec!["/bin/prompt".to_string()],
            seed: self.rng.bits(),
            drift_ppm,
            links: Rc::clone(&self.links),
            old_percent: self.setting.old_percent,
        };
        let node = Node::new(&plan, self.now_ns);
        node.start(self.now_ns);
        self.nodes.insert(id, node);
        self.watch.touch(id);
    }

    /// A node that lives.
    pub fn node(&self, id: NodeId) -> &Node {
        self.watch.touch(id);
        self.nodes.get(&id).unwrap_or_else(|| panic!("node {id} is dead"))
    }

    /// The nodes that live, to be looked at: who changes one takes it from [`Self::node`].
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Whether a node lives.
    pub fn lives(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// Whether a node lives and the cluster has admitted this life of it.
    pub fn is_member(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.own_life(self.now_ns).0.is_some())
    }

    /// Whether slots have no copy but a node's, as far as others know.
    pub fn has_only_copy(&self, id: NodeId) -> bool {
        let others = self.nodes.values().filter(|it| it.id != id);
        let known = others.max_by_key(|it| it.epoch());
        known.is_some_and(|it| it.knows_no_other_copy(id))
    }

    /// Ends a node: what it had is gone, but for what is safe on its disk. Of what was being written there,
    /// chance keeps nothing, some sectors or all.
    pub fn crash(&mut self, id: NodeId) {
        self.nodes.remove(&id);
        self.watch.forget(id);
        self.watch.touch(id);
        if let Some(medium) = self.media.get(&id) {
            let (share, rng) = (self.rng.below(3) * 50, &mut self.rng);
            medium.borrow_mut().crash(|| rng.below(100) < share);
        }
        self.paused.remove(&id);
        self.links.borrow_mut().died(id);
    }

    /// What a dead node's disk had is gone: another one is in its place.
    pub fn lose_disk(&mut self, id: NodeId) {
        assert!(!self.lives(id), "a disk is replaced while its node is off");
        self.media.remove(&id);
    }

    /// A node stands still: nothing runs there, no time passes for it, and frames wait in its card.
    pub fn pause(&mut self, id: NodeId) {
        if self.lives(id) {
            self.paused.entry(id).or_default();
            self.watch.touch(id);
        }
    }

    /// It goes on, and finds how late it is.
    pub fn resume(&mut self, id: NodeId) {
        let waiting = self.paused.remove(&id).unwrap_or_default();
        let Some(node) = self.nodes.get(&id) else { return };
        self.watch.touch(id);
        for mut frame in waiting {
            node.received(&mut frame, self.now_ns);
        }
    }

    /// Ends all faults of network and nodes: links are whole, nodes go on, dead ones boot.
    pub fn heal(&mut self) {
        self.wire.heal();
        for id in self.paused.keys().copied().collect::<Vec<_>>() {
            self.resume(id);
        }
        for number in 1..=self.setting.nodes {
            if !self.lives(node(number)) {
                self.boot(node(number));
            }
            self.wish(node(number), false);
        }
    }

    /// A node that lives is to leave the cluster, or to stay after all. It forgets that when it starts.
    pub fn wish(&mut self, id: NodeId, leaves: bool) {
        if let Some(node) = self.nodes.get(&id).filter(|_| !self.paused.contains_key(&id)) {
            self.watch.touch(id);
            node.wish(leaves, self.now_ns);
        }
    }

    /// One step.
    pub fn step(&mut self) {
        self.look();
        let count = self.watch.count();
        if count == 0 {
            self.jump();
        } else {
            let choice = self.watch.choice(self.rng.below(count as u64) as usize);
            trace::choice(self.now_ns, choice);
            self.act(choice);
            self.pass();
        }
        self.restart();
        self.watch.one_running_copy(&self.watch.touched(), &self.nodes);
    }

    /// Looks at the nodes that were touched: takes their frames, and sees what they could do next.
    fn look(&mut self) {
        for id in self.watch.take_touched() {
            let Some(node) = self.nodes.get(&id) else { continue };
            for frame in node.take_frames() {
                self.wire.send(id, self.now_ns, &frame);
            }
            if self.paused.contains_key(&id) {
                self.watch.forget(id);
            } else {
                self.watch.look(node);
            }
        }
    }

    fn act(&mut self, choice: Choice) {
        let Some(node) = self.nodes.get(&choice.node()) else { return };
        self.watch.touch(node.id);
        self.now_ns += node.act(choice, self.now_ns, &mut self.rng) / self.setting.at_once;
        if matches!(choice, Choice::Run(..)) {
            for note in node.take_notes() {
                self.history.push(self.now_ns, node.id, note);
            }
        }
    }

    /// Nodes that were let go start again.
    fn restart(&mut self) {
        for id in self.watch.touched() {
            if self.nodes.get(&id).is_some_and(Node::wants_restart) {
                trace::text(self.now_ns, || format!("node {id} starts again"));
                self.crash(id);
                self.boot(id);
            }
        }
    }

    /// Nothing can happen now: time goes on to when something can. If that is never it passes all the
    /// same, so that who waits sees it.
    fn jump(&mut self) {
        let next = self.watch.first_alarm_ns().into_iter().chain(self.wire.next_ns()).min();
        self.now_ns = next.unwrap_or(0).max(self.now_ns + STEP_NS);
        self.pass();
    }

    /// What is due by now: frames and timers.
    fn pass(&mut self) {
        while let Some((to, mut frame)) = self.wire.arrived(self.now_ns) {
            if let Some(card) = self.paused.get_mut(&to) {
                if card.len() < CARD_FRAMES {
                    card.push(frame);
                }
            } else if let Some(node) = self.nodes.get(&to) {
                self.watch.touch(to);
                node.received(&mut frame, self.now_ns);
            }
        }
        for id in self.watch.touched() {
            if let Some(node) = self.nodes.get(&id).filter(|_| !self.paused.contains_key(&id)) {
                self.watch.look_at_alarm(node);
            }
        }
        for id in self.watch.due(self.now_ns) {
            if let Some(node) = self.nodes.get(&id) {
                self.watch.touch(id);
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
            for _ in 0..STEPS_PER_LOOK.max(self.setting.nodes) {
                self.step();
            }
        }
        done(self)
    }

    /// What it was made of.
    pub fn setting(&self) -> &Setting {
        &self.setting
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
