// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds one domain: capability space, address space, threads.

use crate::archive::Archive;
use crate::memory::{Memory, own};
use crate::space::Space;
use abi::limits::WINDOW_BYTES;
use abi::startup::{
    DEAD_BIT, DMA_ADDR, HEAP_ADDR, IPC_BUFFERS_ADDR, STACK_BYTES, STARTUP_ADDR, STATUS_ADDR,
    Startup, Worker, stack_top, window_addr,
};
use abi::{CoreId, ServerId};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use microkernel_sys::{
    CNode, Cap, CapData, Endpoint, Frame, Notification, PAGE_BYTES, Priorities, Registers, Rights,
    Slot, Tcb, init,
};

/// Servers run above all Linux threads.
pub const SERVER_PRIORITY: u8 = 200;
/// Slots for threads' objects in the CNode of proc's domain, its last ones: three for each thread.
pub const THREAD_SLOTS: u64 = 3 << 14;
/// Pages of a startup record: the longest has some hundred pieces of memory and ports.
const RECORD_PAGES: u64 = 8;
const PAGES_PER_WINDOW: u64 = WINDOW_BYTES as u64 / PAGE_BYTES;

/// A worker thread of a domain, as root holds it.
pub struct WorkerCaps {
    /// The thread.
    pub tcb: Cap<Tcb>,
    /// Where it receives.
    pub endpoint: Cap<Endpoint>,
    /// What is bound to it.
    pub notification: Cap<Notification>,
    /// The frames of its window.
    pub window: Vec<Cap<Frame>>,
    /// Its IPC buffer.
    pub ipc_buffer: Cap<Frame>,
}

/// A domain that is being built or runs.
pub struct Domain {
    /// Its index in the manifest.
    pub index: u32,
    /// Its servers.
    pub servers: Vec<ServerId>,
    /// Its address space.
    pub space: Space,
    /// Its capability space.
    pub cnode: Cap<CNode>,
    /// log2 of its slots.
    pub cnode_bits: u32,
    next_slot: u64,
    /// Its workers, one per core.
    pub workers: Vec<WorkerCaps>,
    /// Tells its first worker that a server died.
    pub dead_signal: Cap<Notification>,
    /// Where root sees its status page.
    status_addr: u64,
    entry: u64,
}

/// Where root maps the status pages, one per domain.
const STATUS_IN_ROOT: u64 = 0x71_0000_0000;

impl Domain {
    /// Its memory and threads, without what other domains lend it.
    pub fn build(
        memory: &mut Memory,
        archive: &Archive,
        index: u32,
        servers: Vec<ServerId>,
        cores: u8,
        heap_bytes: u64,
    ) -> Self {
        let cnode_bits = cnode_bits(&servers, memory.total_bytes());
        let cnode = memory.create(cnode_bits);
        let space = Space::new(memory);
        let entry = space.load(memory, archive);
        space.fresh(memory, HEAP_ADDR, heap_bytes.div_ceil(PAGE_BYTES));
        let status = space.fresh(memory, STATUS_ADDR, 1)[0];
        let status = memory.copy(status, Rights::ALL);
        let status_addr = STATUS_IN_ROOT + u64::from(index) * PAGE_BYTES;
        memory.map(status, init::VSPACE, status_addr, Rights::READ_WRITE);
        let workers: Vec<_> = (0..cores).map(|core| worker(memory, space, CoreId(core))).collect();
        let dead_signal = memory.mint(workers[0].notification, CapData::badge(1 << DEAD_BIT));
        let next_slot = 1;
        Self {
            index,
            servers,
            space,
            cnode,
            cnode_bits,
            next_slot,
            workers,
            dead_signal,
            status_addr,
            entry,
        }
    }

    /// Whether it hosts this server.
    pub fn hosts(&self, server: ServerId) -> bool {
        self.servers.contains(&server)
    }

    /// A word of its status page, which the domain may write at any time.
    pub fn status_word(&self, row: usize) -> u64 {
        self.status(row).load(Ordering::Acquire)
    }

    /// Writes a word of its status page.
    pub fn set_status_word(&self, row: usize, word: u64) {
        self.status(row).store(word, Ordering::Release);
    }

    fn status(&self, row: usize) -> &AtomicU64 {
        assert!(row < PAGE_BYTES as usize / 8, "the status page has one page of words");
        let addr = self.status_addr + row as u64 * 8;
        // SAFETY: root mapped the page there, for good; it and the domain use it through atomics only.
        unsafe { AtomicU64::from_ptr(addr as *mut u64) }
    }

    /// The next `count` empty slots of its CNode; the first.
    pub fn slots(&mut self, count: u64) -> u64 {
        let first = self.next_slot;
        self.next_slot += count;
        assert!(self.next_slot <= 1 << self.cnode_bits, "the domain's CNode is large enough");
        first
    }

    /// The first slot that is still empty.
    pub fn free_slot(&self) -> u64 {
        self.next_slot
    }

    fn slot(&self, index: u64) -> Slot {
        // Root names a slot by the CNode's radix alone: the guard is in the domain's own root.
        self.cnode.slot(index, self.cnode_bits as u8)
    }

    /// Gives the domain a copy of a capability; its slot there.
    pub fn give<K>(&mut self, cap: Cap<K>, rights: Rights) -> u64 {
        let index = self.slots(1);
        self.slot(index).copy_from(own(cap), rights).expect("the slot is empty");
        index
    }

    /// The same, with a badge, guard or port range.
    pub fn give_marked<K>(&mut self, cap: Cap<K>, rights: Rights, data: CapData) -> u64 {
        let index = self.slots(1);
        self.slot(index).mint_from(own(cap), rights, data).expect("the slot is empty");
        index
    }

