// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of mem-server: memory objects, address spaces, page coherence, futexes.
//!
//! # Model
//! A [`MemCore`] owns all spaces and objects of a node and acts on frames, page tables and kernel
//! objects through a [`Machine`]. Every question "which frame stands behind this address" is answered
//! in one place (`resolve`), for page faults and for copies alike; if the answer is "on another node"
//! the page is fetched (`fetch`, `holder`, `home`: the three sides of the page protocol), whether it belongs to a
//! shared object or to a space that has just moved here (`moving`, `handover`).
//!
//! # Invariants
//! A hardware mapping never shows another frame than `resolve` would give, nor more rights.
//! A frame is held by as many entries as are counted for it. What an operation needs is checked
//! before it changes anything.
//!
//! # Failure
//! All that comes from other servers' programs and from other nodes is checked and answered with an
//! error. A node's death fails what waits for it; nothing hangs.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod areas;
mod copy;
mod directory;
mod fetch;
mod frames;
mod futex;
mod handover;
mod holder;
mod home;
mod lifecycle;
pub mod limits;
mod linger;
mod machine;
mod map;
mod moving;
mod object;
mod pages;
mod post;
mod resolve;
mod runs;
mod serve;
mod space;
pub mod tables;
#[cfg(test)]
mod tests;

pub use machine::{FrameNo, HardSpace, Machine, MachineFigures, MapHandle};

use abi::{Errno, NodeId, ObjectId, ServerId, SpaceId};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use fetch::{Fetch, Key};
use frames::Frames;
use futex::Futexes;
use handover::Import;
use hashbrown::HashMap;
use linger::Linger;
use object::Objects;
use post::Note;
use space::Spaces;

/// The core of mem-server.
pub struct MemCore<M> {
    frames: Frames<M>,
    spaces: Spaces,
    objects: Objects,
    futexes: Futexes,
    /// Hardware space of each thread's kernel objects, by owner and slot.
    threads: HashMap<(ServerId, u64), HardSpace>,
    /// Pages on their way here.
    fetches: HashMap<Key, Fetch>,
    /// Pages given up, whose frames wait until the taker has them.
    kept: HashMap<Key, (FrameNo, NodeId)>,
    /// Pages that stay a moment.
    linger: Linger,
    /// What this node said to itself in this step.
    loopback: VecDeque<(NodeId, Note)>,
    /// Nodes that do not answer.
    down: BTreeSet<NodeId>,
    /// What waits for room in a link.
    outbox: BTreeMap<NodeId, VecDeque<Note>>,
    /// Messages that not even the outbox could take.
    notes_lost: u64,
    /// Descriptions of spaces that arrive in parts.
    imports: BTreeMap<(NodeId, u64), Import>,
    /// Open calls to homes, by cookie.
    holds: HashMap<u64, (SpaceId, ObjectId)>,
    next_cookie: u64,
}

impl<M: Machine> MemCore<M> {
    /// An empty core on this machine.
    ///
    /// # Errors
    /// ENOMEM: the machine has not a single frame.
    pub fn new(machine: M) -> Result<Self, Errno> {
        Ok(Self {
            frames: Frames::new(machine)?,
            spaces: Spaces::default(),
            objects: Objects::default(),
            futexes: Futexes::default(),
            threads: HashMap::new(),
            fetches: HashMap::new(),
            kept: HashMap::new(),
            linger: Linger::default(),
            loopback: VecDeque::new(),
            down: BTreeSet::new(),
            outbox: BTreeMap::new(),
            notes_lost: 0,
            imports: BTreeMap::new(),
            holds: HashMap::new(),
            next_cookie: 0,
        })
    }

    /// The machine, for what the task does beside the core.
    pub fn machine(&mut self) -> &mut M {
        &mut self.frames.machine
    }
}
