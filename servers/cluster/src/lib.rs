// SPDX-License-Identifier: MIT OR Apache-2.0
//! The view: epoch, members, voters, and who holds which slot; and the rules by which one view
//! follows another. How nodes agree on it is not here but in servers/views.
//!
//! # Model
//! A [`View`] is a value that all nodes share. A [`Delta`] says how the next one differs; it is made
//! with a [`Draft`], and [`View::apply`] decides, alike on every node, whether it holds or is void.
//!
//! # Invariants
//! - Epochs grow by one. An [`Incarnation`] is given once.
//! - Voters whose keys were revoked are no majority, and nobody whose key was revoked is admitted.
//! - A slot's roles are held by different members. Its primary changes only if it left, or gave the
//!   slot to a joiner that it named; nobody becomes primary or backup without the state unless all
//!   who had it are gone, and then the slot is marked lost.
//!
//! # Limits
//! See [`limits`]. Copies of a view share their tables: cloning costs no memory.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod codec;
mod delta;
mod draft;
#[cfg(test)]
mod kept_tests;
mod keys;
pub mod limits;
mod member;
mod newcomer;
mod request;
mod serial;
mod slot;
#[cfg(test)]
mod tests;

pub use codec::Malformed;
pub use delta::{Delta, Void};
pub use draft::{Draft, Policy};
pub use keys::{ChangedKey, LOW_ORDER, PublicKey};
pub use member::{Incarnation, Member, Voter};
pub use newcomer::{ADDRESS_BYTES, Newcomer, StationAddress};
pub use request::{Refused, Request, SlotSet};
pub use serial::COUNT_MAX;
pub use slot::{Goal, Joining, Slot};

use abi::id::SLOTS;
use abi::{Epoch, NodeId, SlotNo};
use alloc::sync::Arc;
use alloc::vec::Vec;
use limits::{MEMBERS_MAX, VOTERS_MAX};

/// What all nodes agree on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct View {
    /// Which cluster it is a view of; 0 if that was never drawn.
    cluster: u64,
    epoch: Epoch,
    /// The last incarnation that was given.
    admitted: u32,
    /// The nodes of `roster`, for those who want no more.
    members: Arc<Vec<NodeId>>,
    roster: Arc<Vec<Member>>,
    voters: Arc<Vec<Voter>>,
    slots: Arc<Vec<Slot>>,
    keys: Arc<Vec<ChangedKey>>,
}

impl View {
    /// The view of epoch 1 over `members`: slots go round them, without backups, and the first
    /// seven at most, an odd number, vote. `None` if there is no member or one stands twice.
    pub fn fixed(members: Vec<NodeId>) -> Option<Self> {
        let odd = odd_voters(members.len());
        Self::founded(members, odd)
    }

    /// As [`View::fixed`], with the first `voters` of them as voters; `None` also if these are none
    /// or more than [`VOTERS_MAX`].
    pub fn founded(mut members: Vec<NodeId>, voters: usize) -> Option<Self> {
        members.sort_unstable();
        let voters = members.get(..voters)?.to_vec();
        Self::first(0, members.into_iter().map(|node| (node, 0)).collect(), &voters)
    }

    /// The first view of the cluster named `cluster`, not 0. `members` have the boots that they
    /// announced; the first seven of `founders` at most, an odd number, vote. `None` if a founder
    /// is no member, there is none, or a node stands twice.
    pub fn begun(cluster: u64, members: Vec<(NodeId, u64)>, founders: &[NodeId]) -> Option<Self> {
        let mut founders = founders.to_vec();
        founders.sort_unstable();
        let is_member = |node: &NodeId| members.iter().any(|(member, _)| member == node);
        if !founders.iter().all(is_member) || !founders.is_sorted_by(|a, b| a < b) {
            return None;
        }
        founders.truncate(odd_voters(founders.len()));
        Self::first(cluster, members, &founders)
    }

