// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk server: a virtio block device (virtio 1.1 over PCI, modern interface), divided into regions.
//!
//! # Model
//! ```text
//!   client --Write, Fetch (leaves)--> core: whose region, which sectors     (core)
//!          --Read, Flush (later)--->    |
//!                                     buffers, order, flushes               (requests)
//!                                       |
//!                                     descriptors, status bytes             (blk)
//! ```
//! All data passes through buffers of this domain, with one copy: a client lends its window for the
//! time of a call only, and the device needs longer.
//!
//! # Failure
//! What the device and the disk say is input. A failed request is EIO; a device that does not answer is
//! taken out of service; a disk whose superblock is another's or damaged is not touched, and the node
//! goes on without one.
//!
//! # Source
//! OASIS virtio 1.1, 5.2 (block device).

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod blk;
#[cfg(test)]
mod blk_tests;
mod core;
mod device;
mod open;
mod requests;
mod service;
#[cfg(test)]
mod tests;

pub use self::core::DiskCore;
pub use blk::Blk;
pub use device::{Command, Device, Failed};
pub use open::{Opened, open};
pub use service::DiskService;
