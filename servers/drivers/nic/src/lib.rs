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
//! OASIS virtio 1.1, 5.1 (network device).

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod buffers;
#[cfg(test)]
mod tests;

use abi::startup::VirtioStartup;
use alloc::vec::Vec;
use buffers::Buffers;
pub use virtio_driver::{QUEUE, Unusable};

/// Longest frame: 9,000 bytes and an Ethernet header, in whole cache lines with the device's header.
pub const BUFFER_BYTES: usize = 9216;
/// The device's header before each frame (virtio_net_hdr with num_buffers).
const HEADER_BYTES: usize = 12;

/// All transmit buffers are the device's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The card.
pub struct Nic {
    mac: [u8; 6],
    receive: Buffers,
    transmit: Buffers,
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
    pub unsafe fn start(startup: &VirtioStartup) -> Result<Self, Unusable> {
        // SAFETY: as the caller says.
        let (device, dma) = unsafe { virtio_driver::Device::new(startup) };
        if dma.bytes() < 2 * Buffers::BYTES {
            return Err(Unusable::LittleMemory);
        }
        let half = dma.bytes() / 2;
        let (receive_dma, transmit_dma) = dma.cut(half);
        device.begin()?;
        // None of what it offers: no offloads, no merged buffers.
        device.accept(0)?;
        let mut receive = Buffers::new(device.queue(0, true, receive_dma)?);
        let transmit = Buffers::new(device.queue(1, false, transmit_dma)?);
        device.go();
        (0..QUEUE).for_each(|buffer| receive.offer(buffer, BUFFER_BYTES, true));
        receive.notify();
        let mut mac = [0; 6];
        (0u64..).zip(&mut mac).for_each(|(i, byte)| *byte = device.config().read8(i));
        Ok(Self { mac, receive, transmit, free: (0..QUEUE).collect(), malformed: 0 })
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Frames and buffers that the device described wrongly.
    pub fn malformed(&self) -> u64 {
        self.malformed + self.receive.strange() + self.transmit.strange()
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