    fn first(cluster: u64, mut members: Vec<(NodeId, u64)>, voters: &[NodeId]) -> Option<Self> {
        members.sort_unstable();
        let unique = members.is_sorted_by(|a, b| a.0 < b.0);
        let numbered = (1..).zip(&members);
        let roster: Vec<Member> =
            numbered.map(|(n, (node, boot))| founder(n, *node, *boot)).collect();
        let voter = |node: &NodeId| {
            let at = roster.binary_search_by_key(node, |member| member.node).ok()?;
            Some(Voter { node: *node, disk: roster[at].disk })
        };
        let chosen: Vec<Voter> = voters.iter().map(voter).collect::<Option<_>>()?;
        let number = (1..=VOTERS_MAX).contains(&chosen.len());
        if !unique || !number || roster.len() > MEMBERS_MAX {
            return None;
        }
        let members: Vec<NodeId> = roster.iter().map(|member| member.node).collect();
        let slots = (0..usize::from(SLOTS)).map(|slot| Slot::new(members[slot % members.len()]));
        Some(Self {
            cluster,
            epoch: Epoch(1),
            admitted: members.len() as u32,
            slots: Arc::new(slots.collect()),
            members: Arc::new(members),
            roster: Arc::new(roster),
            voters: Arc::new(chosen),
            keys: Arc::default(),
        })
    }

    /// The same view, of epoch 1, with a backup for each slot if there are two members: nothing lives
    /// anywhere yet, so that every member has all of it.
    pub fn with_backups(mut self) -> Self {
        let count = self.members.len();
        if self.epoch != Epoch(1) || count < 2 {
            return self;
        }
        let members = self.members.clone();
        for (number, slot) in Arc::make_mut(&mut self.slots).iter_mut().enumerate() {
            // All others in turn, so that the slots of who dies go to many.
            let step = 1 + number / count % (count - 1);
            *slot = slot.backed(members[(number + step) % count]);
        }
        self
    }

    /// What a node goes by that is no member of a cluster yet: epoch 0, itself, and home to all slots.
    pub fn outside(node: NodeId) -> Self {
        Self {
            cluster: 0,
            epoch: Epoch(0),
            admitted: 0,
            members: Arc::new(Vec::from([node])),
            roster: Arc::new(Vec::from([founder(1, node, 0)])),
            voters: Arc::new(Vec::new()),
            slots: Arc::new((0..SLOTS).map(|_| Slot::new(node)).collect()),
            keys: Arc::default(),
        }
    }

    /// Which cluster it is a view of: a number that was drawn when it was founded, and stays. 0 if
    /// none was.
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// The view's number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The member nodes, ascending.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The members, ascending by node.
    pub fn roster(&self) -> &[Member] {
        &self.roster
    }

    /// What the view says of `node`, if it is a member.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        let at = self.members.binary_search(&node).ok()?;
        Some(&self.roster[at])
    }

    /// Whether `node` is a member.
    pub fn contains(&self, node: NodeId) -> bool {
        self.members.binary_search(&node).is_ok()
    }

    /// Whether `node` is a member of this view and, in the same life, of the later one `next`.
    pub fn keeps(&self, next: &Self, node: NodeId) -> bool {
        let life = |view: &Self| view.member(node).map(|member| member.incarnation);
        life(self).is_some() && life(self) == life(next)
    }

    /// The voters, ascending. A voter need not be a member at the moment.
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// Who holds `slot`.
    pub fn slot(&self, slot: SlotNo) -> &Slot {
        &self.slots[slot.index()]
    }

    /// Whether what lives in `slot` is on disks of nodes that are not here: nothing may happen in it.
    pub fn is_waiting(&self, slot: SlotNo) -> bool {
        self.slot(slot).is_waiting()
    }

    /// The node that is home to `slot`: its primary.
    pub fn home(&self, slot: SlotNo) -> NodeId {
        self.slot(slot).primary
    }

    /// Whether what has this serial in `slot` is gone, with all that lived there when it was made.
    pub fn has_lost(&self, slot: SlotNo, serial: u64) -> bool {
        self.slot(slot).has_lost(serial)
    }

    /// The same for what has no copy at the backup.
    pub fn has_broken(&self, slot: SlotNo, serial: u64) -> bool {
        self.slot(slot).has_broken(serial)
    }

    /// The slots that `node` is home to, ascending.
    pub fn slots_of(&self, node: NodeId) -> impl Iterator<Item = SlotNo> + '_ {
        Self::slot_numbers().filter(move |slot| self.home(*slot) == node)
    }

    /// All slots, ascending.
    pub fn slot_numbers() -> impl Iterator<Item = SlotNo> {
        (0..SLOTS).filter_map(SlotNo::new)
    }
}

fn founder(number: u32, node: NodeId, boot: u64) -> Member {
    let incarnation = Incarnation::new(number).expect("it counts from 1");
    Member { node, incarnation, boot, disk: incarnation, draining: false }
}

/// How many of so many nodes vote: an odd number, as one more would survive no failure more.
fn odd_voters(nodes: usize) -> usize {
    (nodes.saturating_sub(1) / 2 * 2 + 1).min(VOTERS_MAX)
}
