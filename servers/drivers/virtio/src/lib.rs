// SPDX-License-Identifier: MIT OR Apache-2.0
//! What drivers of virtio devices share: the transport over PCI and split queues.
//!
//! # Model
//! A driver makes a [`Device`] of what root found, looks at what it offers, accepts features, sets up
//! queues and lets it go. A [`Queue`] lends pieces of its DMA memory to the device and takes them back.
//!
//! # Failure
//! What the device writes is input: a used entry that names nothing that the device has is skipped and
//! counted. Lengths and contents are for the driver to check.
//!
//! # Source
//! OASIS virtio 1.1, 2.6 (split queues), 3.1 (initialization), 4.1 (PCI). Written for this project: the
//! well-kept library for it offers no MSI-X, and these are few lines.

#![no_std]

#[cfg(test)]
extern crate std;

mod device;
mod memory;
mod queue;
#[cfg(test)]
mod tests;

pub use device::{Device, Unusable, VERSION_1, registers};
pub use memory::{Dma, Registers};
pub use queue::{Piece, Queue};

/// Descriptors, and entries of each ring, of a queue.
pub const QUEUE: u16 = 64;
