// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel tells the root task at boot.
//!
//! # Source
//! seL4 5.0.0, `libsel4/include/sel4/bootinfo_types.h`. The structure is packed, so it is decoded and
//! not overlaid.

use crate::PAGE_BYTES;

const UNTYPED_LIST: usize = 169;
const UNTYPED_ENTRY: usize = 12;

/// Slots `start..end` of the root CNode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// The first slot.
    pub start: u64,
    /// The first slot after the range.
    pub end: u64,
}

impl SlotRange {
    /// Number of slots.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// One piece of untyped memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UntypedInfo {
    /// Its slot in the root CNode.
    pub slot: u64,
    /// Physical address.
    pub physical: u64,
    /// log2 of its bytes.
    pub size_bits: u32,
    /// Device registers, not memory: the kernel does not clear it.
    pub is_device: bool,
}

/// The boot information.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo<'a> {
    page: &'a [u8; PAGE_BYTES as usize],
}

impl<'a> BootInfo<'a> {
    /// Reads the boot information in `page`.
    #[must_use]
    pub const fn new(page: &'a [u8; PAGE_BYTES as usize]) -> Self {
        Self { page }
    }

    fn word(&self, at: usize) -> u64 {
        let bytes = self.page[at..].first_chunk().expect("offsets lie inside the page");
        u64::from_le_bytes(*bytes)
    }

    fn range(&self, at: usize) -> SlotRange {
        SlotRange { start: self.word(at), end: self.word(at + 8) }
    }

    /// Number of cores.
    #[must_use]
    pub fn cores(&self) -> u64 {
        self.word(16)
    }

    /// Address of the root task's IPC buffer.
    #[must_use]
    pub fn ipc_buffer(&self) -> u64 {
        self.word(32)
    }

    /// The empty slots.
    #[must_use]
    pub fn empty(&self) -> SlotRange {
        self.range(40)
    }

    /// The frames of the root task's image, in the order of their addresses.
    #[must_use]
    pub fn image_frames(&self) -> SlotRange {
        self.range(72)
    }

    /// The translation tables of the root task's image.
    #[must_use]
    pub fn image_tables(&self) -> SlotRange {
        self.range(88)
    }

    /// log2 of the slots of the root CNode.
    #[must_use]
    pub fn cnode_size_bits(&self) -> u32 {
        u32::from(self.page[136])
    }

    /// What the kernel measured at boot as the frequency of the time stamp counter, in MHz. Far off
    /// on a loaded host: measure again where it matters.
    #[must_use]
    pub fn tsc_mhz(&self) -> u64 {
        self.word(145)
    }

    /// The slots of the untyped memory.
    #[must_use]
    pub fn untyped(&self) -> SlotRange {
        self.range(153)
    }

    /// The pieces of untyped memory, in the order of their slots.
    pub fn untyped_list(&self) -> impl Iterator<Item = UntypedInfo> + use<'a> {
        let slots = self.untyped();
        let (entries, _) = self.page[UNTYPED_LIST..].as_chunks::<UNTYPED_ENTRY>();
        (slots.start..slots.end).zip(entries).map(|(slot, e)| UntypedInfo {
            slot,
            physical: u64::from_le_bytes([e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]]),
            size_bits: u32::from(e[10]),
            is_device: e[11] != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn untyped_list_yields_every_slot_with_its_entry() {
        let mut page = [0; 4096];
        page[153] = 100;
        page[161] = 102;
        page[169..177].copy_from_slice(&0x1234_5000u64.to_le_bytes());
        page[169 + 10] = 21;
        page[181 + 10] = 12;
        page[181 + 11] = 1;
        let list: Vec<_> = BootInfo::new(&page).untyped_list().collect();
        let first =
            UntypedInfo { slot: 100, physical: 0x1234_5000, size_bits: 21, is_device: false };
        let second = UntypedInfo { slot: 101, physical: 0, size_bits: 12, is_device: true };
        assert_eq!(list, [first, second]);
    }

    #[test]
    fn untyped_list_longer_than_the_page_ends_with_it() {
        let mut page = [0; 4096];
        page[161..169].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(BootInfo::new(&page).untyped_list().count(), 327);
    }
}
