// SPDX-License-Identifier: MIT OR Apache-2.0
//! The address space of a domain, while root builds it.

use crate::archive::Archive;
use crate::memory::Memory;
use abi::image::Entry;
use alloc::vec::Vec;
use elf::ElfBytes;
use elf::abi::{PF_W, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use microkernel_sys::{Cap, Frame, PAGE_BYTES, Rights, VSpace, init};

/// Where root maps a page for a moment to fill it.
const SCRATCH: u64 = 0x70_0000_0000;

/// An address space.
#[derive(Clone, Copy)]
pub struct Space {
    /// Its root table.
    pub cap: Cap<VSpace>,
}

impl Space {
    /// An empty one.
    pub fn new(memory: &mut Memory) -> Self {
        let cap = memory.create(0);
        init::ASID_POOL.assign(cap).expect("the first pool has 510 free identifiers");
        Self { cap }
    }

    /// Maps `pages` fresh, zeroed pages; the frames.
    pub fn fresh(self, memory: &mut Memory, at: u64, pages: u64) -> Vec<Cap<Frame>> {
        (0..pages)
            .map(|page| {
                let frame = memory.create(0);
                memory.map(frame, self.cap, at + page * PAGE_BYTES, Rights::READ_WRITE);
                frame
            })
            .collect()
    }

    /// Maps copies of `frames`.
    pub fn share(self, memory: &mut Memory, at: u64, frames: &[Cap<Frame>], rights: Rights) {
        for (page, frame) in (0u64..).zip(frames) {
            let copy = memory.copy(*frame, Rights::ALL);
            memory.map(copy, self.cap, at + page * PAGE_BYTES, rights);
        }
    }

    /// Maps `pages` zeroed pages that the domain only reads; frames that root can still write.
    pub fn blank(self, memory: &mut Memory, at: u64, pages: u64) -> Vec<Cap<Frame>> {
        let frames: Vec<_> = (0..pages).map(|_| memory.create(0)).collect();
        self.share(memory, at, &frames, Rights::READ);
        frames
    }

    /// Writes `data` into frames that are mapped nowhere by themselves.
    pub fn write(self, memory: &mut Memory, frames: &[Cap<Frame>], data: &[u8]) {
        for (frame, chunk) in frames.iter().zip(data.chunks(PAGE_BYTES as usize)) {
            fill(memory, *frame, 0, chunk);
        }
    }

    /// Maps the pages of an archive's entry, read-only.
    pub fn entry(self, memory: &mut Memory, at: u64, archive: &Archive, entry: Entry) {
        let pages = (archive.bytes(entry).len() as u64).div_ceil(PAGE_BYTES);
        let frames: Vec<_> = (0..pages).map(|page| archive.frame(entry, page)).collect();
        self.share(memory, at, &frames, Rights::READ);
    }

    /// Loads the domain program: pages that nobody writes are the archive's own; its entry point.
    pub fn load(self, memory: &mut Memory, archive: &Archive) -> u64 {
        let bytes = archive.bytes(Entry::Domain);
        let file = ElfBytes::<LittleEndian>::minimal_parse(bytes)
            .expect("the host tool packs a program that it has checked");
        let segments = file.segments().expect("a program has segments");
        for segment in segments.iter().filter(|segment| segment.p_type == PT_LOAD) {
            self.load_segment(memory, archive, bytes, &segment);
        }
        file.ehdr.e_entry
    }

    fn load_segment(
        self,
        memory: &mut Memory,
        archive: &Archive,
        bytes: &[u8],
        segment: &ProgramHeader,
    ) {
        let first = segment.p_vaddr & !(PAGE_BYTES - 1);
        let end = (segment.p_vaddr + segment.p_memsz).next_multiple_of(PAGE_BYTES);
        let file_end = segment.p_offset + segment.p_filesz;
        for at in (first..end).step_by(PAGE_BYTES as usize) {
            // The file offset of the page's first byte: offset and address agree modulo the page.
            let offset = (segment.p_offset + at).wrapping_sub(segment.p_vaddr);
            if segment.p_flags & PF_W == 0 {
                let frame = archive.frame(Entry::Domain, offset / PAGE_BYTES);
                self.share(memory, at, &[frame], Rights::READ);
                continue;
            }
            let frame = memory.create(0);
            let from = offset.max(segment.p_offset);
            let to = file_end.min(offset.wrapping_add(PAGE_BYTES));
            if from < to {
                let data = &bytes[from as usize..to as usize];
                fill(memory, frame, from.wrapping_sub(offset), data);
            }
            memory.map(frame, self.cap, at, Rights::READ_WRITE);
        }
    }
}

/// Writes `data` into a frame that is not mapped, from byte `at` on.
fn fill(memory: &mut Memory, frame: Cap<Frame>, at: u64, data: &[u8]) {
    assert!(at as usize + data.len() <= PAGE_BYTES as usize, "a page holds it");
    memory.map(frame, init::VSPACE, SCRATCH, Rights::READ_WRITE);
    // SAFETY: the page was mapped there just now, for this function alone.
    let page = unsafe { core::slice::from_raw_parts_mut(SCRATCH as *mut u8, PAGE_BYTES as usize) };
    page[at as usize..at as usize + data.len()].copy_from_slice(data);
    frame.unmap().expect("it was mapped just now");
}
