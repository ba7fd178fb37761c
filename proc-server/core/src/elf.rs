// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an ELF file asks to be loaded: the plan of execve(2), from the file's first bytes.
//!
//! # Model
//! [`Image::parse`] reads the file header and the program headers, both within the first
//! [`HEAD_BYTES`] of the file. [`Image::plan`] places the image at a bias and answers the mappings to
//! make, in ascending order. Per segment: a private mapping of the file's pages; the bytes of the
//! last file page that lie behind the file's part and must read as zero; a private anonymous mapping
//! for the rest.
//!
//! # Invariants
//! All addresses of a plan are below [`USER_TOP`], pages where they must be, and do not wrap; no
//! mapping of the file begins behind its end. The file is untrusted input: nothing panics.
//!
//! # Limits
//! Program headers beyond [`HEAD_BYTES`] are refused (linkers put them behind the file header);
//! [`SEGMENTS_MAX`] segments.
//!
//! # Source
//! elf(5); System V ABI, AMD64 supplement, chapter 5.

use abi::Errno;
use abi::limits::{PAGE_BYTES, PATH_BYTES, USER_TOP};
use alloc::vec::Vec;
use core::ops::Range;
use elf::abi::{
    EM_X86_64, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR,
};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use mem_api::Protection;

/// Bytes of the file that must be read to parse it (fewer if the file is shorter).
pub const HEAD_BYTES: usize = PAGE_BYTES;
/// Segments that a file may ask to load.
pub const SEGMENTS_MAX: usize = 32;
/// Lowest address that a program may ask to be loaded at: pages below catch null pointers.
pub const LOAD_MIN: u64 = 0x1_0000;
/// Where position-independent programs are loaded.
pub const PIE_BASE: u64 = 0x5555_5555_4000;
/// Where a program's interpreter is loaded.
pub const INTERPRETER_BASE: u64 = 0x7e00_0000_0000;

const PAGE: u64 = PAGE_BYTES as u64;
const IDENT_BYTES: usize = 16;
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: u64 = 56;

/// A parsed file, not placed yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    entry: u64,
    relocatable: bool,
    headers_offset: u64,
    headers_count: u16,
    headers_addr: Option<u64>,
    loads: Vec<Load>,
    /// Where the path of the interpreter stands in the file, without its final zero byte.
    pub interpreter: Option<Range<u64>>,
    /// Whether the stack is to be executable.
    pub stack_execute: bool,
}

/// A PT_LOAD header, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Load {
    addr: u64,
    offset: u64,
    file_bytes: u64,
    memory_bytes: u64,
    protection: Protection,
}

/// What to map for one segment. Ranges are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Pages of the file: where, from which byte of the file on.
    pub file: Option<(Range<u64>, u64)>,
    /// Bytes of the last file page to be written with zeroes once it is mapped.
    pub zero: Option<Range<u64>>,
    /// Pages of zeroes.
    pub anonymous: Option<Range<u64>>,
    /// How they are protected.
    pub protection: Protection,
}

/// An image in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadPlan {
    /// What is added to the file's addresses.
    pub bias: u64,
    /// First instruction.
    pub entry: u64,
    /// Address of the program headers in memory, 0 if no segment shows them.
    pub headers_addr: u64,
    /// Program headers.
    pub headers_count: u16,
    /// What to map.
    pub segments: Vec<Segment>,
    /// End of the last segment, on a page: where brk(2) starts.
    pub end: u64,
}

impl Image {
    /// Reads the headers. `head` is the file's beginning, [`HEAD_BYTES`] of it or all of it;
    /// `file_bytes` the length of the file.
    ///
    /// # Errors
    /// ENOEXEC: not an ELF program for this processor, or its headers contradict each other.
    pub fn parse(head: &[u8], file_bytes: u64) -> Result<Self, Errno> {
        let header = file_header(head)?;
        let headers = program_headers(head, &header)?;
        let mut image = Self {
            entry: header.e_entry,
            relocatable: header.e_type == ET_DYN,
            headers_offset: header.e_phoff,
            headers_count: header.e_phnum,
            headers_addr: None,
            loads: Vec::new(),
            interpreter: None,
            stack_execute: false,
        };
        for header in &headers {
            image.add(header, file_bytes)?;
        }
        if image.loads.is_empty() {
            return Err(Errno::ENOEXEC);
        }
        Ok(image)
    }

    fn add(&mut self, header: &ProgramHeader, file_bytes: u64) -> Result<(), Errno> {
        match header.p_type {
            PT_LOAD => {
                if let Some(load) = Load::check(header, file_bytes)? {
                    let ascends = self.loads.last().is_none_or(|last| last.end() <= load.addr);
                    if !ascends || self.loads.len() == SEGMENTS_MAX {
                        return Err(Errno::ENOEXEC);
                    }
                    self.loads.push(load);
                }
            }
            PT_INTERP => {
                let end = header.p_offset.checked_add(header.p_filesz).ok_or(Errno::ENOEXEC)?;
                let fits = (2..=PATH_BYTES as u64).contains(&header.p_filesz) && end <= file_bytes;
                if !fits || self.interpreter.is_some() {
                    return Err(Errno::ENOEXEC);
                }
                self.interpreter = Some(header.p_offset..end - 1);
            }
            PT_PHDR => self.headers_addr = Some(header.p_vaddr),
            PT_GNU_STACK => self.stack_execute = header.p_flags & PF_X != 0,
            _ => {}
        }
        Ok(())
    }

    /// Whether the image can stand anywhere.
    pub fn is_relocatable(&self) -> bool {
        self.relocatable
    }

