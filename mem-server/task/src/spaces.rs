// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hardware address spaces.
//!
//! # Limits
//! An address space keeps its tables when it is pooled. Of more than [`POOLED_TABLES_MAX`] tables the
//! lowest level is taken apart, so that one program with a scattered layout does not keep memory.

use crate::frames::{Frames, add_table};
use crate::objects::Objects;
use crate::slots::Slots;
use abi::Errno;
use abi::startup::MemoryStartup;
use alloc::vec::Vec;
use mem_core::{FrameNo, HardSpace, MapHandle};
use microkernel_sys::{
    AsidControl, AsidPool, Caching, Cap, Frame, MapError, PageTable, Rights, Table, Untyped, VSpace,
};

/// Tables that a pooled space may keep: code, heap, mappings and stack of an ordinary program.
const POOLED_TABLES_MAX: usize = 12;
/// Identifiers of one pool.
const IDS_PER_POOL: u32 = 512;
/// The kernel's table of pools.
const POOLS_MAX: usize = 8;

/// Bytes that a page table maps.
const TABLE_BYTES: u64 = 2 << 20;

struct Row {
    cap: Cap<VSpace>,
    /// The lowest level: page tables, with the number of the 2 MiB that each maps.
    tables: Vec<(u64, u64)>,
}

/// Says in the table of mappings that a slot's capability maps nothing.
const NONE: u32 = u32::MAX;

/// All address spaces.
pub struct Spaces {
    rows: Vec<Row>,
    free: Vec<u32>,
    /// Page tables that are mapped nowhere, and empty.
    tables: Vec<u64>,
    /// The frame that the capability in each slot maps, or [`NONE`].
    mappings: Vec<u32>,
    pools: Vec<Cap<AsidPool>>,
    ids_left: u32,
    control: Cap<AsidControl>,
    in_use: u64,
}

