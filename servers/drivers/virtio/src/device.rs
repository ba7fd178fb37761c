// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device behind its PCI registers: reset, features, queues.

use crate::memory::{Dma, Registers};
use crate::queue::Queue;
use crate::{QUEUE, registers as at};
use abi::startup::VirtioStartup;
use core::fmt;

/// Offsets in the common configuration (4.1.4.3).
pub mod registers {
    /// Which word of the device's features is shown.
    pub const FEATURE_SELECT: u64 = 0x00;
    /// That word.
    pub const FEATURES: u64 = 0x04;
    /// Which word of the accepted features is written.
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    /// That word.
    pub const DRIVER_FEATURES: u64 = 0x0c;
    /// The vector for changes of the configuration.
    pub const CONFIG_VECTOR: u64 = 0x10;
    /// The device's status.
    pub const STATUS: u64 = 0x14;
    /// Changes whenever the device changes its own configuration.
    pub const CONFIG_GENERATION: u64 = 0x15;
    /// Which queue the registers behind this one are about.
    pub const QUEUE_SELECT: u64 = 0x16;
    /// Its size.
    pub const QUEUE_SIZE: u64 = 0x18;
    /// Its vector.
    pub const QUEUE_VECTOR: u64 = 0x1a;
    /// Whether it is in use.
    pub const QUEUE_ENABLE: u64 = 0x1c;
    /// Which notification register is its.
    pub const QUEUE_NOTIFY_OFFSET: u64 = 0x1e;
    /// Address of its descriptors.
    pub const QUEUE_DESCRIPTORS: u64 = 0x20;
    /// Address of its available ring.
    pub const QUEUE_AVAILABLE: u64 = 0x28;
    /// Address of its used ring.
    pub const QUEUE_USED: u64 = 0x30;
}

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
/// The feature of every device of virtio 1.0 or later.
pub const VERSION_1: u64 = 1 << 32;
const NO_VECTOR: u16 = 0xffff;
/// Looks at the status while the device resets: QEMU's is done at once, others within milliseconds.
const RESET_POLLS_MAX: u32 = 1_000_000;

/// Why a device cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// It is not a device of virtio 1.0 or later, or refuses what it offered.
    TooOld,
    /// Its queues are smaller than [`QUEUE`].
    SmallQueue,
    /// Root gave too little memory for DMA.
    LittleMemory,
    /// It does not end its reset.
    Stuck,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooOld => "the device is older than virtio 1.0, or refuses what it offers",
            Self::SmallQueue => "the device's queues are too small",
            Self::LittleMemory => "there is too little memory for its buffers",
            Self::Stuck => "the device does not end its reset",
        })
    }
}

/// A device.
pub struct Device {
    common: Registers,
    notify: Registers,
    notify_multiplier: u32,
    config: Registers,
    msix: Registers,
    vector: u8,
}

impl Device {
    /// The device that root found, and its memory for DMA.
    ///
    /// # Safety
    /// `startup` tells the truth: the addresses are the device's registers and memory of the stated
    /// size, mapped for good, and nobody else uses them.
    pub unsafe fn new(startup: &VirtioStartup) -> (Self, Dma) {
        // SAFETY: as the caller says.
        let common = unsafe { Registers::new(startup.common_addr) };
        // SAFETY: as the caller says.
        let notify = unsafe { Registers::new(startup.notify_addr) };
        // SAFETY: as the caller says.
        let config = unsafe { Registers::new(startup.device_addr) };
        // SAFETY: as the caller says.
        let msix = unsafe { Registers::new(startup.msix_addr) };
        // SAFETY: as the caller says.
        let dma = unsafe { Dma::new(startup.dma) };
        let (notify_multiplier, vector) = (startup.notify_multiplier, startup.msix_vector);
        (Self { common, notify, notify_multiplier, config, msix, vector }, dma)
    }

