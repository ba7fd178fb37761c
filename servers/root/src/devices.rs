// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the drivers get: I/O ports, interrupts, the network card.

use crate::domain::Domain;
use crate::memory::Memory;
use crate::pci;
use abi::ServerId;
use abi::startup::{DEVICES_ADDR, DMA_ADDR, IRQ_BIT, Interrupt, IoPorts, NicStartup};
use alloc::vec::Vec;
use microkernel_rt::println;
use microkernel_sys::init::{self, IO_PORT, IRQ_CONTROL};
use microkernel_sys::{Caching, Cap, CapData, IrqHandler, PAGE_BYTES, Rights};

/// Memory for DMA: receive and transmit buffers of 9 KiB frames.
const DMA_BYTES: u64 = 1280 << 10;
/// Registers of a card that are mapped at most.
const BAR_BYTES_MAX: u64 = 64 * 1024;
/// The kernel adds this to an interrupt's number to get its vector.
const VECTOR_BASE: u64 = 0x30;

const PIT: Line = Line { server: ServerId::Timer, bit: 0, pin: 2, number: 40 };
const UART: Line = Line { server: ServerId::Console, bit: 1, pin: 4, number: 41 };
const NIC_BIT: u8 = 2;
const NIC_IRQ: u64 = 42;

/// An interrupt line of the I/O APIC.
struct Line {
    server: ServerId,
    bit: u8,
    pin: u64,
    number: u64,
}

/// The port ranges of each driver.
const PORTS: &[(ServerId, u16, u16)] =
    &[(ServerId::Timer, 0x40, 0x43), (ServerId::Console, 0x3f8, 0x3ff)];

/// Gives the domain its drivers' ports.
pub fn io_ports(domain: &mut Domain) -> Vec<IoPorts> {
    let mut ports = Vec::new();
    for &(server, first, last) in PORTS {
        if domain.hosts(server) {
            let slot = domain.give_marked(IO_PORT, Rights::ALL, CapData::ports(first, last));
            ports.push(IoPorts { first, last, slot });
        }
    }
    ports
}

/// Gives the domain its drivers' interrupts of the I/O APIC.
pub fn interrupts(memory: &mut Memory, domain: &mut Domain) -> Vec<Interrupt> {
    let mut interrupts = Vec::new();
    for line in [PIT, UART] {
        if !domain.hosts(line.server) {
            continue;
        }
        let slot = memory.slots(1);
        let depth = u64::from(slot.depth);
        IRQ_CONTROL
            .get_ioapic(init::CNODE, slot.index, depth, 0, line.pin, 0, 0, line.number)
            .expect("the interrupt is free");
        let handler = Cap::new(slot.index);
        interrupts.push(deliver(memory, domain, handler, line.server, line.bit));
    }
    interrupts
}

fn deliver(
    memory: &mut Memory,
    domain: &mut Domain,
    handler: Cap<IrqHandler>,
    server: ServerId,
    bit: u8,
) -> Interrupt {
    let badge = CapData::badge(1 << (IRQ_BIT + u32::from(bit)));
    let notification = memory.mint(domain.workers[0].notification, badge);
    handler.set_notification(notification).expect("it is a notification");
    handler.ack().expect("it is an interrupt handler");
    Interrupt { server, bit, handler_slot: domain.give(handler, Rights::ALL) }
}

/// Gives net's domain the network card; `None`, said in the log, if there is none that works.
pub fn nic(memory: &mut Memory, domain: &mut Domain) -> Option<(NicStartup, Interrupt)> {
    let nic = find_nic(memory, domain);
    nic.inspect_err(|why| println!("root: {why}: this node stays alone")).ok()
}

fn find_nic(
    memory: &mut Memory,
    domain: &mut Domain,
) -> Result<(NicStartup, Interrupt), &'static str> {
    let found = pci::find_nic().map_err(|_| "the PCI bus cannot be read")?;
    let address = found.ok_or("no virtio network card")?;
    let mut bars =
        pci::prepare(address).map_err(|_| "the network card's registers cannot be read")?;
    // Device memory is given out in ascending order, as all untyped memory is.
    bars.sort_unstable_by_key(|bar| bar.physical);
    let registers = pci::capabilities(address)
        .map_err(|_| "the network card does not say where its registers are")?;
    let mut mapped = Vec::new();
    let mut at = DEVICES_ADDR;
    for bar in bars {
        let bytes = bar.bytes.min(BAR_BYTES_MAX);
        for page in 0..bytes.div_ceil(PAGE_BYTES) {
            let frame = memory
                .device_frame(bar.physical + page * PAGE_BYTES)
                .ok_or("the network card's registers lie where no device is")?;
            let to = at + page * PAGE_BYTES;
            let space = domain.space.cap;
            memory.map_cached(frame, space, to, Rights::READ_WRITE, Caching::Uncacheable);
        }
        mapped.push((bar.index, bytes, at));
        at += BAR_BYTES_MAX;
    }
    let physical = domain
        .give_dma(memory, DMA_BYTES / PAGE_BYTES)
        .ok_or("no memory in one piece for the network card")?;
    let slot = memory.slots(1);
    let (bus, device, function) = (address.bus, address.device, address.function);
    IRQ_CONTROL
        .get_msi(
            init::CNODE,
            slot.index,
            u64::from(slot.depth),
            bus.into(),
            device.into(),
            function.into(),
            0,
            NIC_IRQ,
        )
        .map_err(|_| "the network card's interrupt is taken")?;
    let interrupt = deliver(memory, domain, Cap::new(slot.index), ServerId::Net, NIC_BIT);
    let addr = |place: Option<(u8, u32)>| {
        let (index, offset) = place?;
        let (_, bytes, at) = mapped.iter().find(|bar| bar.0 == index)?;
        (u64::from(offset) < *bytes).then_some(at + u64::from(offset))
    };
    let addr = |place| addr(place).ok_or("the network card lacks registers that virtio 1.0 has");
    let nic = NicStartup {
        common_addr: addr(registers.common)?,
        notify_addr: addr(registers.notify)?,
        notify_multiplier: registers.notify_multiplier,
        device_addr: addr(registers.device)?,
        msix_addr: addr(registers.msix)?,
        msix_vector: (VECTOR_BASE + NIC_IRQ) as u8,
        dma: (DMA_ADDR, physical, DMA_BYTES),
    };
    Ok((nic, interrupt))
}
