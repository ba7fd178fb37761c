// SPDX-License-Identifier: MIT OR Apache-2.0
//! The queue and the transport against a device made of plain memory, which the test plays.

use crate::{Device, Dma, Piece, QUEUE, Queue, Registers, Unusable, registers as at};
use abi::startup::VirtioStartup;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

const DMA_BYTES: usize = 16384;

fn leak(bytes: usize) -> u64 {
    Box::leak(vec![0u64; bytes / 8].into_boxed_slice()).as_mut_ptr() as u64
}

/// A device, its registers and its memory as the test sees them.
fn device() -> (Device, Registers, Dma, Dma) {
    let (base, memory) = (leak(0x4000), leak(DMA_BYTES));
    let startup = VirtioStartup {
        common_addr: base,
        notify_addr: base + 0x1000,
        notify_multiplier: 4,
        device_addr: base + 0x2000,
        msix_addr: base + 0x3000,
        msix_vector: 0x5a,
        dma: (memory, memory, DMA_BYTES as u64),
    };
    // SAFETY: leaked memory of that size; only raw volatile accesses touch it, in one thread.
    let (device, dma) = unsafe { Device::new(&startup) };
    // SAFETY: as above.
    let registers = unsafe { Registers::new(base) };
    // SAFETY: as above.
    let seen = unsafe { Dma::new(startup.dma) };
    registers.write16(at::QUEUE_SIZE, 256);
    (device, registers, dma, seen)
}

/// Says that the chain at `head` was used.
fn used(dma: &mut Dma, id: u32, len: u32) {
    let index = dma.read16(Queue::USED + 2);
    let entry = u64::from(id) | u64::from(len) << 32;
    dma.copy_in(Queue::USED + 4 + usize::from(index % QUEUE) * 8, &entry.to_le_bytes());
    dma.write16(Queue::USED + 2, index.wrapping_add(1));
}

const PIECE: Piece = Piece { at: Queue::RINGS_BYTES, len: 16, device_writes: false };

#[test]
fn queue_chains_descriptors_and_takes_them_back_out_of_order() {
    let (device, registers, dma, mut seen) = device();
    let mut queue = device.queue(0, true, dma).expect("a good device");
    assert_eq!(registers.read16(at::QUEUE_VECTOR), 0);
    let answer = Piece { at: 8192, len: 512, device_writes: true };
    queue.offer(6, &[PIECE, answer]);
    queue.offer(3, &[PIECE]);
    let words: Vec<u32> = (0..8).map(|word| seen.read32(6 * 16 + word * 4)).collect();
    assert_eq!((words[2], words[3]), (16, 1 | 7 << 16), "16 bytes, and descriptor 7 follows");
    assert_eq!((words[6], words[7]), (512, 2), "512 bytes that the device writes");
    assert_eq!((seen.read16(Queue::AVAILABLE + 4), seen.read16(Queue::AVAILABLE + 6)), (6, 3));
    used(&mut seen, 3, 0);
    used(&mut seen, 6, 512);
    assert_eq!(queue.take_used(), Some((3, 0)));
    assert_eq!(queue.take_used(), Some((6, 512)));
    assert_eq!((queue.take_used(), queue.strange()), (None, 0));
}

#[test]
fn queue_used_entries_of_nothing_lent_are_counted() {
    let (device, _, dma, mut seen) = device();
    let mut queue = device.queue(0, true, dma).expect("a good device");
    queue.offer(6, &[PIECE, PIECE]);
    // Never lent, the middle of a chain, outside, far outside, and twice.
    for id in [0, 7, u32::from(QUEUE), u32::MAX, 6, 6] {
        used(&mut seen, id, 1);
    }
    assert_eq!(queue.take_used(), Some((6, 1)));
    assert_eq!((queue.take_used(), queue.strange()), (None, 5));
}

#[test]
fn queue_that_races_ahead_holds_nobody_up() {
    let (device, _, dma, mut seen) = device();
    let mut queue = device.queue(0, true, dma).expect("a good device");
    seen.write16(Queue::USED + 2, u16::MAX);
    assert_eq!((queue.take_used(), queue.strange()), (None, u64::from(QUEUE)));
}

#[test]
fn device_features_are_offered_and_accepted_in_two_words() {
    let (device, registers, ..) = device();
    registers.write32(at::FEATURES, 1);
    assert_eq!(device.begin(), Ok(1 << 32 | 1), "this device shows one word for both");
    device.accept(1 << 5).expect("it keeps what is written");
    assert_eq!(registers.read32(at::DRIVER_FEATURES), 1, "the second word, VERSION_1");
    assert_eq!(registers.read32(0x3008), 0x5a, "the interrupt's vector");
}

#[test]
fn device_that_cannot_be_used_is_refused() {
    let (old, registers, dma, _) = device();
    assert_eq!(old.begin(), Err(Unusable::TooOld));
    registers.write16(at::QUEUE_SIZE, QUEUE - 1);
    assert_eq!(old.queue(0, true, dma).err(), Some(Unusable::SmallQueue));
    let (device, _, dma, _) = self::device();
    assert_eq!(device.queue(0, true, dma.cut(4095).0).err(), Some(Unusable::LittleMemory));
}