    /// Resets the device; the features that it offers.
    ///
    /// # Errors
    /// [`Unusable::Stuck`], [`Unusable::TooOld`].
    pub fn begin(&self) -> Result<u64, Unusable> {
        self.reset()?;
        self.common.write8(at::STATUS, ACKNOWLEDGE | DRIVER);
        let word = |select| {
            self.common.write32(at::FEATURE_SELECT, select);
            u64::from(self.common.read32(at::FEATURES))
        };
        let features = word(0) | word(1) << 32;
        if features & VERSION_1 == 0 { Err(Unusable::TooOld) } else { Ok(features) }
    }

    /// Accepts these features and no others; [`VERSION_1`] always.
    ///
    /// # Errors
    /// [`Unusable::TooOld`]: the device refuses them.
    pub fn accept(&self, features: u64) -> Result<(), Unusable> {
        let features = features | VERSION_1;
        for (select, word) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.common.write32(at::DRIVER_FEATURE_SELECT, select);
            self.common.write32(at::DRIVER_FEATURES, word);
        }
        self.common.write8(at::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if self.common.read8(at::STATUS) & FEATURES_OK == 0 {
            return Err(Unusable::TooOld);
        }
        self.common.write16(at::CONFIG_VECTOR, NO_VECTOR);
        self.program_vector();
        Ok(())
    }

    /// Sets up a queue in `dma`, which it keeps; the device interrupts for it if `interrupts` says so.
    ///
    /// # Errors
    /// [`Unusable::SmallQueue`], [`Unusable::LittleMemory`].
    pub fn queue(&self, index: u16, interrupts: bool, dma: Dma) -> Result<Queue, Unusable> {
        if dma.bytes() < Queue::RINGS_BYTES {
            return Err(Unusable::LittleMemory);
        }
        let common = &self.common;
        common.write16(at::QUEUE_SELECT, index);
        if common.read16(at::QUEUE_SIZE) < QUEUE {
            return Err(Unusable::SmallQueue);
        }
        common.write16(at::QUEUE_SIZE, QUEUE);
        common.write16(at::QUEUE_VECTOR, if interrupts { 0 } else { NO_VECTOR });
        let physical = dma.physical();
        common.write64(at::QUEUE_DESCRIPTORS, physical + Queue::DESCRIPTORS as u64);
        common.write64(at::QUEUE_AVAILABLE, physical + Queue::AVAILABLE as u64);
        common.write64(at::QUEUE_USED, physical + Queue::USED as u64);
        common.write16(at::QUEUE_ENABLE, 1);
        let step = u64::from(self.notify_multiplier);
        let offset = u64::from(common.read16(at::QUEUE_NOTIFY_OFFSET)) * step;
        Ok(Queue::new(index, dma, self.notify.at(offset)))
    }

    /// Puts the device into service.
    pub fn go(&self) {
        self.common.write8(at::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Takes the device out of service: when this ends well it uses no memory any more.
    ///
    /// # Errors
    /// [`Unusable::Stuck`].
    pub fn reset(&self) -> Result<(), Unusable> {
        self.common.write8(at::STATUS, 0);
        let is_reset = |_| self.common.read8(at::STATUS) == 0;
        if (0..RESET_POLLS_MAX).any(is_reset) { Ok(()) } else { Err(Unusable::Stuck) }
    }

    /// The device's own configuration.
    pub fn config(&self) -> &Registers {
        &self.config
    }

    /// A number that changes when the device's own configuration does (2.4.1).
    pub fn config_generation(&self) -> u8 {
        self.common.read8(at::CONFIG_GENERATION)
    }

    /// Entry 0 of the MSI-X table: to the first core's APIC.
    fn program_vector(&self) {
        let data = u32::from(self.vector);
        for (offset, value) in [(0, 0xfee0_0000), (4, 0), (8, data), (12, 0)] {
            self.msix.write32(offset, value);
        }
    }
}