    /// Places the image: a relocatable one with its first page at `base` (a multiple of the page
    /// size), another one where it says.
    ///
    /// # Errors
    /// ENOEXEC: it does not fit below [`USER_TOP`], or wants the lowest pages.
    pub fn plan(&self, base: u64) -> Result<LoadPlan, Errno> {
        let first = self.loads.first().ok_or(Errno::ENOEXEC)?;
        let bias = if self.relocatable { base.wrapping_sub(page_down(first.addr)) } else { 0 };
        let mut segments: Vec<Segment> = Vec::with_capacity(self.loads.len());
        let mut end = 0;
        for load in &self.loads {
            let segment = load.place(bias)?;
            end = page_up(load.end().wrapping_add(bias));
            segments.push(segment);
        }
        Ok(LoadPlan {
            bias,
            entry: self.entry.wrapping_add(bias),
            headers_addr: self.headers_addr().map_or(0, |addr| addr.wrapping_add(bias)),
            headers_count: self.headers_count,
            segments,
            end,
        })
    }

    /// Where the program headers are in memory, before the bias: PT_PHDR says it, or a segment that
    /// shows that part of the file.
    fn headers_addr(&self) -> Option<u64> {
        self.headers_addr.or_else(|| {
            self.loads
                .iter()
                .find(|load| {
                    (load.offset..load.offset + load.file_bytes).contains(&self.headers_offset)
                })
                .map(|load| load.addr + (self.headers_offset - load.offset))
        })
    }
}

impl Load {
    /// The segment, `None` if it is empty.
    fn check(header: &ProgramHeader, file_len: u64) -> Result<Option<Self>, Errno> {
        let &ProgramHeader { p_vaddr: addr, p_offset: offset, p_filesz, p_memsz, p_flags, .. } =
            header;
        if p_memsz == 0 {
            return Ok(None);
        }
        let file_end = offset.checked_add(p_filesz).ok_or(Errno::ENOEXEC)?;
        let memory_end = addr.checked_add(p_memsz).ok_or(Errno::ENOEXEC)?;
        let congruent = addr % PAGE == offset % PAGE || p_filesz == 0;
        if p_filesz > p_memsz || file_end > file_len || memory_end > USER_TOP || !congruent {
            return Err(Errno::ENOEXEC);
        }
        let protection = Protection {
            read: p_flags & PF_R != 0,
            write: p_flags & PF_W != 0,
            execute: p_flags & PF_X != 0,
        };
        let load = Self { addr, offset, file_bytes: p_filesz, memory_bytes: p_memsz, protection };
        Ok(Some(load))
    }

    fn end(&self) -> u64 {
        self.addr + self.memory_bytes
    }

    fn place(&self, bias: u64) -> Result<Segment, Errno> {
        let addr = self.addr.wrapping_add(bias);
        let end = addr.checked_add(self.memory_bytes).ok_or(Errno::ENOEXEC)?;
        if addr < LOAD_MIN || end > USER_TOP {
            return Err(Errno::ENOEXEC);
        }
        let start = page_down(addr);
        let file_end = addr + self.file_bytes;
        let mapped_end = if self.file_bytes == 0 { start } else { page_up(file_end) };
        let file =
            (mapped_end > start).then(|| (start..mapped_end, self.offset - self.offset % PAGE));
        // All of the page, as on Linux: the dynamic loader's first heap is what is left behind its data. A program
        // cannot read zeroes where it may not write: the rest of the page then shows what the file holds there.
        let zero =
            (self.memory_bytes > self.file_bytes && self.protection.write && file_end < mapped_end)
                .then_some(file_end..mapped_end);
        let anonymous = (page_up(end) > mapped_end).then(|| mapped_end..page_up(end));
        Ok(Segment { file, zero, anonymous, protection: self.protection })
    }
}

/// Every address that is rounded up is at most [`USER_TOP`], itself on a page.
const fn page_up(addr: u64) -> u64 {
    page_down(addr + (PAGE - 1))
}

const fn page_down(addr: u64) -> u64 {
    addr & !(PAGE - 1)
}

fn file_header(head: &[u8]) -> Result<FileHeader<LittleEndian>, Errno> {
    let head = head.get(..HEADER_BYTES).ok_or(Errno::ENOEXEC)?;
    let (ident, tail) = head.split_at(IDENT_BYTES);
    let ident = parse_ident::<LittleEndian>(ident).map_err(|_| Errno::ENOEXEC)?;
    if ident.1 != Class::ELF64 {
        return Err(Errno::ENOEXEC);
    }
    let header = FileHeader::parse_tail(ident, tail).map_err(|_| Errno::ENOEXEC)?;
    let program = header.e_type == ET_EXEC || header.e_type == ET_DYN;
    if !program || header.e_machine != EM_X86_64 {
        return Err(Errno::ENOEXEC);
    }
    Ok(header)
}

fn program_headers(
    head: &[u8],
    header: &FileHeader<LittleEndian>,
) -> Result<Vec<ProgramHeader>, Errno> {
    if u64::from(header.e_phentsize) != PROGRAM_HEADER_BYTES {
        return Err(Errno::ENOEXEC);
    }
    let bytes = u64::from(header.e_phnum) * PROGRAM_HEADER_BYTES;
    let end = header.e_phoff.checked_add(bytes).ok_or(Errno::ENOEXEC)?;
    let start = usize::try_from(header.e_phoff).map_err(|_| Errno::ENOEXEC)?;
    let end = usize::try_from(end).map_err(|_| Errno::ENOEXEC)?;
    let bytes = head.get(start..end).ok_or(Errno::ENOEXEC)?;
    Ok(SegmentTable::new(LittleEndian, Class::ELF64, bytes).iter().collect())
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
