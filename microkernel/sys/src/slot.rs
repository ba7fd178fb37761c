// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots: where a capability lies, for what moves and copies capabilities.

use crate::cap::{CNode, Cap};
use crate::error::Error;
use crate::object::{CapData, Rights};

/// A slot: `depth` bits of `index`, resolved from the CNode `root`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The CNode where the lookup starts.
    pub root: Cap<CNode>,
    /// The bits to resolve.
    pub index: u64,
    /// How many bits, 1..=64.
    pub depth: u8,
}

impl Cap<CNode> {
    /// The slot `index` of `depth` bits below this CNode. A CNode with its guard counts its radix plus
    /// the guard's length: 64 for a capability space of one level.
    #[must_use]
    pub const fn slot(self, index: u64, depth: u8) -> Slot {
        Slot { root: self, index, depth }
    }
}

impl Slot {
    /// The next slot of the same CNode.
    #[must_use]
    pub const fn offset(self, by: u64) -> Self {
        Self { index: self.index + by, ..self }
    }

    /// Fills this empty slot with a copy of `source`, with at most `rights`.
    ///
    /// # Errors
    /// `DeleteFirst` if this slot is in use, `FailedLookup` if `source` is empty.
    pub fn copy_from(self, source: Slot, rights: Rights) -> Result<(), Error> {
        self.root.copy(self.index, self.depth, source.root, source.index, source.depth, rights)
    }

    /// Like [`copy_from`](Self::copy_from), and marks the copy with a badge, guard or port range.
    ///
    /// # Errors
    /// As there; `IllegalOperation` if the capability cannot be marked so, or already is.
    pub fn mint_from(self, source: Slot, rights: Rights, data: CapData) -> Result<(), Error> {
        self.root.mint(
            self.index,
            self.depth,
            source.root,
            source.index,
            source.depth,
            rights,
            data,
        )
    }

    /// Fills this empty slot with what `source` holds, which is empty afterwards.
    ///
    /// # Errors
    /// As for [`copy_from`](Self::copy_from).
    pub fn move_from(self, source: Slot) -> Result<(), Error> {
        self.root.move_(self.index, self.depth, source.root, source.index, source.depth)
    }

    /// Empties the slot. The object goes with its last capability. Deleting an empty slot is no error.
    ///
    /// # Errors
    /// `FailedLookup` if there is no such slot.
    pub fn delete(self) -> Result<(), Error> {
        self.root.delete(self.index, self.depth)
    }

    /// Deletes every capability made from this one, and keeps this one.
    ///
    /// # Errors
    /// `FailedLookup` if there is no such slot.
    pub fn revoke(self) -> Result<(), Error> {
        self.root.revoke(self.index, self.depth)
    }

    /// Keeps the right to answer the last call in this empty slot, for [`Cap<Reply>`](crate::Reply).
    ///
    /// # Errors
    /// `DeleteFirst` if the slot is in use.
    pub fn save_caller(self) -> Result<(), Error> {
        self.root.save_caller(self.index, self.depth)
    }

    /// Ends all calls and sends that wait on the badged endpoint capability in this slot; the callers
    /// go on as if they had never sent, and send again.
    ///
    /// # Errors
    /// `IllegalOperation` if the slot holds no endpoint.
    pub fn cancel_badged_sends(self) -> Result<(), Error> {
        self.root.cancel_badged_sends(self.index, self.depth)
    }
}
