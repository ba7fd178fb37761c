// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal that is being written: which area, and how far.

use crate::batch::Header;
use crate::layout::Layout;
use crate::limits::REQUEST_SECTORS;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub(crate) area: u8,
    pub(crate) epoch: u64,
    nonce: u64,
    /// Sectors of the area that are written.
    at: u64,
    number: u32,
    flushed: u32,
    /// Whether what the area says counts: before that the other one does.
    pub(crate) counts: bool,
}

impl Log {
    /// Before anything was written: `full` is an area that must stay until another one counts.
    pub(crate) fn new(full: u8, epoch: u64, nonce: u64, layout: &Layout) -> Self {
        Self { area: full, epoch, nonce, at: layout.area, number: 0, flushed: 0, counts: true }
    }

    /// Whether a batch fits, of whatever length.
    pub(crate) fn has_room(&self, layout: &Layout) -> bool {
        self.at + REQUEST_SECTORS <= layout.area
    }

    /// Goes to the other area.
    pub(crate) fn turn(&mut self) {
        *self = Self {
            area: 1 - self.area,
            epoch: self.epoch + 1,
            at: 0,
            number: 0,
            flushed: 0,
            counts: false,
            ..*self
        };
    }

    /// Begins the area anew, of which nothing counts yet.
    pub(crate) fn again(&mut self) {
        *self = Self { epoch: self.epoch + 1, at: 0, number: 0, flushed: 0, ..*self };
    }

    /// The header of the next batch.
    pub(crate) fn header(&self, commits: bool) -> Header {
        let Self { epoch, nonce, number, flushed, .. } = *self;
        Header { epoch, nonce, number, flushed, commits }
    }

    /// The sector of the region for the next batch.
    pub(crate) fn sector(&self, layout: &Layout) -> u64 {
        layout.area_start(self.area) + self.at
    }

    /// A batch was written.
    pub(crate) fn wrote(&mut self, sectors: u64) {
        self.at += sectors;
        self.number += 1;
    }

    /// Whether all that was written is safe, and the area counts.
    pub(crate) fn is_all_safe(&self) -> bool {
        self.counts && self.flushed == self.number
    }

    /// All that was written is safe, up to a commit.
    pub(crate) fn is_safe(&mut self) {
        self.flushed = self.number;
        self.counts = true;
    }
}
