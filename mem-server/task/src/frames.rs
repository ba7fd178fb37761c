// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames: their capabilities and their bytes.
//!
//! # Model
//! Every frame has one capability by which it is mapped here, so that mem-server can copy, and for
//! each mapping in a program one more. A frame keeps one of those when it is unmapped: the next
//! mapping needs no copy of a capability.

use crate::objects::Objects;
use crate::slots::Slots;
use crate::tables::TablePool;
use abi::Errno;
use abi::limits::PAGE_BYTES;
use abi::startup::MemoryStartup;
use alloc::vec::Vec;
use mem_core::FrameNo;
use microkernel_rt::pages::Pages;
use microkernel_sys::{Cap, Frame, MapError, VSpace};

/// Frames made at once: large enough to spread the cost, small enough to be no pause.
const BATCH: u64 = 128;
/// Numbers from here on are pages of the root file system's data.
const ROOT_FIRST: u32 = 1 << 31;

/// Bytes of the heap that stay free of what pages need: a program that wants more pages gets ENOMEM
/// while everything else still has room. More than the longest table here grows by at a time.
const HEAP_RESERVE_BYTES: usize = 512 * 1024;

/// This part of the memory never becomes frames: memory that does stays so, and new programs need page
/// tables and threads too.
const KERNEL_SHARE: u64 = 32;
/// Pages given out between two looks at the heap: they need 50 KiB at most.
const HEAP_CHECK_PAGES: u32 = 32;

/// One frame: there are as many rows as pages, so that they are small.
#[derive(Clone, Copy)]
struct Row {
    /// The capability that stays here, and in bit 31 whether the frame may hold anything but zeroes.
    slot: u32,
    /// A capability that is mapped nowhere; 0 if there is none.
    spare: u32,
}

/// Bit of [`Row::slot`].
const USED: u32 = 1 << 31;

impl Row {
    /// Slots are numbers of a CNode with far less than 2^31, and slot 0 is always empty.
    fn new(slot: u64, used: bool) -> Self {
        Self { slot: slot as u32 | if used { USED } else { 0 }, spare: 0 }
    }

    fn slot(self) -> u64 {
        u64::from(self.slot & !USED)
    }
}

/// All frames.
pub struct Frames {
    pages: Pages,
    root_pages: Pages,
    rows: Vec<Row>,
    root_rows: Vec<Row>,
    free: Vec<u32>,
    /// Pages to give out before the heap is looked at again.
    unchecked: u32,
    space: Cap<VSpace>,
}

impl Frames {
    /// None yet but those of the root file system.
    pub fn new(pages: Pages, root_pages: Pages, memory: &MemoryStartup, space: u64) -> Self {
        let count = memory.root_data_bytes.div_ceil(PAGE_BYTES as u64);
        let row = |page| Row::new(memory.root_data_slot + page, true);
        let root_rows = (0..count).map(row).collect();
        let space = Cap::new(space);
        // All at once: a table that grows needs its old room and the new one.
        let bytes: u64 = memory.untyped.iter().map(|&(_, _, bits)| 1 << bits).sum();
        let rows = Vec::with_capacity((bytes / PAGE_BYTES as u64) as usize);
        Self { pages, root_pages, rows, root_rows, free: Vec::new(), unchecked: 0, space }
    }

    /// A frame full of zeroes.
    pub fn allocate(
        &mut self,
        objects: &mut Objects,
        tables: &mut TablePool,
        slots: &mut Slots,
    ) -> Result<FrameNo, Errno> {
        self.check_heap()?;
        if self.free.is_empty() && self.make(objects, tables, slots).is_err() {
            let frame = tables.make_frame(slots).ok_or(Errno::ENOMEM)?;
            self.add(frame, objects, tables, slots)?;
        }
        let number = self.free.pop().ok_or(Errno::ENOMEM)?;
        let row = &mut self.rows[number as usize];
        if row.slot & USED != 0 {
            self.pages.page_mut(u64::from(number)).fill(0);
        }
        row.slot |= USED;
        Ok(FrameNo(number))
    }

    /// Refuses while the heap is nearly full; looks at it for some pages at a time.
    fn check_heap(&mut self) -> Result<(), Errno> {
        if self.unchecked == 0 {
            let heap = microkernel_rt::heap::usage();
            if heap.claimed_bytes - heap.allocated_bytes < HEAP_RESERVE_BYTES {
                return Err(Errno::ENOMEM);
            }
            self.unchecked = HEAP_CHECK_PAGES;
        }
        self.unchecked -= 1;
        Ok(())
    }

