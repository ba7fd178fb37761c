// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where on the region what is: it follows from the region's size.

use crate::limits::{
    AREA_SECTORS_MAX, AREA_SECTORS_MIN, BLOCK_SECTORS, BLOCKS_MAX, REGION_SECTORS_MIN,
    REQUEST_SECTORS,
};

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Sectors of each of the two areas.
    pub(crate) area: u64,
    /// Blocks behind them.
    pub(crate) blocks: u32,
}

impl Layout {
    /// For a region of so many sectors; `None` if it is too small.
    pub(crate) fn of(sectors: u64) -> Option<Self> {
        if sectors < REGION_SECTORS_MIN {
            return None;
        }
        let area = (sectors / 8).clamp(AREA_SECTORS_MIN, AREA_SECTORS_MAX);
        let area = area / REQUEST_SECTORS * REQUEST_SECTORS;
        let blocks = ((sectors - 2 * area) / BLOCK_SECTORS).min(BLOCKS_MAX);
        Some(Self { area, blocks: blocks as u32 })
    }

    /// The first sector of an area.
    pub(crate) fn area_start(&self, area: u8) -> u64 {
        u64::from(area) * self.area
    }

    /// The first sector of a block.
    pub(crate) fn block_sector(&self, block: u32) -> u64 {
        2 * self.area + u64::from(block) * BLOCK_SECTORS
    }
}
