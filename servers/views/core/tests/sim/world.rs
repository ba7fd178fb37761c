// SPDX-License-Identifier: MIT OR Apache-2.0
//! The simulated cluster: nodes with clocks and disks, a network, one queue of events.

use crate::checkers::Checkers;
use crate::disk::Disk;
use crate::rng::Rng;
use abi::{NodeId, SlotNo};
use cluster::{Policy, Request, View};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use views_core::limits::MS;
use views_core::rules::Rules;
use views_core::wire::{Envelope, Message};
use views_core::{Config, Output, Start, Views};

/// How the network treats messages.
#[derive(Clone, Copy)]
pub struct Network {
    /// Shortest time that a message takes.
    pub delay_min_ns: u64,
    /// Longest.
    pub delay_max_ns: u64,
    /// How many of a thousand are lost.
    pub loss: u64,
    /// How many come twice, the second one much later.
    pub twice: u64,
}

/// Every message takes a millisecond.
pub const GOOD: Network = Network { delay_min_ns: MS, delay_max_ns: MS + 1, loss: 0, twice: 0 };

pub enum Event {
    Deliver {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
        /// Lives of both when it was sent.
        lives: (u32, u32),
    },
    Wake {
        node: usize,
        life: u32,
    },
    Synced {
        node: usize,
        life: u32,
        number: u64,
    },
    /// Primaries of joined slots have copied their state, if the view is still this.
    Copied {
        node: usize,
        life: u32,
        epoch: u64,
    },
    Start(usize),
}

struct Queued {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub struct Node<R: Rules> {
    pub id: NodeId,
    pub views: Option<Views<R>>,
    pub disk: Disk,
    pub life: u32,
    pub paused_until: u64,
    /// Its clock: an offset, and parts in a million that it runs too fast.
    offset: u64,
    drift: i64,
    wake_at: u64,
    /// An amnesiac takes itself for a founder when its disk is gone: only mutants do.
    pub amnesiac: bool,
}

impl<R: Rules> Node<R> {
    pub fn clock(&self, time: u64) -> u64 {
        let drift = i128::from(time) * i128::from(self.drift) / 1_000_000;
        (i128::from(time + self.offset) + drift) as u64
    }

    fn time(&self, clock: u64) -> u64 {
        let since = i128::from(clock.saturating_sub(self.offset));
        (since * 1_000_000 / i128::from(1_000_000 + self.drift)) as u64 + 2
    }

    /// Whether it is up and may act now, by its own clock.
    pub fn may_act(&self, time: u64) -> bool {
        self.views.as_ref().is_some_and(|views| views.may_act(self.clock(time)))
    }

    pub fn serves(&self, time: u64, slot: SlotNo) -> bool {
        self.views.as_ref().is_some_and(|views| views.serves(self.clock(time), slot))
    }

    pub fn view(&self) -> Option<&View> {
        self.views.as_ref().and_then(Views::view)
    }

