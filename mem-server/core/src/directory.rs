// SPDX-License-Identifier: MIT OR Apache-2.0
//! The home's directory of one object: which node owns which page, and the queue for it.
//!
//! # Model
//! A page has an entry only while another node owns it or holds a copy, or while a transaction is
//! open: an object that one node uses costs nothing. The entry is a lock: readers share it, a write
//! has it alone, others queue.
//!
//! ```text
//! Idle --read--> Reading(askers) --last Done--> Idle
//! Idle --write--> Writing(asker) --Done of all in `wait`--> Idle, owner = asker
//! ```
//! When a holder dies, or the home changes, the directory is built anew ([`rebuild`](crate::rebuild)).

use crate::limits::QUEUE_MAX;
use abi::NodeId;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use mem_api::Access;

/// One node's request for a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub(crate) node: NodeId,
    pub(crate) access: Access,
    pub(crate) have: bool,
    /// The request's number.
    pub(crate) number: u32,
}

/// What happens to a page now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Idle,
    Reading(Vec<NodeId>),
    Writing {
        asker: NodeId,
        /// Who still has to say Done: the asker, or the owner that keeps the frame.
        wait: Vec<NodeId>,
        /// Nobody had the page before: while the asker lives, it is untouched if nobody has it.
        zero: bool,
    },
    Lost,
}

/// A page that is not simply the home's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) owner: NodeId,
    /// Nodes that may hold read copies, without the owner.
    pub(crate) copies: Vec<NodeId>,
    pub(crate) state: State,
    pub(crate) queue: VecDeque<Ask>,
}

/// What the home has to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Forward { owner: NodeId, to: NodeId, number: u32, access: Access, acks: u16 },
    Invalidate { holder: NodeId, to: NodeId },
    Grant { to: NodeId, acks: u16, zero: bool },
    Lost { to: NodeId, access: Access },
}

impl Place {
    pub(crate) fn new(owner: NodeId) -> Self {
        Self { owner, copies: Vec::new(), state: State::Idle, queue: VecDeque::new() }
    }

    /// Takes a request; `untouched`: no node has ever held the page. False: the queue is full.
    pub(crate) fn ask(&mut self, ask: Ask, untouched: bool, orders: &mut Vec<Order>) -> bool {
        let open = match self.state {
            State::Idle | State::Lost => true,
            State::Reading(_) => ask.access == Access::Read,
            State::Writing { .. } => false,
        };
        if open && self.queue.is_empty() {
            self.start(ask, untouched, orders);
            return true;
        }
        if self.queue.len() >= QUEUE_MAX {
            return false;
        }
        self.queue.push_back(ask);
        true
    }

    fn start(&mut self, ask: Ask, untouched: bool, orders: &mut Vec<Order>) {
        if self.state == State::Lost {
            orders.push(Order::Lost { to: ask.node, access: ask.access });
        } else if untouched {
            orders.push(Order::Grant { to: ask.node, acks: 0, zero: true });
            self.write(ask.node, ask.node, true);
        } else if ask.access == Access::Read {
            self.read(ask, orders);
        } else if ask.node == self.owner || ask.have && self.copies.contains(&ask.node) {
            let others = self.others(&[ask.node]);
            orders.push(Order::Grant { to: ask.node, acks: others.len() as u16, zero: false });
            self.invalidate(&others, ask.node, orders);
            self.write(ask.node, ask.node, false);
        } else {
            let (owner, access) = (self.owner, ask.access);
            let others = self.others(&[ask.node, owner]);
            let acks = others.len() as u16;
            let (to, number) = (ask.node, ask.number);
            orders.push(Order::Forward { owner, to, number, access, acks });
            self.invalidate(&others, ask.node, orders);
            self.write(ask.node, owner, false);
        }
    }

    fn read(&mut self, ask: Ask, orders: &mut Vec<Order>) {
        orders.push(if ask.node == self.owner {
            Order::Grant { to: ask.node, acks: 0, zero: false }
        } else {
            let Ask { node: to, number, access, .. } = ask;
            Order::Forward { owner: self.owner, to, number, access, acks: 0 }
        });
        match &mut self.state {
            State::Reading(askers) => askers.push(ask.node),
            State::Idle | State::Writing { .. } | State::Lost => {
                self.state = State::Reading(vec![ask.node]);
            }
        }
    }

    fn write(&mut self, asker: NodeId, keeper: NodeId, zero: bool) {
        self.copies.clear();
        self.state = State::Writing { asker, wait: vec![keeper], zero };
    }

    /// All holders but these.
    fn others(&self, but: &[NodeId]) -> Vec<NodeId> {
        let mut all = self.copies.clone();
        if !all.contains(&self.owner) {
            all.push(self.owner);
        }
        all.retain(|node| !but.contains(node));
        all
    }

    fn invalidate(&self, holders: &[NodeId], to: NodeId, orders: &mut Vec<Order>) {
        orders.extend(holders.iter().map(|&holder| Order::Invalidate { holder, to }));
    }

