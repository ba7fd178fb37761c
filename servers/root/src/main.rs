// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first program: owns all capabilities at boot, starts and watches the domains.

#![no_std]
#![no_main]

extern crate alloc;

mod archive;
mod clock;
mod death;
mod devices;
mod domain;
mod memory;
mod names;
mod pci;
mod serial;
mod space;
mod watch;
mod wiring;

use abi::image::{Entry, NodeConfig};
use abi::startup::{
    CLIENT_WINDOWS_ADDR, MemoryStartup, ROOT_DATA_ADDR, ROOT_INDEX_ADDR, Startup,
    client_window_addr,
};
use abi::{CoreId, ServerId};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use archive::Archive;
use core::cell::UnsafeCell;
use domain::Domain;
use memory::{Memory, own};
use microkernel_rt::println;
use microkernel_sys::{BootInfo, Cap, Endpoint, PAGE_BYTES, Rights, init};

microkernel_rt::root_entry!(main, stack_bytes = 131072);

/// Root's heap: its tables, the decoded configuration and the log.
const HEAP_BYTES: usize = 384 << 10;

#[repr(align(4096))]
struct Region(UnsafeCell<[u8; HEAP_BYTES]>);

// SAFETY: only its address is taken, once, to give it to the heap.
unsafe impl Sync for Region {}

static HEAP: Region = Region(UnsafeCell::new([0; HEAP_BYTES]));

fn main(boot: BootInfo<'static>) -> ! {
    microkernel_rt::print::set_sink(serial::print);
    // SAFETY: the region is static and used for nothing else.
    unsafe { microkernel_rt::heap::init(HEAP.0.get().cast(), HEAP_BYTES) }
        .expect("384 KiB hold the heap's bookkeeping");
    match start(&boot) {
        Ok((endpoint, domains)) => watch::run(endpoint, &domains),
        Err(sentence) => {
            println!("root: {sentence}");
            microkernel_rt::panic::stop()
        }
    }
}

fn start(boot: &BootInfo<'static>) -> Result<(Cap<Endpoint>, Vec<Domain>), String> {
    let archive = Archive::find(boot)?;
    let config = archive.config()?;
    let cores = boot.cores().min(abi::limits::CORES_MAX as u64) as u8;
    println!("root: node {} of cluster {}, {cores} cores", config.node, config.cluster);
    let mut memory = Memory::new(boot);
    let endpoint: Cap<Endpoint> = memory.create(0);
    let mut domains = Vec::new();
    for (index, entry) in (0u32..).zip(&config.domains) {
        let servers = entry.servers.iter().filter_map(|s| ServerId::from_number(*s)).collect();
        let heap_bytes = u64::from(entry.heap_kib) * 1024;
        domains.push(Domain::build(&mut memory, &archive, index, servers, cores, heap_bytes));
    }
    let mut records = connect(&mut memory, &archive, &config, &mut domains, endpoint, cores);
    for domain in &mut domains {
        let index = domain.index;
        domain.configure(endpoint, |core| watch::fault_badge(index, core));
    }
    lend_root_data(&mut memory, &archive, &mut domains, &mut records);
    let (all_kib, used_kib) = (memory.total_bytes() / 1024, memory.used_bytes() / 1024);
    println!("root: {used_kib} KiB of {all_kib} for the servers");
    let heap = microkernel_rt::heap::usage();
    println!(
        "root: {} of {} KiB of its heap in use",
        heap.allocated_bytes / 1024,
        heap.claimed_bytes / 1024
    );
    // The last one: its record says where the free slots begin, and how much memory is left.
    tell(&mut memory, &mut domains, &mut records);
    for domain in &domains {
        domain.start();
    }
    Ok((endpoint, domains))
}

/// Gives every domain its capabilities; their startup records, without mem-server's memory.
fn connect(
    memory: &mut Memory,
    archive: &Archive,
    config: &NodeConfig,
    domains: &mut [Domain],
    endpoint: Cap<Endpoint>,
    cores: u8,
) -> Vec<Startup> {
    let (tsc_hz, tsc_base, wall_base_ns) = (clock::measure_hz(), clock::ticks(), clock::wall_ns());
    println!("root: time-stamp counter runs at {} kHz", tsc_hz / 1000);
    if !clock::has_random() {
        println!("root: the CPU has no random generator: seeds come from the time only");
    }
    share_windows(memory, domains);
    let devices = devices::find(memory);
    let mut records = Vec::new();
    for index in 0..domains.len() {
        let (cnode_slot, vspace_slot, workers) = domains[index].give_own();
        let ports = wiring::ports(domains, index);
        let signals = wiring::signals(domains, index);
        let domain = &mut domains[index];
        let badge = microkernel_sys::CapData::badge(watch::call_badge(domain.index));
        let root_slot = domain.give_marked(endpoint, Rights::CALL, badge);
        let mut interrupts = devices::interrupts(memory, domain);
        let nic = devices.nic(memory, domain, &mut interrupts);
        let disk = devices.disk(memory, domain, &mut interrupts);
        if domain.hosts(ServerId::Fs) {
            domain.space.entry(memory, ROOT_INDEX_ADDR, archive, Entry::RootIndex);
        }
        records.push(Startup {
            config: config.clone(),
            domain: domain.index,
            cores,
            tsc_hz,
            tsc_base,
            wall_base_ns,
            seed: clock::seed(),
            cnode_slot,
            cnode_bits: domain.cnode_bits,
            vspace_slot,
            free_slot: 0,
            heap_bytes: u64::from(config.domains[index].heap_kib) * 1024,
            workers,
            ports,
            signals,
            root_slot,
            sees_windows: sees_windows(domain),
            memory: None,
            root_index_bytes: archive.bytes(Entry::RootIndex).len() as u64,
            io_ports: devices::io_ports(domain),
            interrupts,
            nic,
            disk,
            link_key: archive.link_key().filter(|_| domain.hosts(ServerId::Net)),
        });
    }
    records
}

