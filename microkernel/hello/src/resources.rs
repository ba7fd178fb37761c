// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots and memory for the checks, handed out and never taken back; threads made of them.

use microkernel_sys::{
    BootInfo, Caching, Cap, CapData, Create, Endpoint, Frame, MapError, PageDirectory, PageTable,
    Pdpt, Priorities, Rights, Slot, Table, Tcb, Untyped, init,
};

/// Where IPC buffers are mapped: far from the image, so that all tables are missing at first.
const BUFFERS_START: u64 = 0x40_0000_0000;
const PAGE_BYTES: u64 = 4096;
/// A piece of memory large enough for all checks, and small enough to be cleared in no time.
const MEMORY_BITS_MIN: u32 = 18;

pub const PRIORITY: u8 = 255;

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

    /// A badged copy of an endpoint capability.
    pub fn badged(&mut self, endpoint: Cap<Endpoint>, badge: u64) -> Cap<Endpoint> {
        let slot = self.slot();
        let source = init::CNODE.slot(endpoint.bits(), init::CNODE_DEPTH);
        slot.mint_from(source, Rights::ALL, CapData::badge(badge)).expect("the slot is empty");
        Cap::new(slot.index)
    }

    /// Maps a frame, with the tables that it needs.
    pub fn map(&mut self, frame: Cap<Frame>, address: u64) {
        const CACHING: Caching = Caching::WriteBack;
        while let Err(error) = frame.map(init::VSPACE, address, Rights::READ_WRITE, CACHING) {
            match error {
                MapError::Missing(Table::PageTable) => {
                    self.create::<PageTable>(0).map(init::VSPACE, address, CACHING)
                }
                MapError::Missing(Table::PageDirectory) => {
                    self.create::<PageDirectory>(0).map(init::VSPACE, address, CACHING)
                }
                MapError::Missing(Table::Pdpt) => {
                    self.create::<Pdpt>(0).map(init::VSPACE, address, CACHING)
                }
                other => panic!("cannot map at {address:#x}: {other}"),
            }
            .expect("the table above is there");
        }
    }

    /// A thread in the root task's own spaces, with an IPC buffer, not started.
    pub fn thread(&mut self, fault_endpoint: Cap<Endpoint>) -> Cap<Tcb> {
        let buffer: Cap<Frame> = self.create(0);
        let address = self.next_buffer;
        self.next_buffer += PAGE_BYTES;
        self.map(buffer, address);
        self.configured(fault_endpoint, address, buffer)
    }

    /// A thread without an IPC buffer: a foreign one.
    pub fn foreign_thread(&mut self, fault_endpoint: Cap<Endpoint>) -> Cap<Tcb> {
        self.configured(fault_endpoint, 0, init::IPC_BUFFER_FRAME)
    }

    fn configured(
        &mut self,
        fault_endpoint: Cap<Endpoint>,
        buffer_address: u64,
        buffer: Cap<Frame>,
    ) -> Cap<Tcb> {
        let thread: Cap<Tcb> = self.create(0);
        let priorities = Priorities { priority: PRIORITY, max_controlled: PRIORITY };
        thread
            .configure(
                fault_endpoint.bits(),
                priorities,
                init::CNODE,
                CapData::NONE,
                init::VSPACE,
                CapData::NONE,
                buffer_address,
                buffer,
            )
            .expect("all capabilities are there");
        thread
    }
}