    /// Moves a capability out of root into the domain; its slot there.
    pub fn hand_over(&mut self, from: Slot) -> u64 {
        let index = self.slots(1);
        self.slot(index).move_from(from).expect("the slot is empty");
        index
    }

    /// The capabilities that every domain has: its own.
    pub fn give_own(&mut self) -> (u64, u64, Vec<Worker>) {
        let guard = CapData::zero_guard(64 - self.cnode_bits);
        let cnode = self.give_marked(self.cnode, Rights::ALL, guard);
        let vspace = self.give(self.space.cap, Rights::ALL);
        let caps: Vec<_> =
            self.workers.iter().map(|w| (w.endpoint, w.notification, w.tcb)).collect();
        let workers = caps
            .into_iter()
            .map(|(endpoint, notification, tcb)| Worker {
                endpoint_slot: self.give(endpoint, Rights::ALL),
                notification_slot: self.give(notification, Rights::ALL),
                tcb_slot: self.give(tcb, Rights::ALL),
            })
            .collect();
        (cnode, vspace, workers)
    }

    /// Maps `pages` physically consecutive pages for DMA; their physical address.
    pub fn give_dma(&mut self, memory: &mut Memory, pages: u64) -> Option<u64> {
        let first = memory.slots(pages);
        memory.create_at::<Frame>(0, first, pages);
        for page in 0..pages {
            let frame = Cap::new(first.index + page);
            memory.map(frame, self.space.cap, DMA_ADDR + page * PAGE_BYTES, Rights::READ_WRITE);
        }
        let address = |page: u64| Cap::<Frame>::new(first.index + page).get_address().ok();
        let base = address(0)?;
        let consecutive = (0..pages).all(|page| address(page) == Some(base + page * PAGE_BYTES));
        consecutive.then_some(base)
    }

    /// Writes the startup record.
    pub fn tell(&self, memory: &mut Memory, startup: &Startup) {
        let pages = self.reserve_record(memory);
        self.fill_record(memory, &pages, startup);
    }

    /// The pages of the startup record, mapped and empty.
    pub fn reserve_record(&self, memory: &mut Memory) -> Vec<Cap<Frame>> {
        self.space.blank(memory, STARTUP_ADDR, RECORD_PAGES)
    }

    /// Writes the startup record into its pages.
    pub fn fill_record(&self, memory: &mut Memory, pages: &[Cap<Frame>], startup: &Startup) {
        let record = postcard::to_allocvec(startup).expect("memory suffices for a record");
        let mut bytes = Vec::with_capacity(record.len() + 16);
        bytes.extend_from_slice(&(record.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&startup.heap_bytes.to_le_bytes());
        bytes.extend_from_slice(&record);
        assert!(bytes.len() <= pages.len() * PAGE_BYTES as usize, "a record fits its pages");
        self.space.write(memory, pages, &bytes);
    }

    /// Prepares the workers; a fault of one goes to `watch`, badged.
    pub fn configure(&mut self, watch: Cap<Endpoint>, badge: impl Fn(CoreId) -> u64) {
        for core in 0..self.workers.len() {
            let id = CoreId(core as u8);
            let mark = CapData::badge(badge(id));
            let fault_slot = self.give_marked(watch, Rights::CALL, mark);
            let worker = &self.workers[core];
            let priorities =
                Priorities { priority: SERVER_PRIORITY, max_controlled: SERVER_PRIORITY };
            let guard = CapData::zero_guard(64 - self.cnode_bits);
            let buffer = IPC_BUFFERS_ADDR + core as u64 * PAGE_BYTES;
            let tcb = worker.tcb;
            let (space, frame) = (self.space.cap, worker.ipc_buffer);
            tcb.configure(
                fault_slot,
                priorities,
                self.cnode,
                guard,
                space,
                CapData::NONE,
                buffer,
                frame,
            )
            .expect("all capabilities are there");
            tcb.bind_notification(worker.notification).expect("none is bound yet");
            tcb.set_affinity(core as u64).expect("the node has this core");
        }
    }

    /// Starts the workers.
    pub fn start(&self) {
        for (core, worker) in self.workers.iter().enumerate() {
            let registers = Registers {
                rip: self.entry,
                rsp: stack_top(CoreId(core as u8)) - 8,
                rdi: core as u64,
                rsi: STARTUP_ADDR,
                ..Registers::default()
            };
            worker.tcb.write_registers(true, &registers).expect("the thread is stopped");
        }
    }
}

fn worker(memory: &mut Memory, space: Space, core: CoreId) -> WorkerCaps {
    space.fresh(memory, stack_top(core) - STACK_BYTES, STACK_BYTES / PAGE_BYTES);
    let buffer = IPC_BUFFERS_ADDR + u64::from(core.0) * PAGE_BYTES;
    let ipc_buffer = space.fresh(memory, buffer, 1)[0];
    let window = space.fresh(memory, window_addr(core), PAGES_PER_WINDOW);
    WorkerCaps {
        tcb: memory.create(0),
        endpoint: memory.create(0),
        notification: memory.create(0),
        window,
        ipc_buffer,
    }
}

/// mem-server keeps two capabilities for every page of the node, and more for pages that several
/// programs share; proc-server three for every thread.
fn cnode_bits(servers: &[ServerId], memory_bytes: u64) -> u32 {
    if servers.contains(&ServerId::Mem) {
        let slots = memory_bytes / PAGE_BYTES * 5 / 2 + (1 << 15);
        let threads = if servers.contains(&ServerId::Proc) { THREAD_SLOTS } else { 0 };
        (slots + threads).next_power_of_two().trailing_zeros()
    } else if servers.contains(&ServerId::Proc) {
        16
    } else {
        12
    }
}
