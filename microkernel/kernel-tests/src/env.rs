// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the checks work with: memory and slots, handed out and never taken back; threads; time-outs.

use microkernel_sys::{
    BootInfo, Caching, Cap, CapData, Create, Endpoint, Fault, Frame, MapError, PageDirectory,
    PageTable, Pdpt, Priorities, Registers, Rights, Slot, Table, Tcb, Untyped, VSpace, init,
};

/// `Err` says what was wrong.
pub type Outcome = Result<(), &'static str>;

/// Ends a check unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $why:literal) => {
        if !$condition {
            return Err($why);
        }
    };
}

/// Where a program of its own address space finds its code, and a page of data.
pub const CODE: u64 = 0x1_0000;
pub const DATA: u64 = 0x60_0000_0000;

/// Where root maps what it shares with programs: far from its image.
const WINDOW_START: u64 = 0x40_0000_0000;
const PAGE_BYTES: u64 = 4096;
/// Large enough for all checks, small enough to be cleared in no time.
const MEMORY_BITS_MIN: u32 = 22;
/// Threads that a check may start.
const THREADS_MAX: usize = 8;
/// How long to wait for what another core does, in ticks of the time stamp counter: seconds, since an emulated core
/// can be away for long.
const PATIENCE_TICKS: u64 = 20_000_000_000;

/// The priority of the checks' threads; root has 255.
pub const PRIORITY: u8 = 100;

const COM1_DATA: u64 = 0x3f8;
const COM1_STATUS: u16 = 0x3fd;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Writes to the first serial port.
pub fn serial_print(text: &str) {
    for byte in text.bytes() {
        while init::IO_PORT.in8(COM1_STATUS).is_ok_and(|s| s & TRANSMITTER_EMPTY == 0) {}
        // Nobody to tell about an error: this is what would tell.
        let _ = init::IO_PORT.out8(COM1_DATA, u64::from(byte));
    }
}

/// The time stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Looks again and again until there is something, or patience ends.
pub fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = ticks().wrapping_add(PATIENCE_TICKS);
    while ticks() < end {
        if let Some(found) = look() {
            return Some(found);
        }
        core::hint::spin_loop();
    }
    None
}

/// The next fault on an endpoint, or `None` if none comes.
pub fn next_fault(endpoint: Cap<Endpoint>) -> Option<Fault> {
    wait_for(|| Fault::decode(&endpoint.nb_recv()))
}

/// The next fault, where the thread that makes it has root's core: root must sleep for it to run.
pub fn fault_of_same_core(endpoint: Cap<Endpoint>) -> Result<Fault, &'static str> {
    Fault::decode(&endpoint.recv()).ok_or("a message that is no fault")
}

/// A page that root has mapped.
#[derive(Clone, Copy)]
pub struct Page {
    pub frame: Cap<Frame>,
    pub address: u64,
}

impl Page {
    pub fn word(self, index: usize) -> u64 {
        // SAFETY: the page is mapped for good, and `at` lies in it; others write it, so volatile.
        unsafe { self.at(index).read_volatile() }
    }

    pub fn set_word(self, index: usize, value: u64) {
        // SAFETY: as for `word`.
        unsafe { self.at(index).write_volatile(value) }
    }

    fn at(self, index: usize) -> *mut u64 {
        assert!(index < 512, "a page has 512 words");
        core::ptr::with_exposed_provenance_mut::<u64>(self.address as usize).wrapping_add(index)
    }
}

/// A program in an address space of its own: a page of code at `CODE`, one of data at `DATA`.
pub struct Process {
    pub vspace: Cap<VSpace>,
    pub table_of_data: Cap<PageTable>,
    pub thread: Cap<Tcb>,
    pub endpoint: Cap<Endpoint>,
    pub data: Page,
    /// What maps the data page there.
    pub data_frame: Cap<Frame>,
}

pub struct Env {
    memory: Cap<Untyped>,
    next_slot: u64,
    next_window: u64,
    threads: [Option<Cap<Tcb>>; THREADS_MAX],
}

impl Env {
    pub fn new(boot: &BootInfo<'static>) -> Self {
        let memory = boot
            .untyped_list()
            .filter(|u| !u.is_device && u.size_bits >= MEMORY_BITS_MIN)
            .min_by_key(|u| u.size_bits)
            .expect("there is memory");
        Self {
            memory: Cap::new(memory.slot),
            next_slot: boot.empty().start,
            next_window: WINDOW_START,
            threads: [None; THREADS_MAX],
        }
    }

    /// An empty slot; its index is the capability pointer too.
    pub fn slot(&mut self) -> Slot {
        self.next_slot += 1;
        init::CNODE.slot(self.next_slot - 1, init::CNODE_DEPTH)
    }

    pub fn create<K: Create>(&mut self) -> Cap<K> {
        let slot = self.slot();
        self.memory.create::<K>(0, slot, 1).expect("memory is left");
        Cap::new(slot.index)
    }