fn sees_windows(domain: &Domain) -> bool {
    [ServerId::Mem, ServerId::Net, ServerId::Disk].into_iter().any(|server| domain.hosts(server))
}

/// Maps all windows where mem, net and disk run: bulk data goes through them.
fn share_windows(memory: &mut Memory, domains: &[Domain]) {
    for reader in domains.iter().filter(|domain| sees_windows(domain)) {
        for client in domains {
            for (core, worker) in client.workers.iter().enumerate() {
                let at = client_window_addr(client.index, CoreId(core as u8));
                assert!(at >= CLIENT_WINDOWS_ADDR, "windows have a range of their own");
                reader.space.share(memory, at, &worker.window, Rights::READ_WRITE);
            }
        }
    }
}

/// Maps the root file system's data where mem-server runs, and gives it a further capability of each
/// page to map into programs.
fn lend_root_data(
    memory: &mut Memory,
    archive: &Archive,
    domains: &mut [Domain],
    records: &mut [Startup],
) {
    let proc = domains.iter().find(|domain| domain.hosts(ServerId::Proc));
    let proc = proc.map(|domain| (domain.index, domain.cnode, domain.cnode_bits));
    let Some(index) = domains.iter().position(|domain| domain.hosts(ServerId::Mem)) else { return };
    let domain = &mut domains[index];
    domain.space.entry(memory, ROOT_DATA_ADDR, archive, Entry::RootData);
    let bytes = archive.bytes(Entry::RootData).len() as u64;
    let pages = bytes.div_ceil(PAGE_BYTES);
    let root_data_slot = domain.free_slot();
    for page in 0..pages {
        domain.give(archive.frame(Entry::RootData, page), Rights::READ);
    }
    let own_end = 1 << domain.cnode_bits;
    let (mut proc_cnode_slot, mut proc_cnode_bits) = (0, 0);
    let (mut slots_end, mut thread_slots) = (own_end, (0, 0));
    if let Some((proc_domain, cnode, bits)) = proc {
        proc_cnode_slot = domain.give(cnode, Rights::ALL);
        proc_cnode_bits = bits;
        thread_slots = ((1 << bits) - domain::THREAD_SLOTS, 1 << bits);
        if proc_domain == domain.index {
            slots_end = thread_slots.0;
        }
    }
    records[index].memory = Some(MemoryStartup {
        untyped: vec![],
        asid_control_slot: domain.give(init::ASID_CONTROL, Rights::ALL),
        asid_pool_slot: domain.give(init::ASID_POOL, Rights::ALL),
        root_data_slot,
        root_data_bytes: bytes,
        slots_end,
        proc_cnode_slot,
        proc_cnode_bits,
        thread_slots,
    });
}

/// Writes the startup records; then hands all memory that is left to mem-server.
fn tell(memory: &mut Memory, domains: &mut [Domain], records: &mut [Startup]) {
    let holder = domains.iter().position(|domain| domain.hosts(ServerId::Mem));
    for (index, (domain, startup)) in domains.iter_mut().zip(records.iter_mut()).enumerate() {
        if Some(index) != holder {
            startup.free_slot = domain.free_slot();
            domain.tell(memory, startup);
        }
    }
    let Some(index) = holder else { return };
    let domain = &mut domains[index];
    // The record itself needs pages: made here, before the rest is counted.
    let pages = domain.reserve_record(memory);
    for info in memory.take_rest() {
        let slot = domain.hand_over(own(Cap::<microkernel_sys::Untyped>::new(info.slot)));
        if let Some(startup) = &mut records[index].memory {
            startup.untyped.push((slot, info.physical, info.size_bits as u8));
        }
    }
    records[index].free_slot = domain.free_slot();
    domain.fill_record(memory, &pages, &records[index]);
}
