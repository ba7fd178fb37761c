// SPDX-License-Identifier: MIT OR Apache-2.0
//! A change of a view, as it is agreed on and travels: not how it was decided, but what it is.
//!
//! # Model
//! A change reads "if the epoch is still `base`, this is the next view", and is void otherwise.
//! [`View::apply`] takes the same decision on every node, and refuses whatever no view may become.

use crate::limits::{EPOCH_MAX, MEMBERS_MAX, VOTERS_MAX};
use crate::{ChangedKey, Member, Newcomer, PublicKey, Slot, View, Voter};
use abi::{Epoch, NodeId, SlotNo};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// One view's difference from the one before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Delta {
    /// The view that it changes.
    pub base: Epoch,
    /// Members that are gone, ascending.
    pub leave: Vec<NodeId>,
    /// Members that come (possibly as a new incarnation of one that leaves), or whose wish to
    /// leave changes; ascending by node.
    pub join: Vec<Member>,
    /// The voters, if they change: ascending, at most [`VOTERS_MAX`].
    pub voters: Option<Vec<Voter>>,
    /// Slots that change, ascending.
    pub slots: Vec<(SlotNo, Slot)>,
    /// Keys that change, or are revoked, ascending by node.
    pub keys: Vec<(NodeId, Option<PublicKey>)>,
    /// Nodes that are added, ascending.
    pub added: Vec<Newcomer>,
}

/// Why a change is void: the view stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Void {
    /// The view has changed meanwhile: propose again, from the new one.
    Epoch(Epoch),
    /// It is no change.
    Nothing,
    /// A member leaves that is none, comes twice, has a number out of turn, or none would be left.
    Member(NodeId),
    /// Members would be none or too many.
    Members,
    /// There would be no voter, too many, or one twice.
    Voters,
    /// The slot would have a holder that may not be it.
    Slot(SlotNo),
    /// The node's key is this one already, or another's, or may not be revoked: no majority of the voters
    /// would be left.
    Key(NodeId),
    /// More keys would be changed, or nodes added, than there is room for.
    Keys,
    /// The node that would be added is a member or was added before, or has another's key or address.
    Newcomer(NodeId),
}

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch(epoch) => write!(f, "the view is already {}", epoch.0),
            Self::Nothing => f.write_str("nothing would change"),
            Self::Member(node) => write!(f, "node {node} may not leave or come so"),
            Self::Members => f.write_str("no member, or too many, would be left"),
            Self::Voters => f.write_str("not a set of voters"),
            Self::Slot(slot) => write!(f, "{slot} may not change so"),
            Self::Key(node) => write!(f, "the key of node {node} may not change so"),
            Self::Keys => f.write_str("too many keys would be changed"),
            Self::Newcomer(node) => write!(f, "node {node} may not be added so"),
        }
    }
}

impl Delta {
    /// A change of the view `base` that changes nothing yet.
    pub fn new(base: Epoch) -> Self {
        Self {
            base,
            leave: Vec::new(),
            join: Vec::new(),
            voters: None,
            slots: Vec::new(),
            keys: Vec::new(),
            added: Vec::new(),
        }
    }
}

