// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine made of vectors, which checks what the core asks of it.

use crate::machine::{FrameNo, HardSpace, Machine, MachineFigures, MapHandle};
use abi::limits::PAGE_BYTES;
use abi::{Errno, ServerId};
use core::num::NonZeroU32;
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

/// Number of the first frame of the root file system's data.
const ROOT: u32 = 1 << 20;

pub(crate) struct Fake {
    frames: Vec<Option<Box<[u8; PAGE_BYTES]>>>,
    free: Vec<u32>,
    root: Vec<Box<[u8; PAGE_BYTES]>>,
    /// Per space: address to handle, frame, writable.
    spaces: BTreeMap<u32, BTreeMap<u64, (u32, FrameNo, bool)>>,
    threads: BTreeSet<u64>,
    next: u32,
    /// Calls of map, unmap and protect.
    pub changes: u64,
}

impl Fake {
    pub fn new(frames: usize) -> Self {
        let root = (0..4u8).map(|page| Box::new([b'a' + page; PAGE_BYTES])).collect();
        Self {
            frames: vec![None; frames],
            free: (0..frames as u32).rev().collect(),
            root,
            spaces: BTreeMap::new(),
            threads: BTreeSet::new(),
            next: 0,
            changes: 0,
        }
    }

    fn mapped(&self, frame: FrameNo) -> bool {
        self.spaces.values().flat_map(|space| space.values()).any(|it| it.1 == frame)
    }

    pub fn load(&self, space: HardSpace, addr: u64) -> Option<u8> {
        let (_, frame, _) = self.spaces[&space.0].get(&(addr & !0xfff))?;
        Some(self.bytes(*frame)[(addr & 0xfff) as usize])
    }

    pub fn store(&mut self, space: HardSpace, addr: u64, byte: u8) -> bool {
        let Some(&(_, frame, true)) = self.spaces[&space.0].get(&(addr & !0xfff)) else {
            return false;
        };
        self.bytes_mut(frame)[(addr & 0xfff) as usize] = byte;
        true
    }

    pub fn writable(&self, space: HardSpace, addr: u64) -> bool {
        self.spaces[&space.0].get(&addr).is_some_and(|it| it.2)
    }

    pub fn assert_empty(&self) {
        assert!(self.spaces.is_empty(), "hardware spaces");
        assert!(self.threads.is_empty(), "threads");
        assert_eq!(self.free.len() + 1, self.frames.len(), "frames, but for the page of zeroes");
    }
}

impl Machine for Fake {
    fn allocate(&mut self) -> Result<FrameNo, Errno> {
        let frame = self.free.pop().ok_or(Errno::ENOMEM)?;
        self.frames[frame as usize] = Some(Box::new([0; PAGE_BYTES]));
        Ok(FrameNo(frame))
    }

    fn free(&mut self, frame: FrameNo) {
        assert!(!self.mapped(frame), "a mapped frame is freed");
        assert!(self.frames[frame.0 as usize].take().is_some(), "a frame is freed once");
        self.free.push(frame.0);
    }

    fn bytes(&self, frame: FrameNo) -> &[u8; PAGE_BYTES] {
        match frame.0.checked_sub(ROOT) {
            Some(page) => &self.root[page as usize],
            None => self.frames[frame.0 as usize].as_ref().expect("an allocated frame"),
        }
    }

    fn bytes_mut(&mut self, frame: FrameNo) -> &mut [u8; PAGE_BYTES] {
        self.frames[frame.0 as usize].as_mut().expect("an allocated frame")
    }

    fn copy(&mut self, from: (FrameNo, usize), to: (FrameNo, usize), len: usize) {
        let data = self.bytes(from.0)[from.1..from.1 + len].to_vec();
        self.bytes_mut(to.0)[to.1..to.1 + len].copy_from_slice(&data);
    }

    fn root_frame(&self, page: u64) -> Option<FrameNo> {
        (page < self.root.len() as u64).then(|| FrameNo(ROOT + page as u32))
    }

    fn create_space(&mut self) -> Result<HardSpace, Errno> {
        self.next += 1;
        self.spaces.insert(self.next, BTreeMap::new());
        Ok(HardSpace(self.next))
    }

    fn destroy_space(&mut self, space: HardSpace) {
        let mappings = self.spaces.remove(&space.0).expect("a space is destroyed once");
        assert!(mappings.is_empty(), "a space is destroyed when it is empty");
    }

    fn map(
        &mut self,
        space: HardSpace,
        addr: u64,
        frame: FrameNo,
        writable: bool,
    ) -> Result<MapHandle, Errno> {
        self.changes += 1;
        self.next += 1;
        assert!(!writable || frame.0 < ROOT, "the root file system is never written");
        let space = self.spaces.get_mut(&space.0).expect("a space");
        let before = space.insert(addr, (self.next, frame, writable));
        assert!(before.is_none(), "an address is mapped once");
        Ok(MapHandle(NonZeroU32::new(self.next).expect("not zero")))
    }

    fn unmap(&mut self, space: HardSpace, addr: u64, handle: MapHandle) {
        self.changes += 1;
        let mapping = self.spaces.get_mut(&space.0).expect("a space").remove(&addr);
        assert_eq!(mapping.map(|it| it.0), Some(handle.0.get()), "what is unmapped was mapped");
    }

    fn protect(&mut self, space: HardSpace, addr: u64, handle: MapHandle, writable: bool) {
        self.changes += 1;
        let mapping = self.spaces.get_mut(&space.0).expect("a space").get_mut(&addr);
        let mapping = mapping.expect("what is protected is mapped");
        assert_eq!(mapping.0, handle.0.get());
        mapping.2 = writable;
    }

    fn protect_table(&mut self, space: HardSpace, addr: u64) {
        self.changes += 1;
        let space = self.spaces.get_mut(&space.0).expect("a space");
        for (_, mapping) in space.range_mut(addr..addr + (2 << 20)) {
            mapping.2 = false;
        }
    }

    fn create_thread(&mut self, client: ServerId, _space: HardSpace) -> Result<u64, Errno> {
        if client != ServerId::Proc {
            return Err(Errno::EPERM);
        }
        self.next += 1;
        self.threads.insert(u64::from(self.next));
        Ok(u64::from(self.next))
    }

    fn release_thread(&mut self, _client: ServerId, slot: u64) {
        assert!(self.threads.remove(&slot), "a thread is released once");
    }

    fn figures(&self) -> MachineFigures {
        let free = self.free.len() as u64 * 4096;
        MachineFigures { free_bytes: free, ..MachineFigures::default() }
    }
}
