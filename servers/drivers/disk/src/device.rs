// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the core wants of a block device.

use disk_api::Extent;
use disk_api::limits::REQUESTS_MAX;

/// The slot for flushes: it has no buffer.
pub const FLUSH_SLOT: usize = REQUESTS_MAX;
/// Requests that the device can have at once.
pub const SLOTS: usize = REQUESTS_MAX + 1;

/// What the device is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Fills the slot's buffer.
    Read(Extent),
    /// Writes the slot's buffer.
    Write(Extent),
    /// Makes all writes that it said were done safe from a power cut.
    Flush,
}

/// The device failed a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

/// A block device with [`SLOTS`] slots for requests, of which all but [`FLUSH_SLOT`] have a buffer of
/// one window.
pub trait Device {
    /// Its sectors.
    fn sectors(&self) -> u64;
    /// Whether it can be written.
    fn is_writable(&self) -> bool;
    /// Whether writes may rest in a cache, so that [`Command::Flush`] means something.
    fn needs_flush(&self) -> bool;
    /// Begins a request in a slot that has none. The slot's buffer is the device's until [`Self::ended`]
    /// names the slot.
    fn begin(&mut self, slot: usize, command: Command);
    /// The next request that ended, in any order, and how.
    fn ended(&mut self) -> Option<(usize, Result<(), Failed>)>;
    /// Fills the beginning of a slot's buffer.
    fn copy_in(&mut self, slot: usize, data: &[u8]);
    /// Copies the beginning of a slot's buffer.
    fn copy_out(&self, slot: usize, data: &mut [u8]);
    /// Takes the device out of service, with whatever it was doing.
    fn stop(&mut self);
    /// Things that it said and that make no sense.
    fn strange(&self) -> u64;
}
