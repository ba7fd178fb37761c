// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that are kept on disks only: a server whose disk has not what the view says tells the views server.

use crate::Cx;
use crate::tables::Action;
use abi::{ServerId, SlotNo};
use alloc::vec::Vec;
use cluster::SlotSet;
use serde::{Deserialize, Serialize};

/// Upcall to the views server: of slots of this node that are kept its disk has not all: [`Missing`].
pub const EVENT_MISSING: u16 = 0xff02;

/// See [`EVENT_MISSING`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Missing {
    /// A bit for each slot, [`SlotSet::words`].
    pub slots: Vec<u64>,
}

crate::cold!(Missing);

impl Cx<'_> {
    /// This node's disk has not all of these slots. Void when another view is entered before it is heard: then it is to be
    /// said again.
    pub fn say_missing(&mut self, slots: &SlotSet) {
        self.raise_now(ServerId::Views, EVENT_MISSING, &Missing { slots: slots.words().to_vec() });
    }

    /// Whether this node, the slot's backup, has a copy of all of it.
    pub fn has_copy(&self, slot: SlotNo) -> bool {
        self.tables.replication.copies.get(&slot) == Some(&self.view().slot(slot).backed)
    }

    /// What waits for the next view need not wait any more: after this step it runs again.
    pub fn run_parked(&mut self) {
        self.tables.actions.push_back(Action::RunParked);
    }
}