impl Spaces {
    /// None yet.
    pub fn new(memory: &MemoryStartup, domains: u32) -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            tables: Vec::new(),
            // All at once: a table that grows needs its old room and the new one.
            mappings: Vec::with_capacity(memory.slots_end as usize),
            pools: alloc::vec![Cap::new(memory.asid_pool_slot)],
            // Root's own, the kernel's reserved first one, and one for each domain.
            ids_left: IDS_PER_POOL - 2 - domains,
            control: Cap::new(memory.asid_control_slot),
            in_use: 0,
        }
    }

    /// A space without mappings.
    pub fn create(&mut self, objects: &mut Objects, slots: &mut Slots) -> Result<HardSpace, Errno> {
        self.in_use += 1;
        if let Some(index) = self.free.pop() {
            return Ok(HardSpace(index));
        }
        let made = self.make(objects, slots);
        if made.is_err() {
            self.in_use -= 1;
        }
        made
    }

    fn make(&mut self, objects: &mut Objects, slots: &mut Slots) -> Result<HardSpace, Errno> {
        if self.ids_left == 0 {
            self.add_pool(objects, slots)?;
        }
        let slot = slots.take()?;
        objects.create::<VSpace>(0, slots.at(slot), 1)?;
        let cap = Cap::new(slot);
        let pool = self.pools[self.pools.len() - 1];
        pool.assign(cap).map_err(|_| Errno::EAGAIN)?;
        self.ids_left -= 1;
        self.rows.push(Row { cap, tables: Vec::new() });
        Ok(HardSpace(self.rows.len() as u32 - 1))
    }

    fn add_pool(&mut self, objects: &mut Objects, slots: &mut Slots) -> Result<(), Errno> {
        if self.pools.len() >= POOLS_MAX {
            return Err(Errno::EAGAIN);
        }
        let untyped = slots.take()?;
        objects.create::<Untyped>(12, slots.at(untyped), 1)?;
        let slot = slots.take()?;
        let place = slots.at(slot);
        self.control
            .make_pool(Cap::new(untyped), place.root, place.index, place.depth)
            .map_err(|_| Errno::EAGAIN)?;
        self.pools.push(Cap::new(slot));
        self.ids_left = IDS_PER_POOL;
        Ok(())
    }

    /// Nothing is mapped in the space any more: keep it for the next program.
    pub fn destroy(&mut self, space: HardSpace) {
        self.in_use -= 1;
        let row = &mut self.rows[space.0 as usize];
        while row.tables.len() > POOLED_TABLES_MAX {
            let Some((_, slot)) = row.tables.pop() else { break };
            // An unmapped page table is empty: the kernel clears it.
            if Cap::<PageTable>::new(slot).unmap().is_ok() {
                self.tables.push(slot);
            }
        }
        self.free.push(space.0);
    }

    /// The capability of a space.
    pub fn cap(&self, space: HardSpace) -> Cap<VSpace> {
        self.rows[space.0 as usize].cap
    }

    /// Maps a frame.
    pub fn map(
        &mut self,
        space: HardSpace,
        addr: u64,
        frame: FrameNo,
        writable: bool,
        parts: (&mut Frames, &mut Objects, &mut Slots),
    ) -> Result<MapHandle, Errno> {
        let (frames, objects, slots) = parts;
        let slot = frames.take_spare(frame, slots)?;
        let handle = u32::try_from(slot).ok().and_then(core::num::NonZeroU32::new);
        let cap = Cap::<Frame>::new(slot);
        let vspace = self.cap(space);
        loop {
            match cap.map(vspace, addr, rights(writable), Caching::WriteBack) {
                Ok(()) => break,
                Err(MapError::Missing(table)) => {
                    if let Err(errno) = self.add(space, table, addr, objects, slots) {
                        frames.give_spare(frame, slot, slots);
                        return Err(errno);
                    }
                }
                Err(MapError::Occupied | MapError::Other(_)) => {
                    frames.give_spare(frame, slot, slots);
                    return Err(Errno::ENOMEM);
                }
            }
        }
        let index = slot as usize;
        if self.mappings.len() <= index {
            self.mappings.resize(index + 1, NONE);
        }
        self.mappings[index] = frame.0;
        Ok(MapHandle(handle.ok_or(Errno::ENOMEM)?))
    }

    fn add(
        &mut self,
        space: HardSpace,
        table: Table,
        addr: u64,
        objects: &mut Objects,
        slots: &mut Slots,
    ) -> Result<(), Errno> {
        let vspace = self.cap(space);
        let row = &mut self.rows[space.0 as usize];
        match table {
            Table::PageTable => {
                let slot = match self.tables.pop() {
                    Some(slot) => {
                        let cap = Cap::<PageTable>::new(slot);
                        cap.map(vspace, addr, Caching::WriteBack).map_err(|_| Errno::ENOMEM)?;
                        slot
                    }
                    None => add_table(table, vspace, addr, objects, slots)?,
                };
                row.tables.push((addr / TABLE_BYTES, slot));
            }
            // The upper levels are few, and stay with the space for good.
            Table::PageDirectory | Table::Pdpt => {
                add_table(table, vspace, addr, objects, slots)?;
            }
        }
        Ok(())
    }

    /// Undoes a mapping.
    pub fn unmap(&mut self, handle: MapHandle, frames: &mut Frames, slots: &mut Slots) {
        let slot = u64::from(handle.0.get());
        let Some(mapping) = self.mappings.get_mut(slot as usize) else { return };
        let frame = core::mem::replace(mapping, NONE);
        if frame == NONE {
            return;
        }
        Cap::<Frame>::new(slot).unmap().expect("mem-server holds this capability");
        frames.give_spare(FrameNo(frame), slot, slots);
    }

    /// Changes the right of a mapping.
    pub fn protect(&mut self, space: HardSpace, handle: MapHandle, writable: bool) {
        let cap = Cap::<Frame>::new(u64::from(handle.0.get()));
        cap.remap(self.cap(space), rights(writable), Caching::WriteBack)
            .expect("the frame is mapped in this space");
    }

    /// Takes the right to write from all mappings of the page table around `addr`.
    pub fn protect_table(&mut self, space: HardSpace, addr: u64) {
        let tables = &self.rows[space.0 as usize].tables;
        let table = tables.iter().find(|(number, _)| *number == addr / TABLE_BYTES);
        if let Some((_, slot)) = table {
            Cap::<PageTable>::new(*slot).protect().expect("the table is mapped in this space");
        }
    }

    /// Spaces in use.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Page tables in use or pooled with a space.
    pub fn table_count(&self) -> u64 {
        self.rows.iter().map(|row| row.tables.len() as u64).sum()
    }
}

fn rights(writable: bool) -> Rights {
    if writable { Rights::READ_WRITE } else { Rights::READ }
}
