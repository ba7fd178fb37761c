// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the drivers get: I/O ports, interrupts, the network card, the disk.
//!
//! # Failure
//! A device that is not there or not whole is said in the log, and its driver does without.

use crate::domain::Domain;
use crate::memory::Memory;
use crate::pci;
use abi::ServerId;
use abi::startup::{
    DEVICES_ADDR, DISK_DMA_BYTES, DMA_ADDR, IRQ_BIT, Interrupt, IoPorts, VirtioStartup,
};
use alloc::vec::Vec;
use microkernel_rt::println;
use microkernel_sys::init::{self, IO_PORT, IRQ_CONTROL};
use microkernel_sys::{Caching, Cap, CapData, Frame, IrqHandler, PAGE_BYTES, Rights};

/// Memory for the network card's DMA: receive and transmit buffers of 9 KiB frames.
const NIC_DMA_BYTES: u64 = 1280 << 10;
/// Registers of a device that are mapped at most, per base address register.
const BAR_BYTES_MAX: u64 = 64 * 1024;
/// The kernel adds this to an interrupt's number to get its vector.
const VECTOR_BASE: u64 = 0x30;

const PIT: Line = Line { server: ServerId::Timer, bit: 0, pin: 2, number: 40 };
const UART: Line = Line { server: ServerId::Console, bit: 1, pin: 4, number: 41 };
const NIC: Virtio = Virtio {
    server: ServerId::Net,
    kind: pci::NETWORK_CARD,
    bit: 2,
    number: 42,
    dma_bytes: NIC_DMA_BYTES,
};
const DISK: Virtio = Virtio {
    server: ServerId::Disk,
    kind: pci::DISK,
    bit: 3,
    number: 43,
    dma_bytes: DISK_DMA_BYTES,
};

/// A virtio device and what its driver gets with it.
struct Virtio {
    server: ServerId,
    kind: pci::Kind,
    bit: u8,
    number: u64,
    dma_bytes: u64,
}

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

/// The virtio devices of the node.
pub struct Found {
    nic: Option<Device>,
    disk: Option<Device>,
}

/// A device that is there, with the frames of its registers.
struct Device {
    address: pci::Address,
    bars: Vec<Registers>,
}

/// The frames of a base address register, in order, as far as they are mapped.
struct Registers {
    bar: pci::Bar,
    frames: Vec<Cap<Frame>>,
}

/// Looks for the devices. The memory of all their registers is taken here, as the kernel gives it out in
/// ascending order only.
pub fn find(memory: &mut Memory) -> Found {
    let mut devices = [NIC, DISK].map(|virtio| {
        let address = pci::find(virtio.kind).ok().flatten()?;
        let bars = pci::prepare(address).ok()?;
        let bars = bars.into_iter().map(|bar| Registers { bar, frames: Vec::new() }).collect();
        Some(Device { address, bars })
    });
    let bars = devices.iter_mut().flatten().flat_map(|device| &mut device.bars);
    let mut bars: Vec<_> = bars.collect();
    bars.sort_unstable_by_key(|registers| registers.bar.physical);
    for Registers { bar, frames } in bars {
        let pages = bar.bytes.min(BAR_BYTES_MAX).div_ceil(PAGE_BYTES);
        // What is not the kernel's to give is missing when it is mapped.
        let all =
            (0..pages).map_while(|page| memory.device_frame(bar.physical + page * PAGE_BYTES));
        frames.extend(all);
    }
    let [nic, disk] = devices;
    if nic.is_none() {
        println!("root: no virtio network card: this node stays alone");
    }
    Found { nic, disk }
}

impl Found {
    /// Gives net's domain the network card, if there is one that works.
    pub fn nic(
        &self,
        memory: &mut Memory,
        domain: &mut Domain,
        interrupts: &mut Vec<Interrupt>,
    ) -> Option<VirtioStartup> {
        give(memory, domain, interrupts, &NIC, self.nic.as_ref()?)
    }

    /// Gives the disk server's domain the disk, if there is one that works.
    pub fn disk(
        &self,
        memory: &mut Memory,
        domain: &mut Domain,
        interrupts: &mut Vec<Interrupt>,
    ) -> Option<VirtioStartup> {
        give(memory, domain, interrupts, &DISK, self.disk.as_ref()?)
    }
}

fn give(
    memory: &mut Memory,
    domain: &mut Domain,
    interrupts: &mut Vec<Interrupt>,
    virtio: &Virtio,
    device: &Device,
) -> Option<VirtioStartup> {
    if !domain.hosts(virtio.server) {
        return None;
    }
    match give_whole(memory, domain, virtio, device) {
        Ok((startup, interrupt)) => {
            interrupts.push(interrupt);
            Some(startup)
        }
        Err(why) => {
            println!("root: {} does without its device: {why}", virtio.server);
            None
        }
    }
}

fn give_whole(
    memory: &mut Memory,
    domain: &mut Domain,
    virtio: &Virtio,
    device: &Device,
) -> Result<(VirtioStartup, Interrupt), &'static str> {
    let registers =
        pci::capabilities(device.address).map_err(|_| "it does not say where its registers are")?;
    let mut mapped = Vec::new();
    let mut at = DEVICES_ADDR;
    for Registers { bar, frames } in &device.bars {
        for (page, frame) in (0u64..).zip(frames) {
            let (space, to) = (domain.space.cap, at + page * PAGE_BYTES);
            memory.map_cached(*frame, space, to, Rights::READ_WRITE, Caching::Uncacheable);
        }
        mapped.push((bar.index, frames.len() as u64 * PAGE_BYTES, at));
        at += BAR_BYTES_MAX;
    }
    let physical = domain
        .give_dma(memory, virtio.dma_bytes / PAGE_BYTES)
        .ok_or("there is no memory in one piece for it")?;
    let slot = memory.slots(1);
    let pci::Address { bus, device, function } = device.address;
    IRQ_CONTROL
        .get_msi(
            init::CNODE,
            slot.index,
            u64::from(slot.depth),
            bus.into(),
            device.into(),
            function.into(),
            0,
            virtio.number,
        )
        .map_err(|_| "its interrupt is taken")?;
    let interrupt = deliver(memory, domain, Cap::new(slot.index), virtio.server, virtio.bit);
    let addr = |place: Option<(u8, u32)>| {
        let (index, offset) = place?;
        let (_, bytes, at) = mapped.iter().find(|bar| bar.0 == index)?;
        (u64::from(offset) < *bytes).then_some(at + u64::from(offset))
    };
    let addr = |place| addr(place).ok_or("it lacks registers that virtio 1.0 has");
    let startup = VirtioStartup {
        common_addr: addr(registers.common)?,
        notify_addr: addr(registers.notify)?,
        notify_multiplier: registers.notify_multiplier,
        device_addr: addr(registers.device)?,
        msix_addr: addr(registers.msix)?,
        msix_vector: (VECTOR_BASE + virtio.number) as u8,
        dma: (DMA_ADDR, physical, virtio.dma_bytes),
    };
    Ok((startup, interrupt))
}
