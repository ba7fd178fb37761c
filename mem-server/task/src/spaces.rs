// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hardware address spaces.
//!
//! # Limits
//! An address space keeps its tables when it is pooled, but at most [`POOLED_TABLES_MAX`] page tables and
//! what is above those: a program with a scattered layout leaves no more. The others go to the
//! [`TablePool`].

use crate::frames::Frames;
use crate::objects::Objects;
use crate::slots::Slots;
use crate::tables::TablePool;
use abi::Errno;
use abi::startup::MemoryStartup;
use alloc::vec::Vec;
use mem_core::tables::Tables;
use mem_core::{FrameNo, HardSpace, MapHandle};
use microkernel_sys::{
    AsidControl, AsidPool, Caching, Cap, Frame, MapError, PageTable, Rights, Table, Untyped, VSpace,
};

/// Page tables that a pooled space may keep: code and heap of most programs lie at the same addresses,
/// stack and mappings elsewhere each time.
const POOLED_TABLES_MAX: usize = 2;
/// Identifiers of one pool.
const IDS_PER_POOL: u32 = 512;
/// The kernel's table of pools.
const POOLS_MAX: usize = 8;

struct Row {
    cap: Cap<VSpace>,
    tables: Tables,
}

/// Says in the table of mappings that a slot's capability maps nothing.
const NONE: u32 = u32::MAX;

/// All address spaces.
pub struct Spaces {
    rows: Vec<Row>,
    free: Vec<u32>,
    /// The frame that the capability in each slot maps, or [`NONE`].
    mappings: Vec<u32>,
    pools: Vec<Cap<AsidPool>>,
    ids_left: u32,
    control: Cap<AsidControl>,
    /// Spaces that programs have.
    in_use: u64,
}

impl Spaces {
    /// None yet.
    pub fn new(memory: &MemoryStartup, domains: u32) -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
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
        objects.create::<VSpace>(0, slots.at(slot), 1).inspect_err(|_| slots.give(slot))?;
        let cap = Cap::new(slot);
        let pool = self.pools[self.pools.len() - 1];
        pool.assign(cap).map_err(|_| Errno::EAGAIN)?;
        self.ids_left -= 1;
        self.rows.push(Row { cap, tables: Tables::default() });
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
    pub fn destroy(&mut self, space: HardSpace, tables: &mut TablePool) {
        self.in_use -= 1;
        self.shrink(space.0, POOLED_TABLES_MAX, tables);
        self.free.push(space.0);
    }

    /// Takes the tables of all pooled spaces: the memory is needed.
    pub fn strip(&mut self, tables: &mut TablePool) {
        for index in self.free.clone() {
            self.shrink(index, 0, tables);
        }
    }

    fn shrink(&mut self, space: u32, keep: usize, tables: &mut TablePool) {
        for (level, slot) in self.rows[space as usize].tables.shrink(keep) {
            tables.give(level, slot);
        }
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
        parts: (&mut Frames, &mut TablePool, &mut Objects, &mut Slots),
    ) -> Result<MapHandle, Errno> {
        let (frames, pool, objects, slots) = parts;
        let slot = frames.take_spare(frame, slots)?;
        let handle = u32::try_from(slot).ok().and_then(core::num::NonZeroU32::new);
        let cap = Cap::<Frame>::new(slot);
        let vspace = self.cap(space);
        while let Err(why) = cap.map(vspace, addr, rights(writable), Caching::WriteBack) {
            let added = match why {
                MapError::Missing(table) => {
                    self.add_table(space, addr, table, pool, objects, slots)
                }
                MapError::Occupied | MapError::Other(_) => Err(Errno::ENOMEM),
            };
            if let Err(errno) = added {
                frames.give_spare(frame, slot, slots);
                return Err(errno);
            }
        }
        self.note_mapping(slot as usize, frame);
        self.rows[space.0 as usize].tables.mapped(addr);
        Ok(MapHandle(handle.ok_or(Errno::ENOMEM)?))
    }

    /// Adds a table around `addr`: most pages have theirs.
    #[cold]
    #[inline(never)]
    fn add_table(
        &mut self,
        space: HardSpace,
        addr: u64,
        missing: Table,
        pool: &mut TablePool,
        objects: &mut Objects,
        slots: &mut Slots,
    ) -> Result<(), Errno> {
        let vspace = self.cap(space);
        let mut added = pool.add(missing, vspace, addr, objects, slots);
        if added.is_err() {
            // Pooled spaces have tables that may be all there are.
            self.strip(pool);
            added = pool.add(missing, vspace, addr, objects, slots);
        }
        let (level, table) = added?;
        self.rows[space.0 as usize].tables.add(level, addr, table);
        Ok(())
    }

    fn note_mapping(&mut self, slot: usize, frame: FrameNo) {
        if let Some(mapping) = self.mappings.get_mut(slot) {
            *mapping = frame.0;
            return;
        }
        self.mappings.resize(slot, NONE);
        self.mappings.push(frame.0);
    }

    /// Undoes a mapping at `addr`.
    pub fn unmap(
        &mut self,
        space: HardSpace,
        addr: u64,
        handle: MapHandle,
        frames: &mut Frames,
        slots: &mut Slots,
    ) {
        let slot = u64::from(handle.0.get());
        let Some(mapping) = self.mappings.get_mut(slot as usize) else { return };
        let frame = core::mem::replace(mapping, NONE);
        if frame == NONE {
            return;
        }
        Cap::<Frame>::new(slot).unmap().expect("mem-server holds this capability");
        frames.give_spare(FrameNo(frame), slot, slots);
        self.rows[space.0 as usize].tables.unmapped(addr);
    }

    /// Changes the right of a mapping.
    pub fn protect(&mut self, space: HardSpace, handle: MapHandle, writable: bool) {
        let cap = Cap::<Frame>::new(u64::from(handle.0.get()));
        cap.remap(self.cap(space), rights(writable), Caching::WriteBack)
            .expect("the frame is mapped in this space");
    }

    /// Takes the right to write from all mappings of the page table around `addr`.
    pub fn protect_table(&mut self, space: HardSpace, addr: u64) {
        if let Some(slot) = self.rows[space.0 as usize].tables.slot(addr) {
            Cap::<PageTable>::new(slot).protect().expect("the table is mapped in this space");
        }
    }

    /// What programs use now: objects of a page each, which are their spaces' top tables and lowest
    /// ones, and capability slots. Looks at all tables, as it is asked seldom and mapping is frequent.
    pub fn in_use(&self) -> SpaceUse {
        let add = |sum: (u64, u64), one: (u64, u64)| (sum.0 + one.0, sum.1 + one.1);
        let (tables, mapped) = self.rows.iter().map(|row| row.tables.in_use()).fold((0, 0), add);
        let pages = self.in_use + tables;
        SpaceUse { pages, slots: mapped + pages }
    }
}

/// See [`Spaces::in_use`].
pub struct SpaceUse {
    /// Objects of a page each.
    pub pages: u64,
    /// Capability slots.
    pub slots: u64,
}

fn rights(writable: bool) -> Rights {
    if writable { Rights::READ_WRITE } else { Rights::READ }
}
