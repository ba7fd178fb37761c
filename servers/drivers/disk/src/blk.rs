// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtio block device.
//!
//! # Model
//! One queue. Each slot has three descriptors of its own (header, data, status) and memory for each:
//!
//! ```text
//!   0      rings
//!   4096   headers, 16 bytes each; at 5120 status bytes
//!   8192   buffers, a window each
//! ```

use crate::device::{Command, Device, FLUSH_SLOT, Failed, SLOTS};
use abi::limits::WINDOW_BYTES;
use abi::startup::VirtioStartup;
use disk_api::limits::{REQUESTS_MAX, SECTOR_BYTES};
use disk_api::{Absence, Extent};
use virtio_driver::{Dma, Piece, QUEUE, Queue, Unusable};

/// Descriptors of a slot.
const CHAIN: u16 = 3;
const HEADER_BYTES: usize = 16;
const HEADERS: usize = Queue::RINGS_BYTES;
const STATUSES: usize = HEADERS + 1024;
const BUFFERS: usize = 8192;
/// Bytes of memory that the device's requests need.
pub const DMA_BYTES: usize = BUFFERS + REQUESTS_MAX * WINDOW_BYTES;

const _: () =
    assert!(SLOTS * CHAIN as usize <= QUEUE as usize, "a slot has descriptors of its own");
const _: () =
    assert!(HEADERS + SLOTS * HEADER_BYTES <= STATUSES, "headers end before the statuses");
const _: () = assert!(DMA_BYTES as u64 <= abi::startup::DISK_DMA_BYTES, "root gives as much");

/// `size_max` says how long a piece may be.
const FEATURE_SIZE_MAX: u64 = 1 << 1;
/// The device cannot be written.
const FEATURE_READ_ONLY: u64 = 1 << 5;
/// `blk_size` says how large the device's own sectors are.
const FEATURE_BLOCK_SIZE: u64 = 1 << 6;
/// It can flush; without it, a device writes through.
const FEATURE_FLUSH: u64 = 1 << 9;
/// `writeback` says whether it has a cache.
const FEATURE_CONFIG_WCE: u64 = 1 << 11;
const FEATURES: u64 =
    FEATURE_SIZE_MAX | FEATURE_READ_ONLY | FEATURE_BLOCK_SIZE | FEATURE_FLUSH | FEATURE_CONFIG_WCE;

const CONFIG_CAPACITY: u64 = 0x00;
const CONFIG_SIZE_MAX: u64 = 0x08;
const CONFIG_BLOCK_SIZE: u64 = 0x14;
const CONFIG_WRITEBACK: u64 = 0x20;
/// Attempts to read a configuration that does not change meanwhile.
const CONFIG_READS_MAX: u32 = 16;

const TYPE_READ: u32 = 0;
const TYPE_WRITE: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const STATUS_OK: u8 = 0;
/// No device writes this.
const STATUS_NONE: u8 = 0xff;

/// The device.
pub struct Blk {
    device: virtio_driver::Device,
    queue: Queue,
    sectors: u64,
    is_writable: bool,
    needs_flush: bool,
    /// Bytes that the device must write for the request in each slot.
    wanted: [usize; SLOTS],
}

/// What the device's configuration says, as far as its features make it valid.
struct Config {
    sectors: u64,
    is_writable: bool,
    needs_flush: bool,
}

impl Blk {
    /// Starts the device.
    ///
    /// # Errors
    /// Why it cannot be used. It is out of service then.
    ///
    /// # Safety
    /// `startup` tells the truth: the addresses are the device's registers and memory of the stated size,
    /// mapped for good, and nobody else uses them.
    pub unsafe fn start(startup: &VirtioStartup) -> Result<Self, Absence> {
        // SAFETY: as the caller says.
        let (device, dma) = unsafe { virtio_driver::Device::new(startup) };
        match prepare(&device, dma) {
            Ok((config, queue)) => {
                device.go();
                let Config { sectors, is_writable, needs_flush } = config;
                let wanted = [0; SLOTS];
                Ok(Self { device, queue, sectors, is_writable, needs_flush, wanted })
            }
            Err(absence) => {
                // It was given nothing yet: if it does not even reset, it does no harm.
                let _ = device.reset();
                Err(absence)
            }
        }
    }
}

fn prepare(device: &virtio_driver::Device, dma: Dma) -> Result<(Config, Queue), Absence> {
    if dma.bytes() < DMA_BYTES {
        return Err(Absence::LittleMemory);
    }
    let features = device.begin().map_err(absence)? & FEATURES;
    device.accept(features).map_err(absence)?;
    let config = config(device, features)?;
    let queue = device.queue(0, true, dma).map_err(absence)?;
    Ok((config, queue))
}

