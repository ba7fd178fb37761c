// SPDX-License-Identifier: MIT OR Apache-2.0
//! Root's slots and memory.
//!
//! # Model
//! Root takes from the smallest pieces of memory that fit and leaves the rest, never retyped, to
//! mem-server: the kernel clears a whole piece at its first retype. What lies between two objects for
//! the sake of alignment, and behind the last one, becomes smaller pieces, so that none is lost.

use alloc::vec::Vec;
use microkernel_sys::{
    BootInfo, Caching, Cap, CapData, Create, Frame, MapError, ObjectType, PAGE_BYTES,
    PageDirectory, PageTable, Pdpt, Rights, Slot, Table, Untyped, UntypedInfo, VSpace, init,
};

/// Objects that the kernel makes in one call: seL4's CONFIG_RETYPE_FAN_OUT_LIMIT.
const RETYPE_MAX: u64 = 256;

#[derive(Clone, Copy)]
struct Piece {
    info: UntypedInfo,
    used: u64,
}

/// Slots and memory.
pub struct Memory {
    next_slot: u64,
    last_slot: u64,
    pieces: Vec<Piece>,
    devices: Vec<Piece>,
    all_bytes: u64,
}

impl Memory {
    /// Everything that the kernel left.
    pub fn new(boot: &BootInfo<'_>) -> Self {
        let piece = |info| Piece { info, used: 0 };
        let mut pieces: Vec<_> =
            boot.untyped_list().filter(|u| !u.is_device && u.size_bits >= 12).map(piece).collect();
        pieces.sort_by_key(|piece| piece.info.size_bits);
        let devices = boot.untyped_list().filter(|u| u.is_device).map(piece).collect();
        let all_bytes = pieces.iter().map(|piece| 1 << piece.info.size_bits).sum();
        let (next_slot, last_slot) = (boot.empty().start, boot.empty().end);
        Self { next_slot, last_slot, pieces, devices, all_bytes }
    }

    /// `count` empty slots in a row.
    pub fn slots(&mut self, count: u64) -> Slot {
        let first = self.next_slot;
        assert!(first + count <= self.last_slot, "root's CNode is full: too large a boot image");
        self.next_slot += count;
        init::CNODE.slot(first, init::CNODE_DEPTH)
    }

    /// Makes one object.
    pub fn create<K: Create>(&mut self, size_bits: u32) -> Cap<K> {
        let slot = self.slots(1);
        self.create_at::<K>(size_bits, slot, 1);
        Cap::new(slot.index)
    }

    /// Makes `count` objects that are consecutive in memory: all from one piece.
    pub fn create_at<K: Create>(&mut self, size_bits: u32, at: Slot, count: u64) {
        let object = 1u64 << K::TYPE.object_bits(size_bits);
        let fits = |piece: &Piece| {
            let start = piece.used.next_multiple_of(object);
            start + object * count <= 1 << piece.info.size_bits
        };
        let index = self
            .pieces
            .iter()
            .position(fits)
            .expect("the node has too little memory for its servers");
        let start = self.pieces[index].used.next_multiple_of(object);
        let gap = self.cut(index, start);
        let piece = &mut self.pieces[index];
        let untyped: Cap<Untyped> = Cap::new(piece.info.slot);
        let mut done = 0;
        while done < count {
            let batch = (count - done).min(RETYPE_MAX);
            untyped
                .create::<K>(size_bits, at.offset(done), batch)
                .expect("the piece has room, as counted here");
            done += batch;
        }
        piece.used = start + object * count;
        if !gap.is_empty() {
            self.pieces.extend(gap.into_iter().map(|info| Piece { info, used: 0 }));
            self.pieces.sort_by_key(|piece| piece.info.size_bits);
        }
    }

    /// A copy of a capability in a new slot, with at most `rights`.
    pub fn copy<K>(&mut self, cap: Cap<K>, rights: Rights) -> Cap<K> {
        let slot = self.slots(1);
        slot.copy_from(own(cap), rights).expect("the slot is empty");
        Cap::new(slot.index)
    }

    /// A marked copy of a capability in a new slot.
    pub fn mint<K>(&mut self, cap: Cap<K>, data: CapData) -> Cap<K> {
        let slot = self.slots(1);
        slot.mint_from(own(cap), Rights::ALL, data).expect("the slot is empty");
        Cap::new(slot.index)
    }