    pub fn leads(&self) -> Option<u64> {
        self.views.as_ref().and_then(Views::leads)
    }
}

pub struct Setup {
    pub nodes: usize,
    pub voters: usize,
    pub policy: Policy,
    pub network: Network,
    /// Whether clocks drift by up to a hundredth, as they may.
    pub drift: bool,
    pub sync_max_ns: u64,
    /// How many of the nodes found the cluster; 0 if it begins founded.
    pub founders: usize,
    /// Whether nodes have disks.
    pub disks: bool,
}

pub struct World<R: Rules> {
    pub time: u64,
    pub rng: Rng,
    pub nodes: Vec<Node<R>>,
    pub network: Network,
    pub cut: BTreeSet<(usize, usize)>,
    /// Where only what voters say to each other gets lost.
    pub cut_of_voters: BTreeSet<(usize, usize)>,
    pub founding: View,
    /// Links are sessions: what a former life said, or was told, is gone.
    sessions: bool,
    disks: bool,
    /// Slots that primaries do not give away now.
    pub busy: BTreeSet<SlotNo>,
    config: Config,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    sync_max_ns: u64,
    /// Messages that belong to changes of the view, if they are counted.
    pub kinds: Option<u64>,
    pub checkers: Checkers,
    pub failure: Option<String>,
    /// Nodes that started again as their cluster was gone.
    pub orphans: u64,
    /// Epoch and time at which each node entered its view.
    pub entered: BTreeMap<usize, (u64, u64)>,
}

impl<R: Rules> World<R> {
    pub fn new(seed: u64, setup: &Setup) -> Self {
        let mut rng = Rng::new(seed);
        let ids: Vec<NodeId> =
            (1..=setup.nodes as u16).map(|n| NodeId::new(n).expect("a node")).collect();
        let founding = View::founded(ids.clone(), setup.voters).expect("a view");
        let mut contacts: Vec<NodeId> = founding.voters().iter().map(|voter| voter.node).collect();
        let (founders, others) = ids.split_at(setup.founders);
        contacts.extend(founders);
        let mut others = others.to_vec();
        others.retain(|node| !contacts.contains(node));
        let config = Config {
            contacts,
            founders: founders.to_vec(),
            others,
            policy: setup.policy,
            keeps: seed.is_multiple_of(2),
        };
        let mut nodes = Vec::new();
        for id in ids {
            let drift = if setup.drift { rng.range(0, 20_001) as i64 - 10_000 } else { 0 };
            nodes.push(Node {
                id,
                views: None,
                disk: Disk::new(&mut rng),
                life: 0,
                paused_until: 0,
                offset: rng.range(0, 1_000_000 * MS),
                drift,
                wake_at: u64::MAX,
                amnesiac: false,
            });
        }
        let mut world = Self {
            time: 0,
            rng,
            nodes,
            network: setup.network,
            cut: BTreeSet::new(),
            cut_of_voters: BTreeSet::new(),
            founding: founding.clone(),
            sessions: setup.founders > 0,
            disks: setup.disks,
            busy: BTreeSet::new(),
            config,
            queue: BinaryHeap::new(),
            queued: 0,
            sync_max_ns: setup.sync_max_ns,
            kinds: None,
            checkers: Checkers::default(),
            failure: None,
            orphans: 0,
            entered: BTreeMap::new(),
        };
        for node in 0..setup.nodes {
            let start =
                if setup.founders > 0 { Start::Empty } else { Start::Found(founding.clone()) };
            world.start(node, start);
        }
        world
    }

    pub fn queue(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse(Queued { at, number: self.queued, event }));
    }