impl View {
    /// The view that follows.
    ///
    /// # Errors
    /// The change is void.
    pub fn apply(&self, delta: &Delta) -> Result<Self, Void> {
        if delta.base != self.epoch {
            return Err(Void::Epoch(self.epoch));
        }
        if delta.leave.is_empty()
            && delta.join.is_empty()
            && delta.voters.is_none()
            && delta.slots.is_empty()
            && delta.keys.is_empty()
            && delta.added.is_empty()
        {
            return Err(Void::Nothing);
        }
        let epoch = Epoch(self.epoch.0 + 1);
        if epoch.0 > EPOCH_MAX {
            return Err(Void::Nothing);
        }
        let keys = self.keys_after(delta, epoch)?;
        let (roster, admitted) = self.roster_after(delta, &keys)?;
        let voters = match &delta.voters {
            Some(voters) => Arc::new(checked_voters(voters, admitted)?),
            None => self.voters.clone(),
        };
        if let Some((node, _)) = delta.keys.iter().find(|(_, key)| key.is_none())
            && 2 * voters.iter().filter(|voter| is_revoked(&keys, voter.node)).count()
                >= voters.len()
        {
            return Err(Void::Key(*node));
        }
        let members = Arc::new(roster.iter().map(|member| member.node).collect());
        let mut next = Self {
            cluster: self.cluster,
            epoch,
            admitted,
            members,
            roster: Arc::new(roster),
            voters,
            slots: self.slots.clone(),
            keys: if keys == *self.keys { self.keys.clone() } else { Arc::new(keys) },
        };
        next.change_slots(self, delta)?;
        Ok(next)
    }

    fn roster_after(&self, delta: &Delta, keys: &[ChangedKey]) -> Result<(Vec<Member>, u32), Void> {
        let mut roster = Vec::clone(&self.roster);
        for node in &delta.leave {
            let at = roster.binary_search_by_key(node, |member| member.node);
            roster.remove(at.map_err(|_| Void::Member(*node))?);
        }
        let mut admitted = self.admitted;
        for member in &delta.join {
            let refused = Void::Member(member.node);
            match roster.binary_search_by_key(&member.node, |member| member.node) {
                Ok(at) => {
                    let draining = Member { draining: !roster[at].draining, ..roster[at] };
                    if *member != draining {
                        return Err(refused);
                    }
                    roster[at] = *member;
                }
                Err(at) => {
                    let number = admitted.checked_add(1).ok_or(refused)?;
                    let in_turn = member.incarnation.get() == number && member.disk.get() <= number;
                    if !in_turn || is_revoked(keys, member.node) {
                        return Err(refused);
                    }
                    admitted = number;
                    roster.insert(at, *member);
                }
            }
        }
        if roster.is_empty() || roster.len() > MEMBERS_MAX {
            return Err(Void::Members);
        }
        Ok((roster, admitted))
    }

    fn change_slots(&mut self, old: &Self, delta: &Delta) -> Result<(), Void> {
        let left = |node: NodeId| delta.leave.contains(&node);
        if !delta.slots.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Void::Slot(delta.slots[0].0));
        }
        for (number, new) in &delta.slots {
            let lawful =
                old.slot(*number).may_become(new, left, |node| self.contains(node), self.epoch);
            if !lawful {
                return Err(Void::Slot(*number));
            }
        }
        if !delta.slots.is_empty() {
            let slots = Arc::make_mut(&mut self.slots);
            for (number, new) in &delta.slots {
                slots[number.index()] = *new;
            }
        }
        // Who left holds nothing, even if a new incarnation of the node came in the same change.
        if !delta.leave.is_empty() {
            let untouched = |number: &SlotNo| {
                delta.slots.binary_search_by_key(number, |(number, _)| *number).is_err()
            };
            let held = |number: &SlotNo| delta.leave.iter().any(|n| old.slot(*number).involves(*n));
            if let Some(number) = Self::slot_numbers().find(|n| untouched(n) && held(n)) {
                return Err(Void::Slot(number));
            }
        }
        Ok(())
    }
}

fn is_revoked(keys: &[ChangedKey], node: NodeId) -> bool {
    keys.iter().any(|entry| entry.node == node && entry.key.is_none())
}

/// The voters, if they are a set that a view may have.
pub(crate) fn checked_voters(voters: &[Voter], admitted: u32) -> Result<Vec<Voter>, Void> {
    let known = voters.iter().all(|voter| voter.disk.get() <= admitted);
    let sorted = voters.is_sorted_by(|a, b| a.node < b.node);
    if voters.is_empty() || voters.len() > VOTERS_MAX || !sorted || !known {
        return Err(Void::Voters);
    }
    Ok(voters.to_vec())
}