    /// Maps a frame, with the tables that it needs.
    pub fn map(&mut self, frame: Cap<Frame>, space: Cap<VSpace>, at: u64, rights: Rights) {
        self.map_cached(frame, space, at, rights, Caching::WriteBack);
    }

    /// The same, with another way of caching.
    pub fn map_cached(
        &mut self,
        frame: Cap<Frame>,
        space: Cap<VSpace>,
        at: u64,
        rights: Rights,
        caching: Caching,
    ) {
        while let Err(error) = frame.map(space, at, rights, caching) {
            let write_back = Caching::WriteBack;
            match error {
                MapError::Missing(Table::PageTable) => {
                    self.create::<PageTable>(0).map(space, at, write_back)
                }
                MapError::Missing(Table::PageDirectory) => {
                    self.create::<PageDirectory>(0).map(space, at, write_back)
                }
                MapError::Missing(Table::Pdpt) => self.create::<Pdpt>(0).map(space, at, write_back),
                other => panic!("cannot map a page at {at:#x}: {other}"),
            }
            .expect("the table above is there");
        }
    }

    /// The frame of device registers at `physical`.
    pub fn device_frame(&mut self, physical: u64) -> Option<Cap<Frame>> {
        let piece = self.devices.iter_mut().find(|piece| {
            let end = piece.info.physical + (1 << piece.info.size_bits);
            piece.info.physical + piece.used <= physical && physical + 4096 <= end
        })?;
        let untyped: Cap<Untyped> = Cap::new(piece.info.slot);
        let base = piece.info.physical;
        let mut used = piece.used;
        // Untyped memory is given out from its start on: fill up with the largest pieces that fit.
        while base + used < physical {
            let gap = physical - (base + used);
            let aligned = if used == 0 { piece.info.size_bits } else { used.trailing_zeros() };
            let bits = aligned.min(63 - gap.leading_zeros());
            let slot = init::CNODE.slot(self.next_slot, init::CNODE_DEPTH);
            self.next_slot += 1;
            untyped.create::<Untyped>(bits, slot, 1).ok()?;
            used += 1 << bits;
        }
        let slot = init::CNODE.slot(self.next_slot, init::CNODE_DEPTH);
        self.next_slot += 1;
        untyped.create::<Frame>(0, slot, 1).ok()?;
        piece.used = used + 4096;
        Some(Cap::new(slot.index))
    }

    /// Bytes of memory that the kernel left.
    pub fn total_bytes(&self) -> u64 {
        self.all_bytes
    }

    /// Bytes of memory that root has made into objects.
    pub fn used_bytes(&self) -> u64 {
        let rest = |piece: &Piece| (1 << piece.info.size_bits) - piece.used;
        self.all_bytes - self.pieces.iter().map(rest).sum::<u64>()
    }

    /// What root did not need: whole pieces, and the rest of those that it began. It belongs to the
    /// caller now.
    pub fn take_rest(&mut self) -> Vec<UntypedInfo> {
        let mut rest = Vec::new();
        for index in 0..self.pieces.len() {
            let Piece { info, used } = self.pieces[index];
            match used {
                0 => rest.push(info),
                _ => rest.extend(self.cut(index, 1 << info.size_bits)),
            }
        }
        self.pieces.clear();
        rest
    }

    /// Makes smaller pieces of what a piece has between its used part and byte `end`, without what is
    /// below a page.
    fn cut(&mut self, index: usize, end: u64) -> Vec<UntypedInfo> {
        let Piece { info, used } = self.pieces[index];
        let untyped: Cap<Untyped> = Cap::new(info.slot);
        let mut at = used.next_multiple_of(PAGE_BYTES);
        let mut made = Vec::new();
        while at + PAGE_BYTES <= end {
            // The kernel goes on at the next multiple of the size, which is `at`: that is one, and
            // what is used ends less than a page before it. `at` is not 0: then there is no gap.
            let size_bits = at.trailing_zeros().min((end - at).ilog2());
            let slot = self.slots(1);
            untyped
                .create::<Untyped>(size_bits, slot, 1)
                .expect("the piece has room, as counted here");
            made.push(UntypedInfo {
                slot: slot.index,
                physical: info.physical + at,
                size_bits,
                is_device: false,
            });
            at += 1 << size_bits;
        }
        made
    }
}

/// The slot of a capability in root's CNode.
pub fn own<K>(cap: Cap<K>) -> Slot {
    init::CNODE.slot(cap.bits(), init::CNODE_DEPTH)
}

const _: () = assert!(ObjectType::Frame.object_bits(0) == 12);
