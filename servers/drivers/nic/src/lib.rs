// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtio network card (virtio 1.1 over PCI, modern interface) for net-server.
//!
//! # Model
//! Two split queues of [`QUEUE`] buffers each: all receive buffers are always the device's, but for the
//! moment in which a frame is copied out; a transmit buffer is the device's until its used ring says
//! so, looked at when the next frame is sent. Only receiving interrupts.
//!
//! # Failure
//! What the device writes is input: an index or length out of range is dropped and counted.
//!
//! # Source
//! OASIS virtio 1.1, 2.6 (split queues), 4.1 (PCI), 5.1 (network device). Written for this project:
//! the well-kept library for it offers no MSI-X, and these are few lines.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod memory;
mod queue;
#[cfg(test)]
mod tests;

use abi::startup::NicStartup;
use alloc::vec::Vec;
use memory::{Dma, Registers};
use queue::Queue;

/// Buffers of each queue.
pub const QUEUE: u16 = 64;
/// Longest frame: 9,000 bytes and an Ethernet header, in whole cache lines with the device's header.
pub const BUFFER_BYTES: usize = 9216;
/// The device's header before each frame (virtio_net_hdr with num_buffers).
const HEADER_BYTES: usize = 12;

const FEATURE_SELECT: u64 = 0x00;
const FEATURES: u64 = 0x04;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURES: u64 = 0x0c;
const CONFIG_VECTOR: u64 = 0x10;
const STATUS: u64 = 0x14;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1a;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_NOTIFY_OFFSET: u64 = 0x1e;
const QUEUE_DESCRIPTORS: u64 = 0x20;
const QUEUE_AVAILABLE: u64 = 0x28;
const QUEUE_USED: u64 = 0x30;

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
/// Feature 32, VERSION_1, in the second word of features.
const VERSION_1: u32 = 1;
const NO_VECTOR: u16 = 0xffff;
/// Looks at the status while the device resets: QEMU's is done at once, others within milliseconds.
const RESET_POLLS_MAX: u32 = 1_000_000;

/// Why the card cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// It is not a device of virtio 1.0 or later.
    TooOld,
    /// Its queues are smaller than [`QUEUE`].
    SmallQueue,
    /// Root gave too little memory for DMA.
    LittleMemory,
    /// It does not end its reset.
    Stuck,
}

/// All transmit buffers are the device's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The card.
pub struct Nic {
    mac: [u8; 6],
    receive: Queue,
    transmit: Queue,
    free: Vec<u16>,
    malformed: u64,
}