    /// Runs until `time`, or a checker finds something.
    pub fn run_until(&mut self, time: u64) {
        while self.failure.is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at <= time => {}
                _ => break,
            }
            let Reverse(Queued { at, event, .. }) = self.queue.pop().expect("it was there");
            self.time = at;
            self.happen(event);
        }
        self.time = self.time.max(time);
    }

    fn happen(&mut self, event: Event) {
        let node = match &event {
            Event::Deliver { to: node, .. }
            | Event::Wake { node, .. }
            | Event::Synced { node, .. }
            | Event::Copied { node, .. }
            | Event::Start(node) => *node,
        };
        let paused_until = self.nodes[node].paused_until;
        if paused_until > self.time {
            self.queue(paused_until, event);
            return;
        }
        let now = self.nodes[node].clock(self.time);
        let life = self.nodes[node].life;
        let from_life = match &event {
            Event::Deliver { from, .. } => self.nodes[*from].life,
            _ => 0,
        };
        let Some(views) = &mut self.nodes[node].views else {
            if matches!(event, Event::Start(_)) {
                self.restart(node);
            }
            return;
        };
        match event {
            Event::Deliver { lives, .. } if self.sessions && lives != (from_life, life) => {
                return;
            }
            Event::Deliver { from, bytes, .. } => {
                views.message(now, NodeId::new(from as u16 + 1).expect("a node"), &bytes);
            }
            Event::Wake { life: of, .. } if of == life => views.tick(now),
            Event::Synced { life: of, number, .. } if of == life => {
                self.nodes[node].disk.synced(number, &mut self.rng);
                self.nodes[node].views.as_mut().expect("it is up").synced(now, number);
            }
            Event::Copied { life: of, epoch, .. } if of == life => self.copied(node, epoch),
            Event::Wake { .. } | Event::Synced { .. } | Event::Copied { .. } | Event::Start(_) => {
                return;
            }
        }
        self.after(node);
    }

    /// What the primary of a slot does when its joiner has all of the state.
    fn copied(&mut self, node: usize, epoch: u64) {
        let (now, id) = (self.nodes[node].clock(self.time), self.nodes[node].id);
        let Some(views) = &mut self.nodes[node].views else { return };
        let Some(view) = views.view().filter(|view| view.epoch().0 == epoch).cloned() else {
            return;
        };
        for number in View::slot_numbers().filter(|number| view.home(*number) == id) {
            if let Some(joining) = view.slot(number).joining
                && self.rng.chance(800)
            {
                let request = match self.busy.contains(&number) {
                    true => Request::Abort(number),
                    false => Request::Joined(number, joining.goal),
                };
                let _ = views.request(now, request);
            }
        }
        let again = self.time + self.rng.range(20, 60) * MS;
        let life = self.nodes[node].life;
        self.queue(again, Event::Copied { node, life, epoch });
    }

    /// Does what the core wants done, and lets the checkers look.
    pub fn after(&mut self, node: usize) {
        let outputs = self.nodes[node].views.as_mut().map(Views::take_outputs).unwrap_or_default();
        let life = self.nodes[node].life;
        let mut orphaned = false;
        for output in outputs {
            match output {
                Output::Send(to, bytes) => self.send(node, usize::from(to.get()) - 1, bytes),
                Output::Write(write) => self.nodes[node].disk.write(write),
                Output::Sync(number) => {
                    self.nodes[node].disk.sync(number);
                    let at = self.time + self.rng.range(MS / 10, self.sync_max_ns);
                    self.queue(at, Event::Synced { node, life, number });
                }
                Output::Entered(view) => self.entered(node, &view),
                Output::Orphaned => orphaned = true,
                Output::Acting | Output::Fenced => {}
            }
        }
        let deadline = self.nodes[node].views.as_ref().map_or(u64::MAX, Views::deadline);
        if deadline != u64::MAX {
            let at = self.nodes[node].time(deadline).max(self.time + 1);
            let old = self.nodes[node].wake_at;
            if at < old || old <= self.time {
                self.nodes[node].wake_at = at;
                self.queue(at, Event::Wake { node, life });
            }
        }
        let found = self.checkers.look(self.time, &self.nodes, node);
        if let Err(why) = found {
            self.failure.get_or_insert(format!("at {} ms: {why}", self.time / MS));
        }
        if orphaned {
            self.orphans += 1;
            self.crash(node);
            self.nodes[node].disk.lose();
            self.queue(self.time + 100 * MS, Event::Start(node));
        }
    }

    fn entered(&mut self, node: usize, view: &View) {
        self.entered.insert(node, (view.epoch().0, self.time));
        let id = self.nodes[node].id;
        let joined =
            |number: SlotNo| view.home(number) == id && view.slot(number).joining.is_some();
        if View::slot_numbers().any(joined) {
            let at = self.time + self.rng.range(MS, 30 * MS);
            let (life, epoch) = (self.nodes[node].life, view.epoch().0);
            self.queue(at, Event::Copied { node, life, epoch });
        }
    }

    pub fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        if let Some(kinds) = &mut self.kinds {
            *kinds += u64::from(belongs_to_change(&bytes));
        }
        if self.sessions {
            self.checkers.said(from, &bytes);
        }
        if to >= self.nodes.len() || self.cut.contains(&(from, to)) {
            return;
        }
        let of_voters = |bytes: &[u8]| {
            Envelope::decode(bytes).is_some_and(|envelope| envelope.message.is_of_voters())
        };
        if self.cut_of_voters.contains(&(from, to)) && of_voters(&bytes) {
            return;
        }
        let Network { delay_min_ns, delay_max_ns, loss, twice } = self.network;
        if self.rng.chance(loss) {
            return;
        }
        let at = self.time + self.rng.range(delay_min_ns, delay_max_ns);
        let lives = (self.nodes[from].life, self.nodes[to].life);
        if self.rng.chance(twice) {
            let late = at + self.rng.range(0, 1500 * MS);
            self.queue(late, Event::Deliver { from, to, bytes: bytes.clone(), lives });
        }
        self.queue(at, Event::Deliver { from, to, bytes, lives });
    }

    /// The links say which of them are cut.
    pub fn tell_links(&mut self) {
        for node in 0..self.nodes.len() {
            for other in (0..self.nodes.len()).filter(|other| *other != node) {
                let down = self.cut.contains(&(node, other)) || self.cut.contains(&(other, node));
                self.tell_link(node, other, down);
            }
        }
    }

    /// A node's link to another says that it is down, or up.
    pub fn tell_link(&mut self, node: usize, other: usize, down: bool) {
        let (now, id) = (self.nodes[node].clock(self.time), self.nodes[other].id);
        let Some(views) = &mut self.nodes[node].views else { return };
        if down {
            views.unreachable(now, id)
        } else {
            views.reachable(now, id)
        }
        self.after(node);
    }

    pub fn start(&mut self, node: usize, start: Start) {
        let seed = self.rng.next();
        let this = &mut self.nodes[node];
        this.life += 1;
        this.wake_at = u64::MAX;
        let (now, id) = (this.clock(self.time), this.id);
        this.views = Some(Views::new(now, seed, id, self.config.clone(), start));
        self.checkers.started(node);
        self.after(node);
    }

    pub fn crash(&mut self, node: usize) {
        if self.nodes[node].views.take().is_some() {
            self.nodes[node].disk.crash(&mut self.rng);
            if !self.disks {
                self.nodes[node].disk.lose();
            }
        }
    }

    pub fn restart(&mut self, node: usize) {
        if self.nodes[node].views.is_some() {
            return;
        }
        let start = match self.nodes[node].disk.recover() {
            Ok(Some(mut recovered)) => {
                let disk = &mut self.nodes[node].disk;
                core::mem::take(&mut recovered.repair).into_iter().for_each(|w| disk.write(w));
                disk.synced(0, &mut self.rng);
                Start::Recover(recovered)
            }
            Ok(None) if self.nodes[node].amnesiac => Start::Found(self.founding.clone()),
            Ok(None) => Start::Empty,
            Err(damage) => {
                // One copy of each record is always good here.
                self.failure.get_or_insert(format!("node {node}: {damage:?}"));
                Start::Empty
            }
        };
        self.start(node, start);
    }

    /// What there is to know of a node, for whoever looks into a failure.
    pub fn describe(&self, node: &Node<R>) -> String {
        let Some(views) = &node.views else { return format!("node {}: down", node.id) };
        let view = views.view();
        let agreed = views.agreed().map(|(index, view)| (index, view.epoch().0));
        let nodes = |view: &View| view.members().iter().map(|n| n.get()).collect::<Vec<_>>();
        format!(
            "node {}: cluster {:x?} leads {:?} term {} view {:?} members {:?} voters {:?} agreed {agreed:?} life {:?} \
             {:?} acts {} {:?}",
            node.id,
            view.map(View::cluster),
            views.leads(),
            views.term(),
            view.map(|view| view.epoch().0),
            view.map(nodes),
            view.map(|view| view.voters().to_vec()),
            views.incarnation(),
            views.agreed().and_then(|(_, view)| view.member(node.id)),
            node.may_act(self.time),
            views.counts(),
        )
    }

    /// Lets time pass until `reached`, and tells how long it took.
    pub fn until(&mut self, most_ms: u64, reached: impl Fn(&Self) -> bool) -> Option<u64> {
        let began = self.time;
        while self.failure.is_none() && self.time < began + most_ms * MS {
            if reached(self) {
                return Some((self.time - began) / MS);
            }
            let next = self.time + 10 * MS;
            self.run_until(next);
        }
        None
    }

    pub fn leader(&self) -> Option<usize> {
        let leads = |node: &Node<R>| {
            let now = node.clock(self.time);
            node.views.as_ref().is_some_and(|views| views.read(now).is_some())
        };
        self.nodes.iter().position(leads)
    }
}

/// Whether a message is part of changing the view, and not of keeping leases and leaders.
fn belongs_to_change(bytes: &[u8]) -> bool {
    match Envelope::decode(bytes).map(|envelope| envelope.message) {
        Some(Message::Append { entries, .. }) => !entries.is_empty(),
        // Answers to heartbeats are among them.
        Some(Message::AppendReply { .. } | Message::Change(_) | Message::Whole(_)) => true,
        Some(Message::Ask { .. }) => true,
        Some(_) | None => false,
    }
}