fn config(device: &virtio_driver::Device, features: u64) -> Result<Config, Absence> {
    let has = |feature| features & feature != 0;
    let registers = device.config();
    if has(FEATURE_BLOCK_SIZE) && registers.read32(CONFIG_BLOCK_SIZE) > SECTOR_BYTES as u32 {
        return Err(Absence::LargeSectors);
    }
    if has(FEATURE_SIZE_MAX) && registers.read32(CONFIG_SIZE_MAX) < WINDOW_BYTES as u32 {
        return Err(Absence::SmallPieces);
    }
    let is_writable = !has(FEATURE_READ_ONLY);
    // A device that offers no flush should be one that writes through (5.2.5.2), but many a device only
    // never heard of flushing. What is to survive a power cut needs more than that: it must say so.
    let says_through = has(FEATURE_CONFIG_WCE) && registers.read8(CONFIG_WRITEBACK) == 0;
    if is_writable && !has(FEATURE_FLUSH) && !says_through {
        return Err(Absence::NoFlush);
    }
    let needs_flush = is_writable && has(FEATURE_FLUSH);
    Ok(Config { sectors: capacity(device), is_writable, needs_flush })
}

/// Both halves of the capacity, of one time.
fn capacity(device: &virtio_driver::Device) -> u64 {
    let registers = device.config();
    let mut sectors = 0;
    for _ in 0..CONFIG_READS_MAX {
        let before = device.config_generation();
        let low = registers.read32(CONFIG_CAPACITY);
        let high = registers.read32(CONFIG_CAPACITY + 4);
        sectors = u64::from(low) | u64::from(high) << 32;
        if device.config_generation() == before {
            break;
        }
    }
    sectors
}

fn absence(unusable: Unusable) -> Absence {
    match unusable {
        Unusable::TooOld => Absence::TooOld,
        Unusable::SmallQueue => Absence::SmallQueue,
        Unusable::LittleMemory => Absence::LittleMemory,
        Unusable::Stuck => Absence::Stuck,
    }
}

fn header(slot: usize) -> usize {
    HEADERS + slot * HEADER_BYTES
}

fn buffer(slot: usize) -> usize {
    assert!(slot < REQUESTS_MAX, "a slot with a buffer");
    BUFFERS + slot * WINDOW_BYTES
}

fn data(slot: usize, extent: Extent, device_writes: bool) -> Piece {
    let len = extent.sectors as usize * SECTOR_BYTES;
    assert!(len > 0 && len <= WINDOW_BYTES, "a request has between one sector and a window");
    Piece { at: buffer(slot), len, device_writes }
}

impl Device for Blk {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn is_writable(&self) -> bool {
        self.is_writable
    }

    fn needs_flush(&self) -> bool {
        self.needs_flush
    }

    fn begin(&mut self, slot: usize, command: Command) {
        let (kind, sector, piece) = match command {
            Command::Read(extent) => (TYPE_READ, extent.first, Some(data(slot, extent, true))),
            Command::Write(extent) => (TYPE_WRITE, extent.first, Some(data(slot, extent, false))),
            Command::Flush => (TYPE_FLUSH, 0, None),
        };
        let memory = self.queue.memory_mut();
        memory.copy_in(header(slot), &kind.to_le_bytes());
        memory.copy_in(header(slot) + 4, &[0; 4]);
        memory.copy_in(header(slot) + 8, &sector.to_le_bytes());
        memory.copy_in(STATUSES + slot, &[STATUS_NONE]);
        let first = Piece { at: header(slot), len: HEADER_BYTES, device_writes: false };
        let last = Piece { at: STATUSES + slot, len: 1, device_writes: true };
        let written = piece.filter(|piece| piece.device_writes).map_or(0, |piece| piece.len);
        self.wanted[slot] = written + 1;
        let head = slot as u16 * CHAIN;
        match piece {
            Some(piece) => self.queue.offer(head, &[first, piece, last]),
            None => self.queue.offer(head, &[first, last]),
        }
        self.queue.notify();
    }

    fn ended(&mut self) -> Option<(usize, Result<(), Failed>)> {
        // The queue has checked that the device had a chain at this head.
        let (head, written) = self.queue.take_used()?;
        let slot = usize::from(head / CHAIN);
        let status = self.queue.memory().read8(STATUSES + slot);
        // What a read did not fill would be the data of the buffer's request before.
        let is_whole = written >= self.wanted[slot] || self.wanted[slot] == 1;
        let result = if status == STATUS_OK && is_whole { Ok(()) } else { Err(Failed) };
        Some((slot, result))
    }

    fn copy_in(&mut self, slot: usize, data: &[u8]) {
        assert!(data.len() <= WINDOW_BYTES, "a buffer is a window");
        self.queue.memory_mut().copy_in(buffer(slot), data);
    }

    fn copy_out(&self, slot: usize, data: &mut [u8]) {
        assert!(data.len() <= WINDOW_BYTES, "a buffer is a window");
        self.queue.memory().copy_out(buffer(slot), data);
    }

    fn stop(&mut self) {
        // If even this does not end, its memory stays its own: nobody uses it for anything else.
        let _ = self.device.reset();
    }

    fn strange(&self) -> u64 {
        self.queue.strange()
    }
}

const _: () = assert!(FLUSH_SLOT < SLOTS);