    pub fn copy<K>(&mut self, source: Cap<K>) -> Cap<K> {
        let slot = self.slot();
        slot.copy_from(slot_of(source), Rights::ALL).expect("the slot is empty");
        Cap::new(slot.index)
    }

    /// Maps a frame, with the tables that it needs; the page table if it had to be made.
    pub fn map(&mut self, frame: Cap<Frame>, vspace: Cap<VSpace>, address: u64) -> Cap<PageTable> {
        const CACHING: Caching = Caching::WriteBack;
        let mut made = Cap::NULL;
        while let Err(error) = frame.map(vspace, address, Rights::READ_WRITE, CACHING) {
            match error {
                MapError::Missing(Table::PageTable) => {
                    made = self.create::<PageTable>();
                    made.map(vspace, address, CACHING)
                }
                MapError::Missing(Table::PageDirectory) => {
                    self.create::<PageDirectory>().map(vspace, address, CACHING)
                }
                MapError::Missing(Table::Pdpt) => {
                    self.create::<Pdpt>().map(vspace, address, CACHING)
                }
                other => panic!("cannot map at {address:#x}: {other}"),
            }
            .expect("the table above is there");
        }
        made
    }

    /// A new page of root's.
    pub fn page(&mut self) -> Page {
        let frame = self.create();
        let address = self.next_window;
        self.next_window += PAGE_BYTES;
        self.map(frame, init::VSPACE, address);
        Page { frame, address }
    }

    /// A foreign thread in root's address space, whose faults go to `endpoint`; not started.
    pub fn foreign_thread(&mut self, endpoint: Cap<Endpoint>) -> Cap<Tcb> {
        self.thread_in(init::VSPACE, endpoint)
    }

    /// A thread in root's address space with an IPC buffer: its system calls are the kernel's; not started.
    pub fn native_thread(&mut self) -> Cap<Tcb> {
        let buffer = self.page();
        let thread = self.foreign_thread(Cap::NULL);
        thread.set_ipc_buffer(buffer.address, buffer.frame).expect("the page is aligned");
        thread
    }

    fn thread_in(&mut self, vspace: Cap<VSpace>, endpoint: Cap<Endpoint>) -> Cap<Tcb> {
        let thread: Cap<Tcb> = self.create();
        let priority = Priorities { priority: PRIORITY, max_controlled: PRIORITY };
        let (root, data) = (init::CNODE, CapData::NONE);
        thread
            .configure(
                endpoint.bits(),
                priority,
                root,
                data,
                vspace,
                data,
                0,
                init::IPC_BUFFER_FRAME,
            )
            .expect("all capabilities are there");
        let free =
            self.threads.iter_mut().find(|t| t.is_none()).expect("a check starts few threads");
        *free = Some(thread);
        thread
    }

    /// A program that starts at the first byte of `code`, on the given core; not started.
    pub fn process(&mut self, code: &[u8], core: u64) -> Process {
        let vspace: Cap<VSpace> = self.create();
        init::ASID_POOL.assign(vspace).expect("there are more ASIDs than checks");
        let code_page = self.page();
        for (at, chunk) in code.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            code_page.set_word(at, u64::from_le_bytes(word));
        }
        let code_frame = self.copy(code_page.frame);
        self.map(code_frame, vspace, CODE);
        let data = self.page();
        let data_frame = self.copy(data.frame);
        let table_of_data = self.map(data_frame, vspace, DATA);
        let endpoint = self.create();
        let thread = self.thread_in(vspace, endpoint);
        thread.set_affinity(core).expect("the core is there");
        Process { vspace, table_of_data, thread, endpoint, data, data_frame }
    }

    /// Stops what a check started, so that it does not disturb the next one.
    pub fn stop_threads(&mut self) {
        for thread in self.threads.iter_mut().filter_map(Option::take) {
            let _ = thread.suspend();
        }
    }
}

/// The slot of one of root's capabilities.
pub fn slot_of<K>(cap: Cap<K>) -> Slot {
    init::CNODE.slot(cap.bits(), init::CNODE_DEPTH)
}

/// Starts a thread in root's address space at `entry`, with `rdi`.
pub fn start(thread: Cap<Tcb>, entry: extern "C" fn(), rdi: u64) {
    let registers = Registers { rip: entry as usize as u64, rdi, ..Registers::default() };
    thread.write_registers(true, &registers).expect("the thread is stopped");
}

impl Process {
    /// Starts the program, with the address of its data in `rdi`.
    pub fn start(&self) {
        let registers = Registers { rip: CODE, rdi: DATA, ..Registers::default() };
        self.thread.write_registers(true, &registers).expect("the thread is stopped");
    }

    /// Waits until the program has made a word of its data, which starts as 0, something else.
    pub fn runs(&self, word: usize) -> bool {
        wait_for(|| (self.data.word(word) != 0).then_some(())).is_some()
    }
}
