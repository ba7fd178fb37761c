// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of the store.

use abi::limits::{PAGE_BYTES, WINDOW_BYTES};

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;
/// Sectors of a block, which holds a page.
pub const BLOCK_SECTORS: u64 = (PAGE_BYTES / SECTOR_BYTES) as u64;
/// Sectors that one request reads or writes.
pub const REQUEST_SECTORS: u64 = (WINDOW_BYTES / SECTOR_BYTES) as u64;
/// Least sectors of an area, 4 MiB: all that a heap of 3 MiB can hold, and room for changes.
pub const AREA_SECTORS_MIN: u64 = 8192;
/// Most, 16 MiB: what is read at a start.
pub const AREA_SECTORS_MAX: u64 = 32 * 1024;
/// Blocks that are used, 1 GiB: three bits in memory for each, and four bytes for each that has a page. What a disk
/// has beyond is not used.
pub const BLOCKS_MAX: u64 = 256 * 1024;
/// Blocks that pages which are written anew may take before the old ones are free: they are no room for files.
pub const BLOCKS_RESERVED: u64 = 64;
/// Least sectors of a region: two areas and 1 MiB.
pub const REGION_SECTORS_MIN: u64 = 2 * AREA_SECTORS_MIN + 2048;
/// Bytes of the longest record of the client's: names have 255, links and attributes 4 KiB.
pub const RECORD_BYTES_MAX: usize = 8 * 1024;
/// Pages of a chunk: one request writes them. A file's pages lie together by chunks.
pub const CHUNK_PAGES: u64 = (WINDOW_BYTES / PAGE_BYTES) as u64;
/// Runs of blocks that a chunk may be in; before there are more, all of it is written to one place.
pub const CHUNK_RUNS_MAX: usize = 4;
/// Pages of which one record says where they are.
pub const MAPPED_PAGES_MAX: u64 = 256;
/// Sectors behind the end of a journal in which something is looked for that says more was flushed: as many as can
/// be under way at once.
pub const LOOK_SECTORS: u64 = 8 * REQUEST_SECTORS;
