// SPDX-License-Identifier: MIT OR Apache-2.0
//! Agreed views: who is a member, who holds which slot, and who may act, decided by a majority of
//! the voters.
//!
//! # Model
//! [`Views`] is one node's part, a state machine without I/O: messages, the time and what the disk
//! has flushed come in; messages, writes and what changed come out ([`Output`]). Four parts meet in it:
//!
//! ```text
//!   founding on nodes of no cluster yet: the first view
//!   raft     the voters' log of changes of the view (noraft, and what it leaves to us)
//!   desk     on the leader: leases, admissions, suspects, requests, and the next change
//!   member   on every node: the view, the lease, asking to be admitted
//! ```
//!
//! Only voters (seven at most) have the log. All other members are told of each view by the leader,
//! and ask for it with every renewal of their lease, so that what a change costs is one message per
//! member.
//!
//! # Invariants
//! - One leader per term; one view per epoch; what was agreed is never lost while a majority of the
//!   voters' disks is there.
//! - **A member acts only while its lease is good, and no view without it is agreed while it may be.**
//!   So no slot has two acting primaries.
//! - Nothing is said before it would survive a restart of who says it.
//!
//! # Failure
//! A node whose disk is empty, or damaged, knows nothing: it asks to be admitted as another
//! incarnation, and takes part as another voter. If all founders do, they found another cluster, and
//! members that are left of the old one are told so. A node that starts again with its disk is the same
//! voter, and another member. What is not from a voter, not for this disk, of another cluster, or could not
//! be meant is counted and dropped.
//!
//! # Limits
//! See [`limits`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod checksum;
mod desk;
pub mod founding;
mod hearing;
pub mod journal;
mod lead;
mod lease;
pub mod limits;
mod links;
mod member;
mod raft;
pub mod rules;
pub mod server;
mod status;
mod suspects;
mod views;
pub mod wire;

pub use status::Status;
pub use views::{Config, Counts, Output, Start, Views};

/// Numbers from a seed (splitmix64): for time-outs and names of starts, not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