impl Nic {
    /// Starts the card.
    ///
    /// # Errors
    /// See [`Unusable`].
    ///
    /// # Safety
    /// `startup` tells the truth: the addresses are the card's registers and memory of the stated size,
    /// mapped for good, and nobody else uses them.
    pub unsafe fn start(startup: &NicStartup) -> Result<Self, Unusable> {
        // SAFETY: as the caller says.
        let common = unsafe { Registers::new(startup.common_addr) };
        // SAFETY: as the caller says.
        let notify = unsafe { Registers::new(startup.notify_addr) };
        // SAFETY: as the caller says.
        let device = unsafe { Registers::new(startup.device_addr) };
        // SAFETY: as the caller says.
        let msix = unsafe { Registers::new(startup.msix_addr) };
        // SAFETY: as the caller says.
        let dma = unsafe { Dma::new(startup.dma) };
        let (receive_dma, transmit_dma) = dma.halves();
        if receive_dma.bytes() < Queue::BYTES {
            return Err(Unusable::LittleMemory);
        }
        negotiate(&common)?;
        program_vector(&msix, startup.msix_vector);
        common.write16(CONFIG_VECTOR, NO_VECTOR);
        let step = u64::from(startup.notify_multiplier);
        let mut receive = set_up(&common, 0, 0, receive_dma, &notify, step)?;
        let transmit = set_up(&common, 1, NO_VECTOR, transmit_dma, &notify, step)?;
        common.write8(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        (0..QUEUE).for_each(|buffer| receive.offer(buffer, BUFFER_BYTES, true));
        receive.notify();
        let mut mac = [0; 6];
        (0u64..).zip(&mut mac).for_each(|(i, byte)| *byte = device.read8(i));
        Ok(Self { mac, receive, transmit, free: (0..QUEUE).collect(), malformed: 0 })
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Frames and buffers that the device described wrongly.
    pub fn malformed(&self) -> u64 {
        self.malformed + self.receive.strange + self.transmit.strange
    }

    /// Sends a frame, from its Ethernet header on, at most [`BUFFER_BYTES`] less 12.
    ///
    /// # Errors
    /// [`Full`]: try again when a frame was received or some time has passed.
    ///
    /// # Panics
    /// If the frame is longer.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), Full> {
        while let Some((buffer, _)) = self.transmit.take_used() {
            self.free.push(buffer);
        }
        let buffer = self.free.pop().ok_or(Full)?;
        self.transmit.fill(buffer, &[0; HEADER_BYTES], frame);
        self.transmit.offer(buffer, HEADER_BYTES + frame.len(), false);
        self.transmit.notify();
        Ok(())
    }

    /// Takes the next received frame.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let (buffer, len) = self.receive.take_used()?;
            let frame = self.receive.frame(buffer, len, HEADER_BYTES);
            self.receive.offer(buffer, BUFFER_BYTES, true);
            self.receive.notify();
            match frame {
                Some(frame) => return Some(frame),
                None => self.malformed += 1,
            }
        }
    }
}

fn negotiate(common: &Registers) -> Result<(), Unusable> {
    common.write8(STATUS, 0);
    if !(0..RESET_POLLS_MAX).any(|_| common.read8(STATUS) == 0) {
        return Err(Unusable::Stuck);
    }
    common.write8(STATUS, ACKNOWLEDGE | DRIVER);
    common.write32(FEATURE_SELECT, 1);
    if common.read32(FEATURES) & VERSION_1 == 0 {
        return Err(Unusable::TooOld);
    }
    // Nothing of the first word: no offloads, no merged buffers.
    for (select, features) in [(0, 0), (1, VERSION_1)] {
        common.write32(DRIVER_FEATURE_SELECT, select);
        common.write32(DRIVER_FEATURES, features);
    }
    common.write8(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    if common.read8(STATUS) & FEATURES_OK == 0 {
        return Err(Unusable::TooOld);
    }
    Ok(())
}

/// Entry 0 of the MSI-X table: to the first core's APIC.
fn program_vector(msix: &Registers, vector: u8) {
    for (offset, value) in [(0, 0xfee0_0000), (4, 0), (8, u32::from(vector)), (12, 0)] {
        msix.write32(offset, value);
    }
}

fn set_up(
    common: &Registers,
    index: u16,
    vector: u16,
    dma: Dma,
    notify: &Registers,
    notify_step: u64,
) -> Result<Queue, Unusable> {
    common.write16(QUEUE_SELECT, index);
    if common.read16(QUEUE_SIZE) < QUEUE {
        return Err(Unusable::SmallQueue);
    }
    common.write16(QUEUE_SIZE, QUEUE);
    common.write16(QUEUE_VECTOR, vector);
    let physical = dma.physical();
    common.write64(QUEUE_DESCRIPTORS, physical + Queue::DESCRIPTORS as u64);
    common.write64(QUEUE_AVAILABLE, physical + Queue::AVAILABLE as u64);
    common.write64(QUEUE_USED, physical + Queue::USED as u64);
    common.write16(QUEUE_ENABLE, 1);
    let offset = u64::from(common.read16(QUEUE_NOTIFY_OFFSET)) * notify_step;
    Ok(Queue::new(index, dma, notify.at(offset)))
}
