// SPDX-License-Identifier: MIT OR Apache-2.0
//! What members may ask of the next view, and which of them may ask it.
//!
//! # Model
//! | request | from |
//! |---|---|
//! | joined, moved, abort, alone, missing | the slot's primary, in this very view |
//! | drain | the member itself |
//! | voters, key, add | a node that votes |
//!
//! Everything else (who is dead, who is admitted, who joins which slot, and who votes unless it is asked for)
//! the leader decides.

use crate::{Goal, Newcomer, PublicKey, Voter};
use abi::id::SLOTS;
use abi::{Epoch, NodeId, SlotNo};
use alloc::vec::Vec;
use core::fmt;

/// A wish for the next view. It is bound to an epoch: in another it is void.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// The slot's joiner has all of its state: let it be what it joined for. Whoever asks this for
    /// a [`Goal::Primary`] has frozen the slot, and unfreezes it only on entering a view.
    Joined(SlotNo, Goal),
    /// The slot's joiner shall not join.
    Abort(SlotNo),
    /// The slot's backup has not all of it, and shall be none.
    Alone(SlotNo),
    /// These slots are kept, and the disk of their primary, who asks, has not all of them.
    Missing(SlotSet),
    /// I wish to leave (or to stay after all).
    Drain(bool),
    /// These shall vote. From the next view on voters follow the members again
    /// ([`Draft::settle_voters`](crate::Draft::settle_voters)).
    Voters(Vec<Voter>),
    /// The node's key shall be this one, or it shall have none any more. An administrator wants it: the
    /// node that asks has seen to that.
    Key(NodeId, Option<PublicKey>),
    /// This shall be a node of the cluster. An administrator wants it, as for [`Self::Key`].
    Add(Newcomer),
}

/// Some of the slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SlotSet([u64; SLOTS as usize / 64]);

impl SlotSet {
    /// Adds one.
    pub fn add(&mut self, slot: SlotNo) {
        self.0[slot.index() / 64] |= 1 << (slot.index() % 64);
    }

    /// Whether it is one of them.
    pub fn has(&self, slot: SlotNo) -> bool {
        self.0[slot.index() / 64] >> (slot.index() % 64) & 1 == 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Its slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = SlotNo> + '_ {
        (0..SLOTS).filter_map(SlotNo::new).filter(|slot| self.has(*slot))
    }

    /// As it travels.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// From what travelled; `None` if it is none.
    pub fn from_words(words: &[u64]) -> Option<Self> {
        words.try_into().map(Self).ok()
    }
}

/// Why a request changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refused {
    /// It was made in another view than this: make it again, if it still makes sense.
    Epoch(Epoch),
    /// Who asks is no member, or not this incarnation of it.
    NotMember,
    /// Who asks may not ask this.
    NotYours,
    /// Nobody joins the slot for that, or nothing would change.
    Nothing,
    /// Not a set of voters.
    Voters,
    /// Another incarnation of the node is still a member: it goes first, once its lease is over.
    StillMember,
    /// There are as many members as there can be.
    Full,
    /// Who asks would revoke its own key.
    Itself,
    /// Without the node the voters that are members were no majority.
    Majority,
    /// The key is that of another node.
    OthersKey,
    /// As many keys have been changed, and nodes added, as there is room for.
    Keys,
    /// The number to be added is a member's, or another node's that the view knows.
    InUse,
    /// The Ethernet address is that of another node.
    OthersAddress,
    /// The node's key is revoked.
    Revoked,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch(epoch) => write!(f, "the view is {}", epoch.0),
            Self::NotMember => f.write_str("only members may ask this"),
            Self::NotYours => f.write_str("another one decides this"),
            Self::Nothing => f.write_str("nothing would change"),
            Self::Voters => f.write_str("not a set of voters"),
            Self::StillMember => f.write_str("the node's former life is not over yet"),
            Self::Full => f.write_str("there are as many members as there can be"),
            Self::Itself => f.write_str("a node does not revoke its own key"),
            Self::Majority => f.write_str("no majority of the voters would be left"),
            Self::OthersKey => f.write_str("it is another node's key"),
            Self::Keys => f.write_str("no more keys can be changed, and no nodes added"),
            Self::InUse => f.write_str("the number is in use"),
            Self::OthersAddress => f.write_str("it is another node's Ethernet address"),
            Self::Revoked => f.write_str("the node's key is revoked"),
        }
    }
}
