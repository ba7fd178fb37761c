// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against a device made of plain memory, which the test plays.

use crate::blk::{Blk, DMA_BYTES};
use crate::device::{Command, Device, FLUSH_SLOT, Failed, SLOTS};
use abi::startup::VirtioStartup;
use disk_api::{Absence, Extent};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;
use virtio_driver::registers::{DRIVER_FEATURES, FEATURES, QUEUE_SIZE, STATUS};
use virtio_driver::{Dma, QUEUE, Queue, Registers};

const FLUSH: u32 = 1 << 9;
const CONFIG_WCE: u32 = 1 << 11;
const READ_ONLY: u32 = 1 << 5;
const BLOCK_SIZE: u32 = 1 << 6;
const SIZE_MAX: u32 = 1 << 1;

struct Disk {
    startup: VirtioStartup,
    registers: Registers,
    dma: Dma,
}

fn leak(bytes: usize) -> u64 {
    Box::leak(vec![0u64; bytes / 8].into_boxed_slice()).as_mut_ptr() as u64
}

/// A device with these features, and VERSION_1: both words of its features show the same, so bit 0.
fn disk(features: u32) -> Disk {
    let (base, memory) = (leak(0x4000), leak(DMA_BYTES));
    let startup = VirtioStartup {
        common_addr: base,
        notify_addr: base + 0x1000,
        notify_multiplier: 4,
        device_addr: base + 0x2000,
        msix_addr: base + 0x3000,
        msix_vector: 0x5b,
        dma: (memory, memory, DMA_BYTES as u64),
    };
    // SAFETY: leaked memory of that size; only raw volatile accesses touch it, in one thread.
    let registers = unsafe { Registers::new(base) };
    // SAFETY: as above.
    let dma = unsafe { Dma::new(startup.dma) };
    registers.write32(FEATURES, features | 1);
    registers.write16(QUEUE_SIZE, 256);
    // The capacity.
    registers.at(0x2000).write64(0, 3 << 32 | 100);
    Disk { startup, registers, dma }
}

impl Disk {
    fn start(&self) -> Result<Blk, Absence> {
        // SAFETY: the addresses are leaked memory of the stated size, which the test reads and writes
        // like a device: volatile, in the same thread.
        unsafe { Blk::start(&self.startup) }
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.dma.copy_out(at, &mut bytes);
        bytes
    }

    /// The pieces of the chain at `head`: offset, length, whether the device writes them.
    fn chain(&self, head: u16) -> Vec<(usize, usize, bool)> {
        let (mut pieces, mut next) = (Vec::new(), Some(head));
        while let Some(at) = next.map(|number| usize::from(number) * 16) {
            let flags = self.dma.read16(at + 12);
            let address = u64::from(self.dma.read32(at)) | u64::from(self.dma.read32(at + 4)) << 32;
            let offset = (address - self.startup.dma.1) as usize;
            pieces.push((offset, self.dma.read32(at + 8) as usize, flags & 2 != 0));
            next = (flags & 1 != 0).then(|| self.dma.read16(at + 14));
        }
        pieces
    }

    /// The head of the `nth` chain that was offered.
    fn offered(&self, nth: usize) -> u16 {
        assert!(usize::from(self.dma.read16(Queue::AVAILABLE + 2)) > nth, "it was offered");
        self.dma.read16(Queue::AVAILABLE + 4 + nth % usize::from(QUEUE) * 2)
    }

    /// Ends the chain at `head` with this status, having written `len` bytes.
    fn end(&mut self, head: u16, status: u8, len: u32) {
        let (at, ..) = *self.chain(head).last().expect("a status");
        self.dma.copy_in(at, &[status]);
        self.used(u32::from(head), len);
    }

    fn used(&mut self, id: u32, len: u32) {
        let index = self.dma.read16(Queue::USED + 2);
        let both = u64::from(id) | u64::from(len) << 32;
        self.dma.copy_in(Queue::USED + 4 + usize::from(index % QUEUE) * 8, &both.to_le_bytes());
        self.dma.write16(Queue::USED + 2, index.wrapping_add(1));
    }
}

const TWO: Extent = Extent { first: 0x1_0000_0007, sectors: 2 };

