// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`mem_core::Machine`] on seL4.

use crate::frames::Frames;
use crate::objects::Objects;
use crate::slots::Slots;
use crate::spaces::Spaces;
use crate::tables::TablePool;
use crate::threads::Threads;
use abi::limits::PAGE_BYTES;
use abi::startup::Startup;
use abi::{Errno, ServerId};
use mem_core::{FrameNo, HardSpace, Machine, MachineFigures, MapHandle};
use microkernel_rt::pages::Pages;

/// Bytes of a thread's TCB and capability space.
const THREAD_BYTES: u64 = 2048 + 512;

/// The node's memory.
pub struct Sel4Machine {
    slots: Slots,
    objects: Objects,
    frames: Frames,
    tables: TablePool,
    spaces: Spaces,
    threads: Threads,
}

impl Sel4Machine {
    /// Everything that root handed over; `None` if this domain got no memory. `pages` is where frames
    /// are mapped here, `root_pages` the root file system's data.
    pub fn new(startup: &Startup, pages: Pages, root_pages: Pages) -> Option<Self> {
        let memory = startup.memory.as_ref()?;
        let domains = startup.config.domains.len() as u32;
        let slots = Slots::new(startup, memory.slots_end);
        Some(Self {
            objects: Objects::new(memory),
            frames: Frames::new(pages, root_pages, memory, startup.vspace_slot),
            tables: TablePool::default(),
            spaces: Spaces::new(memory, domains),
            threads: Threads::new(memory),
            slots,
        })
    }
}

impl Machine for Sel4Machine {
    fn allocate(&mut self) -> Result<FrameNo, Errno> {
        let Self { frames, objects, tables, slots, .. } = self;
        frames.allocate(objects, tables, slots).or_else(|_| {
            self.spaces.strip(tables);
            frames.allocate(objects, tables, slots)
        })
    }

    fn free(&mut self, frame: FrameNo) {
        self.frames.free(frame);
    }

    fn bytes(&self, frame: FrameNo) -> &[u8; PAGE_BYTES] {
        self.frames.bytes(frame)
    }

    fn bytes_mut(&mut self, frame: FrameNo) -> &mut [u8; PAGE_BYTES] {
        self.frames.bytes_mut(frame)
    }

    fn copy(&mut self, from: (FrameNo, usize), to: (FrameNo, usize), len: usize) {
        self.frames.copy(from, to, len);
    }

    fn root_frame(&self, page: u64) -> Option<FrameNo> {
        self.frames.root_frame(page)
    }

    fn create_space(&mut self) -> Result<HardSpace, Errno> {
        self.spaces.create(&mut self.objects, &mut self.slots)
    }

    fn destroy_space(&mut self, space: HardSpace) {
        self.spaces.destroy(space, &mut self.tables);
    }

    fn map(
        &mut self,
        space: HardSpace,
        addr: u64,
        frame: FrameNo,
        writable: bool,
    ) -> Result<MapHandle, Errno> {
        let parts = (&mut self.frames, &mut self.tables, &mut self.objects, &mut self.slots);
        self.spaces.map(space, addr, frame, writable, parts)
    }

    fn unmap(&mut self, space: HardSpace, addr: u64, handle: MapHandle) {
        self.spaces.unmap(space, addr, handle, &mut self.frames, &mut self.slots);
    }

    fn protect(&mut self, space: HardSpace, _addr: u64, handle: MapHandle, writable: bool) {
        self.spaces.protect(space, handle, writable);
    }

    fn protect_table(&mut self, space: HardSpace, addr: u64) {
        self.spaces.protect_table(space, addr);
    }

    fn create_thread(&mut self, client: ServerId, space: HardSpace) -> Result<u64, Errno> {
        if client != ServerId::Proc {
            return Err(Errno::EPERM);
        }
        self.threads.create(self.spaces.cap(space), &mut self.objects, &self.slots)
    }

    fn release_thread(&mut self, _client: ServerId, slot: u64) {
        self.threads.release(slot);
    }

    fn figures(&self) -> MachineFigures {
        let (spaces, threads) = (self.spaces.in_use(), &self.threads);
        let kernel_bytes = spaces.pages * PAGE_BYTES as u64 + threads.in_use() * THREAD_BYTES;
        let used_bytes = self.frames.used_bytes() + kernel_bytes;
        let total_bytes = self.objects.total_bytes();
        let free_bytes = self.objects.left_bytes() + self.frames.free_bytes();
        MachineFigures {
            total_bytes,
            free_bytes,
            kernel_bytes,
            pooled_bytes: total_bytes.saturating_sub(free_bytes + used_bytes),
            slots: spaces.slots,
        }
    }
}
