// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the core does to frames, page tables and kernel objects, and who does it: the task on seL4,
//! a fake in tests.

use abi::limits::PAGE_BYTES;
use abi::{Errno, ServerId};
use core::num::NonZeroU32;

/// A page frame of this node. The machine numbers them; frames that [`Machine::allocate`] gives
/// are numbered densely from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameNo(pub u32);

/// An address space of the hardware.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HardSpace(pub u32);

/// One mapping of a frame in a hardware space; the machine numbers them as it likes (seL4: the
/// frame capability's slot).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MapHandle(pub NonZeroU32);

/// Figures of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MachineFigures {
    /// Bytes that it manages.
    pub total_bytes: u64,
    /// Bytes of frames that can still be allocated.
    pub free_bytes: u64,
    /// Bytes of page tables and other kernel objects in use.
    pub kernel_bytes: u64,
    /// Bytes that are neither: kernel objects that wait to be used again, what is lost to alignment.
    pub pooled_bytes: u64,
    /// Capability slots in use; pooled ones are not counted.
    pub slots: u64,
}

/// Frames, hardware spaces and thread objects.
pub trait Machine {
    /// A frame full of zeroes.
    ///
    /// # Errors
    /// ENOMEM: none is left.
    fn allocate(&mut self) -> Result<FrameNo, Errno>;
    /// Gives a frame back that nothing maps any more.
    fn free(&mut self, frame: FrameNo);
    /// The bytes of an allocated frame or of one of the root file system.
    fn bytes(&self, frame: FrameNo) -> &[u8; PAGE_BYTES];
    /// The bytes of an allocated frame.
    fn bytes_mut(&mut self, frame: FrameNo) -> &mut [u8; PAGE_BYTES];
    /// Copies `len` bytes between two frames, which may be one. Both ranges end inside their frame.
    fn copy(&mut self, from: (FrameNo, usize), to: (FrameNo, usize), len: usize);
    /// The frame that holds this page of the root file system's data; it is never written or freed.
    fn root_frame(&self, page: u64) -> Option<FrameNo>;

    /// A hardware space without any mapping.
    ///
    /// # Errors
    /// ENOMEM, EAGAIN.
    fn create_space(&mut self) -> Result<HardSpace, Errno>;
    /// Gives a space back; nothing is mapped in it any more.
    fn destroy_space(&mut self, space: HardSpace);
    /// Maps a frame at `addr`, where nothing is mapped.
    ///
    /// # Errors
    /// ENOMEM: no page table or slot is left.
    fn map(
        &mut self,
        space: HardSpace,
        addr: u64,
        frame: FrameNo,
        writable: bool,
    ) -> Result<MapHandle, Errno>;
    /// Undoes a mapping; when it returns no core can use it any more.
    fn unmap(&mut self, space: HardSpace, addr: u64, handle: MapHandle);
    /// Makes a mapping writable or read-only; when it returns no core can use the former right.
    fn protect(&mut self, space: HardSpace, addr: u64, handle: MapHandle, writable: bool);

    /// Makes all mappings of the 2 MiB around `addr` read-only, as [`Self::protect`] does one.
    fn protect_table(&mut self, space: HardSpace, addr: u64);

    /// Kernel objects for a thread of `space`, put into `client`'s capability space; the first slot.
    ///
    /// # Errors
    /// ENOMEM; EPERM: this client gets none.
    fn create_thread(&mut self, client: ServerId, space: HardSpace) -> Result<u64, Errno>;
    /// Takes them back. Only called for slots that [`Self::create_thread`] gave out.
    fn release_thread(&mut self, client: ServerId, slot: u64);

    /// Figures.
    fn figures(&self) -> MachineFigures;
}
