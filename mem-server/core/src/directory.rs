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
//! any --owner dies, no copy at the home--> Lost
//! ```

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
        /// Who acknowledges to the asker.
        invalidated: Vec<NodeId>,
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
    Forward {
        owner: NodeId,
        to: NodeId,
        access: Access,
        acks: u16,
    },
    Invalidate {
        holder: NodeId,
        to: NodeId,
    },
    Grant {
        to: NodeId,
        acks: u16,
        zero: bool,
    },
    Lost {
        to: NodeId,
        access: Access,
    },
    /// Speak for a dead node that was to acknowledge.
    Acknowledge {
        of: NodeId,
        to: NodeId,
    },
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
            self.write(ask.node, ask.node, Vec::new());
        } else if ask.access == Access::Read {
            self.read(ask, orders);
        } else if ask.node == self.owner || ask.have && self.copies.contains(&ask.node) {
            let others = self.others(&[ask.node]);
            orders.push(Order::Grant { to: ask.node, acks: others.len() as u16, zero: false });
            self.invalidate(&others, ask.node, orders);
            self.write(ask.node, ask.node, others);
        } else {
            let (owner, access) = (self.owner, ask.access);
            let others = self.others(&[ask.node, owner]);
            let acks = others.len() as u16;
            orders.push(Order::Forward { owner, to: ask.node, access, acks });
            self.invalidate(&others, ask.node, orders);
            self.write(ask.node, owner, others);
        }
    }

    fn read(&mut self, ask: Ask, orders: &mut Vec<Order>) {
        orders.push(if ask.node == self.owner {
            Order::Grant { to: ask.node, acks: 0, zero: false }
        } else {
            Order::Forward { owner: self.owner, to: ask.node, access: Access::Read, acks: 0 }
        });
        match &mut self.state {
            State::Reading(askers) => askers.push(ask.node),
            State::Idle | State::Writing { .. } | State::Lost => {
                self.state = State::Reading(vec![ask.node]);
            }
        }
    }

    fn write(&mut self, asker: NodeId, keeper: NodeId, invalidated: Vec<NodeId>) {
        self.copies.clear();
        self.state = State::Writing { asker, wait: vec![keeper], invalidated };
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

    /// A node died. `copy_here`: the home holds a readable copy, and becomes the owner if the owner
    /// died. What else was on its way from or to the dead node is lost.
    pub(crate) fn node_down(
        &mut self,
        dead: NodeId,
        home: NodeId,
        copy_here: bool,
        orders: &mut Vec<Order>,
    ) {
        self.copies.retain(|node| *node != dead);
        self.queue.retain(|ask| ask.node != dead);
        match &mut self.state {
            State::Idle => {}
            State::Lost => return,
            State::Reading(askers) => {
                askers.retain(|node| *node != dead);
                let left = askers.clone();
                self.copies.extend(left.iter().filter(|node| **node != self.owner));
                if self.owner == dead {
                    // Their data may never come; those that have it say Done again.
                    let access = Access::Read;
                    orders.extend(left.iter().map(|&to| Order::Lost { to, access }));
                }
                if self.owner == dead || left.is_empty() {
                    self.state = State::Idle;
                }
            }
            State::Writing { asker, wait, invalidated } => {
                let (asker, keeper_died) = (*asker, wait.contains(&dead));
                if invalidated.contains(&dead) && asker != dead {
                    orders.push(Order::Acknowledge { of: dead, to: asker });
                }
                if asker == dead || keeper_died {
                    self.state = State::Lost;
                    self.owner = asker;
                    if asker != dead {
                        orders.push(Order::Lost { to: asker, access: Access::Write });
                    }
                }
            }
        }
        if self.owner == dead && self.state == State::Idle {
            if copy_here {
                self.owner = home;
                self.copies.retain(|node| *node != home);
            } else {
                self.state = State::Lost;
            }
        }
        self.pump(orders);
    }

    /// Of a page given up for lost: the node that wanted to write it had it after all.
    pub(crate) fn revive(&mut self, from: NodeId) {
        if self.state == State::Lost && self.owner == from {
            self.state = State::Idle;
        }
    }
}

/// The directory of one object.
#[derive(Default)]
pub(crate) struct Directory {
    /// References that the home counts for each other node.
    pub(crate) hosts: BTreeMap<NodeId, u64>,
    pub(crate) places: BTreeMap<u64, Place>,
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
}
