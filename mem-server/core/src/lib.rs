// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of mem-server: memory objects, address spaces, page coherence, futexes.
//!
//! # Model
//! A [`MemCore`] owns all spaces and objects of a node and acts on frames, page tables and kernel
//! objects through a [`Machine`]. Every question "which frame stands behind this address" is answered
//! in one place (`resolve`), for page faults and for copies alike; if the answer is "on another node"
//! the page is fetched (`fetch`, `holder`, `home`: the three sides of the page protocol), whether it belongs to a
//! shared object or to a space that has just moved here (`moving`, `handover`). What a home knows of who has
//! which page can be lost, and left behind: it is rebuilt from what all members have (`turns`: slots come and go;
//! `rebuild`, `decide`: the home's side; `report`: the holder's).
//!
//! # Invariants
//! A hardware mapping never shows another frame than `resolve` would give, nor more rights.
//! A frame is held by as many entries as are counted for it. What an operation needs is checked
//! before it changes anything.
//!
//! # Failure
//! All that comes from other servers' programs and from other nodes is checked and answered with an
//! error. What waits for a node that died goes on, or fails, once the view says that it is gone: what survives
//! has been found out then. Nothing hangs but for a member that is silent and stays one.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod areas;
mod copy;
mod decide;
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
mod mutant;
mod object;
mod pages;
mod post;
mod pull;
mod rebuild;
mod refs;
mod report;
mod resolve;
mod runs;
mod serve;
mod sleep;
mod slots;
mod space;
pub mod tables;
#[cfg(test)]
mod tests;
mod turns;

pub use machine::{FrameNo, HardSpace, Machine, MachineFigures, MapHandle};

use abi::{Errno, NodeId, ObjectId, ServerId, SlotNo, SpaceId, Ticket};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use fetch::{Fetch, Key};
use frames::Frames;
use futex::Futexes;
use handover::Import;
use holder::Kept;
use linger::Linger;
use mem_api::ObjectHold;
use object::Objects;
use post::Note;
use rebuild::Rebuild;
use report::Round;
use runtime::collections::HashMap;
use slots::SlotSet;
use space::Spaces;
use turns::Anchor;

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
    kept: HashMap<Key, Kept>,
    /// Number of the last request for a page.
    requests: u32,
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
    /// In which round each slot is, where there has been one.
    rounds: BTreeMap<SlotNo, Round>,
    /// What this node, as a home, asks all members.
    rebuild: Rebuild,
    /// Calls of other nodes that wait until it has.
    holds_waiting: Vec<(ObjectHold, Ticket)>,
    /// Objects that may leave with their slots in the next view.
    exported: BTreeSet<ObjectId>,
    /// Slots that came with what their former homes know, in the view that is being entered.
    imported: SlotSet,
    /// What keeps this node a member while it leaves.
    anchor: Anchor,
    /// Open calls to homes, by cookie.
    holds: HashMap<u64, (SpaceId, ObjectId)>,
    next_cookie: u64,
    /// A mistake that it makes on purpose.
    #[cfg(test)]
    mutant: Option<mutant::Mutant>,
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
            threads: HashMap::default(),
            fetches: HashMap::default(),
            kept: HashMap::default(),
            requests: 0,
            linger: Linger::default(),
            loopback: VecDeque::new(),
            down: BTreeSet::new(),
            outbox: BTreeMap::new(),
            notes_lost: 0,
            imports: BTreeMap::new(),
            rounds: BTreeMap::new(),
            rebuild: Rebuild::default(),
            holds_waiting: Vec::new(),
            exported: BTreeSet::new(),
            imported: SlotSet::default(),
            anchor: Anchor::default(),
            holds: HashMap::default(),
            next_cookie: 0,
            #[cfg(test)]
            mutant: None,
        })
    }

    /// The machine, for what the task does beside the core.
    pub fn machine(&mut self) -> &mut M {
        &mut self.frames.machine
    }
}