#[test]
fn disk_requests_have_header_data_and_status() {
    let mut disk = disk(FLUSH | 1 << 2);
    let mut blk = disk.start().expect("a good device");
    assert_eq!(disk.registers.read8(STATUS), 15, "in service");
    assert_eq!(disk.registers.read32(DRIVER_FEATURES), 1, "the second word");
    assert_eq!((blk.sectors(), blk.is_writable(), blk.needs_flush()), (3 << 32 | 100, true, true));
    blk.copy_in(1, &[7; 1024]);
    blk.begin(1, Command::Write(TWO));
    let write = disk.chain(disk.offered(0));
    assert_eq!(disk.bytes(write[0].0, 16), [1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!((write[1].1, write[1].2), (1024, false));
    assert_eq!(disk.bytes(write[1].0, 1024), [7; 1024]);
    assert_eq!((write[2].1, write[2].2), (1, true));
    blk.begin(2, Command::Read(TWO));
    let read = disk.chain(disk.offered(1));
    assert_eq!(disk.bytes(read[0].0, 4), [0; 4]);
    assert_eq!((read[1].1, read[1].2), (1024, true));
    blk.begin(FLUSH_SLOT, Command::Flush);
    let flush = disk.chain(disk.offered(2));
    assert_eq!((disk.bytes(flush[0].0, 4), flush.len()), (vec![4, 0, 0, 0], 2));
    // Out of order.
    disk.end(disk.offered(2), 0, 1);
    disk.dma.copy_in(read[1].0, &[9; 1024]);
    disk.end(disk.offered(1), 0, 1025);
    disk.end(disk.offered(0), 0, 1);
    assert_eq!(blk.ended(), Some((FLUSH_SLOT, Ok(()))));
    assert_eq!(blk.ended(), Some((2, Ok(()))));
    assert_eq!(blk.ended(), Some((1, Ok(()))));
    assert_eq!((blk.ended(), blk.strange()), (None, 0));
    let mut data = [0; 1024];
    blk.copy_out(2, &mut data);
    assert_eq!(data, [9; 1024]);
}

#[test]
fn disk_that_fails_or_writes_nonsense_is_not_believed() {
    let mut disk = disk(FLUSH);
    let mut blk = disk.start().expect("a good device");
    for (round, (what, status, len)) in [
        ("an input or output error", 1, 1025),
        ("not supported", 2, 1025),
        ("no status that there is", 77, 1025),
        ("no status at all", 0xff, 1025),
        ("done, but not all was written", 0, 1024),
        ("done, and nothing was written", 0, 0),
    ]
    .into_iter()
    .enumerate()
    {
        blk.begin(0, Command::Read(TWO));
        disk.end(disk.offered(round), status, len);
        assert_eq!(blk.ended(), Some((0, Err(Failed))), "{what}");
    }
    blk.begin(0, Command::Read(TWO));
    for id in [1, 3, u32::from(QUEUE), u32::MAX] {
        disk.used(id, 1025);
    }
    assert_eq!((blk.ended(), blk.strange()), (None, 4));
    disk.end(0, 0, u32::MAX);
    assert_eq!(blk.ended(), Some((0, Ok(()))), "more than all is all");
    disk.used(0, 1025);
    assert_eq!((blk.ended(), blk.strange()), (None, 5), "once");
}

#[test]
fn disk_slots_do_not_share_memory() {
    let disk = disk(FLUSH);
    let mut blk = disk.start().expect("a good device");
    let extent = Extent { first: 0, sectors: 128 };
    (0..FLUSH_SLOT).for_each(|slot| blk.begin(slot, Command::Read(extent)));
    blk.begin(FLUSH_SLOT, Command::Flush);
    let mut pieces: Vec<_> = (0..SLOTS).flat_map(|nth| disk.chain(disk.offered(nth))).collect();
    pieces.sort_unstable();
    for pair in pieces.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
    }
    assert!(pieces[0].0 >= Queue::RINGS_BYTES);
}

#[test]
fn disk_without_flush_must_say_that_it_writes_through() {
    assert_eq!(disk(0).start().err(), Some(Absence::NoFlush));
    let through = disk(CONFIG_WCE);
    let blk = through.start().expect("it says so");
    assert!(blk.is_writable() && !blk.needs_flush());
    let cached = disk(CONFIG_WCE);
    cached.registers.at(0x2000).write8(0x20, 1);
    assert_eq!(cached.start().err(), Some(Absence::NoFlush));
    assert_eq!(cached.registers.read8(STATUS), 0, "it is out of service");
    let blk = disk(READ_ONLY).start().expect("nothing needs to be flushed");
    assert!(!blk.is_writable() && !blk.needs_flush());
}

#[test]
fn disk_that_cannot_be_used_is_refused() {
    let large = disk(FLUSH | BLOCK_SIZE);
    large.registers.at(0x2000).write32(0x14, 4096);
    assert_eq!(large.start().err(), Some(Absence::LargeSectors));
    large.registers.at(0x2000).write32(0x14, 512);
    assert!(large.start().is_ok());
    let pieces = disk(FLUSH | SIZE_MAX);
    pieces.registers.at(0x2000).write32(0x08, 4096);
    assert_eq!(pieces.start().err(), Some(Absence::SmallPieces));
    let old = disk(FLUSH);
    old.registers.write32(FEATURES, FLUSH);
    assert_eq!(old.start().err(), Some(Absence::TooOld));
    let small = disk(FLUSH);
    small.registers.write16(QUEUE_SIZE, QUEUE - 1);
    assert_eq!(small.start().err(), Some(Absence::SmallQueue));
    let mut little = disk(FLUSH);
    little.startup.dma.2 -= 1;
    assert_eq!(little.start().err(), Some(Absence::LittleMemory));
}
