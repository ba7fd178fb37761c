// SPDX-License-Identifier: MIT OR Apache-2.0
//! mem-server's machine: frames and page tables made of vectors and maps, which check what the core
//! asks of them.

use crate::history::Note;
use crate::threads::Threads;
use abi::limits::PAGE_BYTES;
use abi::{Errno, ServerId};
use mem_core::{FrameNo, HardSpace, Machine, MachineFigures, MapHandle};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::rc::Rc;

type Page = [u8; PAGE_BYTES];

/// Number of the first frame of the root file system's data.
const ROOT: u32 = 1 << 24;

#[derive(Clone, Copy)]
struct Mapping {
    handle: u32,
    frame: FrameNo,
    writable: bool,
}

/// A node's memory.
pub struct Memory {
    frames: Vec<Option<Box<Page>>>,
    free: Vec<u32>,
    root: Vec<Box<Page>>,
    spaces: BTreeMap<u32, BTreeMap<u64, Mapping>>,
    threads: Rc<RefCell<Threads>>,
    next: u32,
    /// What programs noted and nobody has taken.
    pub(crate) notes: Vec<Note>,
}

impl Memory {
    /// `frames` frames, and the root file system's data.
    pub fn new(frames: usize, root_data: &[u8], threads: Rc<RefCell<Threads>>) -> Self {
        let page = |bytes: &[u8]| {
            let mut page = Box::new([0; PAGE_BYTES]);
            page[..bytes.len()].copy_from_slice(bytes);
            page
        };
        Self {
            frames: vec![None; frames],
            free: (0..frames as u32).rev().collect(),
            root: root_data.chunks(PAGE_BYTES).map(page).collect(),
            spaces: BTreeMap::new(),
            threads,
            next: 0,
            notes: Vec::new(),
        }
    }

    /// What the processor's page tables say.
    fn translate(&self, space: HardSpace, addr: u64, write: bool) -> Option<FrameNo> {
        let mapping = self.spaces.get(&space.0)?.get(&(addr & !(PAGE_BYTES as u64 - 1)))?;
        (mapping.writable || !write).then_some(mapping.frame)
    }

    /// Loads bytes as a program does; the address that faults, if one does.
    pub fn load(&self, space: HardSpace, addr: u64, to: &mut [u8]) -> Result<(), u64> {
        for (i, byte) in to.iter_mut().enumerate() {
            let addr = addr.wrapping_add(i as u64);
            let frame = self.translate(space, addr, false).ok_or(addr)?;
            *byte = self.bytes(frame)[addr as usize % PAGE_BYTES];
        }
        Ok(())
    }

    /// Stores bytes as a program does: all, or none and the address that faults.
    pub fn store(&mut self, space: HardSpace, addr: u64, from: &[u8]) -> Result<(), u64> {
        let addrs = (0..from.len() as u64).map(|i| addr.wrapping_add(i));
        let frames: Result<Vec<FrameNo>, u64> =
            addrs.clone().map(|addr| self.translate(space, addr, true).ok_or(addr)).collect();
        for ((addr, frame), byte) in addrs.zip(frames?).zip(from) {
            self.bytes_mut(frame)[addr as usize % PAGE_BYTES] = *byte;
        }
        Ok(())
    }

    fn mapping(&mut self, space: HardSpace, addr: u64, handle: MapHandle) -> &mut Mapping {
        let space = self.spaces.get_mut(&space.0).expect("mem-server names a space");
        let mapping = space.get_mut(&addr).expect("mem-server changes what is mapped");
        assert_eq!(mapping.handle, handle.0.get(), "mem-server knows its mappings");
        mapping
    }
}

impl Machine for Memory {
    fn allocate(&mut self) -> Result<FrameNo, Errno> {
        let frame = self.free.pop().ok_or(Errno::ENOMEM)?;
        self.frames[frame as usize] = Some(Box::new([0; PAGE_BYTES]));
        Ok(FrameNo(frame))
    }

    fn free(&mut self, frame: FrameNo) {
        let mut mappings = self.spaces.values().flat_map(BTreeMap::values);
        assert!(mappings.all(|it| it.frame != frame), "a freed frame is mapped nowhere");
        assert!(self.frames[frame.0 as usize].take().is_some(), "a frame is freed once");
        self.free.push(frame.0);
    }

    fn bytes(&self, frame: FrameNo) -> &Page {
        match frame.0.checked_sub(ROOT) {
            Some(page) => &self.root[page as usize],
            None => self.frames[frame.0 as usize].as_ref().expect("an allocated frame"),
        }
    }

    fn bytes_mut(&mut self, frame: FrameNo) -> &mut Page {
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
        assert!(mappings.is_empty(), "a destroyed space maps nothing");
    }

    fn map(
        &mut self,
        space: HardSpace,
        addr: u64,
        frame: FrameNo,
        writable: bool,
    ) -> Result<MapHandle, Errno> {
        self.next += 1;
        assert!(!writable || frame.0 < ROOT, "the root file system is never written");
        let mapping = Mapping { handle: self.next, frame, writable };
        let space = self.spaces.get_mut(&space.0).expect("mem-server names a space");
        assert!(space.insert(addr, mapping).is_none(), "an address is mapped once");
        Ok(MapHandle(NonZeroU32::new(self.next).expect("it counts from 1")))
    }

    fn unmap(&mut self, space: HardSpace, addr: u64, handle: MapHandle) {
        self.mapping(space, addr, handle);
        self.spaces.get_mut(&space.0).expect("it was just found").remove(&addr);
    }

    fn protect(&mut self, space: HardSpace, addr: u64, handle: MapHandle, writable: bool) {
        self.mapping(space, addr, handle).writable = writable;
    }

    fn protect_table(&mut self, space: HardSpace, addr: u64) {
        let space = self.spaces.get_mut(&space.0).expect("mem-server names a space");
        let start = addr & !((2 << 20) - 1);
        for (_, mapping) in space.range_mut(start..start + (2 << 20)) {
            mapping.writable = false;
        }
    }

    fn create_thread(&mut self, client: ServerId, space: HardSpace) -> Result<u64, Errno> {
        if client != ServerId::Proc {
            return Err(Errno::EPERM);
        }
        self.next += 1;
        let slot = u64::from(self.next);
        self.threads.borrow_mut().create(slot, space);
        Ok(slot)
    }

    fn release_thread(&mut self, _client: ServerId, slot: u64) {
        self.threads.borrow_mut().release(slot);
    }

    fn figures(&self) -> MachineFigures {
        let bytes = |frames: usize| (frames * PAGE_BYTES) as u64;
        MachineFigures {
            total_bytes: bytes(self.frames.len()),
            free_bytes: bytes(self.free.len()),
            ..MachineFigures::default()
        }
    }
}
