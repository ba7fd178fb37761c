// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against a card made of plain memory, which the test plays.

use crate::buffers::Buffers;
use crate::{BUFFER_BYTES, Full, HEADER_BYTES, Nic, QUEUE, Unusable};
use abi::startup::VirtioStartup;
use std::boxed::Box;
use std::vec;
use virtio_driver::registers::{FEATURES, QUEUE_SIZE, STATUS};
use virtio_driver::{Dma, Queue, Registers};

const REGISTERS_BYTES: usize = 0x4000;
const DMA_BYTES: usize = 2 * (Buffers::BYTES + 4096);
const VECTOR: u8 = 0x5a;

struct Card {
    startup: VirtioStartup,
    registers: Registers,
    dma: Dma,
}

fn leak(bytes: usize) -> u64 {
    Box::leak(vec![0u64; bytes / 8].into_boxed_slice()).as_mut_ptr() as u64
}

fn card() -> Card {
    let (base, memory) = (leak(REGISTERS_BYTES), leak(DMA_BYTES));
    let dma = (memory, memory, DMA_BYTES as u64);
    let startup = VirtioStartup {
        common_addr: base,
        notify_addr: base + 0x1000,
        notify_multiplier: 4,
        device_addr: base + 0x2000,
        msix_addr: base + 0x3000,
        msix_vector: VECTOR,
        dma,
    };
    // SAFETY: leaked memory of that size; only raw volatile accesses touch it, in one thread.
    let registers = unsafe { Registers::new(base) };
    // SAFETY: as above.
    let dma = unsafe { Dma::new(dma) };
    // Shown as both words; bit 0 of the second one is VERSION_1.
    registers.write32(FEATURES, 1);
    registers.write16(QUEUE_SIZE, 256);
    Card { startup, registers, dma }
}

impl Card {
    fn start(&self) -> Result<Nic, Unusable> {
        // SAFETY: the addresses are leaked memory of the stated size, which the test reads and
        // writes like a device: volatile, in the same thread.
        unsafe { Nic::start(&self.startup) }
    }

    /// Says that buffer `id` of the queue whose memory begins at `queue` was used.
    fn used(&mut self, queue: usize, id: u32, len: u32) {
        let index = self.dma.read16(queue + Queue::USED + 2);
        let entry = queue + Queue::USED + 4 + usize::from(index % QUEUE) * 8;
        let both = u64::from(id) | u64::from(len) << 32;
        self.dma.copy_in(entry, &both.to_le_bytes());
        self.dma.write16(queue + Queue::USED + 2, index.wrapping_add(1));
    }

    /// Receives `frame` into buffer `id`, as a device does.
    fn deliver(&mut self, id: u32, frame: &[u8]) {
        let mut address = [0; 8];
        self.dma.copy_out(id as usize * 16, &mut address);
        let at = (u64::from_le_bytes(address) - self.startup.dma.1) as usize;
        self.dma.copy_in(at + HEADER_BYTES, frame);
        self.used(0, id, (HEADER_BYTES + frame.len()) as u32);
    }
}

#[test]
fn card_comes_up_with_buffers_and_interrupt() {
    let card = card();
    let nic = card.start().expect("a good card");
    assert_eq!(card.registers.read8(STATUS), 15, "in service");
    assert_eq!(card.registers.read32(0x3000), 0xfee0_0000);
    assert_eq!(card.registers.read32(0x3008), u32::from(VECTOR));
    assert_eq!(card.dma.read16(Queue::AVAILABLE + 2), QUEUE, "it has all receive buffers");
    assert_eq!(nic.mac(), [0; 6]);
}

#[test]
fn card_received_frames_come_out_and_buffers_go_back() {
    let mut card = card();
    let mut nic = card.start().expect("a good card");
    assert_eq!(nic.receive(), None);
    for round in 0..3 * QUEUE {
        let frame = vec![round as u8; 100 + usize::from(round)];
        card.deliver(u32::from(round % QUEUE), &frame);
        assert_eq!(nic.receive(), Some(frame));
        assert_eq!(card.dma.read16(Queue::AVAILABLE + 2), QUEUE + round + 1);
    }
}

#[test]
fn card_that_writes_nonsense_is_not_believed() {
    let mut card = card();
    let mut nic = card.start().expect("a good card");
    card.used(0, 0, HEADER_BYTES as u32 - 1);
    card.used(0, 1, BUFFER_BYTES as u32 + 1);
    card.used(0, u32::from(QUEUE), 100);
    card.used(0, u32::MAX, 100);
    assert_eq!((nic.receive(), nic.malformed()), (None, 4));
    card.deliver(0, b"sound");
    assert_eq!(nic.receive().as_deref(), Some(&b"sound"[..]));
}

#[test]
fn card_sends_until_full_and_again_when_a_buffer_comes_back() {
    let mut card = card();
    let mut nic = card.start().expect("a good card");
    let transmit = DMA_BYTES / 2;
    for _ in 0..QUEUE {
        nic.send(&[7; 60]).expect("room");
    }
    assert_eq!(nic.send(&[7; 60]), Err(Full));
    assert_eq!(card.registers.read16(0x1000), 1, "the card was told of its queue 1");
    card.used(transmit, 3, 0);
    card.used(transmit, 3, 0);
    nic.send(&[8; 60]).expect("room again");
    assert_eq!(nic.malformed(), 1, "a buffer cannot come back twice");
    assert_eq!(nic.send(&[8; 60]), Err(Full));
}

#[test]
fn card_that_cannot_be_used_is_refused() {
    let old = card();
    old.registers.write32(FEATURES, 0);
    assert_eq!(old.start().err(), Some(Unusable::TooOld));
    let small = card();
    small.registers.write16(QUEUE_SIZE, QUEUE - 1);
    assert_eq!(small.start().err(), Some(Unusable::SmallQueue));
    let mut little = card();
    little.startup.dma.2 = 8192;
    assert_eq!(little.start().err(), Some(Unusable::LittleMemory));
}
