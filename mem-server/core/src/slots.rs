// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of slots, as messages name them.

use abi::SlotNo;
use abi::id::SLOTS;
use mem_api::peer::SlotBits;

/// A set of slots.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct SlotSet(pub(crate) SlotBits);

impl SlotSet {
    /// The set of this one.
    pub(crate) fn of(slot: SlotNo) -> Self {
        let mut set = Self::default();
        set.insert(slot);
        set
    }

    pub(crate) fn insert(&mut self, slot: SlotNo) {
        self.0[slot.index() / 64] |= 1 << (slot.index() % 64);
    }

    pub(crate) fn has(&self, slot: SlotNo) -> bool {
        self.0[slot.index() / 64] >> (slot.index() % 64) & 1 != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = SlotNo> {
        (0..SLOTS).filter_map(SlotNo::new).filter(move |slot| self.has(*slot))
    }
}
