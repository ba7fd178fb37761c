// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page tables that no space has, and their way back to pages.
//!
//! # Model
//! A table is made of a piece of untyped memory of its own, a page long. So a table that nobody needs
//! can be deleted, and its memory becomes a frame: a program that had the node full of tables leaves no
//! less memory behind than one that had it full of pages.
//!
//! ```text
//! untyped memory --add--> in a space --give--> pooled --add--> in a space
//!                                                |
//!                                                +--make_frame--> a frame, for good
//! ```
//!
//! # Invariants
//! A table's memory is the capability in the slot after its own.

use crate::objects::Objects;
use crate::slots::Slots;
use abi::Errno;
use abi::limits::PAGE_BYTES;
use alloc::vec::Vec;
use mem_core::tables::Level;
use microkernel_sys::{
    Caching, Cap, Error, Frame, MapError, PageDirectory, PageTable, Pdpt, Slot, Table, Untyped,
    VSpace,
};

/// The tables that are mapped nowhere, by level. They are empty: the kernel clears a table that is
/// unmapped.
#[derive(Default)]
pub struct TablePool([Vec<u64>; Level::COUNT]);

impl TablePool {
    /// Maps a table that the kernel misses around `addr`; its level and slot.
    pub fn add(
        &mut self,
        missing: Table,
        space: Cap<VSpace>,
        addr: u64,
        objects: &mut Objects,
        slots: &mut Slots,
    ) -> Result<(Level, u64), Errno> {
        let level = level_of(missing);
        let slot = match self.0[level as usize].pop() {
            Some(slot) => slot,
            None => make(level, objects, slots)
                .or_else(|errno| self.remake(level, slots).ok_or(errno))?,
        };
        match map(level, slot, space, addr) {
            Ok(()) => Ok((level, slot)),
            Err(_) => {
                self.0[level as usize].push(slot);
                Err(Errno::ENOMEM)
            }
        }
    }

    /// A space needs this table no more.
    pub fn give(&mut self, level: Level, slot: u64) {
        unmap(level, slot).expect("mem-server holds this capability");
        self.0[level as usize].push(slot);
    }

    /// Makes a table of this level of one of another level that nobody needs; its slot.
    fn remake(&mut self, level: Level, slots: &mut Slots) -> Option<u64> {
        let slot = self.0.iter_mut().find_map(Vec::pop)?;
        slots.at(slot).delete().expect("mem-server holds this capability");
        create(level, Cap::new(slot + 1), slots.at(slot));
        Some(slot)
    }

    /// Makes a frame full of zeroes of a table that nobody needs; its slot.
    pub fn make_frame(&mut self, slots: &mut Slots) -> Option<u64> {
        let slot = self.0.iter_mut().find_map(Vec::pop)?;
        slots.at(slot).delete().expect("mem-server holds this capability");
        let memory = Cap::<Untyped>::new(slot + 1);
        memory.create::<Frame>(0, slots.at(slot), 1).expect("the table was all that it held");
        // The frame stays; only the way back to its memory goes.
        slots.at(slot + 1).delete().expect("mem-server holds this capability");
        slots.give(slot + 1);
        Some(slot)
    }
}

fn level_of(table: Table) -> Level {
    match table {
        Table::PageTable => Level::PageTable,
        Table::PageDirectory => Level::PageDirectory,
        Table::Pdpt => Level::Pdpt,
    }
}

fn make(level: Level, objects: &mut Objects, slots: &mut Slots) -> Result<u64, Errno> {
    let slot = slots.take_row(2)?;
    let (place, memory) = (slots.at(slot), Cap::<Untyped>::new(slot + 1));
    let bits = PAGE_BYTES.trailing_zeros();
    objects.create::<Untyped>(bits, slots.at(slot + 1), 1).inspect_err(|_| {
        slots.give(slot);
        slots.give(slot + 1);
    })?;
    create(level, memory, place);
    Ok(slot)
}

/// Makes a table of memory of which nothing else is made.
fn create(level: Level, memory: Cap<Untyped>, place: Slot) {
    match level {
        Level::PageTable => memory.create::<PageTable>(0, place, 1),
        Level::PageDirectory => memory.create::<PageDirectory>(0, place, 1),
        Level::Pdpt => memory.create::<Pdpt>(0, place, 1),
    }
    .expect("a table is a page long");
}

fn map(level: Level, slot: u64, space: Cap<VSpace>, addr: u64) -> Result<(), MapError> {
    let caching = Caching::WriteBack;
    match level {
        Level::PageTable => Cap::<PageTable>::new(slot).map(space, addr, caching),
        Level::PageDirectory => Cap::<PageDirectory>::new(slot).map(space, addr, caching),
        Level::Pdpt => Cap::<Pdpt>::new(slot).map(space, addr, caching),
    }
}

fn unmap(level: Level, slot: u64) -> Result<(), Error> {
    match level {
        Level::PageTable => Cap::<PageTable>::new(slot).unmap(),
        Level::PageDirectory => Cap::<PageDirectory>::new(slot).unmap(),
        Level::Pdpt => Cap::<Pdpt>::new(slot).unmap(),
    }
}
