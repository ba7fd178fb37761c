// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes that the cluster was not founded with, and that its images need not name: added while it runs.
//!
//! # Model
//! What an image says of a node that others need, the view says of a newcomer: number, Ethernet address and
//! public key. It stands in the table of keys ([`View::keys`]), where its key changes as any other; the
//! address stays, and so does the entry.
//!
//! # Limits
//! Newcomers and changed keys share [`CHANGED_KEYS_MAX`](crate::limits::CHANGED_KEYS_MAX) places.

use crate::limits::CHANGED_KEYS_MAX;
use crate::{ChangedKey, Member, PublicKey, Refused, View, Void};
use abi::{Epoch, NodeId};
use alloc::vec::Vec;

/// Bytes of an Ethernet address.
pub const ADDRESS_BYTES: usize = 6;

/// An Ethernet address that a network card can have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StationAddress([u8; ADDRESS_BYTES]);

impl StationAddress {
    /// `None` for a group's address, that of all stations among them, and for zero, which is nobody's.
    ///
    /// # Source
    /// IEEE 802, clause 8.4: the first byte's lowest bit names a group.
    pub fn new(bytes: [u8; ADDRESS_BYTES]) -> Option<Self> {
        (bytes[0] & 1 == 0 && bytes != [0; ADDRESS_BYTES]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; ADDRESS_BYTES] {
        self.0
    }
}

/// A node that is added.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Newcomer {
    /// The node.
    pub node: NodeId,
    /// Its public key.
    pub key: PublicKey,
    /// Its Ethernet address.
    pub address: StationAddress,
}

impl View {
    /// The nodes that were added, ascending.
    pub fn added(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.keys().iter().filter(|entry| entry.address.is_some()).map(|entry| entry.node)
    }

    /// Whether the member `from` may ask that `new` be a node of the cluster.
    ///
    /// # Errors
    /// [`Refused::NotYours`]: it does not vote. [`Refused::Nothing`]: it is so already. [`Refused::InUse`],
    /// [`Refused::OthersKey`], [`Refused::OthersAddress`], [`Refused::Keys`].
    pub fn may_add(&self, from: NodeId, new: &Newcomer) -> Result<(), Refused> {
        if !self.voters().iter().any(|voter| voter.node == from) {
            return Err(Refused::NotYours);
        }
        let is_it =
            |entry: &&ChangedKey| (entry.key, entry.address) == (Some(new.key), Some(new.address));
        if self.changed_key(new.node).filter(is_it).is_some() {
            return Err(Refused::Nothing);
        }
        if self.contains(new.node) || self.changed_key(new.node).is_some() {
            return Err(Refused::InUse);
        }
        if self.keys().iter().any(|entry| entry.key == Some(new.key)) {
            return Err(Refused::OthersKey);
        }
        if self.keys().iter().any(|entry| entry.address == Some(new.address)) {
            return Err(Refused::OthersAddress);
        }
        if self.keys().len() >= CHANGED_KEYS_MAX {
            return Err(Refused::Keys);
        }
        Ok(())
    }
}

/// The table with those who were added in the view `since`. None of them may be in it, or a member.
pub(crate) fn with_added(
    mut keys: Vec<ChangedKey>,
    added: &[Newcomer],
    members: &[Member],
    since: Epoch,
) -> Result<Vec<ChangedKey>, Void> {
    for Newcomer { node, key, address } in added {
        let entry = ChangedKey { node: *node, key: Some(*key), address: Some(*address), since };
        let is_member = members.iter().any(|member| member.node == *node);
        match keys.binary_search_by_key(node, |entry| entry.node) {
            Err(at) if !is_member => keys.insert(at, entry),
            Ok(_) | Err(_) => return Err(Void::Newcomer(*node)),
        }
    }
    if keys.len() > CHANGED_KEYS_MAX {
        return Err(Void::Keys);
    }
    match added.iter().find(|new| is_doubled(&keys, new)) {
        Some(new) => Err(Void::Newcomer(new.node)),
        None => Ok(keys),
    }
}

fn is_doubled(keys: &[ChangedKey], new: &Newcomer) -> bool {
    let others = || keys.iter().filter(|entry| entry.node != new.node);
    others().any(|it| it.key == Some(new.key) || it.address == Some(new.address))
}

/// Whether no two nodes of the table have the same address.
pub(crate) fn addresses_differ(keys: &[ChangedKey]) -> bool {
    let mut addresses: Vec<StationAddress> = keys.iter().filter_map(|it| it.address).collect();
    addresses.sort_unstable();
    addresses.is_sorted_by(|a, b| a < b)
}

#[cfg(test)]
mod tests;