    fn make(
        &mut self,
        objects: &mut Objects,
        tables: &mut TablePool,
        slots: &mut Slots,
    ) -> Result<(), Errno> {
        if objects.left_bytes() < objects.total_bytes() / KERNEL_SHARE {
            return Err(Errno::ENOMEM);
        }
        let mut count = BATCH;
        let first = slots.take_row(count)?;
        // Where a whole batch does not fit any more, what is left is made one by one.
        if objects.create::<Frame>(0, slots.at(first), count).is_err() {
            count = 1;
            (1..BATCH).for_each(|slot| slots.give(first + slot));
            objects.create::<Frame>(0, slots.at(first), 1).inspect_err(|_| slots.give(first))?;
        }
        for slot in first..first + count {
            self.add(slot, objects, tables, slots)?;
        }
        // The first ones are given out first.
        let made = self.free.len() - count as usize;
        self.free[made..].reverse();
        Ok(())
    }

    /// The frame in `slot`, full of zeroes, is one more that nobody uses.
    fn add(
        &mut self,
        slot: u64,
        objects: &mut Objects,
        tables: &mut TablePool,
        slots: &mut Slots,
    ) -> Result<(), Errno> {
        loop {
            let at = self.pages.next_address();
            match self.pages.push(Cap::new(slot), self.space) {
                Ok(()) => break,
                Err(MapError::Missing(table)) => {
                    tables.add(table, self.space, at, objects, slots)?;
                }
                Err(MapError::Occupied | MapError::Other(_)) => return Err(Errno::ENOMEM),
            }
        }
        self.rows.push(Row::new(slot, false));
        self.free.push(self.rows.len() as u32 - 1);
        Ok(())
    }

    /// Nothing maps the frame any more.
    pub fn free(&mut self, frame: FrameNo) {
        assert!(frame.0 < ROOT_FIRST, "pages of the root file system are never freed");
        self.free.push(frame.0);
    }

    /// The frame of a page of the root file system's data.
    pub fn root_frame(&self, page: u64) -> Option<FrameNo> {
        let page =
            u32::try_from(page).ok().filter(|page| (*page as usize) < self.root_rows.len())?;
        Some(FrameNo(ROOT_FIRST + page))
    }

    /// A frame's bytes.
    pub fn bytes(&self, frame: FrameNo) -> &[u8; PAGE_BYTES] {
        match frame.0.checked_sub(ROOT_FIRST) {
            Some(page) => self.root_pages.page(u64::from(page)),
            None => self.pages.page(u64::from(frame.0)),
        }
    }

    /// The same, to be written.
    pub fn bytes_mut(&mut self, frame: FrameNo) -> &mut [u8; PAGE_BYTES] {
        self.pages.page_mut(u64::from(frame.0))
    }

    /// Copies between frames; only the source may be one of the root file system.
    pub fn copy(&mut self, from: (FrameNo, usize), to: (FrameNo, usize), len: usize) {
        match from.0.0.checked_sub(ROOT_FIRST) {
            Some(page) => {
                let source = &self.root_pages.page(u64::from(page))[from.1..from.1 + len];
                self.pages.page_mut(u64::from(to.0.0))[to.1..to.1 + len].copy_from_slice(source);
            }
            None => {
                let (from_page, to_page) = (u64::from(from.0.0), u64::from(to.0.0));
                self.pages.copy((from_page, from.1), (to_page, to.1), len);
            }
        }
    }

    /// A capability of the frame that is mapped nowhere.
    pub fn take_spare(&mut self, frame: FrameNo, slots: &mut Slots) -> Result<u64, Errno> {
        let row = self.row(frame);
        if row.spare != 0 {
            return Ok(u64::from(core::mem::take(&mut row.spare)));
        }
        let from = slots.at(row.slot());
        let slot = slots.take()?;
        let rights = microkernel_sys::Rights::ALL;
        slots.at(slot).copy_from(from, rights).map_err(|_| Errno::ENOMEM)?;
        Ok(slot)
    }

    /// Such a capability is mapped nowhere again.
    pub fn give_spare(&mut self, frame: FrameNo, slot: u64, slots: &mut Slots) {
        let row = self.row(frame);
        if row.spare == 0 {
            row.spare = slot as u32;
            return;
        }
        slots.at(slot).delete().expect("the slot holds this capability");
        slots.give(slot);
    }

    fn row(&mut self, frame: FrameNo) -> &mut Row {
        match frame.0.checked_sub(ROOT_FIRST) {
            Some(page) => &mut self.root_rows[page as usize],
            None => &mut self.rows[frame.0 as usize],
        }
    }

    /// Bytes of frames that nobody uses.
    pub fn free_bytes(&self) -> u64 {
        self.free.len() as u64 * PAGE_BYTES as u64
    }

    /// Bytes of frames in use.
    pub fn used_bytes(&self) -> u64 {
        (self.rows.len() - self.free.len()) as u64 * PAGE_BYTES as u64
    }
}
