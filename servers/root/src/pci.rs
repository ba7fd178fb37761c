// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds virtio devices and prepares them: memory decoding, bus mastering, MSI-X.
//!
//! # Source
//! PCI Local Bus 3.0, configuration mechanism 1; virtio 1.1, 4.1.

use alloc::vec::Vec;
use microkernel_sys::Error;
use microkernel_sys::init::IO_PORT;

const ADDRESS: u64 = 0xcf8;
const DATA_IN: u16 = 0xcfc;
const DATA_OUT: u64 = 0xcfc;

const COMMAND: u8 = 0x04;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_MASTER: u32 = 1 << 2;
const BAR_0: u8 = 0x10;
const BARS: u8 = 6;
const VIRTIO_VENDOR: u32 = 0x1af4;
/// Device numbers of a kind: transitional, and modern only.
pub type Kind = [u32; 2];
/// A virtio network card.
pub const NETWORK_CARD: Kind = [0x1000, 0x1041];
/// A virtio disk.
pub const DISK: Kind = [0x1001, 0x1042];
const BUSES: u8 = 8;
const DEVICES: u8 = 32;

/// Where a function is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// Bus.
    pub bus: u8,
    /// Device on it.
    pub device: u8,
    /// Function of it.
    pub function: u8,
}

/// A base address register that decodes memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// Its number.
    pub index: u8,
    /// Physical address.
    pub physical: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Address {
    /// Reads a 32-bit register.
    ///
    /// # Errors
    /// The kernel refused the port.
    pub fn read(self, register: u8) -> Result<u32, Error> {
        self.select(register)?;
        IO_PORT.in32(DATA_IN)
    }

    /// Writes a 32-bit register.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn write(self, register: u8, value: u32) -> Result<(), Error> {
        self.select(register)?;
        IO_PORT.out32(DATA_OUT, u64::from(value))
    }

    fn select(self, register: u8) -> Result<(), Error> {
        let address = 1 << 31
            | u64::from(self.bus) << 16
            | u64::from(self.device) << 11
            | u64::from(self.function) << 8
            | u64::from(register & 0xfc);
        IO_PORT.out32(ADDRESS, address)
    }
}

/// Where a device's registers are, as its capabilities say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// Common configuration: base address register and offset.
    pub common: Option<(u8, u32)>,
    /// Notifications.
    pub notify: Option<(u8, u32)>,
    /// Bytes between the notification registers of two queues.
    pub notify_multiplier: u32,
    /// The device's own configuration.
    pub device: Option<(u8, u32)>,
    /// MSI-X table.
    pub msix: Option<(u8, u32)>,
}

const STATUS_AND_COMMAND: u8 = 0x04;
const HAS_CAPABILITIES: u32 = 1 << 20;
const CAPABILITIES: u8 = 0x34;
const VENDOR: u32 = 0x09;
const MSIX: u32 = 0x11;
const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASK_ALL: u32 = 1 << 30;
/// A list longer than this has a loop.
const CAPABILITIES_MAX: u32 = 48;

/// Reads a device's capabilities and switches MSI-X on.
///
/// # Errors
/// As for [`Address::read`].
pub fn capabilities(device: Address) -> Result<Registers, Error> {
    let mut registers = Registers::default();
    if device.read(STATUS_AND_COMMAND)? & HAS_CAPABILITIES == 0 {
        return Ok(registers);
    }
    let mut at = (device.read(CAPABILITIES)? & 0xfc) as u8;
    for _ in 0..CAPABILITIES_MAX {
        if at == 0 {
            break;
        }
        let head = device.read(at)?;
        match head & 0xff {
            VENDOR => virtio_capability(device, at, head >> 24, &mut registers)?,
            MSIX => {
                let table = device.read(at + 4)?;
                registers.msix = Some(((table & 7) as u8, table & !7));
                device.write(at, (head | MSIX_ENABLE) & !MSIX_MASK_ALL)?;
            }
            _ => {}
        }
        at = (head >> 8 & 0xfc) as u8;
    }
    Ok(registers)
}

fn virtio_capability(
    device: Address,
    at: u8,
    kind: u32,
    registers: &mut Registers,
) -> Result<(), Error> {
    let place = ((device.read(at + 4)? & 0xff) as u8, device.read(at + 8)?);
    match kind {
        1 => registers.common = registers.common.or(Some(place)),
        2 if registers.notify.is_none() => {
            registers.notify = Some(place);
            registers.notify_multiplier = device.read(at + 16)?;
        }
        4 => registers.device = registers.device.or(Some(place)),
        _ => {}
    }
    Ok(())
}

/// The first virtio device of this kind.
///
/// # Errors
/// As for [`Address::read`].
pub fn find(kind: Kind) -> Result<Option<Address>, Error> {
    for bus in 0..BUSES {
        for device in 0..DEVICES {
            let address = Address { bus, device, function: 0 };
            let id = address.read(0)?;
            if id & 0xffff == VIRTIO_VENDOR && kind.contains(&(id >> 16)) {
                return Ok(Some(address));
            }
        }
    }
    Ok(None)
}

/// Lets the device decode memory and reach it, and lists its memory registers.
///
/// # Errors
/// As for [`Address::read`].
pub fn prepare(device: Address) -> Result<Vec<Bar>, Error> {
    let mut bars = Vec::new();
    let mut index = 0;
    while index < BARS {
        let register = BAR_0 + index * 4;
        let low = device.read(register)?;
        let is_wide = low & 6 == 4;
        if low & 1 == 0 && low != 0 {
            let high = if is_wide { device.read(register + 4)? } else { 0 };
            device.write(register, u32::MAX)?;
            let mask = device.read(register)? & !15;
            device.write(register, low)?;
            let physical = u64::from(low & !15) | u64::from(high) << 32;
            let bytes = u64::from(mask.wrapping_neg());
            bars.push(Bar { index, physical, bytes });
        }
        index += if is_wide { 2 } else { 1 };
    }
    let command = device.read(COMMAND)?;
    device.write(COMMAND, command | COMMAND_MEMORY | COMMAND_MASTER)?;
    Ok(bars)
}
