// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots and memory for the checks, handed out and never taken back; threads made of them.

use microkernel_sys::{
    BootInfo, CNode, Caching, Cap, CapData, Create, Endpoint, Frame, MapError, PageDirectory,
    PageTable, Pdpt, Priorities, Rights, Slot, Table, Tcb, Untyped, VSpace, init,
};

/// Where IPC buffers are mapped: far from the image, so that all tables are missing at first.
const BUFFERS_START: u64 = 0x40_0000_0000;
const PAGE_BYTES: u64 = 4096;
/// A piece of memory large enough for all checks, and small enough to be cleared in no time.
const MEMORY_BITS_MIN: u32 = 18;

const CACHING: Caching = Caching::WriteBack;

const PRIORITIES: Priorities = Priorities { priority: 255, max_controlled: 255 };

pub struct Resources {
    memory: Cap<Untyped>,
    next_slot: u64,
    next_buffer: u64,
}

impl Resources {
    pub fn new(boot: &BootInfo<'static>) -> Self {
        let memory = boot
            .untyped_list()
            .filter(|u| !u.is_device && u.size_bits >= MEMORY_BITS_MIN)
            .min_by_key(|u| u.size_bits)
            .expect("there is memory");
        Self {
            memory: Cap::new(memory.slot),
            next_slot: boot.empty().start,
            next_buffer: BUFFERS_START,
        }
    }

    /// An empty slot; its index is the capability pointer too.
    pub fn slot(&mut self) -> Slot {
        self.next_slot += 1;
        init::CNODE.slot(self.next_slot - 1, init::CNODE_DEPTH)
    }

    pub fn create<K: Create>(&mut self, size_bits: u32) -> Cap<K> {
        let slot = self.slot();
        self.memory.create::<K>(size_bits, slot, 1).expect("memory is left");
        Cap::new(slot.index)
    }

    /// A badged copy of an endpoint or notification capability.
    pub fn badged<K>(&mut self, port: Cap<K>, badge: u64) -> Cap<K> {
        let slot = self.slot();
        let source = init::CNODE.slot(port.bits(), init::CNODE_DEPTH);
        slot.mint_from(source, Rights::ALL, CapData::badge(badge)).expect("the slot is empty");
        Cap::new(slot.index)
    }

    /// Maps a frame, with the tables that it needs. Yields the page table if it had to be made.
    pub fn map(
        &mut self,
        frame: Cap<Frame>,
        space: Cap<VSpace>,
        address: u64,
    ) -> Option<Cap<PageTable>> {
        let mut table = None;
        while let Err(error) = frame.map(space, address, Rights::READ_WRITE, CACHING) {
            match error {
                MapError::Missing(Table::PageTable) => {
                    let made: Cap<PageTable> = self.create(0);
                    table = Some(made);
                    made.map(space, address, CACHING)
                }
                MapError::Missing(Table::PageDirectory) => {
                    self.create::<PageDirectory>(0).map(space, address, CACHING)
                }
                MapError::Missing(Table::Pdpt) => {
                    self.create::<Pdpt>(0).map(space, address, CACHING)
                }
                other => panic!("cannot map at {address:#x}: {other}"),
            }
            .expect("the table above is there");
        }
        table
    }

    /// A thread in the root task's own spaces, with an IPC buffer, not started.
    pub fn thread(&mut self, fault_endpoint: Cap<Endpoint>) -> Cap<Tcb> {
        let buffer: Cap<Frame> = self.create(0);
        let address = self.next_buffer;
        self.next_buffer += PAGE_BYTES;
        self.map(buffer, init::VSPACE, address);
        self.configured(fault_endpoint, init::VSPACE, address, buffer)
    }

    /// A thread without an IPC buffer: a foreign one.
    pub fn foreign_thread(
        &mut self,
        fault_endpoint: Cap<Endpoint>,
        space: Cap<VSpace>,
    ) -> Cap<Tcb> {
        self.configured(fault_endpoint, space, 0, init::IPC_BUFFER_FRAME)
    }

    /// A thread with nothing but its address space and the right to fault.
    pub fn confined_thread(
        &mut self,
        fault_endpoint: Cap<Endpoint>,
        space: Cap<VSpace>,
    ) -> Cap<Tcb> {
        const FAULT_SLOT: u64 = 1;
        const RADIX: u32 = 1;
        let capabilities: Cap<CNode> = self.create(RADIX);
        let source = init::CNODE.slot(fault_endpoint.bits(), init::CNODE_DEPTH);
        capabilities
            .slot(FAULT_SLOT, RADIX as u8)
            .copy_from(source, Rights::CALL)
            .expect("the slot is empty");
        let thread: Cap<Tcb> = self.create(0);
        thread
            .configure(
                FAULT_SLOT,
                PRIORITIES,
                capabilities,
                CapData::zero_guard(64 - RADIX),
                space,
                CapData::NONE,
                0,
                init::IPC_BUFFER_FRAME,
            )
            .expect("all capabilities are there");
        thread
    }

    fn configured(
        &mut self,
        fault_endpoint: Cap<Endpoint>,
        space: Cap<VSpace>,
        buffer_address: u64,
        buffer: Cap<Frame>,
    ) -> Cap<Tcb> {
        let thread: Cap<Tcb> = self.create(0);
        thread
            .configure(
                fault_endpoint.bits(),
                PRIORITIES,
                init::CNODE,
                CapData::NONE,
                space,
                CapData::NONE,
                buffer_address,
                buffer,
            )
            .expect("all capabilities are there");
        thread
    }
}