    /// A node says that its part of the transaction is over.
    pub(crate) fn done(&mut self, from: NodeId, orders: &mut Vec<Order>) {
        match &mut self.state {
            State::Reading(askers) => {
                let before = askers.len();
                askers.retain(|node| *node != from);
                let ended = askers.is_empty();
                if before > askers.len() && from != self.owner && !self.copies.contains(&from) {
                    self.copies.push(from);
                }
                if ended {
                    self.state = State::Idle;
                }
            }
            State::Writing { asker, wait, .. } => {
                wait.retain(|node| *node != from);
                if wait.is_empty() {
                    self.owner = *asker;
                    self.state = State::Idle;
                }
            }
            State::Idle | State::Lost => {}
        }
        self.pump(orders);
    }

    /// Starts what waited, as far as it may.
    fn pump(&mut self, orders: &mut Vec<Order>) {
        while let Some(ask) = self.queue.front().copied() {
            let open = match self.state {
                State::Idle | State::Lost => true,
                State::Reading(_) => ask.access == Access::Read,
                State::Writing { .. } => false,
            };
            if !open {
                return;
            }
            self.queue.pop_front();
            self.start(ask, false, orders);
        }
    }

    /// Whether the page is simply the home's own again.
    pub(crate) fn is_local(&self, home: NodeId) -> bool {
        self.owner == home
            && self.copies.is_empty()
            && self.queue.is_empty()
            && self.state == State::Idle
    }

    /// Nodes that may have the page, or keep it.
    fn holders(&self) -> Vec<NodeId> {
        let mut holders = self.copies.clone();
        holders.push(self.owner);
        match &self.state {
            State::Idle | State::Lost => {}
            State::Reading(askers) => holders.extend(askers),
            State::Writing { asker, wait, .. } => {
                holders.push(*asker);
                holders.extend(wait);
            }
        }
        holders
    }

    /// Whether anything of the page may be at the node, or on its way there.
    pub(crate) fn involves(&self, node: NodeId) -> bool {
        let in_state = match &self.state {
            State::Idle | State::Lost => false,
            State::Reading(askers) => askers.contains(&node),
            State::Writing { asker, wait, .. } => *asker == node || wait.contains(&node),
        };
        in_state || self.owner == node || self.copies.contains(&node)
    }

    /// Whether the node owns the page, or may do so soon: then it is not lost.
    pub(crate) fn may_come_from(&self, node: NodeId) -> bool {
        self.state != State::Lost && self.involves(node)
    }

    /// A node is gone: a page of zeroes that was on its way there may have been written.
    pub(crate) fn node_left(&mut self, gone: NodeId) {
        if let State::Writing { asker, zero, .. } = &mut self.state {
            *zero &= *asker != gone;
        }
    }

    /// Whether nobody ever had the page, if nobody has it now.
    pub(crate) fn is_untouched(&self) -> bool {
        matches!(self.state, State::Writing { zero: true, .. })
    }
}

/// The directory of one object, at its home.
#[derive(Default)]
pub(crate) struct Directory {
    /// References that the home counts for each other node.
    pub(crate) hosts: BTreeMap<NodeId, u64>,
    pub(crate) places: BTreeMap<u64, Place>,
    /// What was known of the object was lost with a home, or a holder: a page that is nowhere is lost.
    pub(crate) broken: bool,
    /// It came with its slot, and the members have not been asked yet: who has which page is not known, and who
    /// leaves meanwhile may have had any.
    pub(crate) partial: bool,
    /// References that [`ObjectHold`](mem_api::ObjectHold) counted for this node before it became the home,
    /// and that it has not adopted yet.
    pub(crate) awaited: u64,
    /// Who gave the object's slot to this node: it passes on what was on its way meanwhile.
    pub(crate) giver: Option<NodeId>,
}

impl Directory {
    /// Whether the page is the home's own, or nobody's.
    pub(crate) fn owned_here(&self, page: u64) -> bool {
        !self.places.contains_key(&page)
    }

    /// Whether all pages from this one on are.
    pub(crate) fn is_local(&self, from: u64) -> bool {
        self.places.range(from..).next().is_none()
    }

    /// Whether another node may hold something of the object.
    pub(crate) fn is_shared(&self) -> bool {
        !self.hosts.is_empty() || !self.places.is_empty()
    }

    /// Nodes other than the hosts that may still have pages, as they are on their way.
    pub(crate) fn others_with_pages(&self) -> Vec<NodeId> {
        let mut others: Vec<NodeId> = self
            .places
            .values()
            .flat_map(Place::holders)
            .filter(|it| !self.hosts.contains_key(it))
            .collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    /// Whether this node may.
    pub(crate) fn involves(&self, node: NodeId) -> bool {
        self.hosts.contains_key(&node) || self.places.values().any(|place| place.involves(node))
    }
}
